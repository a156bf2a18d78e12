# SPDX-License-Identifier: Apache-2.0
"""Data connections: how they come about, and their bytes, in the clear or by TLS.

Plain sockets with the loop's `sock_*` calls: an upload is received into one buffer that storage writes from,
a download is sent from the buffer that storage read into. Every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import ssl
from collections.abc import Callable
from typing import Final

from tidegate.doors.common.tls_stream import RECORD, TlsFailed, TlsStream
from tidegate.model.address import plain_address
from tidegate.resources.descriptors import Descriptors

BUFFER: Final = 256 * 1024
"""Bytes that are moved at once."""

GATHER: Final = 128 * 1024
"""Bytes of an upload that are waited for."""

TRIES: Final = 64
"""Ports of a range that are tried before it counts as used up."""

LEAST_PORT: Final = 1024
"""Least port that PORT and EPRT may name."""

END_SECONDS: Final = 5.0
"""How long the client's end of a data connection is waited for after ours."""


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_TCP_INFO_BYTES: Final = 136
_COUNTS: Final = slice(120, 136)
"""Where ``tcpi_bytes_acked`` and ``tcpi_bytes_received`` are in ``struct tcp_info`` (linux/tcp.h, 4.1)."""


class DataFailed(Exception):
    """A data connection did not come about or broke; the text is for the client.

    Attributes:
        code: of the reply: 425 (did not come about), 426 (broke), 522 (TLS session).
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Passive:
    """A port that waits for one data connection. Life: `listen`, `connect`, `close` (safe at any time).

    Args:
        sock: listening.
        peer: address that the connection has to come from; empty takes any.
    """

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self._sock = sock
        self._peer = peer

    @classmethod
    def listen(cls, address: str, ports: tuple[int, int], peer: str) -> Passive:
        """Listen on a free port.

        Args:
            address: that the control connection reached.
            ports: first and last; (0, 0) takes any free one.
            peer: see `Passive`.

        Raises:
            DataFailed: there is none.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        first, last = ports
        count = last - first + 1
        start = random.randrange(count)  # noqa: S311  spreads the ports; secret it is not
        for step in range(min(count, TRIES)):
            port = first + (start + step * 7919) % count if first else 0
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                sock.listen(4)
            except OSError as error:
                sock.close()
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise DataFailed(425, "no data connection can be opened now") from error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(sock, peer)
        raise DataFailed(425, "every passive port that was tried is in use; try again later")

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._sock.getsockname()[1]
        return port

    async def connect(self) -> socket.socket:
        """The connection, once it is there; those from other addresses are closed."""
        loop = asyncio.get_running_loop()
        while True:
            sock, address = await loop.sock_accept(self._sock)
            if not self._peer or plain_address(address[0]) == self._peer:
                self.close()
                sock.setblocking(False)
                return sock
            sock.close()

    def close(self) -> None:
        """Listen no more."""
        self._sock.close()


class Active:
    """A data connection that we open, as PORT and EPRT ask for."""

    def __init__(self, local: str, address: str, port: int) -> None:
        self._local, self._address, self.port = local, address, port

    async def connect(self) -> socket.socket:
        """Connect from the address of the control connection."""
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((self._local, 0))
            await asyncio.get_running_loop().sock_connect(sock, (self._address, self.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Nothing is open yet."""


async def connected(way: Passive | Active, seconds: float, descriptors: Descriptors) -> socket.socket:
    """The socket of a data connection.

    Raises:
        DataFailed: it did not come about in time.
    """
    if not descriptors.room():
        raise DataFailed(425, "the server has no room for a data connection now")
    try:
        async with asyncio.timeout(seconds):
            return await way.connect()
    except TimeoutError:
        raise DataFailed(425, f"no data connection within {seconds:g} s") from None
    except OSError as error:
        descriptors.short(error)
        raise DataFailed(425, "cannot open the data connection") from None
    finally:
        way.close()


def _counted(sock: socket.socket) -> bytes:
    """Bytes that the client has acknowledged and sent, as the kernel counts them; empty if unknown."""
    if _TCP_INFO is None:
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _TCP_INFO_BYTES)[_COUNTS]
    except OSError:
        return b""


class DataConnection:
    """The bytes of one data connection. Life: constructed, `secure` (for TLS), used, `finish` or `abort`.

    Args:
        sock: connected, non-blocking; owned from here on.
        seconds: in which something has to move.
        touched: called whenever something did.

    Attributes:
        tls: its TLS; None in the clear.
        moved: bytes of content.
    """

    def __init__(self, sock: socket.socket, seconds: float, touched: Callable[[], None]) -> None:
        self.tls: TlsStream | None = None
        self.moved = 0
        self._sock = sock
        self._seconds = seconds
        self._touched = touched
        self._loop = asyncio.get_running_loop()
        self._raw: memoryview | None = None
        self._alive = self._stalled = self._waiting = False
        self._counted = _counted(sock)
        self._timer = self._loop.call_later(seconds, self._look)

    async def secure(self, context: ssl.SSLContext, *, tickets: bool, require_reuse: bool) -> None:
        """Speak TLS.

        Args:
            context: of the control connection, whose session can be taken up.
            tickets: send session tickets. Not before uploads: a client that only writes never reads them, its
                close then resets the connection, and the system throws away what was not received yet.
            require_reuse: refuse what does not take up a session.

        Raises:
            DataFailed: the handshake failed, or it is a new session.
        """
        self.tls = tls = TlsStream(context, tickets=None if tickets else 0)
        buffer = bytearray(RECORD)
        try:
            while not tls.handshake():
                await self._flush(tls)
                self._acknowledge()
                got = await self._receive(memoryview(buffer))
                if not got:
                    raise DataFailed(425, "the data connection ended within the TLS handshake")
                tls.feed(memoryview(buffer)[:got])
            await self._flush(tls)
        except TlsFailed as error:
            with contextlib.suppress(DataFailed):
                await self._flush(tls)
            raise DataFailed(425, f"TLS of the data connection: {error}") from None
        if require_reuse and not tls.reused:
            raise DataFailed(
                522, "the data connection has to take up the TLS session of the control connection"
            )

    async def send(self, data: bytes | memoryview) -> None:
        """Send content.

        Raises:
            DataFailed: the connection broke.
        """
        if self.tls is None:
            await self._send(data)
        else:
            view = memoryview(data)
            try:
                for at in range(0, len(view), BUFFER):
                    self.tls.write(view[at : at + BUFFER])
                    await self._flush(self.tls)
            except TlsFailed as error:
                raise DataFailed(426, f"TLS of the data connection: {error}") from None
        self.moved += len(data)

    def gather(self) -> None:
        """Wake up for much, or the end, and not for each packet of an upload in the clear.

        Nobody waits for what lies in the system meanwhile.
        """
        if self.tls is None:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, GATHER)

    async def receive(self, buffer: memoryview) -> int:
        """Content into `buffer`; 0 at the end, which the client has said itself if this is TLS.

        Raises:
            DataFailed: the connection broke, or ended without the end of TLS: something may be missing.
        """
        tls = self.tls
        if tls is None:
            got = await self._receive(buffer)
            self.moved += got
            return got
        if self._raw is None:
            self._raw = memoryview(bytearray(BUFFER))
        try:
            while True:
                got = tls.read_into(buffer)
                if got or tls.ended:
                    self.moved += got
                    return got
                arrived = await self._receive(self._raw)
                if not arrived:
                    raise DataFailed(426, "the data connection was cut: TLS had not ended")
                tls.feed(self._raw[:arrived])
        except TlsFailed as error:
            raise DataFailed(426, f"TLS of the data connection: {error}") from None

    async def finish(self) -> None:
        """End a connection that we have sent on, so that the client gets everything; waits for its end.

        Raises:
            DataFailed: the connection broke before everything was sent.
        """
        try:
            if self.tls is not None:
                self.tls.close()
                await self._flush(self.tls)
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                raise DataFailed(426, "the data connection broke") from error
            # Unread bytes (of the client's TLS) make a reset of the close, and that discards what is sent.
            scratch = memoryview(bytearray(1024))
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    while await self._loop.sock_recv_into(self._sock, scratch):
                        pass
        finally:
            self._close()

    async def end_upload(self) -> None:
        """End a connection that was read to its end."""
        try:
            if self.tls is not None:
                self.tls.close()
                with contextlib.suppress(DataFailed):
                    await self._flush(self.tls)
        finally:
            self._close()

    def abort(self) -> None:
        """End the connection now. Safe to call twice."""
        self._close()

    def _acknowledge(self) -> None:
        """Have what arrives be acknowledged at once.

        OpenSSL's clients send the last two messages of a handshake by two writes, and their system holds the
        second back until the first is acknowledged: 40 ms for each file.
        """
        if _QUICKACK is not None:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    async def _flush(self, tls: TlsStream) -> None:
        out = tls.output()
        if out:
            await self._send(out)

    async def _send(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self._waiting = True
        try:
            while view:
                await self._loop.sock_sendall(self._sock, view[:BUFFER])
                self._lives()
                view = view[BUFFER:]
        except OSError:
            raise self._broken("the client closed the data connection") from None
        finally:
            self._waiting = False

    async def _receive(self, buffer: memoryview) -> int:
        self._waiting = True
        try:
            got = await self._loop.sock_recv_into(self._sock, buffer)
        except OSError:
            raise self._broken("the data connection broke") from None
        finally:
            self._waiting = False
        if self._stalled:
            raise self._broken("")
        self._lives()
        return got

    def _lives(self) -> None:
        self._touched()
        self._alive = True

    def _broken(self, text: str) -> DataFailed:
        if self._stalled:
            text = f"the data connection did not move for {self._seconds:g} s"
        return DataFailed(426, text)

    def _look(self) -> None:
        """Called every so often: what has not moved since is cut off.

        While storage or bandwidth is waited for, the client can do nothing. Less than is waited for at once
        may have come or gone; the system counts it.
        """
        counted = _counted(self._sock)
        if counted != self._counted:
            self._counted = counted
            self._lives()
        if self._alive or not self._waiting:
            # What is waited for now may have begun just before: it has a whole period.
            self._alive = not self._waiting
            self._timer = self._loop.call_later(self._seconds, self._look)
            return
        self._stalled = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # whoever waits for the socket goes on, and fails

    def _close(self) -> None:
        self._timer.cancel()
        self._sock.close()
