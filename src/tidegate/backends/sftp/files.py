# SPDX-License-Identifier: Apache-2.0
"""`SftpFile`: an open file of another SFTP server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import asyncssh
from typing_extensions import Buffer

from tidegate.abc import FileHandle, OpenOptions, Outcome
from tidegate.backends.sftp.errors import Lost
from tidegate.backends.sftp.pool import Link
from tidegate.backends.sftp.tree import entry_of
from tidegate.errors import InvalidArgument, InvalidHandle, StorageFailed, TidegateError, Unsupported
from tidegate.model import Attrs, Entry

if TYPE_CHECKING:
    from tidegate.backends.sftp.uploads import Uploads

LAST_OFFSET: Final = 1 << 62
"""Nothing is read from here on: servers take offsets as signed numbers, and refuse what overflows."""


class SftpFile:
    """See `tidegate.abc.FileHandle`.

    Args:
        uploads: opens and publishes.
        key: of the file.
        path: of the file that is open: the key's, or one beside it until it is published.
        opened: the connection, released by `close`, and the file there.
        options: options with which it was opened.
    """

    def __init__(
        self,
        uploads: Uploads,
        key: str,
        path: bytes,
        opened: tuple[Link, asyncssh.SFTPClientFile],
        options: OpenOptions,
    ) -> None:
        self.existed_size: int | None = None
        self.staged = False
        self.took = False
        self.key = key
        self.path = path
        self.exclusive = options.exclusive
        self.forsaken = False
        self.base_size: int | None = None
        self.end = 0
        """Offset of the next write of an appending handle; else the end of what was written."""
        self.options = options
        self.closed = False
        self.link, self.opened = opened
        self.broken: Lost | None = None
        self._seen: tuple[int | None, int | None] = (None, None)
        self._times: Attrs | None = None
        self._uploads = uploads
        self._reading = asyncio.Lock()

    def saw(self, size: int, mtime: int) -> None:
        """Remember what was opened for reading: after a lost connection it must be the same."""
        self._seen = (size, mtime)

    # -- content -----------------------------------------------------------------------------------------

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; after a lost connection from another one."""
        self.check(write=False)
        if offset < 0 or size < 0:
            raise InvalidArgument("invalid argument: offset")
        if size == 0 or offset >= LAST_OFFSET:
            return b""
        if self._uploads.one_read:
            async with self._reading:
                return await self._read(offset, size)
        return await self._read(offset, size)

    async def _read(self, offset: int, size: int) -> bytes:
        opened = self.opened
        try:
            data = await self.link.do(_read(opened, offset, size))
        except Lost as error:
            if self.options.write:
                raise self._break(error) from None
            await self._again(opened, error)
            try:
                data = await self.link.do(_read(self.opened, offset, size))
            except Lost as second:
                raise self._uploads.pool.failed(second) from None
        if len(data) > size:
            raise StorageFailed(detail=f"sftp://{self._uploads.pool.place}: more bytes than were asked for")
        return data

    async def _again(self, opened: asyncssh.SFTPClientFile, error: Lost) -> None:
        """Open the file again; several reads may have failed at the same time."""
        async with self._uploads.reopening:
            self.check()
            if self.opened is not opened:
                return
            link = await self._uploads.pool.acquire()
            try:
                attrs = await link.do(link.sftp.lstat(self.path))
                if (attrs.size, attrs.mtime) != self._seen:
                    what = f"{error.what}, and the file was changed before it was opened again"
                    raise self._uploads.pool.failed(Lost(what))
                again = await link.do(link.sftp.open(self.path, asyncssh.FXF_READ, encoding=None))
            except Lost as second:
                self._uploads.pool.release(link)
                raise self._uploads.pool.failed(second) from None
            except BaseException:
                self._uploads.pool.release(link)
                raise
            self._uploads.pool.release(self.link)
            self.link, self.opened = link, again

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:  # noqa: ARG002
        """None: everything waits for the server."""
        self.check(write=False)
        return None

    async def write(self, offset: int, data: Buffer) -> None:
        """Write all of `data`; returns when the server has said that it has it."""
        self.check(write=True)
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        content = bytes(data)
        if not content:
            return
        if self.options.append:
            offset = self.end
        self.end = max(self.end, offset + len(content))
        try:
            await self.link.do(self.opened.write(content, offset))
        except Lost as error:
            raise self._break(error) from None
        except StorageFailed as error:
            await self._uploads.refuse(self.link, self.path, error)

    def write_nowait(self, offset: int, data: Buffer) -> bool:  # noqa: ARG002
        """False: everything waits for the server."""
        self.check(write=True)
        return False

    # -- attributes --------------------------------------------------------------------------------------

    async def stat(self) -> Entry:
        """Attributes as the server has them."""
        self.check()
        try:
            attrs = await self.link.do(self.opened.stat())
        except Lost as error:
            raise self._break(error) from None
        return entry_of(self.key.rpartition("/")[2], attrs)

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes; times are set once more at the end."""
        self.check()
        check_attrs(attrs)
        try:
            await self.link.do(self.opened.setstat(wire_attrs(attrs)))
        except Lost as error:
            raise self._break(error) from None
        except StorageFailed as error:
            await self._uploads.refuse(self.link, self.path, error)
        if attrs.size is not None:
            self.end = attrs.size
        if attrs.mtime_ns is not None or attrs.atime_ns is not None:
            self._times = Attrs(atime_ns=attrs.atime_ns, mtime_ns=attrs.mtime_ns)

    async def sync(self) -> None:
        """Durable, if the server can be asked for it; else it is as durable as its writes are."""
        self.check()
        try:
            with contextlib.suppress(Unsupported):
                await self.link.do(self.opened.fsync())
        except Lost as error:
            raise self._break(error) from None

    # -- the end -----------------------------------------------------------------------------------------

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End the handle; see `Uploads.finish`."""
        if self.closed:
            raise InvalidHandle
        self.closed = True
        try:
            if not self.options.write:
                with contextlib.suppress(Lost, TidegateError):
                    await self.link.do(self.opened.close())
                return
            await self._uploads.finish(self, Outcome.DROP if self.forsaken else outcome)
        finally:
            self._uploads.pool.release(self.link)

    async def end_writing(self, outcome: Outcome) -> None:
        """Last requests for the file itself.

        Raises:
            Lost: the connection ended before.
        """
        if self.broken is not None:
            raise self.broken
        if outcome is Outcome.DROP and not self.staged and self.base_size is not None:
            attrs = await self.link.do(self.opened.stat())
            if (attrs.size or 0) > self.base_size:
                await self.link.do(self.opened.setstat(asyncssh.SFTPAttrs(size=self.base_size)))
        if outcome is not Outcome.DROP:
            if self._times is not None:
                await self.link.do(self.opened.setstat(wire_attrs(self._times)))
            if self.options.fsync:
                with contextlib.suppress(Unsupported):
                    await self.link.do(self.opened.fsync())
        await self.link.do(self.opened.close())

    def check(self, *, write: bool | None = None) -> None:
        """Refuse what the handle was not opened for.

        Raises:
            InvalidHandle.
        """
        allowed = write is None or (self.options.write if write else self.options.read)
        if self.closed or not allowed:
            raise InvalidHandle
        if self.broken is not None:
            raise self._uploads.pool.failed(self.broken)

    def _break(self, error: Lost) -> TidegateError:
        self.broken = self.broken or error
        return self._uploads.pool.failed(error)


async def _read(opened: asyncssh.SFTPClientFile, offset: int, size: int) -> bytes:
    data = await opened.read(size, offset)
    return cast("bytes", data)  # no encoding


def check_attrs(attrs: Attrs) -> None:
    """Refuse values out of range, and owners, which are those of the account there.

    Raises:
        InvalidArgument, Unsupported.
    """
    if attrs.size is not None and attrs.size < 0:
        raise InvalidArgument("invalid argument: size")
    if attrs.mode is not None and not 0 <= attrs.mode <= 0o7777:
        raise InvalidArgument("invalid argument: mode")
    if attrs.uid is not None or attrs.gid is not None:
        raise Unsupported


def wire_attrs(attrs: Attrs) -> asyncssh.SFTPAttrs:
    """Attributes for version 3 of the protocol, which has whole seconds in 32 bits."""
    found = asyncssh.SFTPAttrs()
    if attrs.size is not None:
        found.size = attrs.size
    if attrs.mode is not None:
        found.permissions = attrs.mode
    if attrs.mtime_ns is not None or attrs.atime_ns is not None:
        found.atime = _seconds(attrs.atime_ns if attrs.atime_ns is not None else attrs.mtime_ns)
        found.mtime = _seconds(attrs.mtime_ns if attrs.mtime_ns is not None else attrs.atime_ns)
    return found


def _seconds(nanoseconds: int | None) -> int:
    return min(max((nanoseconds or 0) // 10**9, 0), 2**32 - 1)


def _proof(handle: SftpFile) -> FileHandle:
    """The type checker's word that the contract is kept."""
    return handle
