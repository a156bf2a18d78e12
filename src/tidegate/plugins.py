# SPDX-License-Identifier: Apache-2.0
"""Parts of other packages by name: installed ones (entry points) and any that can be imported.

What the name leads to is called with the options of the configuration and returns the part. It runs with all
rights of the server: whoever may write the configuration decides what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from tidegate.errors import ConfigError, OperatorError, Problem

Use = tuple[str, Mapping[str, Any]]
"""A name and its options."""


def create_parts(
    wanted: Sequence[Use],
    *,
    where: str,
    word: str,
    group: str,
    methods: Sequence[str],
    built_in: Mapping[str, str] | None = None,
) -> list[Any]:
    """Make parts from names and options; importing may take a while, so call it off the loop.

    Args:
        wanted: what to make.
        where: the list of the configuration, for errors.
        word: a part of this kind, for errors.
        group: the entry point group.
        methods: what a part must have.
        built_in: our own by name, as ``package.module:name``.

    Raises:
        ConfigError: one cannot be found or made; every problem is named.
    """
    made: list[Any] = []
    problems: list[Problem] = []
    for index, (name, options) in enumerate(wanted):
        place = f"{where}[{index}]"
        try:
            part = find_part(name, word=word, group=group, built_in=built_in)(dict(options))
            missing = [method for method in methods if not callable(getattr(part, method, None))]
            if missing:
                raise OperatorError(f"{name!r} makes no {word}: it has no {', '.join(missing)}")
            made.append(part)
        except OperatorError as error:
            problems.append(Problem(place, str(error)))
        except Exception as error:  # other people's code
            problems.append(Problem(place, f"{name!r} cannot be used: {type(error).__name__}: {error}"))
    if problems:
        raise ConfigError(problems)
    return made


def find_part(
    name: str, *, word: str, group: str, built_in: Mapping[str, str] | None = None
) -> Callable[..., Any]:
    """The target of a name: something that can be called. Importing may take a while.

    Args:
        name: of an installed part, or ``package.module:name``.
        word: a part of this kind, for errors.
        group: the entry point group.
        built_in: our own by name, as ``package.module:name``.

    Raises:
        OperatorError: there is none of that name, or it cannot be called.
        Exception: whatever importing it raises.
    """
    built_in = built_in or {}
    if not name:
        raise OperatorError(f"use is empty: name an installed {word} or package.module:name")
    name = built_in.get(name, name)
    if ":" in name:
        module, _, attribute = name.partition(":")
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    else:
        installed = {point.name: point for point in entry_points(group=group)}
        if name not in installed:
            known = ", ".join(sorted({*installed, *built_in})) or "none"
            raise OperatorError(f"no {word} {name!r} is installed; there are: {known}")
        found = installed[name].load()
    if not callable(found):
        raise OperatorError(f"{name!r} cannot be called")
    make: Callable[..., Any] = found
    return make
