# SPDX-License-Identifier: Apache-2.0
"""Lets inspectors read an upload while it arrives.

Where storage reads what is being written (`ReadBehind`) they read it back as far as all bytes from its
beginning are there, in whatever order those came: nothing is held in memory, and no client waits. Where it
cannot (`PassedOn`, buckets) they are handed the bytes that the storage is handed, in order; a client waits
for an inspector that falls behind by more than `AHEAD_BYTES`.

What inspectors have read must be what is published. A byte that is written a second time, another handle on
the upload or a smaller size spoil what they have read, and they are asked again at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from typing_extensions import Buffer

from tidegate.abc import FileHandle, Outcome
from tidegate.contracts.inspection import NotNow, Read
from tidegate.errors import InvalidArgument, Unsupported
from tidegate.model import Attrs, Entry

STEP_BYTES: Final = 256 * 1024
"""Bytes that inspectors are woken for, and most that they are given at a time. What is not larger than this
is not inspected before its end, unless it can be read only once."""
AHEAD_BYTES: Final = 2 * STEP_BYTES
"""Bytes of one upload that wait in memory for inspectors."""
MAX_PIECES: Final = 256
"""Writes of one file that are under way or lie beyond a gap; with more it is inspected at the end."""

Begin = Callable[[], None]
"""Has inspectors asked."""


class Passing:
    """A handle for writing that others read along with. See `tidegate.abc.FileHandle`.

    Attributes:
        inner: the storage's handle.
        once: see `InspectedAct.once`.
        spoiled: what was read is not what is there.
        begin: called once there is something to inspect.
    """

    __slots__ = ("_complete", "_waiting", "begin", "existed_size", "inner", "spoiled", "staged", "took")
    once = False

    def __init__(self, inner: FileHandle) -> None:
        self.inner = inner
        self.existed_size = inner.existed_size
        self.staged = inner.staged
        self.took = inner.took
        self.spoiled = False
        self.begin: Begin | None = None
        self._complete = False
        self._waiting: list[asyncio.Future[None]] = []

    def _begin(self) -> None:
        begin, self.begin = self.begin, None
        if begin is not None:
            begin()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _wait(self) -> None:
        one = asyncio.get_running_loop().create_future()
        self._waiting.append(one)
        await one

    def spoil(self) -> None:
        """Note that what was read is not what is there."""
        self.spoiled = True
        self.begin = None
        self._wake()

    def complete(self) -> None:
        """No more is written: readers get the rest and then the end."""
        self._complete = True
        self._wake()

    def reader(self, name: str) -> Read:
        """The way in which one inspector reads."""
        raise NotImplementedError

    def ended(self, name: str) -> None:
        """An inspector reads no more."""

    async def write(self, offset: int, data: Buffer) -> None:
        """Write."""
        await self.inner.write(offset, data)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write if that needs no waiting."""
        return self.inner.write_nowait(offset, data)

    async def read(self, offset: int, size: int) -> bytes:
        """Read what was written, where the storage can."""
        return await self.inner.read(offset, size)

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Read what is in memory."""
        return self.inner.readinto_nowait(offset, buffers)

    async def stat(self) -> Entry:
        """Attributes now."""
        return await self.inner.stat()

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes; another size spoils what was read."""
        if attrs.size is not None:
            self.spoil()
        await self.inner.set_attrs(attrs)

    async def sync(self) -> None:
        """Make what was written durable."""
        await self.inner.sync()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End the handle."""
        await self.inner.close(outcome)


class ReadBehind(Passing):
    """Storage reads what is being written.

    Args:
        inner: the storage's handle, which reads too.
        start: bytes that are there already.
    """

    __slots__ = ("_end", "_pieces", "_wanted")

    def __init__(self, inner: FileHandle, start: int) -> None:
        super().__init__(inner)
        self._end = start
        self._wanted = STEP_BYTES
        self._pieces: dict[int, tuple[int, bool]] = {}
        """End, and whether it is written, of what was begun at or beyond `_end`."""

    async def write(self, offset: int, data: Buffer) -> None:
        """Write."""
        size = memoryview(data).nbytes
        if not self._announce(offset, size):
            await self.inner.write(offset, data)
            return
        try:
            await self.inner.write(offset, data)
        except BaseException:
            self.spoil()
            raise
        self._written(offset, offset + size)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write if that needs no waiting."""
        if not self.inner.write_nowait(offset, data):
            return False
        size = len(data)  # type: ignore[arg-type]  # bytes or a byte view
        if offset == self._end and not self._pieces:
            self._end = end = offset + size
            if end >= self._wanted and not self.spoiled:
                self._grown()
        elif self._announce(offset, size):
            self._written(offset, offset + size)
        return True

    def _announce(self, offset: int, size: int) -> bool:
        """Note that a write begins; False if nobody reads along any more."""
        if self.spoiled or not size:
            return False
        end, pieces = offset + size, self._pieces
        if (
            offset < self._end
            or len(pieces) >= MAX_PIECES
            or any(offset < stop and start < end for start, (stop, _) in pieces.items())
        ):
            self.spoil()
            pieces.clear()
            return False
        pieces[offset] = (end, False)
        return True

    def _written(self, offset: int, end: int) -> None:
        pieces = self._pieces
        if self.spoiled:
            return
        pieces[offset] = (end, True)
        while (piece := pieces.get(self._end)) is not None and piece[1]:
            del pieces[self._end]
            self._end = piece[0]
        if self._end >= self._wanted:
            self._grown()

    def _grown(self) -> None:
        self._wanted = self._end + STEP_BYTES
        if self.begin is not None:
            self._begin()
        self._wake()

    def reader(self, name: str) -> Read:  # noqa: ARG002
        """Reads what is there from the beginning; they read independently."""
        return self._read

    async def _read(self, offset: int, size: int) -> bytes:
        while not self._complete:
            if self.spoiled:
                raise NotNow("it was written again")
            there = self._end - offset
            if there >= min(size, STEP_BYTES):
                return await self.inner.read(offset, min(size, there))
            self._wanted = min(self._wanted, max(self._end + 1, offset + min(size, STEP_BYTES)))
            await self._wait()
        return await self.inner.read(offset, size)


class PassedOn(Passing):
    """Storage takes bytes in order and does not give them back: inspectors get them from memory.

    Its writes begin at 0 and come one after the other, as `InOrder` has them.
    """

    __slots__ = ("_base", "_buffer", "_places")
    once = True

    def __init__(self, inner: FileHandle) -> None:
        super().__init__(inner)
        self._base = 0
        self._buffer = bytearray()
        self._places: dict[str, int] = {}
        """The offset from which each inspector still reads."""

    @property
    def _reading(self) -> bool:
        return self.begin is not None or bool(self._places)

    async def write(self, offset: int, data: Buffer) -> None:
        """Write; waits for inspectors that are behind."""
        if self._reading:
            with memoryview(data) as view:
                for at in range(0, view.nbytes, STEP_BYTES):
                    await self._keep(view[at : at + STEP_BYTES])
        await self.inner.write(offset, data)

    async def _keep(self, view: memoryview) -> None:
        while len(self._buffer) + view.nbytes > AHEAD_BYTES and self._reading:
            await self._wait()
        self._append(view)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write if that needs no waiting, neither for the storage nor for inspectors."""
        if not self._reading:
            return self.inner.write_nowait(offset, data)
        with memoryview(data) as view:
            if len(self._buffer) + view.nbytes > AHEAD_BYTES:
                return False
            if not self.inner.write_nowait(offset, data):
                return False
            self._append(view)
        return True

    def _append(self, data: Buffer) -> None:
        if not self._reading:
            return
        self._buffer += data
        if self.begin is not None and len(self._buffer) >= STEP_BYTES:
            self._begin()
        self._wake()

    def complete(self) -> None:
        """No more is written; what was too small to be inspected before is now."""
        super().complete()
        self._begin()

    def reader(self, name: str) -> Read:
        """Reads forward only: what all have read is forgotten."""
        self._places[name] = 0

        async def read(offset: int, size: int) -> bytes:
            if size <= 0:
                raise InvalidArgument("invalid argument: size")
            if offset < self._places.get(name, offset + 1):
                raise Unsupported("what arrives is read forward only")
            self._places[name] = offset
            self._forget()
            size = min(size, STEP_BYTES)
            while not self._complete and self._base + len(self._buffer) < offset + size:
                await self._wait()
                self._forget()
            start = offset - self._base
            with memoryview(self._buffer) as view:
                return bytes(view[start : start + size])

        return read

    def ended(self, name: str) -> None:
        """An inspector reads no more: nobody waits for it."""
        self._places.pop(name, None)
        self._forget()

    def _forget(self) -> None:
        """Drop what all have read, and let writers go on."""
        if self._places:
            read = min(min(self._places.values()) - self._base, len(self._buffer))
            if read <= 0:
                return
            self._base += read
            del self._buffer[:read]
        else:
            self._base += len(self._buffer)
            self._buffer.clear()
        self._wake()
