# SPDX-License-Identifier: Apache-2.0
"""The part of ``tidegate check`` about the sandbox: what a server would keep, and homes that are outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from tidegate.errors import ConfigError, OperatorError
from tidegate.model import LOCAL

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.errors import Problem
    from tidegate.model import Account, Folder

PAGE: Final = 500
SHOWN: Final = 20
"""Directories that are named; the rest is counted."""


def sandbox(loaded: Loaded, problems: list[Problem]) -> Iterator[str]:
    """The places that a server would keep."""
    from tidegate.server.sandbox import LEAST_VERSION, landlock_version, sandbox_places

    keys = loaded.settings.sandbox
    if keys.mode == "off":
        return
    try:
        places = sandbox_places(loaded)
    except ConfigError as error:
        problems += error.problems
        return
    found = landlock_version()
    if places is None or found < LEAST_VERSION:
        yield "sandbox: none, this system has no Landlock of version 2 or later (Linux 5.19)"
        return
    yield f"sandbox: Landlock {found}; homes and folders below {', '.join(places.homes)}"


async def homes_outside(loaded: Loaded, notes: list[str]) -> None:
    """Name the homes and mapped folders of the data provider that the sandbox would keep out."""
    from tidegate.server.sandbox import sandbox_places
    from tidegate.server.wiring import provider_options
    from tidegate.store.factory import create_provider, has_schema

    try:
        places = sandbox_places(loaded)
        options = provider_options(loaded)
        if places is None or options.driver == "memory" or not await has_schema(options):
            return
        provider = create_provider(options)
        await provider.open(migrate=False)
    except OperatorError:
        return  # another part says why
    outside: dict[str, str] = {}
    try:
        async for account in provider.iter_users():
            for path in _directories(account):
                _note(outside, path, f"user {account.username}", places.refusal)
        start = 0
        while page := await provider.folders(offset=start, limit=PAGE):
            start += len(page)
            for folder in page:
                for path in _directories(folder):
                    _note(outside, path, f"folder {folder.name}", places.refusal)
    finally:
        await provider.close()
    if not outside:
        return
    shown = dict(sorted(outside.items())[:SHOWN])
    rest = f" and {len(outside) - SHOWN} more" if len(outside) > SHOWN else ""
    named = ", ".join(f"{path} ({whose})" for path, whose in shown.items())
    quoted = ", ".join(f'"{path}"' for path in _above(shown))
    notes.append(
        f"outside the sandbox, so refused: {named}{rest}. To let them in: sandbox.writable = [{quoted}]"
    )


def _directories(record: Account | Folder) -> Iterator[str]:
    """The directory of this host that a record names."""
    path = getattr(record, "home_dir", "") or getattr(record, "mapped_path", "")
    if path and record.filesystem.kind in (LOCAL, "crypt"):
        yield path


def _note(outside: dict[str, str], path: str, whose: str, refusal: Callable[[str], str | None]) -> None:
    if path not in outside and refusal(path) is not None:
        outside[path] = whose


def _above(paths: dict[str, str]) -> list[str]:
    """The directories that hold several of them, where that is not far up; else they themselves."""
    parents: dict[str, list[str]] = {}
    for path in paths:
        parents.setdefault(os.path.dirname(path), []).append(path)
    return [
        one
        for parent, found in parents.items()
        for one in ([parent] if len(found) > 1 and parent.count("/") > 1 else found)
    ]
