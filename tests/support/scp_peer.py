# SPDX-License-Identifier: Apache-2.0
"""An SCP dialogue on a plain transport and a channel in memory, driven as a client would drive it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import MemoryChannel

from tidegate.cluster.registry import Activity
from tidegate.doors.common.command_line import split
from tidegate.doors.scp.dialogue import ScpDialogue
from tidegate.doors.ssh.plain_transport import PlainTransport
from tidegate.vfs.api import Session

SECONDS = 20


class ScpPeer:
    """A client that sends bytes and looks at what came.

    Use as an async context manager: at the end the channel is dropped, and nothing may be left open.
    """

    def __init__(self, line: str, session: Session | None = None, *, window: int | None = None) -> None:
        self.session = session or MemorySession()
        self.channel = MemoryChannel(window=window)
        self.transport = PlainTransport(self.channel)
        self.channel.transport = self.transport
        self.dialogue = ScpDialogue(split(line), self.session, self.transport, Activity())
        self.transport.attach(self.dialogue)

    async def __aenter__(self) -> ScpPeer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()
        if isinstance(self.session, MemorySession):
            assert self.session.open_files == []
            assert self.session.open_listings == 0

    async def drop(self) -> int:
        self.transport.connection_lost(None)
        return await asyncio.wait_for(self.dialogue.wait_closed(), SECONDS)

    def send(self, data: bytes) -> None:
        """Deliver bytes in one piece, or keep them back while reading is paused, as asyncssh does."""
        if self.channel.reading:
            self.transport.data_received(data)
        else:
            self.channel.inbox.append(data)

    def end(self) -> None:
        """The client sends no more."""
        self.transport.eof_received()

    async def until(self, ready: Callable[[bytes], bool]) -> bytes:
        """Bytes that came since the last call, once they are enough."""
        clock = asyncio.get_running_loop().time
        until = clock() + SECONDS
        while not ready(bytes(self.channel.sent)):
            assert clock() < until, bytes(self.channel.sent)[-200:]
            await asyncio.sleep(0)
        got = bytes(self.channel.sent)
        self.channel.sent.clear()
        return got

    async def got(self, expected: bytes) -> None:
        """The next bytes are these, and no others come at once."""
        assert await self.until(lambda got: len(got) >= len(expected)) == expected

    async def line(self) -> bytes:
        """The next line."""
        return await self.until(lambda got: got.endswith(b"\n"))

    async def status(self) -> int:
        """The exit status."""
        await self.until(lambda _: self.channel.exit_status is not None)
        assert self.channel.exit_status is not None
        return self.channel.exit_status
