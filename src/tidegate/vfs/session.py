# SPDX-License-Identifier: Apache-2.0
"""One principal's view of the tree: the only file API that doors call.

Long, because the API is one class; what its methods do stands in `vfs.files`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from tidegate.abc import Backend, Capability, Key, TellsPartials
from tidegate.cluster.registry import LiveTransfer
from tidegate.errors import (
    Conflict,
    InvalidHandle,
    IsADirectory,
    NotADirectory,
    NotFound,
    PeerGone,
    TidegateError,
    Unsupported,
)
from tidegate.model import (
    Action,
    Attrs,
    Entry,
    Intent,
    Peer,
    Principal,
    ProgramDirectory,
    ProgramUse,
    Space,
    VPath,
)
from tidegate.policy.decision import Decision
from tidegate.vfs import api
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.failures import Failures
from tidegate.vfs.files import moves, tree
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.attached import holding, place_of, require_unlocked
from tidegate.vfs.files.attributes import supported
from tidegate.vfs.files.checksums import digest_range
from tidegate.vfs.files.copy import copy_file, copy_range
from tidegate.vfs.files.handle import File
from tidegate.vfs.files.inspection import inspect_resized, require_decided
from tidegate.vfs.files.open_reading import open_to_read
from tidegate.vfs.files.opening import open_file, open_nowait
from tidegate.vfs.files.reach import acting, reach
from tidegate.vfs.mounts import ResolvedPath, listing, synthetic
from tidegate.vfs.usage.tracker import FolderUsage

if TYPE_CHECKING:
    from tidegate.model.rights import Right
    from tidegate.vfs.files.replacing import Replacement
    from tidegate.vfs.locks import SessionLocks
    from tidegate.vfs.programs import ProgramRun
    from tidegate.vfs.properties import SessionProperties


SPACE_BLOCK_BYTES = 4096
"""Block size reported where only the quota knows how much room there is."""
SMALL_ROOM_BYTES = 4 * 1024 * 1024
"""Below this, room is told in blocks of one byte: rounded down, some clients would find nothing."""
MANY_FILES = 2**32 - 1
"""Files reported where nothing limits their number."""


class Session:
    """`vfs.api.Session`.

    Attributes:
        transfers: live transfers; `cluster.registry.LiveConnection` shows this very set.
        ended: called once it has ended.
    """

    __slots__ = (
        "_closed",
        "_context",
        "_failures",
        "_folders",
        "_locks",
        "_properties",
        "ended",
        "peer",
        "principal",
        "start_directory",
        "transfers",
    )

    def __init__(self, context: Context, start_directory: VPath, folders: list[FolderUsage]) -> None:
        self._context = context
        self._folders = folders
        self._closed = False
        self.ended: Callable[[], None] | None = None
        self._failures: Failures | None = None
        self.principal: Principal = context.principal
        self.peer: Peer = context.peer
        self.start_directory = start_directory
        self.transfers: set[LiveTransfer] = context.transfers
        self._locks: SessionLocks | None = None
        self._properties: SessionProperties | None = None

    def answers(self, exchange: api.Exchange | None) -> None:
        """See `vfs.api.Session.answers`."""
        self._context.exchange = exchange

    # -- looking -------------------------------------------------------------------------------------

    async def stat(self, path: VPath, *, follow: bool = True) -> Entry:
        """Attributes of a path.

        Raises:
            NotFound: nothing there, or hidden.
            Denied: no `list` permission, or it leads outside.
        """
        context = self._context
        asked: list[tuple[VPath, Decision]] = []

        def check(place: VPath) -> None:
            first = context.gate.decide(Intent.STAT, place)
            if not first.allowed and not first.hidden:
                context.refuse(Intent.STAT, place, first)
            asked.append((place, first))  # a hidden one may be allowed after all, if it is a directory

        check(path)
        table = context.table
        try:
            entry = await self._entry(path, check, follow=follow)
        except TidegateError:
            if not (table.is_point(path) or table.holds_points(path)):
                for place, first in asked:
                    if not first.allowed:
                        context.refuse(Intent.STAT, place, first)
                raise
            entry = synthetic(path.name)
        for place, first in asked:
            if entry.is_dir:
                context.require(Intent.STAT, place, is_dir=True)
            elif not first.allowed:
                context.refuse(Intent.STAT, place, first)
        return entry._replace(name=path.name)

    async def _entry(self, path: VPath, check: Callable[[VPath], None], *, follow: bool) -> Entry:
        context = self._context
        found = await own.find(context, path, follow=follow) if context.own else None
        if found is not None:
            resolved, upload = found
            there = context.place(path, resolved)
            if there != path:
                check(there)
            return await own.look(upload)
        _, entry = await acting(
            context, path, check, lambda backend, key: backend.stat(key, follow=follow), follow=follow
        )
        return entry

    async def list(self, path: VPath) -> AsyncIterator[list[Entry]]:
        """Entries of a directory in batches.

        Raises:
            NotFound, NotADirectory, Denied: at the first step.
        """
        context = self._context
        table = context.table
        resolved = await reach(context, path, Intent.LIST, charged=bool(context.own))
        shows = _both(context, path, context.place(path, resolved))
        overlay = table.overlay(path)
        points = [name for name, mounted in overlay.items() if mounted]
        ways = {name for name, mounted in overlay.items() if not mounted}
        if points:
            mounted = [await self._mounted(path.child(name)) for name in points]
            mounted = [entry for entry in mounted if shows is None or shows(entry.name, True)]
            if mounted:
                yield mounted
        hidden = frozenset(points)
        unpublished = await own.entries(context, resolved) if context.own else {}
        try:
            async with listing(context.through(resolved), resolved.key) as batches:
                async for batch in batches:
                    if hidden or ways:
                        ways.difference_update(entry.name for entry in batch)
                        batch = [entry for entry in batch if entry.name not in hidden]
                    if unpublished:
                        batch = [unpublished.pop(entry.name, entry) for entry in batch]
                    if shows is not None:
                        batch = [entry for entry in batch if shows(entry.name, entry.is_dir)]
                    if batch:
                        yield batch
            if fulfils(batches, TellsPartials) and batches.expired:
                with suppress(TidegateError):  # of no concern to who lists
                    await tree.expire(context, await context.charged(path, follow=True))
        except (NotFound, NotADirectory):
            if not overlay:
                raise
        rest = [synthetic(name) for name in sorted(ways) if shows is None or shows(name, True)]
        rest += [entry for name, entry in unpublished.items() if shows is None or shows(name, False)]
        if rest:
            yield rest

    async def _mounted(self, point: VPath) -> Entry:
        try:
            _, backend, key = await self._context.table.at(point)
            return (await backend.stat(key))._replace(name=point.name)
        except TidegateError:
            return synthetic(point.name)

    async def rights(self, directory: VPath) -> Callable[[str, bool], Right]:
        """Rights to what is in a directory; see `vfs.api.Session.rights`."""
        from tidegate.vfs.files.rights import rights_in  # few clients ask

        return await rights_in(self._context, directory)

    async def readlink(self, path: VPath) -> str:
        """The text of a link as a virtual path."""
        return await tree.readlink(self._context, path)

    async def real_path(self, path: VPath) -> VPath:
        """The path without links on the way, as far as that may be seen."""
        return await tree.real_path(self._context, path)

    async def space(self, path: VPath) -> Space:
        """Room at `path`, narrowed by quota.

        Raises:
            Unsupported: neither the storage nor a quota knows.
        """
        context = self._context
        context.require(Intent.SPACE, path)
        resolved = await reach(context, path, Intent.SPACE)
        mount, backend, key = resolved.mount, context.through(resolved), resolved.key
        paths = {path, context.place(path, resolved)}
        if not all(context.gate.decide(Intent.LIST, place).allowed for place in paths):
            key = ""  # an answer about the path itself would tell whether it exists
        known = Capability.SPACE in backend.capabilities
        space = await self._disk(path, backend, key) if known else None
        bytes_gauge, files_gauge = mount.charges.space
        if space is None:
            if bytes_gauge is None and files_gauge is None:
                raise Unsupported("this storage does not tell its size")
            space = Space(SPACE_BLOCK_BYTES, 2**63 - 1, 2**63 - 1, MANY_FILES, MANY_FILES)
        if bytes_gauge is not None:
            free = max(0, bytes_gauge.limit - bytes_gauge.count.used)
            used = max(0, bytes_gauge.count.used)
            space = replace(space, total=bytes_gauge.limit, free=min(free, space.free), counted=used)
            if space.free < SMALL_ROOM_BYTES:
                space = replace(space, block_size=1)
        if files_gauge is not None:
            left = max(0, files_gauge.limit - files_gauge.count.used)
            space = replace(space, files_total=files_gauge.limit, files_free=min(left, space.files_free))
        return space

    async def _disk(self, path: VPath, backend: Backend, key: Key) -> Space:
        try:
            return await backend.space(key)
        except NotFound:
            if self._context.table.holds_points(path):
                return await backend.space("")
            raise

    # -- order ---------------------------------------------------------------------------------------

    @property
    def overlaps(self) -> bool:
        """True if requests that need no order among them may run at the same time."""
        return self._context.table.overlaps

    def span(self, path: VPath, *, changes: bool) -> api.Span:
        """The span of a request about `path`."""
        return self._context.table.span(path, changes=changes)

    # -- files ---------------------------------------------------------------------------------------

    async def open(self, path: VPath, flags: api.OpenFlags, attrs: Attrs | None = None) -> File:
        """Open a file.

        Raises:
            Denied, NotFound, AlreadyExists, IsADirectory, Unsupported: as the object and the rules are.
            QuotaExceeded, TooLarge: a limit is reached already.
            PeerLimit: too many open files.
            PeerGone: the session has ended.
        """
        if self._closed:
            raise PeerGone
        file = await open_file(self._context, path, flags, attrs)
        if self._closed:  # the session ended while the storage was opening it
            await file.abort()
            raise PeerGone
        return file

    async def open_unnamed(self, label: VPath) -> File:
        """Open an upload that gets its path at its end; see `vfs.api.Session.open_unnamed`."""
        from tidegate.vfs.files.unnamed import open_unnamed  # few doors have such uploads

        if self._closed:
            raise PeerGone
        file = await open_unnamed(self._context, label)
        if self._closed:
            await file.abort()
            raise PeerGone
        return file

    async def name(self, file: api.File, path: VPath) -> None:
        """Tell the path of an unnamed upload; see `vfs.api.Session.name`."""
        from tidegate.vfs.files.unnamed import name_upload

        await name_upload(self._context, _own(file), path)

    def open_nowait(self, path: VPath, flags: api.OpenFlags, attrs: Attrs | None = None) -> File | None:
        """Open what is simple and needs no waiting; None leaves it to `open`."""
        opened = self.begin_nowait(path, flags, attrs)
        return None if opened is None else opened()

    def begin_nowait(
        self, path: VPath, flags: api.OpenFlags, attrs: Attrs | None = None
    ) -> Callable[[], File] | None:
        """As `open_nowait`; the file is open once what is returned was called, in this turn of the loop."""
        kept = self._context.kept
        if self._closed or (kept is not None and kept.full):
            return None
        return open_nowait(self._context, path, flags, attrs)

    async def remove(self, path: VPath) -> None:
        """Remove a file or link."""
        await tree.remove(self._context, path)

    async def mkdir(self, path: VPath, attrs: Attrs | None = None) -> None:
        """Create one directory."""
        await tree.mkdir(self._context, path, attrs)

    async def rmdir(self, path: VPath) -> None:
        """Remove an empty directory."""
        await tree.rmdir(self._context, path)

    async def rename(self, source: VPath, target: VPath, *, replace: bool) -> None:
        """Rename; an existing target is `AlreadyExists`, unless `replace` or a setting says to replace it."""
        await moves.rename(self._context, source, target, replace=replace)

    async def symlink(self, text: str, link: VPath) -> None:
        """Create a link."""
        await tree.symlink(self._context, text, link)

    async def hardlink(self, source: VPath, target: VPath) -> None:
        """Give a file a second name."""
        await tree.hardlink(self._context, source, target)

    async def copy_range(
        self, source: api.File, offset: int, length: int, target: api.File, target_offset: int
    ) -> int:
        """copy-data."""
        return await copy_range(_own(source), offset, length, _own(target), target_offset)

    async def copy(self, source: VPath, target: VPath, *, replace: bool) -> None:
        """copy-file."""
        await copy_file(self._context, source, target, replace=replace)

    async def checksum(
        self, file: VPath | api.File, algorithm: str, offset: int = 0, length: int = 0, block: int = 0
    ) -> Sequence[bytes]:
        """Digests of a file; needs `list` on its directory, and a name that patterns allow.

        A part of a file needs `download` as well: digests of single bytes would tell the content.
        """
        context = self._context
        if not isinstance(file, str):
            context.require(Intent.CHECKSUM, file.path)
            return await digest_range(_own(file).handle, algorithm, offset, length, block)
        context.require(Intent.CHECKSUM, file)
        if offset or length or block:
            context.require(Intent.DOWNLOAD, file)
        if context.table.is_point(file) or context.table.holds_points(file):
            raise IsADirectory
        intent = Intent.DOWNLOAD if offset or length or block else Intent.CHECKSUM
        handle = await open_to_read(context, file, lambda place: context.require(intent, place))
        try:
            return await digest_range(handle, algorithm, offset, length, block)
        finally:
            await handle.close()

    async def program(self, use: ProgramUse, directories: Sequence[ProgramDirectory]) -> ProgramRun:
        """Have a system program judged, and open what it may reach."""
        from tidegate.vfs.programs import open_program  # few sessions start one

        return await open_program(self._context, use, directories)

    # -- locks and properties; few sessions need them, so they are imported by the first ------------------

    @property
    def locks(self) -> SessionLocks:
        """Write locks, as this account takes and sees them."""
        if self._locks is None:
            from tidegate.vfs.locks import SessionLocks

            self._locks = SessionLocks(self._context)
        return self._locks

    @property
    def properties(self) -> SessionProperties:
        """Dead properties of what this account sees."""
        if self._properties is None:
            from tidegate.vfs.properties import SessionProperties

            self._properties = SessionProperties(self._context)
        return self._properties

    def holding(self, tokens: Iterable[str]) -> AbstractContextManager[None]:
        """Submit lock tokens with everything that is done within."""
        return holding(tokens)

    # -- attributes ----------------------------------------------------------------------------------

    async def set_attrs(self, path: VPath, attrs: Attrs, *, follow: bool = True) -> None:
        """Every permission is asked before anything is set."""
        context = self._context
        mode, owner = attrs.mode is not None, attrs.uid is not None or attrs.gid is not None
        times = attrs.atime_ns is not None or attrs.mtime_ns is not None
        intents = [
            intent
            for intent, wanted in (
                (Intent.CHTIMES, times),
                (Intent.CHMOD, mode),
                (Intent.CHOWN, owner),
                (Intent.OVERWRITE, attrs.size is not None),
            )
            if wanted
        ]
        if not intents:  # nothing is set, so this tells what looking tells
            await self.stat(path, follow=follow)
            return
        resized = attrs.size is not None
        if not (resized or context.own or context.locks.active or context.inspects_uploads):
            await self._set_at_once(path, attrs, intents, follow=follow)
            return
        resolved = await reach(context, path, *intents, follow=follow, charged=resized or bool(context.own))
        await require_unlocked(context, intents[0], path, resolved, follow=follow)
        mine = own.mine(context, resolved)
        backend, key = context.through(resolved), resolved.key
        started = monotonic()
        wanted = supported(attrs, backend.capabilities, context.options.setstat_mode)
        if wanted == Attrs():
            if mine is None:
                await backend.stat(key, follow=follow)
            return
        if wanted.size is not None:
            if mine is not None:
                try:
                    await own.resize(context, path, mine, wanted.size)
                except Conflict:
                    if mine.judging:
                        raise
                    mine = None  # it was published meanwhile
            if mine is None:
                await self._resize(path, resolved, wanted.size, follow=follow)
            await context.operated(
                Action.TRUNCATE, path, resolved.location, started, attrs=Attrs(size=wanted.size)
            )
        rest = replace(wanted, size=None)
        if rest == Attrs():
            return
        if mine is not None:
            await mine.handle.set_attrs(rest)
        else:
            if context.inspects_uploads:
                require_decided(context, resolved)
            await backend.set_attrs(key, rest, follow=follow)
        await self._told_attrs(path, resolved, rest, started)

    async def _set_at_once(
        self, path: VPath, attrs: Attrs, intents: Sequence[Intent], *, follow: bool
    ) -> None:
        """Set what no lock and no undecided upload is concerned by: storage is asked once, as by `acting`."""
        context = self._context
        for intent in intents:
            context.require(intent, path)

        def check(place: VPath) -> None:
            for intent in intents:
                context.require(intent, place)

        async def act(backend: Backend, key: Key) -> Attrs:
            wanted = supported(attrs, backend.capabilities, context.options.setstat_mode)
            if wanted == Attrs():
                await backend.stat(key, follow=follow)
            else:
                await backend.set_attrs(key, wanted, follow=follow)
            return wanted

        started = monotonic()
        resolved, done = await acting(context, path, check, act, follow=follow)
        await self._told_attrs(path, resolved, done, started)

    async def _told_attrs(self, path: VPath, resolved: ResolvedPath, rest: Attrs, started: float) -> None:
        """Record attributes that were set; `started` is of `time.monotonic`."""
        context, host = self._context, resolved.location
        if rest.mtime_ns is not None or rest.atime_ns is not None:
            when = Attrs(atime_ns=rest.atime_ns, mtime_ns=rest.mtime_ns)
            await context.operated(Action.CHTIMES, path, host, started, attrs=when)
        if rest.mode is not None:
            await context.operated(Action.CHMOD, path, host, started, attrs=Attrs(mode=rest.mode))
        if rest.uid is not None or rest.gid is not None:
            await context.operated(Action.CHOWN, path, host, started, attrs=Attrs(uid=rest.uid, gid=rest.gid))

    async def _resize(self, path: VPath, resolved: ResolvedPath, size: int, *, follow: bool) -> None:
        """Truncate or extend a file by path, charging the difference."""
        context = self._context
        mount, backend, key = resolved.mount, context.through(resolved), resolved.key

        async def work(act: Act) -> None:
            async with context.paths.locked((resolved.backend, key)) as (state,):
                entry = await backend.stat(key, follow=follow)
                if entry.is_dir:
                    raise IsADirectory
                if not entry.is_file:
                    raise Unsupported("only files have a size to set")
                if context.inspects_uploads and size != entry.size:
                    await inspect_resized(context, resolved, path, size, state, entry)
                await act.begin(mount)
                old = state.learn(entry.size) or 0
                with context.limits(Intent.OVERWRITE, path):
                    if size > entry.size:
                        mount.charges.require_size(size)
                    change = size - old
                    several = change != 0 and entry.nlink > 1
                    # Each name of the file counts, and all of them grow.
                    grows = max(0, change) * max(1, entry.nlink)
                    mount.charges.charge(grows, 0)
                act.commit()
                try:
                    await backend.set_attrs(key, Attrs(size=size), follow=follow)
                except BaseException:
                    mount.charges.credit(-grows, 0)
                    raise
                # What shrinks is given back when it is free, and not while others write: that may land yet.
                paid = size if state.reservation is None else max(old, size)
                mount.charges.credit(min(0, paid - old), 0)
                if several:  # nobody can say which of its names are charged here
                    context.tracker.doubt(context.usage)
                state.resized(old, paid)

        await settle(context, work)

    # -- the end -------------------------------------------------------------------------------------

    def location(self, path: VPath) -> str:
        """The place of a path for the log: on the host, or the key in the store. Looks at nothing there."""
        return self._context.table.location(path)

    def require_copy(self, source: VPath, target: VPath) -> None:
        """Check that a directory may be copied; see `vfs.api.Session`."""
        self._context.require(Intent.COPY, source, target=target, is_dir=True)

    async def require_removable(self, path: VPath, entry: Entry) -> None:
        """Check that one thing may be removed; see `vfs.api.Session`."""
        from tidegate.vfs.files.replacing import require_removable  # trees are replaced by few

        await require_removable(self._context, path, entry)

    def replacing(
        self, path: VPath, *, moves: VPath | None = None
    ) -> AbstractAsyncContextManager[Replacement | None]:
        """Make something that is to take the place of what is at a path; see `vfs.api.Session`."""
        from tidegate.vfs.files.replacing import replacing

        return replacing(self._context, path, moves)

    async def identity(self, path: VPath, *, follow: bool) -> str:
        """The place that a path leads to, free of links; see `vfs.api.Session`."""
        return await place_of(await self._context.table.at(path), follow=follow)

    def failed(
        self, intent: str, path: VPath | str, error: TidegateError, target: VPath | str | None = None
    ) -> None:
        """Put on record that a request failed, unless that was done where it failed."""
        if error.told or self._closed:
            return
        error.told = True
        if self._failures is None:
            self._failures = Failures(self._context)
        self._failures.tell(intent, path, error, target)

    async def close(self) -> None:
        """Abort what is open, let operations under way end, release the mounts.

        Never raises; safe to call twice. Once begun it runs to its end, even if the caller is cancelled.
        """
        if not self._closed:
            self._closed = True
            await self._context.acts.run(self._end())

    async def _end(self) -> None:
        context = self._context
        for file in list(context.files):
            await file.abort()
        while context.acting:
            await asyncio.wait(context.acting)
        for file in list(context.files):  # what was being opened
            await file.abort()
        context.transfers.clear()
        try:
            await context.table.close()
            context.tracker.release(context.usage, self._folders)
        finally:
            if self.ended is not None:
                self.ended()


def _both(context: Context, path: VPath, place: VPath) -> Callable[[str, bool], bool] | None:
    """The filter of a listing by the rules for where it was asked and for where a link led."""
    named = context.gate.name_filter(path)
    there = context.gate.name_filter(place) if place != path else None
    if named is None or there is None:
        return named or there
    return lambda name, is_dir: named(name, is_dir) and there(name, is_dir)


def _own(file: api.File) -> File:
    """Doors hand back what `open` gave them."""
    if not isinstance(file, File):
        raise InvalidHandle("not a file of this server")
    return file
