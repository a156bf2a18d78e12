# SPDX-License-Identifier: Apache-2.0
"""Reading configuration files: JSON, TOML, YAML, HCL, Java properties, env files.

Formats with types (JSON, TOML, YAML, HCL) give nested documents; flat formats give texts by dotted key or
variable name, which are turned into what the schema expects. A mistake of syntax is one `Problem` with
its line where the format tells it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tidegate.config import legacy
from tidegate.config.origin import Layer, Origin, expects_list
from tidegate.config.schema.walk import KeyPath, dotted, path_from_text
from tidegate.errors import ConfigError, Problem
from tidegate.nesting import deeper_than

FILE_LIMIT: Final = 4 * 1024 * 1024
"""bytes; a longer configuration file is refused unread"""

DEPTH_LIMIT: Final = 32
"""levels of nesting"""

PREFIXES: Final = ("TIDEGATE_", "SFTPGO_")
"""Prefixes of variables, strongest first."""


def read(path: Path) -> Layer:
    """The values of a configuration file.

    Raises:
        ConfigError: the file cannot be read or is not well-formed.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    if len(raw) > FILE_LIMIT:
        raise ConfigError([Problem(str(path), f"longer than {FILE_LIMIT} bytes")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), f"not UTF-8 text (byte {error.start})")]) from None
    parser = PARSERS[path.suffix.lower()]
    try:
        return parser(text, str(path))
    except _Malformed as error:
        raise ConfigError([Problem(str(path), str(error))]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), f"nested deeper than {DEPTH_LIMIT} levels")]) from None
    except ValueError:  # of int(): Python refuses thousands of digits
        raise ConfigError([Problem(str(path), "holds a number that is too long")]) from None


class _Malformed(Exception):
    """A mistake of syntax; the text says what and where."""


def _nested(document: object, place: str) -> Layer:
    if document is None:
        return Layer()
    if not isinstance(document, dict):
        raise _Malformed("expected a table of sections at the top")
    _check_depth(document, 0)
    layer = Layer()
    for name, value in document.items():
        layer.put((str(name),), value, Origin("file", place, str(name)))
    return layer


def _check_depth(value: object, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise _Malformed(f"nested deeper than {DEPTH_LIMIT} levels")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise _Malformed(f"key {name!r} is not a text")
            _check_depth(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_depth(inner, depth + 1)


def _json(text: str, place: str) -> Layer:
    if deeper_than(text, DEPTH_LIMIT + 1):  # before the parser, whose own limit depends on its version
        raise _Malformed(f"nested deeper than {DEPTH_LIMIT} levels")
    try:
        return _nested(json.loads(text, object_pairs_hook=_no_duplicates), place)
    except json.JSONDecodeError as error:
        raise _Malformed(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise _Malformed(f"key {name!r} is given twice")
        document[name] = value
    return document


def _toml(text: str, place: str) -> Layer:
    import tomllib

    try:
        return _nested(tomllib.loads(text), place)
    except tomllib.TOMLDecodeError as error:
        raise _Malformed(f"not TOML: {error}") from None


def _yaml(text: str, place: str) -> Layer:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses keys given twice, and aliases (a few of them can stand for gigabytes)."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise _Malformed("YAML aliases are not accepted")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise _Malformed(f"key {twice!r} is given twice (line {node.start_mark.line + 1})")
            return super().construct_mapping(node, deep)

    try:
        return _nested(yaml.load(text, Loader), place)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise _Malformed(f"not YAML: {getattr(error, 'problem', None) or 'malformed'}{where}") from None


def _hcl(text: str, place: str) -> Layer:
    import hcl2
    from lark.exceptions import LarkError, UnexpectedInput

    options = hcl2.SerializationOptions(with_comments=False, preserve_heredocs=False)
    try:
        raw = hcl2.loads(text, serialization_options=options)
    except UnexpectedInput as error:
        raise _Malformed(f"not HCL: unexpected input at line {error.line} column {error.column}") from None
    except (LarkError, ValueError):
        raise _Malformed("not HCL") from None
    return _nested(_plain_hcl(raw, ()), place)


def _plain_hcl(value: Any, path: KeyPath) -> Any:
    """Parser output as plain values: quotes taken off, single blocks unwrapped where a table is expected."""
    if isinstance(value, dict):
        plain: dict[str, Any] = {}
        for name, inner in value.items():
            if name == "__is_block__":
                continue
            bare = _hcl_text(name) if name.startswith('"') else name
            plain[bare] = _plain_hcl(inner, (*path, bare))
        return plain
    if isinstance(value, list):
        blocks = [item for item in value if isinstance(item, dict) and item.get("__is_block__")]
        if blocks and not expects_list(path):
            if len(blocks) > 1:
                raise _Malformed(f"block {dotted(path)} is given twice")
            return _plain_hcl(blocks[0], path)
        return [_plain_hcl(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, str):
        if not value.startswith('"'):
            raise _Malformed(f"{dotted(path)}: expressions are not supported: {value[:40]}")
        return _hcl_text(value)
    return value


def _hcl_text(quoted: str) -> str:
    body = quoted.replace("$${", "\0d").replace("%%{", "\0p")
    if "${" in body or "%{" in body:
        raise _Malformed(f"templates are not supported: {quoted[:40]}")
    try:
        text: str = json.loads(body.replace("\0d", "\\u0024{").replace("\0p", "%{"), strict=False)
    except ValueError:
        raise _Malformed(f"not a text: {quoted[:40]}") from None
    return text


def _properties(text: str, place: str) -> Layer:
    import javaproperties

    try:
        pairs = [
            (item.key, item.value)
            for item in javaproperties.parse(text)
            if isinstance(item, javaproperties.KeyValue)
        ]
    except javaproperties.InvalidUEscapeError as error:
        raise _Malformed(f"not Java properties: {error}") from None
    return _flat(pairs, place)


def _env_file(text: str, place: str) -> Layer:
    return _flat([(name, value) for name, value in parse_env(text, place)], place)


def parse_env(text: str, place: str) -> list[tuple[str, str]]:
    """The KEY=VALUE lines of an env file; nothing is substituted in them.

    Raises:
        ConfigError: a line is not KEY=VALUE.
    """
    from io import StringIO

    from dotenv.parser import parse_stream

    found: list[tuple[str, str]] = []
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigError([Problem(place, f"line {binding.original.line} is not KEY=VALUE")])
        if binding.key is not None and binding.value is not None:
            found.append((binding.key, binding.value))
    return found


def _flat(pairs: list[tuple[str, str]], place: str) -> Layer:
    """Texts by ``section.key``, ``SECTION__KEY`` or a variable's full name."""
    layer = Layer()
    seen: set[str] = set()
    for name, text in pairs:
        if name in seen:
            raise _Malformed(f"key {name!r} is given twice")
        seen.add(name)
        bare = name
        for prefix in PREFIXES:
            bare = bare.removeprefix(prefix)
        parts = bare.replace("[", ".").replace("]", "").split(".") if "__" not in bare else bare.split("__")
        path = path_from_text([part.lower() for part in parts])
        layer.put(path, legacy.meaning(path, text), Origin("file", place, name))
    return layer


PARSERS: Final[dict[str, Callable[[str, str], Layer]]] = {
    ".json": _json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".hcl": _hcl,
    ".properties": _properties,
    ".env": _env_file,
}
"""Parsers by file name extension, in the order that a name without extension is looked for."""
