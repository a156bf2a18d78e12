# SPDX-License-Identifier: Apache-2.0
"""The origin of a value, and the layers that values are gathered in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tidegate.config.schema.walk import KeyPath, Part, annotation_at, dotted
from tidegate.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Origin:
    """The place where a value was written.

    Attributes:
        kind: ``default``, ``file`` or ``environment``.
        place: the file, empty for defaults and the process environment.
        key: the key or variable as it was written there.
    """

    kind: Literal["default", "file", "environment"]
    place: str = ""
    key: str = ""

    def __str__(self) -> str:
        if self.kind == "default":
            return "default"
        return f"{self.place}: {self.key}" if self.place else self.key


DEFAULT = Origin("default")


@dataclass(slots=True)
class Layer:
    """The values of one source, flat: key path to value and origin.

    Attributes:
        values: leaf path to value and origin.
        wholes: lists that were written as a whole, and so replace all of a weaker layer's.
    """

    values: dict[KeyPath, tuple[Any, Origin]] = field(default_factory=dict)
    wholes: set[KeyPath] = field(default_factory=set)

    def put(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set a value, replacing what was set at, above or below the path; containers are taken apart."""
        for other in [p for p in self.values if p[: len(path)] == path or path[: len(p)] == p]:
            del self.values[other]
        if isinstance(value, list):
            self.wholes.add(path)
        for leaf, scalar in leaves(value, path):
            self.values[leaf] = (scalar, origin if leaf == path else _deeper(origin, path, leaf))

    def over(self, below: Layer) -> Layer:
        """This layer's values upon those of a weaker one."""
        weaker = {
            path: kept
            for path, kept in below.values.items()
            if not any(path[: len(whole)] == whole for whole in self.wholes)
        }
        merged = Layer(weaker)
        for path, (value, origin) in self.values.items():
            for other in [p for p in merged.values if p[: len(path)] == path or path[: len(p)] == p]:
                del merged.values[other]
            merged.values[path] = (value, origin)
        return merged

    def origin(self, path: KeyPath) -> Origin:
        """The origin of the value at a path, `DEFAULT` if nobody wrote it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.values:
                return self.values[path[:length]][1]
        return next((o for p, (_, o) in self.values.items() if p[: len(path)] == path), DEFAULT)

    def where(self, path: KeyPath) -> str:
        """Place and key of a path as an operator would look for them."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.values:
                origin = self.values[path[:length]][1]
                return str(_deeper(origin, path[:length], path)) if length < len(path) else str(origin)
        origin = self.origin(path)
        return f"{origin.place}: {dotted(path)}" if origin.kind == "file" else str(origin)

    def document(self) -> dict[str, Any]:
        """The values as a nested document.

        Raises:
            ConfigError: list indexes with gaps.
        """
        tree: dict[Part, Any] = {}
        for path, (value, _) in self.values.items():
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = _Leaf(value)
        problems: list[Problem] = []
        built: dict[str, Any] = self._build(tree, (), problems)
        if problems:
            raise ConfigError(problems)
        return built

    def _build(self, node: Any, path: KeyPath, problems: list[Problem]) -> Any:
        if isinstance(node, _Leaf):
            return node.value
        if node and all(isinstance(part, int) for part in node):
            indexes = sorted(node)
            missing = next((i for i in range(len(indexes)) if i not in node), None)
            if missing is not None:
                at = (*path, indexes[missing])
                problems.append(
                    Problem(str(self.origin(at)), f"index {indexes[missing]} without index {missing}")
                )
            return [self._build(node[i], (*path, i), problems) for i in indexes]
        return {str(part): self._build(child, (*path, part), problems) for part, child in node.items()}


@dataclass(frozen=True, slots=True)
class _Leaf:
    value: Any


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """The scalars (and empty containers) of a document with their paths."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, str(name)))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def _deeper(origin: Origin, path: KeyPath, leaf: KeyPath) -> Origin:
    """The origin of a leaf inside a value that was written as a whole."""
    if origin.kind != "file" or not origin.key:
        return origin
    rest = dotted(leaf[len(path) :])
    return Origin("file", origin.place, origin.key + (rest if rest.startswith("[") else f".{rest}"))


def expects_list(path: KeyPath) -> bool:
    """True if the schema wants a list at a path."""
    return getattr(annotation_at(path), "__origin__", None) is list
