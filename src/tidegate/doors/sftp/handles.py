# SPDX-License-Identifier: Apache-2.0
"""Open files and listings of one session, and what is under way on each file."""

from __future__ import annotations

import asyncio
import os
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.wire import constants as c
from tidegate.errors import InvalidHandle, PeerLimit
from tidegate.resources.count import Share
from tidegate.vfs.api import File

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
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
        """True if the two must not run at the same time.

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
        self.file.writing -= self._writes
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
        operations: what is under way, in order of arrival. While it is empty, a WRITE may be answered on the
            spot.
        writing: number of writes. While there is none, a READ may be answered on the spot; waiting for
            other READs would keep the whole pipeline of a client on threads after one cache miss.
        small: see `vfs.api.File`.
        moved: a rename may have changed the name that it will have.
        waiting: bytes of WRITEs that wait.
        parked: so many do that further ones are left with the transport until none waits.
    """

    __slots__ = (
        *("append", "file", "moved", "operations", "parked", "readable", "small", "waiting", "writable"),
        "writing",
    )

    def __init__(self, file: File, *, append: bool = False) -> None:
        self.file = file
        self.append = append
        self.readable = file.readable
        self.writable = file.writable
        self.small = file.small
        self.operations: list[Operation] = []
        self.writing = 0
        self.waiting = 0
        self.parked = False
        self.moved = False

    def enter(self, start: int, end: int, *, writes: bool) -> tuple[Operation, list[Operation]]:
        """Register an operation.

        Returns:
            the operation, and those before it that it has to wait for.
        """
        operation = Operation(self, start, end, writes=writes)
        earlier = [other for other in self.operations if operation.conflicts(other)]
        self.operations.append(operation)
        self.writing += writes
        return operation, earlier

    def barrier(self) -> tuple[Operation, list[Operation]]:
        """Register an operation that waits for all before it and holds up all after it."""
        operation = Operation(self, 0, MAX_OFFSET + 1, writes=True)
        earlier = self.operations.copy()
        self.operations.append(operation)
        self.writing += 1
        return operation, earlier


def key_of(handle: bytes) -> int:
    """The key in `HandleTable` of a handle of the wire; -1 for what cannot be one of ours."""
    return int.from_bytes(handle, "big") if len(handle) == c.HANDLE_BYTES else -1


class HandleTable:
    """Open files and listings.

    A handle is eight ASCII characters, for there are clients that keep it as text (russh-sftp) or print it:
    the base64 form (RFC 4648 section 5) of two random bytes of the session and four of a counter. It is not
    issued twice before the counter has gone round, and never while it stands for something.

    Args:
        most: most handles open at once.
        share: counts them against the limits of account and process; None counts nowhere.
    """

    def __init__(self, most: int, share: Share | None = None) -> None:
        self._most = most
        self._share = share
        self._session = int.from_bytes(os.urandom(2), "big") << 32
        self._count = 0
        self.files: dict[int, OpenFile] = {}
        self.listings: dict[int, Listing] = {}
        self.closing: set[OpenFile | Listing] = set()
        self._opening = 0

    def check_room(self) -> None:
        """Refuse if no further handle may be opened.

        Raises:
            PeerLimit: the bound is reached.
        """
        if len(self.files) + len(self.listings) + len(self.closing) + self._opening >= self._most:
            raise PeerLimit("too many open handles")
        if self._share is not None and (rule := self._share.full()):
            raise PeerLimit(f"too many open handles ({rule.rpartition('.')[2]})")

    def settle(self) -> None:
        """Tell the ledger how many handles are open now; after each change."""
        if self._share is not None:
            self._share.set(len(self.files) + len(self.listings) + len(self.closing) + self._opening)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Keep room for one more handle while it is being opened; several may be at a time.

        Raises:
            PeerLimit: the bound is reached.
        """
        self.check_room()
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1
            self.settle()

    def _issue(self) -> tuple[bytes, int]:
        while True:
            number = (self._session | self._count).to_bytes(6, "big")
            handle = b2a_base64(number, newline=False).translate(_URL_SAFE)
            self._count = (self._count + 1) & 0xFFFFFFFF
            key = int.from_bytes(handle, "big")
            if key not in self.files and key not in self.listings:
                return handle, key

    def add_file(self, entry: OpenFile) -> bytes:
        """Issue a handle for an open file."""
        handle, key = self._issue()
        self.files[key] = entry
        self.settle()
        return handle

    def issue(self, opened: Callable[[], File], later: list[Callable[[], object]]) -> bytes:
        """Issue a handle for a file of `vfs.api.Session.begin_nowait`.

        Args:
            opened: what that returned.
            later: gets what makes the file known, to be called before any other request is taken.
        """
        handle, key = self._issue()
        later.append(partial(self._enter, key, opened))
        return handle

    def _enter(self, key: int, opened: Callable[[], File]) -> None:
        self.files[key] = OpenFile(opened())
        self.settle()

    def add_listing(self, entry: Listing) -> bytes:
        """Issue a handle for a listing."""
        handle, key = self._issue()
        self.listings[key] = entry
        self.settle()
        return handle

    def find(self, handle: bytes) -> OpenFile | Listing:
        """The file or listing that a handle stands for.

        Raises:
            InvalidHandle: it was never issued or is closed.
        """
        key = key_of(handle)
        found = self.files.get(key) or self.listings.get(key)
        if found is None:
            raise InvalidHandle
        return found

    def take(self, handle: bytes) -> OpenFile | Listing:
        """As `find`, and the handle is closed from here on; what it stood for stays in `closing`.

        Raises:
            InvalidHandle: it was never issued or is closed.
        """
        found, key = self.find(handle), key_of(handle)
        if isinstance(found, OpenFile):
            del self.files[key]
        else:
            del self.listings[key]
        self.closing.add(found)
        return found
