# SPDX-License-Identifier: Apache-2.0
"""Moves between storages (file systems, buckets, servers): copied, compared, then the original is removed.

Until the copy is complete the original is untouched, and whatever ends it before (an error, a limit, a line
that breaks) removes what was copied. Then the original is removed, but nothing of it that changed meanwhile:
what somebody wrote or added while it was copied stays where it is, and the rename fails. Mode and times go
along, the owner where the server may set it; hard links become files of their own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable
from typing import Final, NamedTuple

from tidegate.abc import Backend, Capability, Key
from tidegate.errors import (
    Conflict,
    Denied,
    InvalidArgument,
    NotFound,
    PeerLimit,
    StorageFailed,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, VPath
from tidegate.vfs.acts import Act
from tidegate.vfs.context import Context
from tidegate.vfs.files.copy import transfer
from tidegate.vfs.files.progress import Progress, showing
from tidegate.vfs.mounts import ResolvedPath, listing
from tidegate.vfs.usage.scan import measure

MAX_CARRIED_ENTRIES: Final = 250_000
"""Files, directories and links of a tree that is moved by copying; their names are remembered meanwhile."""
_OPEN_MODE: Final = 0o700
"""The mode of a directory while it is filled."""
_COARSE_NS: Final = 2_000_000_000
"""The most that a time may be off on storage that keeps whole seconds only (FAT: 2 s)."""


class _Item(NamedTuple):
    """Something that was copied.

    Attributes:
        name: below what is moved; empty for that itself.
        entry: the original, as it was when it was copied.
    """

    name: str
    entry: Entry


async def carry(  # noqa: PLR0917  one move has two ends with three names each
    context: Context,
    act: Act,
    origin: ResolvedPath,
    goal: ResolvedPath,
    entry: Entry,
    old: Entry | None,
    source: VPath,
    target: VPath,
) -> None:
    """Move by copying; the caller holds the paths of both ends, and has judged everything.

    Args:
        old: what the target replaces.

    Raises:
        Conflict: something is being written, or was changed while it was copied.
        QuotaExceeded: the target has no room.
        PeerLimit: the tree is too large.
    """
    await act.begin(origin.mount, goal.mount)
    progress = Progress("move", target, time.time())
    done: list[_Item] = []
    carrier = _Carrier(context, act, origin, goal, done, progress)
    with showing(context, progress, always=True):
        try:
            if entry.is_dir:
                if old is not None:  # empty, or the storage refuses
                    await context.through(goal).rmdir(goal.key)
                await carrier.tree(entry)
            else:
                await carrier.one("", entry, old)
        except BaseException:
            await carrier.undo()
            if entry.is_dir and old is not None and old.is_dir:
                await carrier.quietly(carrier.directory_again(old))
            raise
        act.commit()
        await carrier.remove_originals(source)


class _Carrier:
    """One move."""

    __slots__ = ("_act", "_context", "_done", "_from", "_goal", "_origin", "_progress", "_to")

    def __init__(  # noqa: PLR0917
        self,
        context: Context,
        act: Act,
        origin: ResolvedPath,
        goal: ResolvedPath,
        done: list[_Item],
        progress: Progress,
    ) -> None:
        self._context = context
        self._act = act
        self._origin = origin
        self._goal = goal
        self._from, self._to = context.through(origin), context.through(goal)
        self._done = done
        self._progress = progress

    async def tree(self, top: Entry) -> None:
        """Copy a directory with everything in it.

        Raises:
            Unsupported: it holds a link, and the target has none; told before anything is copied.
        """
        origin, goal = self._origin, self._goal
        if Capability.LINKS in self._from.capabilities and Capability.LINKS not in self._to.capabilities:
            await self._refuse_links()
        size, files = await measure(self._from, origin.key, limit=MAX_CARRIED_ENTRIES)
        self._progress.total_size, self._progress.total_files = size, files
        if origin.mount.charges.owner != goal.mount.charges.owner:
            goal.mount.charges.charge(size, files)  # only asked: what is copied is charged file by file
            goal.mount.charges.credit(-size, -files)
        await self._directory("", top)
        todo = [""]
        while todo:
            directory = todo.pop()
            async with listing(self._from, _below(origin.key, directory)) as batches:
                async for batch in batches:
                    for entry in batch:
                        name = _below(directory, entry.name)
                        if entry.is_dir:
                            await self._directory(name, entry)
                            todo.append(name)
                        else:
                            await self.one(name, entry)
                        if len(self._done) > MAX_CARRIED_ENTRIES:
                            raise PeerLimit("directory holds too many files")
                    await asyncio.sleep(0)
        for item in reversed(self._done):
            if item.entry.is_dir:
                await self._dress(item.name, item.entry)

    async def _refuse_links(self) -> None:
        todo = [""]
        seen = 0
        while todo:
            directory = todo.pop()
            async with listing(self._from, _below(self._origin.key, directory), counts=True) as batches:
                async for batch in batches:
                    seen += len(batch)
                    if seen > MAX_CARRIED_ENTRIES:
                        raise PeerLimit("directory holds too many files")
                    for entry in batch:
                        name = _below(directory, entry.name)
                        if entry.is_link:
                            raise Unsupported(f"{name} is a link, which the other storage cannot hold")
                        if entry.is_dir:
                            todo.append(name)
                    await asyncio.sleep(0)

    async def _directory(self, name: str, entry: Entry) -> None:
        await self._to.mkdir(_below(self._goal.key, name), mode=entry.mode & 0o777 | _OPEN_MODE)
        self._done.append(_Item(name, entry))

    async def directory_again(self, old: Entry) -> None:
        """Put back the empty directory that the target was."""
        await self._to.mkdir(self._goal.key, mode=old.mode & 0o777)
        await self._dress("", old)

    async def one(self, name: str, entry: Entry, old: Entry | None = None) -> None:
        """Copy a file or link, over what has the name now."""
        both = [each._replace(key=_below(each.key, name)) for each in (self._origin, self._goal)]
        origin, goal = both
        if not name:
            if self._written(origin):
                raise Conflict("file is being written")
            await self._one(origin, goal, entry, old)
        else:
            # Taken without waiting: who holds a path below might wait for one of ours.
            for each in both:
                if self._context.paths.in_use(each.backend, each.key):
                    raise Conflict("file is being written")
            async with self._context.paths.locked(origin[1:], goal[1:]):
                await self._one(origin, goal, entry, None)
        self._done.append(_Item(name, entry))
        if entry.is_link:
            await self._dress(name, entry)
        if self._act.abandoned:
            raise asyncio.CancelledError
        if name:
            self._act.committed = False  # until the tree is complete the client may break it off

    async def _one(self, origin: ResolvedPath, goal: ResolvedPath, entry: Entry, old: Entry | None) -> None:
        if entry.is_link:
            await self._link(origin, goal, entry, old)
        elif entry.is_file:
            # An upload onto a link would write what the link leads to; and what cannot be read before it is
            # published is compared before it replaces anything.
            unread = Capability.READ_WRITE not in self._to.capabilities
            apart = old is not None and (old.is_link or unread)
            beside = goal._replace(key=_beside(goal.key)) if apart else goal
            replace = old is not None and beside is goal
            if not self._progress.total_files:
                self._progress.total_size, self._progress.total_files = entry.size, 1
            await transfer(
                self._context, self._act, origin, beside, entry, self._progress, replace=replace, moves=True
            )
            if beside is not goal:
                await self._replace(beside, goal, entry, old)
        else:
            raise InvalidArgument("invalid argument: not a file, directory or link")

    def _written(self, resolved: ResolvedPath) -> bool:
        state = self._context.paths.hold(resolved.backend, resolved.key)
        try:
            return state.reservation is not None
        finally:
            self._context.paths.let_go(state)

    async def _replace(
        self, beside: ResolvedPath, goal: ResolvedPath, entry: Entry, old: Entry | None
    ) -> None:
        """As `_over`, and give back what was charged for the file that is replaced."""
        state = self._context.paths.hold(goal.backend, goal.key)  # locked by the caller
        try:
            if old is not None and old.is_file:
                state.learn(old.size)
            await self._over(beside, goal, entry)
            if old is not None and old.is_file:
                goal.mount.charges.credit(-state.freed(old.size), -1)
            state.becomes(entry.size)
        finally:
            self._context.paths.let_go(state)

    async def _over(self, beside: ResolvedPath, goal: ResolvedPath, entry: Entry) -> None:
        """Rename what was made under another name over what it replaces."""
        try:
            await self._to.rename(beside.key, goal.key, replace=True)
        except BaseException:
            await self.quietly(self._remove_one(beside, _Item("", entry)))
            raise

    async def _link(self, origin: ResolvedPath, goal: ResolvedPath, entry: Entry, old: Entry | None) -> None:
        backend = self._to
        if Capability.LINKS not in backend.capabilities:
            raise Unsupported("this storage has no links")
        text = await self._from.readlink(origin.key)
        if old is None:
            await backend.symlink(text, goal.key)
            return
        beside = goal._replace(key=_beside(goal.key))
        state = self._context.paths.hold(goal.backend, goal.key)  # locked by the caller
        try:
            await backend.symlink(text, beside.key)
            await self._over(beside, goal, entry)
            if old.is_file:
                goal.mount.charges.credit(-state.freed(old.size), -1)
                state.becomes(None)
        finally:
            self._context.paths.let_go(state)

    async def _dress(self, name: str, entry: Entry) -> None:
        """Owner, mode and times of a directory or link."""
        backend, key = self._to, _below(self._goal.key, name)
        await set_owner(backend, key, entry)
        mode = None if entry.is_link or Capability.MODES not in backend.capabilities else entry.mode & 0o777
        times = Capability.TIMES in backend.capabilities
        wanted = Attrs(
            mode=mode,
            atime_ns=entry.atime_ns if times else None,
            mtime_ns=entry.mtime_ns if times else None,
        )
        if wanted != Attrs():
            await backend.set_attrs(key, wanted, follow=False)

    async def undo(self) -> None:
        """Remove the copies; what somebody changed meanwhile is his."""
        while self._done:
            await self.quietly(self._remove(self._goal, self._done.pop()))

    async def quietly(self, work: Awaitable[object]) -> None:
        """Do something that may fail without further ado; if it did is another question."""
        try:
            await work
        except StorageFailed:
            self._context.tracker.doubt(self._context.usage)
        except TidegateError:
            return

    async def remove_originals(self, source: VPath) -> None:
        """Remove what was copied, from the inside out.

        Raises:
            Conflict: something changed, or came in addition; it stays.
        """
        changed = False
        for item in reversed(self._done):
            try:
                changed |= not await self._remove(self._origin, item)
            except NotFound:
                continue
            except StorageFailed:
                self._context.tracker.doubt(self._context.usage)
                changed = True
            except TidegateError:
                changed = True
        if changed:
            raise Conflict(f"{source.name} was changed while it was moved; what changed is still there")

    async def _remove(self, of: ResolvedPath, item: _Item) -> bool:
        of = of._replace(key=_below(of.key, item.name))
        if item.entry.is_dir:
            await self._context.through(of).rmdir(of.key)
            return True
        if item.name:
            if self._context.paths.in_use(of.backend, of.key):
                return False
            async with self._context.paths.locked(of[1:]):
                return await self._remove_one(of, item)
        return await self._remove_one(of, item)

    async def _remove_one(self, of: ResolvedPath, item: _Item) -> bool:
        backend, key = self._context.through(of), of.key
        found = await backend.stat(key, follow=False)
        dressed = of.backend is self._origin.backend or not found.is_link  # a copied link gets its times last
        if not _unchanged(item.entry, found, times=dressed and Capability.TIMES in backend.capabilities):
            return False
        await backend.remove(key)
        if found.is_file:
            state = self._context.paths.hold(of.backend, key)
            try:
                visible = state.learn(found.size)
                if visible is not None:
                    of.mount.charges.credit(-state.freed(found.size), -1)
                state.becomes(None)
            finally:
                self._context.paths.let_go(state)
        return True


def _unchanged(before: Entry, now: Entry, *, times: bool) -> bool:
    if before.kind is not now.kind or before.size != now.size:
        return False
    if not times:
        return True
    coarse = not now.mtime_ns % 1_000_000_000 or not before.mtime_ns % 1_000_000_000
    return abs(before.mtime_ns - now.mtime_ns) < (_COARSE_NS if coarse else 1000)


async def set_owner(backend: Backend, key: Key, entry: Entry) -> None:
    """Give what was copied its owner, where the server may."""
    if Capability.OWNERS in backend.capabilities:
        try:
            await backend.set_attrs(key, Attrs(uid=entry.uid, gid=entry.gid), follow=False)
        except (Denied, Unsupported):
            return  # not root: what is copied belongs to the server, as every upload does


def _beside(key: Key) -> Key:
    return f"{key}.{secrets.token_hex(8)}"


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name
