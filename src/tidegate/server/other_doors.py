# SPDX-License-Identifier: Apache-2.0
"""Doors of other packages: installed ones (entry points) and any that can be imported.

They run with all rights of the server: whoever may write the configuration decides what they are.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from tidegate.config.load import Loaded
from tidegate.config.schema.doors import OtherDoor
from tidegate.doors.common.door import Apply, DoorContext, DoorKind
from tidegate.errors import ConfigError, OperatorError, Problem
from tidegate.model import OtherProtocol
from tidegate.plugins import find_part
from tidegate.server.doors import Composition, DoorPlan, InstalledDoor

GROUP: Final = "tidegate.doors"
"""The entry point group."""

RESERVED: Final = frozenset({"ssh", "sftp", "scp", "http", "ftp", "dav", "webdav"})
"""Names that only doors of ours may have."""

_METHODS: Final = ("start", "reload", "drain", "stop", "usernames", "close_user", "status")


def other_doors(loaded: Loaded) -> list[DoorPlan]:
    """Plans of the doors that the configuration names and that are on.

    Raises:
        ConfigError: a name is missing or taken.
    """
    problems: list[Problem] = []
    plans: dict[str, DoorPlan] = {}
    for index, section in enumerate(loaded.settings.doors.others):
        where = f"doors.others[{index}]"
        if not section.use:
            problems.append(Problem(f"{where}.use", "name an installed door or package.module:name"))
        elif section.called in RESERVED or section.called in plans:
            problems.append(Problem(f"{where}.name", f"the name {section.called!r} is taken"))
        elif section.enabled:
            plans[section.called] = _plan(section.called)
    if problems:
        raise ConfigError(problems)
    return list(plans.values())


def check_doors(loaded: Loaded) -> list[str]:
    """Find the doors of other packages and check their options, as a server does; returns their names.

    Raises:
        ConfigError: with every problem.
    """
    problems: list[Problem] = []
    names = [plan.name for plan in other_doors(loaded)]
    for name in names:
        try:
            _find(loaded, name)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return names


def _plan(name: str) -> DoorPlan:
    async def create(composition: Composition, loaded: Loaded) -> InstalledDoor:
        kind, section, options = await asyncio.to_thread(_find, loaded, name)
        context = DoorContext(
            login=composition.identity,
            sessions=composition.sessions,
            events=composition.bus,
            registry=composition.registry,
            ledger=composition.ledger,
            protocol=OtherProtocol(name.upper(), section.counts_as),
            resolve=loaded.resolve,
        )
        try:
            door = kind(name, options, context)
        except OperatorError:
            raise
        except Exception as error:  # other people's code
            raise _unusable(loaded, name, f"{type(error).__name__}: {error}") from error
        missing = [method for method in _METHODS if not callable(getattr(door, method, None))]
        if missing:
            raise _unusable(loaded, name, f"it has no {', '.join(missing)}")

        async def reload(fresh: Loaded) -> Apply:
            if not any(one.called == name and one.enabled for one in fresh.settings.doors.others):
                return lambda: None  # told by `keys_that_wait`
            _, _, changed = await asyncio.to_thread(_find, fresh, name)
            return await door.reload(changed)

        return InstalledDoor(door, reload)

    return DoorPlan(name, lambda _: True, create)


def _find(loaded: Loaded, name: str) -> tuple[DoorKind, OtherDoor, Any]:
    """A door's class, its section, and its options, checked. Imports; blocks."""
    index, section = next(
        (index, one) for index, one in enumerate(loaded.settings.doors.others) if one.called == name
    )
    try:
        kind = _imported(section.use)
    except OperatorError as error:
        raise _unusable(loaded, name, str(error)) from None
    except Exception as error:  # other people's code
        raise _unusable(loaded, name, f"{type(error).__name__}: {error}") from error
    return kind, section, options_of(kind.options, section.options, f"doors.others[{index}].options")


def _imported(use: str) -> DoorKind:
    found: Any = find_part(use, word="door", group=GROUP)
    if not dataclasses.is_dataclass(getattr(found, "options", None)):
        raise OperatorError("expected a dataclass `options` beside it")
    kind: DoorKind = found
    return kind


def options_of(shape: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Options from a table of the configuration.

    Args:
        shape: a dataclass.
        values: the table.
        where: its key, for errors.

    Raises:
        ConfigError: with every mistake.
    """
    names = [field.name for field in dataclasses.fields(shape)]
    problems: list[Problem] = []
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(Problem(f"{where}.{name}", f"unknown key{hint}"))
    try:
        made = TypeAdapter(shape).validate_python({n: v for n, v in values.items() if n in names})
    except ValidationError as error:
        for details in error.errors(include_url=False):
            place = ".".join([where, *map(str, details["loc"])])
            text = details["msg"]
            problems.append(Problem(place, text[:1].lower() + text[1:]))
    if problems:
        raise ConfigError(problems)
    return made


def _unusable(loaded: Loaded, name: str, why: str) -> ConfigError:
    index, section = next(
        (index, one) for index, one in enumerate(loaded.settings.doors.others) if one.called == name
    )
    return ConfigError([Problem(f"doors.others[{index}].use", f"{section.use!r} cannot be used: {why}")])
