# SPDX-License-Identifier: Apache-2.0
"""Writes in order, for storage without `tidegate.abc.Capability.RANDOM_WRITE`.

Clients send many writes at once, and what they carry may arrive in another order than that of the file. This
hands them on one after the other, each beginning where the last one ended. What comes early waits in memory,
within bounds; a byte that was handed on cannot be written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from typing_extensions import Buffer

from tidegate.abc import CopiesRanges, FileHandle, Outcome
from tidegate.errors import InvalidArgument, PeerLimit, StorageFailed, TidegateError, Unsupported
from tidegate.model import Attrs, Entry
from tidegate.resources.room import Room
from tidegate.vfs.files.arriving import Passing

AHEAD_BYTES: Final = 32 * 1024 * 1024
"""Bytes of one file that may wait for those before them: twice 64 requests of 256 KiB."""
AHEAD_PIECES: Final = 4096
"""Writes of one file that may wait."""


class InOrder:
    """A handle for writing whose writes reach the storage in order. See `tidegate.abc.FileHandle`.

    Args:
        inner: the storage's handle.
        start: where the first write has to begin; bytes.
        append: every write goes to the end, whatever its offset.
        room: bytes that all files of the process may have waiting.
    """

    __slots__ = (
        *("_append", "_early", "_failure", "_lock", "_next", "_room", "_waiting"),
        *("existed_size", "inner", "staged", "took"),
    )

    def __init__(self, inner: FileHandle, start: int, *, append: bool, room: Room) -> None:
        self.inner = inner
        self.existed_size = inner.existed_size
        self.staged = inner.staged
        self.took = inner.took
        self._next = start
        self._append = append
        self._room = room
        self._early: dict[int, bytes] = {}
        self._waiting = 0
        self._lock = asyncio.Lock()
        self._failure: TidegateError | None = None

    async def read(self, offset: int, size: int) -> bytes:
        """Read; storage that takes writes in order rarely can."""
        return await self.inner.read(offset, size)

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Read what is in memory."""
        return self.inner.readinto_nowait(offset, buffers)

    async def write(self, offset: int, data: Buffer) -> None:
        """Hand on in order; returns at once if bytes before these are missing.

        Raises:
            Unsupported: some of these bytes were handed on already, or wait.
            PeerLimit: too much waits for bytes that are missing.
        """
        if self._failure is not None:
            raise self._failure
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        size = memoryview(data).nbytes
        if not size:
            return
        if self._append:
            offset = self._next
        if offset < self._next:
            raise Unsupported("this storage takes each byte of a file once, in order")
        if offset > self._next:
            self._keep(offset, bytes(data), size)
            return
        await self._hand_on(offset, self._take(offset, data, size))

    def copies_range(self, source: FileHandle, start: int, size: int, offset: int) -> bool:
        """See `tidegate.abc.CopiesRanges`."""
        if self._failure is not None or self._early or self._lock.locked():
            return False
        if not self._append and offset != self._next:
            return False
        return isinstance(self.inner, CopiesRanges) and self.inner.copies_range(
            source, start, size, self._next
        )

    async def copy_range(self, source: FileHandle, start: int, size: int, offset: int) -> None:
        """See `tidegate.abc.CopiesRanges`; what comes next begins behind it."""
        assert isinstance(self.inner, CopiesRanges)
        offset, self._next = self._next, self._next + size
        async with self._lock:
            try:
                await self.inner.copy_range(source, start, size, offset)
            except TidegateError as error:
                self._fail(error)
                raise
            except BaseException:
                self._failure = StorageFailed("an earlier write of this file was broken off")
                raise

    def _take(self, offset: int, data: Buffer, size: int) -> list[Buffer]:
        """These bytes and those that waited for them; what comes next begins after all of them."""
        pieces: list[Buffer] = [data]
        end = offset + size
        while (piece := self._early.pop(end, None)) is not None:
            pieces.append(piece)
            end += len(piece)
        late = min(self._early, default=end)
        if late < end:
            self._fail(Unsupported("this storage takes each byte of a file once, in order"))
        self._next = end
        return pieces

    async def _hand_on(self, offset: int, pieces: list[Buffer]) -> None:
        held = sum(memoryview(piece).nbytes for piece in pieces[1:])
        try:
            async with self._lock:
                for piece in pieces:
                    if self._failure is not None:
                        raise self._failure
                    try:
                        await self.inner.write(offset, piece)
                    except TidegateError as error:
                        self._fail(error)
                    except BaseException:
                        self._failure = StorageFailed("an earlier write of this file was broken off")
                        raise
                    offset += memoryview(piece).nbytes
        except asyncio.CancelledError:  # while it waited for those before: they go on, this is missing
            self._failure = self._failure or StorageFailed("an earlier write of this file was broken off")
            raise
        finally:
            self._waiting -= held
            self._room.give_back(held)

    def _keep(self, offset: int, data: bytes, size: int) -> None:
        end = offset + size
        if any(start < end and offset < start + len(piece) for start, piece in self._early.items()):
            self._fail(Unsupported("this storage takes each byte of a file once, in order"))
        if (
            self._waiting + size > AHEAD_BYTES
            or len(self._early) >= AHEAD_PIECES
            or not self._room.take(size)
        ):
            missing = min([offset, *self._early])
            self._fail(
                PeerLimit(
                    f"this storage takes files in order: bytes {self._next} to {missing - 1} are missing, "
                    f"and too much came after them"
                )
            )
        self._waiting += size
        self._early[offset] = data

    def _fail(self, error: TidegateError) -> None:
        self._failure = self._failure or error
        raise self._failure

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Hand on what is next if that needs no waiting."""
        if offset != self._next or self._append or self._early or self._failure or self._lock.locked():
            return False
        if not self.inner.write_nowait(offset, data):
            return False
        self._next = offset + memoryview(data).nbytes
        return True

    async def stat(self) -> Entry:
        """Attributes now; what waits is not counted."""
        return await self.inner.stat()

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes; the size cannot be changed, and may be set to what it is.

        Raises:
            Unsupported: another size.
        """
        if attrs.size is not None and (attrs.size != self._next or self._early):
            raise Unsupported("this storage cannot change the size of a file that is written")
        if attrs.size is None:
            await self.inner.set_attrs(attrs)

    async def sync(self) -> None:
        """Make what was handed on durable."""
        await self.inner.sync()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End the handle.

        Raises:
            Unsupported: bytes in the middle never came; the upload ends as one that broke off.
        """
        missing = min(self._early, default=0)
        self._early.clear()
        self._room.give_back(self._waiting)
        self._waiting = 0
        if outcome is Outcome.COMMIT and missing:
            await self.inner.close(Outcome.KEEP)
            raise Unsupported(
                f"this storage takes files without gaps: bytes {self._next} to {missing - 1} never came"
            )
        await self.inner.close(outcome)


def inner_of(handle: FileHandle) -> FileHandle:
    """The storage's own handle."""
    while isinstance(handle, InOrder | Passing):
        handle = handle.inner
    return handle
