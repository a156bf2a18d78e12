# SPDX-License-Identifier: Apache-2.0
"""Both ends of a move: where they are, that they are not one, and their storage while it is used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tidegate.accounts.storage_changes import spec_of
from tidegate.errors import BadRecord
from tidegate.model import Account, Folder
from tidegate.relocation.copying import Route
from tidegate.relocation.move import Move
from tidegate.vfs.factory import VfsSessions


async def locate(sessions: VfsSessions, move: Move, record: Account | Folder) -> None:
    """Find out where both ends are, and that they are not one.

    Raises:
        BadRecord: they are.
    """
    ends = []
    for place in (move.note.before, move.note.after):
        backend = await sessions.describe(spec_of(record, place))
        ends.append(backend.location(""))
    move.source, move.target = ends
    one, other = (end.rstrip("/") + "/" for end in ends)
    both_here = one.startswith("/") and other.startswith("/")
    if one.startswith(other) or other.startswith(one) or (both_here and await _overlap(*ends)):
        raise BadRecord("filesystem", f"{move.target} is, holds or lies in the storage it moves from")


@contextlib.asynccontextmanager
async def open_ends(
    sessions: VfsSessions, move: Move, record: Account | Folder, *, opens_target: bool = True
) -> AsyncIterator[Route]:
    """The storage of both ends, open in the block; without `opens_target` the new one is described only."""
    account = record if isinstance(record, Account) else None
    uid, gid = (account.uid or None, account.gid or None) if account is not None else (None, None)
    target = spec_of(record, move.note.after)
    async with contextlib.AsyncExitStack() as stack:
        source = await stack.enter_async_context(sessions.storage(spec_of(record, move.note.before)))
        if opens_target:
            end = await stack.enter_async_context(sessions.storage(target))
        else:
            end = await sessions.describe(target)
        yield Route(source, end, uid, gid)


async def _overlap(one: str, other: str) -> bool:
    """True if of two directories of this host one is or lies in the other, by whatever links or mounts."""

    def chain(directory: str) -> list[tuple[int, int] | None]:
        real = Path(directory).resolve()
        found: list[tuple[int, int] | None] = []
        for path in (real, *real.parents):
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_dev, status.st_ino))
        return found

    def nested() -> bool:
        first, second = chain(one), chain(other)
        return any(end[0] is not None and end[0] in way for end, way in ((first, second), (second, first)))

    return await asyncio.to_thread(nested)


async def is_there(directory: str) -> bool:
    """True if there is such a directory on this host."""
    return await asyncio.to_thread(Path(directory).is_dir)
