# SPDX-License-Identifier: Apache-2.0
"""Connections to scanners, in the clear or by TLS, by the few calls that scanning needs.

As in `sockets`, what a server said before it closed is still read after a write has failed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Final

from tidegate.inspection.sockets import connect, has_answered

RECEIVE: Final = 64 * 1024
"""Bytes of one read of a socket."""


class Connection:
    """A connection in the clear. Life: made by `open_connection`, used, `close`; also a context manager."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: the other end does not take it.
        """
        await self._loop.sock_sendall(self._sock, data)

    async def receive(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
            OSError: the connection broke.
        """
        return await self._loop.sock_recv(self._sock, size)

    def answered(self) -> bool:
        """True if the other end has sent something, or has closed."""
        return has_answered(self._sock)

    def close(self) -> None:
        """End it. Safe to call twice."""
        self._sock.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TlsConnection(Connection):
    """A connection by TLS.

    Args:
        sock: connected.
        context: of a client.
        host: whom the certificate has to name.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._ahead = b""

    async def handshake(self) -> None:
        """Shake hands.

        Raises:
            OSError: it failed; the certificate may not be valid.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                with suppress(OSError):
                    await self._flush()  # the reason, for the other end's log
                raise
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """As `Connection.send`."""
        self._tls.write(data)
        await self._flush()

    async def receive(self, size: int) -> bytes:
        """As `Connection.receive`; an end without the notice of TLS counts as a broken connection."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                await self._fill()

    def answered(self) -> bool:
        """As `Connection.answered`; tickets and other parts of TLS are no answer."""
        if self._ahead:
            return True
        try:
            while piece := self._sock.recv(RECEIVE):
                self._incoming.write(piece)
            self._incoming.write_eof()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return True
        try:
            self._ahead = self._tls.read(RECEIVE)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True

    async def _fill(self) -> None:
        piece = await self._loop.sock_recv(self._sock, RECEIVE)
        if piece:
            self._incoming.write(piece)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if out := self._outgoing.read():
            await self._loop.sock_sendall(self._sock, out)


async def open_connection(where: tuple[str, int], context: ssl.SSLContext | None) -> Connection:
    """Connect to a host and port, by TLS if there is a context.

    Raises:
        OSError: there is none, or the certificate is not that of the host.
    """
    sock = await connect(where)
    if context is None:
        return Connection(sock)
    try:
        connection = TlsConnection(sock, context, where[0])
        await connection.handshake()
    except BaseException:
        sock.close()
        raise
    return connection
