# SPDX-License-Identifier: Apache-2.0
"""Ill-behaved FTP clients, for `tidegate.testing.peers`: cheap to send, dear to take, all in one go.

They read and drop what the server answers, so that it is never spared the work by a full socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from tidegate.testing.peers import Armed, Target

REPLY_SECONDS: Final = 30.0
"""Longest time that a server may take to answer while a client gets ready."""

RECORD: Final = b"NOOP\r\n"
"""Each byte of it is sealed by itself."""


class _Client(asyncio.Protocol):
    """Reads replies until it has everything ready, and drops them then."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.deaf = False
        self._got = b""
        self._came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._came.set()

    def data_received(self, data: bytes) -> None:
        if not self.deaf:
            self._got += data
            self._came.set()

    async def some(self) -> bytes:
        """Bytes that came since the last call, at least one."""
        async with asyncio.timeout(REPLY_SECONDS):
            while not self._got:
                if self.transport.is_closing():
                    raise ConnectionResetError
                self._came.clear()
                await self._came.wait()
        got, self._got = self._got, b""
        return got

    async def ask(self, line: bytes) -> bytes:
        """Send a line, if any, and read the reply, of one line."""
        if line:
            self.transport.write(line + b"\r\n")
        got = b""
        while not got.endswith(b"\r\n"):
            got += await self.some()
        return got


async def _connected(target: Target) -> _Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(_Client, "127.0.0.1", target.ftp_port)
    await client.ask(b"")
    return client


async def _logged_in(target: Target) -> _Client:
    client = await _connected(target)
    await client.ask(b"USER " + target.username.encode())
    reply = await client.ask(b"PASS " + target.password.encode())
    if not reply.startswith(b"230"):
        raise PermissionError(reply.decode(errors="replace"))
    return client


def _armed(client: _Client, load: bytes) -> Armed:
    from tidegate.testing.peers import Armed

    client.deaf = True
    return Armed(client.transport, load, lambda: None)


def _lines(line: bytes, *, login: bool = True) -> Callable[[Target, int], Awaitable[Armed]]:
    async def arm(target: Target, count: int) -> Armed:
        client = await (_logged_in(target) if login else _connected(target))
        return _armed(client, (line + b"\r\n") * count)

    return arm


async def _telnet(target: Target, count: int) -> Armed:
    """Telnet commands without any line."""
    return _armed(await _connected(target), b"\xff\xf1" * count)


async def _endless_line(target: Target, count: int) -> Armed:
    """A line that does not end, of as many times sixteen bytes."""
    return _armed(await _connected(target), b"CWD " + b"x" * (16 * count))


async def _listings(target: Target, count: int) -> Armed:
    """Listings of a large directory over the control connection."""
    client = await _logged_in(target)
    return _armed(client, f"STAT {target.directory}\r\n".encode() * count)


async def _tls_records(target: Target, count: int) -> Armed:
    """TLS records of one byte."""
    client = await _connected(target)
    await client.ask(b"AUTH TLS")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
            break
        client.transport.write(outgoing.read())
        incoming.write(await client.some())
    client.transport.write(outgoing.read())
    for index in range(count):
        at = index % len(RECORD)
        tls.write(RECORD[at : at + 1])
    return _armed(client, outgoing.read())


FTP_FLOODS: Final[dict[str, Callable[[Target, int], Awaitable[Armed]]]] = {
    "FTP commands": _lines(b"NOOP"),
    "FTP commands before login": _lines(b"FEAT", login=False),
    "FTP lines that are no commands": _lines(b"\x01", login=False),
    "FTP names": _lines(b"SIZE missing"),
    "FTP passive ports": _lines(b"EPSV"),
    "FTP Telnet commands": _telnet,
    "FTP endless line": _endless_line,
    "FTP listings": _listings,
    "FTP records of one byte": _tls_records,
}
"""By what they send."""
