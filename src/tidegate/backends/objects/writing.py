# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a handle of this kind has no use for
"""Writing an object: nothing of it is visible before it is complete, whichever publish mode is asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from typing_extensions import Buffer

from tidegate.abc import FileHandle, OpenOptions, Outcome
from tidegate.backends.objects.bucket import ObjectChanged, Stored
from tidegate.backends.objects.keys import name_of
from tidegate.backends.objects.metadata import FILE_MODE, times_of, with_times, without_digests
from tidegate.backends.objects.parts import PartStream
from tidegate.backends.objects.reading import WHOLE_BYTES, ObjectReader
from tidegate.errors import InvalidArgument, InvalidHandle, TooLarge, Unsupported
from tidegate.model import Attrs, Entry, Kind

ZEROS: Final = bytes(256 * 1024)

Ending = Callable[["ObjectWriter", Outcome], Awaitable[None]]
"""Ends an upload: publishes, keeps or drops it."""


class ObjectWriter:
    """A handle for writing. See `tidegate.abc.FileHandle`.

    Writes come in order. A handle that goes on with a finished file copies that in the service first, when
    the first byte comes.

    Args:
        key: the file.
        options: of opening.
        stream: takes the content.
        old: what has the name now.
        base: the finished file that this goes on with.
        took: see `FileHandle`.
        existed_size: see `FileHandle`.
        extend: zeros that `set_attrs` adds at most.
        end: called once, with the outcome.

    Attributes:
        key: the file that it becomes.
        exclusive: it replaces nothing.
        forsaken: nothing of it is published or kept.
        changed: something was written or cut off.
        checked: number of own changes, and time, when it was seen that the name may be this file.
        record: key of the object that describes it if it is kept; empty if it cannot be kept.
        recorded: that object is there.
    """

    staged = True

    def __init__(
        self,
        key: str,
        options: OpenOptions,
        stream: PartStream,
        *,
        old: Stored | None,
        base: Stored | None,
        took: bool,
        existed_size: int | None,
        extend: int,
        checked: tuple[int, float],
        end: Ending,
    ) -> None:
        self.key = key
        self.options = options
        self.stream = stream
        self.existed_size = existed_size
        self.took = took
        self.exclusive = options.exclusive
        self.forsaken = False
        self.published: Stored | None = None
        self.changed = base is None
        self.checked = checked
        self.record = ""
        self.recorded = False
        self.old = old
        self.base = base
        self._pending = base
        self._base_size = base.size if base is not None else 0
        self._extend = extend
        self._end = end
        self._written = time.time_ns()
        self._times: Attrs | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes so far, with those of the file that it goes on with."""
        return self._base_size if self._pending is not None else self.stream.size

    async def read(self, offset: int, size: int) -> bytes:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    async def write(self, offset: int, data: Buffer) -> None:
        """Add bytes at the end.

        Raises:
            Unsupported: `offset` is not the end.
            TidegateError: an earlier part could not be stored.
        """
        self._check_offset(offset)
        if not memoryview(data).nbytes:
            return
        await self._with_base()
        await self.stream.write(data)
        self.changed = True
        self._written = time.time_ns()

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Add bytes at the end, if they fit into memory."""
        self._check_offset(offset)
        if self._pending is not None or not self.stream.write_nowait(data):
            return False
        self.changed = True
        self._written = time.time_ns()
        return True

    def copies_range(self, source: FileHandle, start: int, size: int, offset: int) -> bool:
        """See `tidegate.abc.CopiesRanges`: of an object in the same bucket, if it makes a part."""
        if self._closed or self._pending is not None or not isinstance(source, ObjectReader):
            return False
        if size <= WHOLE_BYTES:  # to read and send it is two requests, an upload in parts three
            return False
        in_order = self.options.append or offset == self.size
        return (
            in_order and self.stream.is_of(source.bucket) and self.stream.copies(source.stored, start, size)
        )

    async def copy_range(self, source: FileHandle, start: int, size: int, offset: int) -> None:
        """See `tidegate.abc.CopiesRanges`."""
        self._check_offset(offset)
        if not isinstance(source, ObjectReader):
            raise InvalidArgument("not a file of this storage")
        stored = await source.current()
        if start + size > stored.size:
            raise ObjectChanged
        self.changed = True
        await self.stream.copy(stored, start, size)
        self._written = time.time_ns()

    def _check_offset(self, offset: int) -> None:
        self._check()
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        if not self.options.append and offset != self.size:
            raise Unsupported("this storage takes each byte of a file once, in order")

    async def _with_base(self) -> None:
        if self._pending is not None:
            source, self._pending = self._pending, None
            await self.stream.copy(source, 0, self._base_size)

    async def stat(self) -> Entry:
        """Attributes now."""
        self._check()
        mtime, atime = self._written, self._written
        if self._times is not None:
            mtime = mtime if self._times.mtime_ns is None else self._times.mtime_ns
            atime = mtime if self._times.atime_ns is None else self._times.atime_ns
        elif not self.changed and self.base is not None:
            mtime, atime = times_of(self.base)
        return Entry(name_of(self.key), Kind.FILE, self.size, FILE_MODE, mtime_ns=mtime, atime_ns=atime)

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set times or the size.

        Raises:
            Unsupported: a mode or an owner, or a size that cuts off what is stored in parts already.
        """
        self._check()
        check_attrs(attrs)
        if attrs.size is not None:
            await self._resize(attrs.size)
        if attrs.mtime_ns is not None or attrs.atime_ns is not None:
            self._times = Attrs(mtime_ns=attrs.mtime_ns, atime_ns=attrs.atime_ns)

    async def _resize(self, size: int) -> None:
        if size == self.size:
            return
        self.changed = True
        self._written = time.time_ns()
        if self._pending is not None and size < self._base_size:
            self._base_size = size
            return
        if size < self.size:
            if not self.stream.cut(size):
                raise Unsupported("this storage cannot shorten what it has taken of a file")
            return
        if size - self.size > self._extend:
            raise TooLarge(f"this storage adds at most {self._extend} zeros to a file")
        await self._with_base()
        while (missing := size - self.stream.size) > 0:
            await self.stream.write(ZEROS[:missing])

    async def sync(self) -> None:
        """Nothing is durable before the file is complete; `close` is."""
        self._check()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End the upload."""
        self._check()
        self._closed = True
        if outcome is Outcome.COMMIT and self.changed and not self.forsaken:
            try:
                await self._with_base()
            except BaseException:
                await self.stream.abandon()
                raise
        await self._end(self, outcome)

    @property
    def times(self) -> Attrs | None:
        """Times that were set."""
        return self._times

    def metadata(self) -> dict[str, str]:
        """Metadata of the finished object, without digests.

        Of one that was sent in parts it is fixed when they begin; to change it is to copy the object: that
        is done for times that the client has set, and for an upload that was taken up.
        """
        if self._times is None and (begun := self.stream.begun_with) is not None:
            return dict(begun)
        kept = without_digests(self.base.metadata) if self.base is not None else {}
        times = self._times
        if times is None:
            kept.pop("atime", None)
            return with_times(kept, self._written, None)
        return with_times(kept, self._written if times.mtime_ns is None else times.mtime_ns, times.atime_ns)

    def _check(self) -> None:
        if self._closed:
            raise InvalidHandle


class UploadView:
    """A second handle on an upload that is not published yet. See `tidegate.abc.SharesUploads.reopen`."""

    staged = True
    took = False

    def __init__(self, writer: ObjectWriter, options: OpenOptions) -> None:
        self.existed_size: int | None = writer.size
        self._writer = writer
        self._options = options
        self._closed = False

    async def read(self, offset: int, size: int) -> bytes:
        """Read back what is in memory.

        Raises:
            Unsupported: parts of it were sent; the service shows nothing of them before the end.
        """
        self._check(self._options.read)
        if offset < 0 or size < 0:
            raise InvalidArgument("invalid argument: offset")
        content = self._writer.stream.in_memory()
        if content is None or (self._writer.base is not None and not self._writer.stream.size):
            raise Unsupported("this storage cannot read a file that is being written")
        return bytes(content[offset : offset + size])

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Left to `read`."""
        self._check(self._options.read)
        return None

    async def write(self, offset: int, data: Buffer) -> None:
        """Add bytes at the end of the upload."""
        self._check(self._options.write)
        await self._writer.write(self._writer.size if self._options.append else offset, data)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Left to `write`."""
        self._check(self._options.write)
        return False

    async def stat(self) -> Entry:
        """Attributes of the upload."""
        self._check(True)
        return await self._writer.stat()

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes of the upload."""
        self._check(True)
        await self._writer.set_attrs(attrs)

    async def sync(self) -> None:
        """As `ObjectWriter.sync`."""
        self._check(True)

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End this handle; the upload goes on."""
        self._check(True)
        self._closed = True

    def _check(self, allowed: bool) -> None:
        if self._closed or not allowed:
            raise InvalidHandle


def check_attrs(attrs: Attrs) -> None:
    """Refuse what is out of range or not kept.

    Raises:
        InvalidArgument, Unsupported.
    """
    if attrs.size is not None and attrs.size < 0:
        raise InvalidArgument("invalid argument: size")
    if attrs.mode is not None:
        raise Unsupported("this storage keeps no mode")
    if attrs.uid is not None or attrs.gid is not None:
        raise Unsupported("this storage keeps no owner")
