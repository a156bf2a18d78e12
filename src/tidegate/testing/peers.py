# SPDX-License-Identifier: Apache-2.0
"""Ill-behaved peers: each sends what is cheap to send and dear to take, as fast as the socket takes it.

A flood has two steps, so that a test measures the server and not the peer. `FLOODS[name]` connects, logs in
where it has to, and seals what it will send; `Armed.strike` sends that in one go. All of it is for servers of
one's own.

The SSH floods use asyncssh's client and take what it sealed from between it and its transport; that is not
part of asyncssh's public interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import asyncssh
from asyncssh.packet import String, UInt32

MSG_IGNORE: Final = 2
MSG_CHANNEL_WINDOW_ADJUST: Final = 93
MSG_CHANNEL_DATA: Final = 94
FXP_INIT: Final = 1
FXP_OPENDIR: Final = 11
FXP_READDIR: Final = 12
FXP_STAT: Final = 17
FXP_HANDLE: Final = 102

PLAIN_IGNORE: Final = struct.pack(">IBBI", 12, 6, MSG_IGNORE, 0) + bytes(6)
"""The shortest packet before keys are exchanged, 16 bytes."""

CONNECT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server under attack.

    Attributes:
        ssh_port: on loopback.
        http_port: on loopback; 0 if there is none.
        username: of an account that the floods after login use.
        password: of it.
        directory: one with many entries, for listings.
        ftp_port: on loopback; 0 if there is none.
        dav_port: on loopback; 0 if there is none.
    """

    ssh_port: int
    http_port: int
    username: str
    password: str
    directory: str = "/"
    ftp_port: int = 0
    dav_port: int = 0


class Armed:
    """A peer that has everything ready.

    Args:
        transport: to the server.
        load: what `strike` sends.
        end: closes what belongs to it.
    """

    def __init__(self, transport: asyncio.Transport, load: bytes, end: Callable[[], Any]) -> None:
        self._transport = transport
        self._load = load
        self._end = end
        self.size = len(load)

    async def strike(self) -> None:
        """Send everything; returns when the kernel has it, or the server has hung up."""
        transport = self._transport
        transport.write(self._load)
        while not transport.is_closing() and transport.get_write_buffer_size():  # noqa: ASYNC110  no event says so
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """Go away without a word."""
        self._end()
        self._transport.abort()


Flood = Callable[[Target, int], Awaitable[Armed]]
"""Takes the target and how many packets to send."""


class _Sealed:
    """Between asyncssh and its transport: keeps what is written."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.kept = bytearray()

    def write(self, data: bytes) -> None:
        self.kept += data

    def writelines(self, parts: Any) -> None:
        self.kept += b"".join(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def seal(connection: Any, send: Callable[[], None], end: Callable[[], Any]) -> Armed:
    """Arm with what `send` makes a connection of asyncssh's write."""
    sealed = _Sealed(connection._transport)  # noqa: SLF001  as the module says
    connection._transport = sealed  # noqa: SLF001
    try:
        send()
    finally:
        connection._transport = sealed.real  # noqa: SLF001
    return Armed(cast("asyncio.Transport", sealed.real), bytes(sealed.kept), end)


class _Raw(asyncio.Protocol):
    """Takes no note of what comes."""


async def _raw(port: int, load: bytes) -> Armed:
    transport, _ = await asyncio.get_running_loop().create_connection(_Raw, "127.0.0.1", port)
    return Armed(transport, load, lambda: None)


async def ignore_before_keys(target: Target, count: int) -> Armed:
    """IGNORE in clear, behind the version line."""
    return await _raw(target.ssh_port, b"SSH-2.0-peer\r\n" + PLAIN_IGNORE * count)


async def ignore_before_login(target: Target, count: int) -> Armed:
    """Sealed IGNORE by somebody whom nobody knows."""
    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Hesitant(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.connection = conn

        async def password_auth_requested(self) -> str | None:
            made.set_result(self.connection)
            await asyncio.get_running_loop().create_future()
            return None

    login = asyncio.ensure_future(_connect(target, client_factory=Hesitant, password=None))
    async with asyncio.timeout(CONNECT_SECONDS):
        await asyncio.wait([login, made], return_when=asyncio.FIRST_COMPLETED)
    if login.done():
        login.result()
    connection = await made

    def end() -> None:
        login.cancel()
        connection.abort()

    return seal(connection, lambda: _ignore(connection, count), end)


def _ignore(connection: Any, count: int) -> None:
    for _ in range(count):
        connection.send_packet(MSG_IGNORE, String(b""))


def _connect(target: Target, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "known_hosts": None,
        "config": None,
        "client_keys": None,
        "agent_path": None,
        "gss_host": None,
        "preferred_auth": "password",
        "encryption_algs": ["aes128-gcm@openssh.com"],
    }
    return asyncssh.connect("127.0.0.1", target.ssh_port, **(settings | options))


def packet(kind: int, body: bytes) -> bytes:
    """An SFTP packet."""
    return struct.pack(">IB", 1 + len(body), kind) + body


def _text(value: str | bytes) -> bytes:
    return bytes(String(value))


async def _channel(target: Target, **options: Any) -> tuple[Any, Any, Any]:
    """A connection, and writer and reader of an SFTP channel that has said hello."""
    connection = await _connect(target, **options)
    writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None)
    writer.write(packet(FXP_INIT, UInt32(3)))
    await _reply(reader)
    return connection, writer, reader


async def _reply(reader: Any) -> bytes:
    async with asyncio.timeout(CONNECT_SECONDS):
        size = int.from_bytes(await reader.readexactly(4), "big")
        return bytes(await reader.readexactly(size))


def _flood(one: Callable[[Any, Any], None]) -> Flood:
    async def arm(target: Target, count: int) -> Armed:
        connection, writer, _ = await _channel(target)
        channel = writer.channel

        def send() -> None:
            for _ in range(count):
                one(connection, channel)

        return seal(connection, send, connection.abort)

    return arm


ignore_after_login = _flood(lambda connection, _: connection.send_packet(MSG_IGNORE, String(b"")))
empty_data = _flood(lambda _, channel: channel.send_packet(MSG_CHANNEL_DATA, String(b"")))
window_adjusts = _flood(lambda _, channel: channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(0)))


async def one_byte_data(target: Target, count: int) -> Armed:
    """Requests of which each byte comes in a packet of its own."""
    connection, writer, _ = await _channel(target)
    request = packet(FXP_STAT, UInt32(7) + _text("/"))

    def send() -> None:
        for index in range(count):
            at = index % len(request)
            writer.channel.send_packet(MSG_CHANNEL_DATA, String(request[at : at + 1]))

    return seal(connection, send, connection.abort)


async def tiny_requests(target: Target, count: int) -> Armed:
    """As many STATs as the window takes in packets as large as they may be; answers are not read."""
    connection, writer, _ = await _channel(target)
    requests = b"".join(packet(FXP_STAT, UInt32(rid) + _text("/")) for rid in range(count))
    armed = seal(connection, lambda: writer.write(requests), connection.abort)
    armed._transport.pause_reading()  # noqa: SLF001  of this module
    return armed


async def listings(target: Target, count: int) -> Armed:
    """`count` requests for names, over ten listings of a large directory; answers are not read."""
    connection, writer, reader = await _channel(target)
    handles = []
    for rid in range(10):
        writer.write(packet(FXP_OPENDIR, UInt32(rid) + _text(target.directory)))
        answer = await _reply(reader)
        if answer[0] == FXP_HANDLE:
            handles.append(answer[5:])
    requests = b"".join(
        packet(FXP_READDIR, UInt32(rid) + handles[rid % len(handles)]) for rid in range(count)
    )
    return seal(connection, lambda: writer.write(requests), connection.abort)


async def one_byte_chunks(target: Target, count: int) -> Armed:
    """HTTP without credentials, a body in chunks of one byte."""
    head = b"POST /api/v2/users HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return await _raw(target.http_port, head + b"1\r\nx\r\n" * count)


FLOODS: Final[dict[str, Flood]] = {
    "ignore before keys": ignore_before_keys,
    "ignore before login": ignore_before_login,
    "ignore after login": ignore_after_login,
    "empty data": empty_data,
    "window adjusts": window_adjusts,
    "data of one byte": one_byte_data,
    "tiny requests": tiny_requests,
    "listings": listings,
    "HTTP chunks of one byte": one_byte_chunks,
}
"""By what they send."""


class User:
    """An honest user beside: asks for a STAT again and again, and keeps how long each took.

    Attributes:
        waits: seconds, of each STAT.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._task: asyncio.Task[None] | None = None
        self._connection: Any = None
        self.waits: list[float] = []

    async def start(self) -> None:
        """Log in and begin."""
        self._connection, writer, reader = await _channel(self._target)
        self._task = asyncio.create_task(self._ask(writer, reader))

    async def _ask(self, writer: Any, reader: Any) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            writer.write(packet(FXP_STAT, UInt32(1) + _text("/")))
            await _reply(reader)
            self.waits.append(clock() - began)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """End.

        Raises:
            Exception: a STAT was not answered.
        """
        if self._task is not None:
            failed = self._task.done()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            assert not failed
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()
