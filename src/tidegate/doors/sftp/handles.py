# SPDX-License-Identifier: Apache-2.0
"""Open files and listings of one session, and what is under way on each file."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Final

from tidegate.doors.sftp.wire import constants as c
from tidegate.errors import InvalidHandle, PeerLimit
from tidegate.model import Entry, VPath
from tidegate.vfs.api import File

MAX_OFFSET: Final = (1 << 63) - 1
"""Largest file offset that storage takes (off_t)."""


class Operation:
    """One unfinished operation on an open file, over the byte range ``start`` to ``end``."""

    __slots__ = ("_waiters", "_writes", "end", "file", "finished", "start")

    def __init__(self, file: OpenFile, start: int, end: int, *, writes: bool) -> None:
        self.file = file
        self.start = start
        self.end = end
        self.finished = False
        self._writes = writes
        self._waiters: list[asyncio.Future[None]] = []

    def conflicts(self, other: Operation) -> bool:
        """Whether the two must not run at the same time.

        Two WRITEs are kept apart if they overlap. A READ is kept apart from every WRITE that does not end
        before it begins: one further on moves the end of the file, and with it what the READ finds.
        """
        if self._writes:
            if other._writes:
                return self.start < other.end and other.start < self.end
            return other.start < self.end
        return other._writes and self.start < other.end

    def finish(self) -> None:
        """The operation ended, well or not: whoever waits for it goes on."""
        if self.finished:
            return
        self.finished = True
        self.file.operations.remove(self)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self) -> None:
        """Return when the operation has ended."""
        if not self.finished:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


async def wait_all(operations: Iterable[Operation]) -> None:
    """Return when all of `operations` have ended."""
    for operation in operations:
        await operation.wait()


class OpenFile:
    """A file handle.

    Attributes:
        operations: what is under way, in order of arrival. While it is empty, READ and WRITE may be answered
            on the spot.
    """

    __slots__ = ("append", "file", "operations", "readable", "writable")

    def __init__(self, file: File, *, append: bool) -> None:
        self.file = file
        self.append = append
        self.readable = file.readable
        self.writable = file.writable
        self.operations: list[Operation] = []

    def enter(self, start: int, end: int, *, writes: bool) -> tuple[Operation, list[Operation]]:
        """Register an operation.

        Returns:
            the operation, and those before it that it has to wait for.
        """
        operation = Operation(self, start, end, writes=writes)
        earlier = [other for other in self.operations if operation.conflicts(other)]
        self.operations.append(operation)
        return operation, earlier

    def barrier(self) -> tuple[Operation, list[Operation]]:
        """Register an operation that waits for all before it and holds up all after it."""
        operation = Operation(self, 0, MAX_OFFSET + 1, writes=True)
        earlier = self.operations.copy()
        self.operations.append(operation)
        return operation, earlier


class Listing:
    """A directory handle: a batch of entries in hand, and the iterator that brings more."""

    __slots__ = ("_source", "batch", "path", "position")

    def __init__(self, path: VPath, source: AsyncIterator[list[Entry]], batch: list[Entry]) -> None:
        self.path = path
        self.batch = batch
        self.position = 0
        self._source = source

    async def refill(self) -> bool:
        """Make sure that an entry is in hand; False at the end."""
        while self.position >= len(self.batch):
            batch = await anext(self._source, None)
            self.position = 0
            if batch is None:
                self.batch = []
                return False
            self.batch = batch
        return True

    async def close(self) -> None:
        """Release the iterator."""
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


class HandleTable:
    """What is open.

    A handle is four random bytes of the session and four of a counter: never issued twice, and not to be
    guessed from another session's.

    Args:
        most: how many handles may be open at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._next = secrets.randbits(32) << 32
        self.files: dict[int, OpenFile] = {}
        self.listings: dict[int, Listing] = {}
        self.closing: set[OpenFile | Listing] = set()

    def __len__(self) -> int:
        return len(self.files) + len(self.listings) + len(self.closing)

    def check_room(self) -> None:
        """Refuse if no further handle may be opened.

        Raises:
            PeerLimit: the bound is reached.
        """
        if len(self) >= self._most:
            raise PeerLimit("too many open handles")

    def _issue(self) -> int:
        key = self._next
        self._next = (key & ~0xFFFFFFFF) | ((key + 1) & 0xFFFFFFFF)
        while self._next in self.files or self._next in self.listings:
            self._next = (key & ~0xFFFFFFFF) | ((self._next + 1) & 0xFFFFFFFF)
        return key

    def add_file(self, entry: OpenFile) -> bytes:
        """Issue a handle for an open file."""
        key = self._issue()
        self.files[key] = entry
        return key.to_bytes(c.HANDLE_BYTES, "big")

    def add_listing(self, entry: Listing) -> bytes:
        """Issue a handle for a listing."""
        key = self._issue()
        self.listings[key] = entry
        return key.to_bytes(c.HANDLE_BYTES, "big")

    def find(self, handle: bytes) -> OpenFile | Listing:
        """What a handle stands for.

        Raises:
            InvalidHandle: it was never issued or is closed.
        """
        if len(handle) == c.HANDLE_BYTES:
            key = int.from_bytes(handle, "big")
            found = self.files.get(key) or self.listings.get(key)
            if found is not None:
                return found
        raise InvalidHandle

    def take(self, handle: bytes) -> OpenFile | Listing:
        """As `find`, and the handle is closed from here on; what it stood for stays in `closing`.

        Raises:
            InvalidHandle: it was never issued or is closed.
        """
        found = self.find(handle)
        key = int.from_bytes(handle, "big")
        if isinstance(found, OpenFile):
            del self.files[key]
        else:
            del self.listings[key]
        self.closing.add(found)
        return found
