# SPDX-License-Identifier: Apache-2.0
"""A dialogue on a plain transport and a channel in memory, driven as a peer would drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession

from tidegate.doors.sftp.dialogue import SftpDialogue, SftpLimits
from tidegate.doors.ssh.plain_transport import PlainTransport

REPLY_SECONDS = 20
"""Seconds that replies may take: storage that was slow lately is asked in threads, on a machine that may be
busy."""


class MemoryChannel:
    """A stand-in for asyncssh's server channel; the peer reads only when told to.

    `window` bytes are taken at once, more waits in `pending`, and above `high` the session is asked to pause.
    """

    def __init__(self, *, window: int | None = None, high: int = 65536) -> None:
        self.transport: PlainTransport | None = None
        self.sent = bytearray()
        self.pending = bytearray()
        self.window = window
        self.high = high
        self.paused = False
        self.reading = True
        self.most_pending = 0
        self.exit_status: int | None = None
        self.writes = 0
        self.stderr = bytearray()
        self.inbox: list[bytes] = []

    def write(self, data: bytes) -> None:
        if self.exit_status is not None:
            raise BrokenPipeError("Channel not open for sending")
        self.writes += 1
        self.pending += data
        self._move()

    def write_stderr(self, data: bytes) -> None:
        self.stderr += data

    def _move(self) -> None:
        count = len(self.pending) if self.window is None else min(self.window, len(self.pending))
        self.sent += self.pending[:count]
        del self.pending[:count]
        if self.window is not None:
            self.window -= count
        self.most_pending = max(self.most_pending, len(self.pending))
        assert self.transport is not None
        if not self.paused and len(self.pending) > self.high:
            self.paused = True
            self.transport.pause_writing()
        elif self.paused and len(self.pending) <= self.high // 4:
            self.paused = False
            self.transport.resume_writing()

    def open_window(self, count: int | None) -> None:
        self.window = None if count is None else (self.window or 0) + count
        self._move()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        while self.inbox and self.reading:
            assert self.transport is not None
            self.transport.data_received(self.inbox.pop(0))

    def exit(self, status: int) -> None:
        self.exit_status = status

    def close(self) -> None:
        self.exit_status = -1

    def is_closing(self) -> bool:
        return self.exit_status is not None


class Peer:
    """A client that sends bytes and collects replies.

    Use as an async context manager: at the end the connection is dropped, and nothing may be left open.
    """

    def __init__(
        self,
        session: MemorySession | None = None,
        *,
        limits: SftpLimits | None = None,
        window: int | None = None,
        greet: bool = True,
    ) -> None:
        self.session = session or MemorySession()
        self.channel = MemoryChannel(window=window)
        self.transport = PlainTransport(self.channel)
        self.channel.transport = self.transport
        self.dialogue = SftpDialogue(self.session, self.transport, limits)
        self.transport.attach(self.dialogue)
        self._replies: list[p.Reply] = []
        self._rid = 0
        self.version: p.Reply | None = None
        if greet:
            self.send(p.init())
            (self.version,) = self.take()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()
        assert self.session.open_files == []
        assert self.session.open_listings == 0

    async def drop(self) -> None:
        self.transport.connection_lost(None)
        await asyncio.wait_for(self.dialogue.wait_closed(), 5)

    def send(self, *packets: bytes) -> None:
        """Deliver bytes in one piece, or keep them back while reading is paused, as asyncssh does."""
        data = b"".join(packets)
        if self.channel.reading:
            self.transport.data_received(data)
        else:
            self.channel.inbox.append(data)

    def take(self) -> list[p.Reply]:
        """Replies that have arrived and were not taken yet."""
        found, rest = p.split(bytes(self.channel.sent))
        self.channel.sent[:] = rest
        return found

    async def replies(self, count: int) -> list[p.Reply]:
        """The next `count` replies, in the order they came."""
        clock = asyncio.get_running_loop().time
        until = clock() + REPLY_SECONDS
        while clock() < until:
            self._replies += self.take()
            if len(self._replies) >= count:
                found, self._replies = self._replies[:count], self._replies[count:]
                return found
            await asyncio.sleep(0)
        raise AssertionError(f"{len(self._replies)} of {count} replies came")

    async def ask(self, build: Callable[..., bytes], *args: object) -> p.Reply:
        """Send one request and return its reply."""
        self._rid += 1
        self.send(build(self._rid, *args))
        (reply,) = await self.replies(1)
        assert reply.rid == self._rid
        return reply

    async def open(self, path: str, flags: int | str = "r") -> bytes:
        reply = await self.ask(p.open_, path, flags)
        assert reply.kind == 102, reply.text
        return reply.handle

    async def turns(self, count: int = 50) -> None:
        """Let the loop run for a while."""
        for _ in range(count):
            await asyncio.sleep(0)
