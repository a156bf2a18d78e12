# SPDX-License-Identifier: Apache-2.0
"""Commands that share groups of flags: a parameter of a dataclass type is a flag for each of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def spread(function: Callable[..., R]) -> Callable[..., R]:
    """The command as typer should see it; it is called with the groups put together again.

    The fields of a group carry their flags as ``Annotated`` types, as the parameters of a command do.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if not is_dataclass(hint) or not isinstance(hint, type):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hint))
            continue
        groups[parameter.name] = hint
        inner = get_type_hints(hint, include_extras=True)
        parameters += [_parameter(item, inner[item.name]) for item in fields(hint)]

    @wraps(function)
    def command(**given: Any) -> R:
        for name, group in groups.items():
            given[name] = group(**{item.name: given.pop(item.name) for item in fields(group)})
        return function(**given)

    described: Any = command
    described.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(item: Field[Any], hint: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if item.default is MISSING else item.default
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
