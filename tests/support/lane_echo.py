# SPDX-License-Identifier: Apache-2.0
"""An asyncssh server whose subsystem "echo" runs over the fast lane: frames of uint32 length + bytes come back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh

from tidegate.doors.ssh.lane import Lane
from tidegate.doors.ssh.lane_transport import FastTransport
from tidegate.doors.ssh.subsystem import LARGEST_REPLY


class Echo:
    """A dialogue: consumes whole frames, answers each with itself, respects congestion."""

    def __init__(self, transport: FastTransport) -> None:
        self.transport = transport
        self.frames = 0

    def feed(self, data: memoryview) -> int:
        used = 0
        while len(data) - used >= 4 and not self.transport.congested:
            size = 4 + int.from_bytes(data[used : used + 4], "big")
            if len(data) - used < size:
                break
            self.transport.send(bytes(data[used : used + size]))
            used += size
            self.frames += 1
        self.transport.flush()
        return used

    saturated = False

    def eof_received(self) -> None:
        self.transport.close(status=0)

    def connection_lost(self) -> None:
        self.lost = True


class EchoSession(asyncssh.SSHServerSession[bytes]):
    def __init__(self, server: EchoServer) -> None:
        self.server = server
        self.transport: FastTransport | None = None
        self.early = b""
        self.eof = False

    def connection_made(self, chan: Any) -> None:
        self.chan = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "echo"

    def session_started(self) -> None:
        asyncio.get_running_loop().call_soon(self.attach)

    def attach(self) -> None:
        lane = Lane.attach(self.chan.get_connection())
        assert lane is not None
        self.server.lanes.add(lane)
        self.transport = FastTransport(lane, self.chan, LARGEST_REPLY)
        self.server.transports.append(self.transport)
        self.transport.attach(Echo(self.transport))
        if self.early:
            self.transport.data_received(self.early)
        if self.eof:
            self.transport.eof_received()

    def data_received(self, data: bytes, datatype: Any) -> None:
        if self.transport is None:
            self.early += data
        else:
            self.transport.data_received(data)

    def pause_writing(self) -> None:
        if self.transport is not None:
            self.transport.pause_writing()

    def resume_writing(self) -> None:
        if self.transport is not None:
            self.transport.resume_writing()

    def eof_received(self) -> bool:
        self.eof = True
        if self.transport is not None:
            self.transport.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.transport.connection_lost()
        self.server.lost.append(exc)


class EchoServer(asyncssh.SSHServer):
    def __init__(self, running: RunningEcho) -> None:
        self.running = running

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> Any:
        channel = self.connection.create_server_channel(
            encoding=None, window=self.running.window, max_pktsize=self.running.packet
        )
        return channel, EchoSession(self.running)

    def connection_made(self, conn: Any) -> None:
        self.connection = conn
        self.running.connections.append(conn)


class RunningEcho:
    def __init__(self, window: int, packet: int) -> None:
        self.window, self.packet = window, packet
        self.port = 0
        self.connections: list[Any] = []
        self.lanes: set[Lane] = set()
        self.transports: list[FastTransport] = []
        self.lost: list[Exception | None] = []


@asynccontextmanager
async def running_echo(
    *,
    window: int = 2 << 20,
    packet: int = 32768,
    rekey_bytes: int = 1 << 30,
    ciphers: list[str] | None = None,
) -> AsyncIterator[RunningEcho]:
    """A server on a free port; a cipher may have a MAC behind it, and a blank between."""
    running = RunningEcho(window, packet)
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: EchoServer(running), rekey_bytes=rekey_bytes,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        encryption_algs=[name.partition(" ")[0] for name in ciphers or ["aes128-gcm@openssh.com"]],
        mac_algs=[mac for name in ciphers or () if (mac := name.partition(" ")[2])] or (),
    )  # fmt: skip
    running.port = server.get_port()
    try:
        yield running
    finally:
        server.close()
        await server.wait_closed()
        for connection in running.connections:
            connection.abort()
        await asyncio.sleep(0)


def connect(running: RunningEcho, **options: Any) -> Any:
    return asyncssh.connect("127.0.0.1", running.port, username="u", known_hosts=None, config=None, **options)


async def open_echo(client: Any, **options: Any) -> tuple[Any, Any]:
    writer, reader, _ = await client.open_session(subsystem="echo", encoding=None, **options)
    return writer, reader


def frame(size: int) -> bytes:
    return size.to_bytes(4, "big") + os.urandom(size)


async def exchange(writer: Any, reader: Any, frames: list[bytes]) -> None:
    """Send all frames while reading them back; every byte must match, in order."""
    sent = b"".join(frames)

    async def send() -> None:
        for one in frames:
            writer.write(one)
            await writer.drain()

    async def receive() -> None:
        got = await reader.readexactly(len(sent))
        assert got == sent

    await asyncio.gather(send(), receive())
