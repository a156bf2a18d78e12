# SPDX-License-Identifier: Apache-2.0
"""The rights to what is in a directory, where it was asked for and where links led."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.errors import NotADirectory, NotFound
from tidegate.model import VPath
from tidegate.model.rights import Right
from tidegate.policy.rights import DirectoryRights
from tidegate.vfs.context import Context

_MOUNTED: Final = ~(Right.REMOVE | Right.RENAME)


async def rights_in(context: Context, directory: VPath) -> Callable[[str, bool], Right]:
    """See `vfs.api.Session.rights`."""
    table = context.table
    named = DirectoryRights(context.gate, directory)
    reached: DirectoryRights | None = None
    if not context.gate.uniform:
        try:
            place = context.place(directory, await context.charged(directory, follow=True))
        except (NotFound, NotADirectory):
            place = directory  # of mounts alone, or the caller is told when it is listed
        if place != directory:
            reached = DirectoryRights(context.gate, place)

    def of(name: str, is_dir: bool) -> Right:
        found = named.of(name, is_dir=is_dir)
        if reached is not None:
            found &= reached.of(name, is_dir=is_dir)
        if is_dir and table.has_points:
            path = directory.child(name) if name else directory
            if table.is_point(path) or table.holds_points(path):
                found &= _MOUNTED
        return found

    return of
