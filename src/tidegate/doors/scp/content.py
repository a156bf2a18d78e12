# SPDX-License-Identifier: Apache-2.0
"""The content of files on its way between a channel and storage.

It is moved where it lies, without a coroutine for each piece, as long as storage needs no waiting: into the
outgoing records on the way out, from the reassembled input on the way in. Else pieces go through `File.read`
and `File.write`, several at a time where storage is remote.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import monotonic
from typing import Final

from tidegate.doors.common.turns import turns_of
from tidegate.doors.scp.stream import Stream
from tidegate.errors import PeerGone, StorageFailed, TidegateError
from tidegate.vfs.api import File

PIECE_BYTES: Final = 256 * 1024
"""Content that is read or written at once."""

LEAST_BYTES: Final = 64 * 1024
"""With less room in the peer's window, content waits for a moment (`PacketTransport.tight`)."""

HELD_BYTES: Final = 2 * 1024 * 1024
"""Content of one channel that waits for storage."""

PIECES: Final = HELD_BYTES // PIECE_BYTES
"""Reads or writes of one file that are under way at the same time, where storage is remote."""


async def receive(stream: Stream, size: int, file: File, pieces: int) -> TidegateError | None:
    """Take the content of a file and write it.

    Args:
        stream: of the channel.
        size: bytes that come.
        file: open for writing.
        pieces: most writes under way at the same time.

    Returns:
        why it could not be written; what the peer sent after that was dropped, as the protocol has it.

    Raises:
        PeerGone: the peer ended before all of it had come.
    """
    if not size:
        return None
    incoming = _Incoming(stream, size, file, pieces)
    try:
        await stream.take(incoming.take)
        if incoming.left:
            raise PeerGone
        await incoming.written()
    finally:
        await incoming.cancel()
    return incoming.failure


async def send(stream: Stream, size: int, file: File, pieces: int) -> TidegateError | None:
    """Send the content of a file: `size` bytes in any case, zeros in place of what cannot be read.

    Args:
        stream: of the channel.
        size: bytes that the peer was told.
        file: open for reading.
        pieces: most reads under way at the same time.

    Returns:
        why it could not be read.

    Raises:
        PeerGone: the channel is gone.
    """
    outgoing = _Outgoing(stream, size, file, pieces)
    try:
        while outgoing.left and outgoing.failure is None:
            await stream.output(outgoing.go)
            await outgoing.go_slowly()
        await outgoing.pad()
    finally:
        outgoing.stopped = True
    return outgoing.failure


class _Incoming:
    """The content of one file on its way in.

    Attributes:
        left: bytes that have not come yet.
        failure: why the rest is dropped.
    """

    def __init__(self, stream: Stream, size: int, file: File, pieces: int) -> None:
        self._stream = stream
        self._file = file
        self._pieces = pieces
        self._offset = 0
        self.left = size
        self.failure: TidegateError | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._full = False
        self._unforeseen: BaseException | None = None

    def take(self, view: memoryview) -> int:
        """Write what came, or begin to."""
        size = min(len(view), self.left)
        if self.failure is None:
            if not self._writes:
                try:
                    written = self._file.write_nowait(self._offset, view[:size])
                except TidegateError as error:
                    self.failure = error
                    written = True
                if written:
                    return self._took(size)
            size = min(size, PIECE_BYTES)
            self._stream.held += size
            task = self._stream.loop.create_task(self._file.write(self._offset, bytes(view[:size])))
            self._writes.add(task)
            task.add_done_callback(partial(self._wrote, size))
            if len(self._writes) >= self._pieces and size < self.left:
                self._full = True
                self._stream.hold()
        return self._took(size)

    def _took(self, size: int) -> int:
        self._offset += size
        self.left -= size
        if not self.left:
            self._stream.taken()
        return size

    def _wrote(self, size: int, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        self._stream.held -= size
        error = None if task.cancelled() else task.exception()
        if isinstance(error, TidegateError):
            self.failure = self.failure or error
        elif error is not None:
            self._unforeseen = self._unforeseen or error
        if self._full:
            self._full = False
            self._stream.go_on(self.take)

    async def written(self) -> None:
        """Wait for what is being written."""
        while self._writes:
            await asyncio.wait(self._writes)
        if self._unforeseen is not None:
            raise self._unforeseen

    async def cancel(self) -> None:
        """Let nothing more be written."""
        for task in tuple(self._writes):
            task.cancel()
        while self._writes:
            await asyncio.wait(self._writes)


class _Outgoing:
    """The content of one file on its way out.

    Attributes:
        left: bytes that are still to be sent.
        failure: why zeros are sent.
        stopped: nothing is sent any more.
    """

    def __init__(self, stream: Stream, size: int, file: File, pieces: int) -> None:
        self._stream = stream
        self._file = file
        self._pieces = pieces
        self._offset = 0
        self._turns = turns_of(stream.loop)
        self.left = size
        self.failure: TidegateError | None = None
        self.stopped = False

    def go(self) -> None:
        """Send what needs no waiting for storage, for a slice of a turn; then call `Stream.sent`."""
        if self.stopped:
            return
        turns = self._turns
        if not turns.may_work:
            turns.later(self.go)
            return
        turns.begin()
        try:
            finished = self._send_some()
        finally:
            turns.end()
        self._stream.transport.flush()
        if finished:
            self._stream.sent()

    def _send_some(self) -> bool:
        """True if the rest, if there is one, has to be waited for."""
        transport, turns = self._stream.transport, self._turns
        while self.left:
            size = min(self.left, PIECE_BYTES, transport.sendable)
            if size < LEAST_BYTES:
                wanted = min(self.left, LEAST_BYTES)
                if not size or (size < wanted and transport.tight(wanted)):
                    transport.when_sendable(self.go)
                    return False
            room = transport.reserve(0, size)
            if room is None:
                return True
            try:
                sent = self._file.readinto_nowait(self._offset, room)
            except TidegateError as error:
                self.failure = error
                return True
            if not sent:
                return True  # `go_slowly` asks again
            transport.commit(b"", sent)
            self._offset += sent
            self.left -= sent
            if self.left and monotonic() >= turns.deadline:
                turns.later(self.go)
                return False
        return True

    async def go_slowly(self) -> None:
        """Send what has to be waited for: a piece, or all of it where reads are made ahead."""
        ahead: deque[tuple[int, asyncio.Task[bytes]]] = deque()
        asked, end = self._offset, self._offset + self.left
        try:
            while self.left and self.failure is None:
                while len(ahead) < self._pieces and asked < end:
                    size = min(PIECE_BYTES, end - asked)
                    ahead.append((size, self._stream.loop.create_task(self._file.read(asked, size))))
                    asked += size
                    self._stream.held += size
                size, read = ahead[0]
                data = await read
                await self._send(data)
                ahead.popleft()
                self._stream.held -= size
                self._offset += len(data)
                self.left -= len(data)
                if not data:
                    raise StorageFailed("the file became shorter while it was sent")
                if len(data) < size or self._pieces == 1:
                    return  # what was asked for ahead lies elsewhere
        except PeerGone:
            raise
        except TidegateError as error:
            self.failure = error
        finally:
            for size, read in ahead:
                read.cancel()
                self._stream.held -= size
            if ahead:
                await asyncio.wait([read for _, read in ahead])
                for _, read in ahead:
                    if not read.cancelled():
                        read.exception()  # of a part that nobody waits for any more

    async def pad(self) -> None:
        """Send zeros in place of what could not be read."""
        zeros = bytes(min(PIECE_BYTES, self.left))
        while self.left:
            part = zeros[: self.left]
            await self._send(part)
            self.left -= len(part)

    async def _send(self, data: bytes) -> None:
        stream = self._stream
        while not stream.transport.sendable:
            await stream.output(lambda: stream.transport.when_sendable(stream.sent))
        stream.transport.send(data)
        stream.transport.flush()
