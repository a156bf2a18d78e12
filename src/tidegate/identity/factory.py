# SPDX-License-Identifier: Apache-2.0
"""Authenticators by name: installed ones (entry points) and any that can be imported.

What the name leads to is called with the options of the configuration and returns an
`tidegate.abc.Authenticator`. It runs with all rights of the server: whoever may write the configuration
decides what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from tidegate.abc import Authenticator
from tidegate.errors import ConfigError, OperatorError, Problem

GROUP: Final = "tidegate.authenticators"
"""The entry point group."""
_METHODS: Final = ("open", "close", "find", "verify")


def create_authenticators(wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Authenticator]:
    """Make authenticators from names and options; importing may take a while, so call it off the loop.

    Raises:
        ConfigError: one cannot be found or made; every problem is named.
    """
    made: list[Authenticator] = []
    problems: list[Problem] = []
    for index, (name, options) in enumerate(wanted):
        where = f"identity.authenticators[{index}]"
        try:
            made.append(_create(name, options))
        except OperatorError as error:
            problems.append(Problem(where, str(error)))
        except Exception as error:  # other people's code
            problems.append(Problem(where, f"{name!r} cannot be used: {type(error).__name__}: {error}"))
    if problems:
        raise ConfigError(problems)
    return made


def _create(name: str, options: Mapping[str, Any]) -> Authenticator:
    made = _find(name)(dict(options))
    missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
    if missing:
        raise OperatorError(f"{name!r} makes no authenticator: it has no {', '.join(missing)}")
    authenticator: Authenticator = made
    return authenticator


def _find(name: str) -> Callable[[dict[str, Any]], Any]:
    if not name:
        raise OperatorError("use is empty: name an installed authenticator or package.module:name")
    if ":" in name:
        module, _, attribute = name.partition(":")
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    else:
        installed = {point.name: point for point in entry_points(group=GROUP)}
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise OperatorError(f"no authenticator {name!r} is installed; there are: {known}")
        found = installed[name].load()
    if not callable(found):
        raise OperatorError(f"{name!r} cannot be called")
    make: Callable[[dict[str, Any]], Any] = found
    return make
