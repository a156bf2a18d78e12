# SPDX-License-Identifier: Apache-2.0
"""The requests of version 3: one method per request, from request to reply packet.

Methods may run at the same time where their order does not matter (see `schedule`). What they raise becomes a
STATUS.
READ and WRITE are `transfers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tidegate.doors.sftp import status
from tidegate.doors.sftp.handles import MAX_OFFSET, HandleTable, OpenFile, key_of
from tidegate.doors.sftp.listings import Listing, most_bytes
from tidegate.doors.sftp.longname import Longnames
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import replies
from tidegate.doors.sftp.wire import requests as r
from tidegate.errors import (
    Conflict,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Kind, VPath
from tidegate.model.path import MAX_PATH_BYTES
from tidegate.vfs.api import OpenFlags, Session

Handler = Callable[[int, Any, tuple[OpenFile | Listing, ...]], Awaitable[bytes]]
"""Takes the request id, the request and what its handles stand for; returns the reply packet."""

QuickHandler = Callable[[int, Any], bytes | None]
"""As `Handler`, at once; None means that nothing happened and the `Handler` has to be run, an empty reply
that it follows (`Postpone`)."""

Postpone = Callable[[int, asyncio.Future[None], r.Close, OpenFile], None]
"""Has a CLOSE answered when a future ends: well, or as failed with its exception."""

_WRITE_IMPLIED: Final = c.FLAG_APPEND | c.FLAG_CREATE | c.FLAG_TRUNCATE


def check_range(*values: int) -> None:
    """Refuse offsets, lengths and sizes that no file can have.

    Raises:
        InvalidArgument: one is.
    """
    if max(values) > MAX_OFFSET:
        raise InvalidArgument("offset or size out of range")


def check_attrs(attrs: Attrs) -> Attrs:
    """The attributes, if the size among them is one that a file can have.

    Raises:
        InvalidArgument: it is not.
    """
    if attrs.size is not None:
        check_range(attrs.size)
    return attrs


def open_flags(bits: int) -> OpenFlags:
    """The FLAG_ bits as `OpenFlags`.

    Creating, truncating and appending change the file, so they ask for writing even where a client left
    the bit out; neither bit at all means reading, as OpenSSH takes it.
    """
    write = bool(bits & (c.FLAG_WRITE | _WRITE_IMPLIED))
    return OpenFlags(
        read=bool(bits & c.FLAG_READ) or not write,
        write=write,
        append=bool(bits & c.FLAG_APPEND),
        create=bool(bits & c.FLAG_CREATE),
        truncate=bool(bits & c.FLAG_TRUNCATE),
        exclusive=bool(bits & c.FLAG_EXCLUSIVE),
    )


_OPEN_FLAGS: Final = tuple(open_flags(bits) for bits in range(0x40))


class Verbs:
    """The requests of the draft.

    Args:
        session: where they are carried out.
        handles: what is open.
        longnames: formats listings.
        target_first: the order in which this client sends the arguments of SYMLINK (see `order`).
        later: gets what need not come before an answer (`dialogue`).
        postpone: answers what has to be stored first.
    """

    def __init__(
        self,
        session: Session,
        handles: HandleTable,
        longnames: Longnames,
        later: list[Callable[[], object]],
        postpone: Postpone,
        *,
        target_first: bool = True,
    ) -> None:
        self._session = session
        self._handles = handles
        self._longnames = longnames
        self._later = later
        self._postpone = postpone
        self._target_first = target_first
        self._most_names = most_bytes(session.peer.client_version)
        self.refuse_opens = False
        self.committing: set[asyncio.Task[Any] | None] = set()

    def table(self) -> dict[type[r.Request], Handler]:
        """Request class to method."""
        return {
            r.Open: self.open,
            r.Close: self.close,
            r.Stat: self.stat,
            r.Fstat: self.fstat,
            r.Setstat: self.setstat,
            r.Fsetstat: self.fsetstat,
            r.Opendir: self.opendir,
            r.Readdir: self.readdir,
            r.Remove: self.remove,
            r.Mkdir: self.mkdir,
            r.Rmdir: self.rmdir,
            r.Realpath: self.realpath,
            r.Rename: self.rename,
            r.Readlink: self.readlink,
            r.Symlink: self.symlink,
        }

    def quick_table(self) -> dict[int, QuickHandler]:
        """Packet type to method, for requests that are tried without waiting first."""
        return {c.OPEN: self.open_nowait, c.CLOSE: self.close_nowait, c.READDIR: self.readdir_nowait}

    def path(self, raw: bytes) -> VPath:
        """A path as received; relative ones start at the session's start directory.

        Raises:
            InvalidPath: it cannot be a path.
        """
        return VPath.parse(raw, self._session.start_directory)

    def _check_open(self) -> None:
        if self.refuse_opens:
            raise Conflict("server is shutting down")
        self._handles.check_room()

    def _opening(self, q: r.Open) -> tuple[VPath, OpenFlags, Attrs | None]:
        self._check_open()
        flags = _OPEN_FLAGS[q.flags & 0x3F]
        if flags.write and q.path.endswith(b"/"):
            # POSIX: such a name is a directory's. `scp file host:dir/` must not make a file called dir.
            raise status.writes_to_directory()
        attrs = None if q.attrs is r.NO_ATTRS else check_attrs(q.attrs)
        return VPath.parse(q.path, self._session.start_directory), flags, attrs

    async def open(self, rid: int, q: r.Open, _: object) -> bytes:
        """OPEN."""
        path, flags, attrs = self._opening(q)
        with self._handles.opening():
            try:
                file = await self._session.open(path, flags, attrs)
            except IsADirectory as error:
                if flags.write:
                    raise status.writes_to_directory() from error
                raise
        return replies.handle(rid, self._handles.add_file(OpenFile(file, append=flags.append)))

    def open_nowait(self, rid: int, q: r.Open) -> bytes | None:
        """OPEN, if it needs no waiting."""
        opened = self._session.begin_nowait(*self._opening(q))
        return None if opened is None else replies.handle(rid, self._handles.issue(opened, self._later))

    def close_nowait(self, rid: int, q: r.Close) -> bytes | None:
        """CLOSE of a file with nothing under way, if it needs no waiting."""
        files, key = self._handles.files, key_of(q.handle)
        entry = files.get(key)
        if entry is None or entry.operations:
            return None
        stored: list[asyncio.Future[None]] = []
        try:
            if not entry.file.close_nowait(self._later, stored):
                return None
        except TidegateError:
            del files[key]
            self._handles.settle()
            raise
        del files[key]
        self._later.append(self._handles.settle)
        if stored:
            self._postpone(rid, stored[0], q, entry)
            return b""
        return replies.status_ok(rid)

    async def close(self, rid: int, _: r.Close, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """CLOSE. What was read or written has ended by now; an upload is published here."""
        (target,) = targets
        # From here on it is settled, even if the peer goes away meanwhile.
        self._handles.closing.discard(target)
        try:
            if isinstance(target, Listing):
                await target.close()
            else:
                task = asyncio.current_task()
                self.committing.add(task)
                try:
                    await target.file.close()
                finally:
                    self.committing.discard(task)
        finally:
            self._handles.settle()
        return replies.status_ok(rid)

    async def stat(self, rid: int, q: r.Stat, _: object) -> bytes:
        """STAT and LSTAT."""
        try:
            return replies.attrs(rid, await self._session.stat(self.path(q.path), follow=q.follow))
        except NotADirectory as error:
            # A file stands where a directory was named: to clients the path does not exist.
            raise NotFound from error

    async def fstat(self, rid: int, _: r.Fstat, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """FSTAT, of directories too."""
        (target,) = targets
        if isinstance(target, Listing):
            return replies.attrs(rid, await self._session.stat(target.path))
        return replies.attrs(rid, await target.file.stat())

    async def setstat(self, rid: int, q: r.Setstat, _: object) -> bytes:
        """SETSTAT and lsetstat@openssh.com."""
        await self._session.set_attrs(self.path(q.path), check_attrs(q.attrs), follow=q.follow)
        return replies.status_ok(rid)

    async def fsetstat(self, rid: int, q: r.Fsetstat, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """FSETSTAT. That a backend has no modes or times must not fail an upload that is complete."""
        (target,) = targets
        if isinstance(target, Listing):
            await self._session.set_attrs(target.path, check_attrs(q.attrs))
        else:
            try:
                await target.file.set_attrs(check_attrs(q.attrs))
            except Unsupported:
                if q.attrs.size is not None:
                    raise
        return replies.status_ok(rid)

    async def opendir(self, rid: int, q: r.Opendir, _: object) -> bytes:
        """OPENDIR. The first batch is fetched here, so that a refusal answers the right request."""
        self._check_open()
        path = self.path(q.path)
        listing = Listing(path, self._session.list(path), self._longnames, self._most_names)
        with self._handles.opening():
            try:
                await listing.open()
                own = await self._dot(path, ".")
                # The root is its own parent, as in POSIX.
                dots = [own, await self._dot(path.parent, "..")]
            except BaseException:
                await listing.close()
                raise
        listing.begin_with(dots)
        listing.look_ahead()
        return replies.handle(rid, self._handles.add_listing(listing))

    async def _dot(self, path: VPath, name: str) -> Entry:
        """The entry ``.`` or ``..``; where its attributes are refused, an ordinary directory is shown."""
        try:
            return (await self._session.stat(path))._replace(name=name)
        except TidegateError:
            return Entry(name, Kind.DIRECTORY, 0, 0o755)

    def readdir_nowait(self, rid: int, q: r.Readdir) -> bytes | None:
        """READDIR whose names are laid out already, as they are but for the first and the end."""
        listing = self._handles.listings.get(key_of(q.handle))
        names = None if listing is None else listing.take_ready()
        if listing is None or names is None:
            return None
        listing.look_ahead()
        return replies.names(rid, *names)

    async def readdir(self, rid: int, _: r.Readdir, targets: tuple[OpenFile | Listing, ...]) -> bytes:
        """READDIR: the next names, EOF after the last."""
        (listing,) = targets
        if not isinstance(listing, Listing):
            raise NotADirectory
        names = await listing.next_names()
        if names is None:
            return replies.status_eof(rid)
        listing.look_ahead()
        return replies.names(rid, names.number, names.body)

    async def remove(self, rid: int, q: r.Remove, _: object) -> bytes:
        """REMOVE."""
        await self._session.remove(self.path(q.path))
        return replies.status_ok(rid)

    async def mkdir(self, rid: int, q: r.Mkdir, _: object) -> bytes:
        """MKDIR."""
        attrs = check_attrs(q.attrs) if q.attrs is not r.NO_ATTRS else None
        await self._session.mkdir(self.path(q.path), attrs)
        return replies.status_ok(rid)

    async def rmdir(self, rid: int, q: r.Rmdir, _: object) -> bytes:
        """RMDIR."""
        await self._session.rmdir(self.path(q.path))
        return replies.status_ok(rid)

    async def realpath(self, rid: int, q: r.Realpath, _: object) -> bytes:
        """REALPATH: the path without links on the way, whether it exists or not."""
        return replies.name(rid, (await self._session.real_path(self.path(q.path))).to_bytes())

    async def rename(self, rid: int, q: r.Rename, _: object) -> bytes:
        """RENAME refuses an existing target unless told otherwise, posix-rename@openssh.com replaces it."""
        self.renaming(q)
        await self._session.rename(self.path(q.source), self.path(q.target), replace=q.replace)
        return replies.status_ok(rid)

    def renaming(self, q: r.Rename) -> None:
        """From here on the paths by which files were opened that a RENAME concerns tell nothing.

        Raises:
            InvalidPath: the source cannot be a path.
        """
        source = self.path(q.source)
        for entry in self._handles.files.values():
            entry.moved = entry.moved or (entry.writable and entry.file.path.is_within(source))

    async def readlink(self, rid: int, q: r.Readlink, _: object) -> bytes:
        """READLINK."""
        text = await self._session.readlink(self.path(q.path))
        return replies.name(rid, text.encode("utf-8", "surrogateescape"))

    def _arguments(self, q: r.Symlink) -> tuple[bytes, bytes]:
        return (q.text, q.link) if self._target_first else (q.link, q.text)

    def link_of(self, q: r.Symlink) -> VPath:
        """The path at which a SYMLINK makes the link."""
        return self.path(self._arguments(q)[1])

    async def symlink(self, rid: int, q: r.Symlink, _: object) -> bytes:
        """SYMLINK; the text is kept as it came, the vfs judges where it leads."""
        text, link = self._arguments(q)
        if not text or b"\0" in text or len(text) > MAX_PATH_BYTES:
            raise InvalidArgument("invalid link text")
        await self._session.symlink(text.decode("utf-8", "surrogateescape"), self.path(link))
        return replies.status_ok(rid)
