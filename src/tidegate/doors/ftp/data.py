# SPDX-License-Identifier: Apache-2.0
"""The bytes of data connections, in the clear or by TLS; `ways` has how they come about.

Plain sockets with the loop's `sock_*` calls: an upload is received into one buffer that storage writes from,
a download is sent from the buffer that storage read into. Every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Final

from tidegate.doors.common.tls_stream import RECORD, TlsFailed, TlsStream
from tidegate.doors.common.turns import SLICE_SECONDS

BUFFER: Final = 256 * 1024
"""Bytes that are moved at once."""

GATHER: Final = 128 * 1024
"""Bytes of an upload that are waited for."""

END_SECONDS: Final = 5.0
"""Seconds that the client's end of a data connection is waited for after ours."""


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
_TCP_INFO_BYTES: Final = 136
_COUNTS: Final = slice(120, 136)
"""The place of ``tcpi_bytes_acked`` and ``tcpi_bytes_received`` in ``struct tcp_info`` (linux/tcp.h, 4.1)."""


class DataFailed(Exception):
    """A data connection did not come about or broke; the text is for the client.

    Attributes:
        code: of the reply: 425 (did not come about), 426 (broke), 522 (TLS session).
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


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

    What is there already, or fits into the socket, is moved by one call of the system; what waiting needs (a
    timer, the count of the kernel) is made by the first wait, and a small file mostly has none.

    Args:
        sock: connected, non-blocking; owned from here on.
        seconds: in which something has to move.
        touched: called whenever something did.

    Attributes:
        tls: its TLS; None in the clear.
        moved: bytes of content.
        ended: the client has sent everything.
    """

    def __init__(self, sock: socket.socket, seconds: float, touched: Callable[[], None]) -> None:
        self.tls: TlsStream | None = None
        self.moved = 0
        self.ended = False
        self._gathers = False
        self._sock = sock
        self._seconds = seconds
        self._touched = touched
        self._loop = asyncio.get_running_loop()
        self._raw: memoryview | None = None
        self._alive = self._stalled = self._waiting = False
        self._counted = b""
        self._until = monotonic() + SLICE_SECONDS
        self._timer: asyncio.TimerHandle | None = None

    async def secure(
        self, context: ssl.SSLContext, *, tickets: Callable[[], bool], require_reuse: bool
    ) -> None:
        """Speak TLS.

        Args:
            context: of the control connection, whose session can be taken up.
            tickets: tells, once the client has begun, if session tickets are sent. Not before uploads: a
                client that only writes never reads them, its close then resets the connection, and the
                system throws away what was not received yet.
            require_reuse: refuse what does not take up a session.

        Raises:
            DataFailed: the handshake failed, or it is a new session.
        """
        buffer = memoryview(bytearray(RECORD))
        got = await self._receive(buffer)
        self.tls = tls = TlsStream(context, tickets=None if tickets() else 0)
        try:
            while True:
                if not got:
                    raise DataFailed(425, "the data connection ended within the TLS handshake")
                tls.feed(buffer[:got])
                if tls.handshake():
                    break
                await self._flush(tls)
                self._acknowledge()
                got = await self._receive(buffer)
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
        self._gathers = self.tls is None

    async def receive(self, buffer: memoryview) -> int:
        """Content into `buffer`; 0 at the end, which the client has said itself if this is TLS.

        Raises:
            DataFailed: the connection broke, or ended without the end of TLS: something may be missing.
        """
        tls = self.tls
        if tls is None:
            got = await self._receive(buffer)
            self.moved += got
            self.ended = not got
            return got
        if self._raw is None:
            self._raw = memoryview(bytearray(BUFFER))
        try:
            while True:
                got = tls.read_into(buffer)
                if got or tls.ended:
                    self.moved += got
                    self.ended = not got
                    return got
                arrived = await self._receive(self._raw)
                if not arrived:
                    raise DataFailed(426, "the data connection was cut: TLS had not ended")
                tls.feed(self._raw[:arrived])
        except TlsFailed as error:
            raise DataFailed(426, f"TLS of the data connection: {error}") from None

    async def finish(self) -> None:
        """End a connection that we have sent on, so that the client gets everything.

        Raises:
            DataFailed: the connection broke before everything was sent.
        """
        try:
            if self.tls is None and self._nothing_unread():
                return  # what is sent arrives: the system sees to that
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

    def _nothing_unread(self) -> bool:
        """True if the client has sent nothing that closing would answer with a reset."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False

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
                if monotonic() >= self._until:
                    await self._share()
                piece, sent = view[:BUFFER], 0
                with contextlib.suppress(BlockingIOError):
                    sent = self._sock.send(piece)
                if sent < len(piece):
                    self._watch()
                    await self._loop.sock_sendall(self._sock, piece[sent:])
                self._lives()
                view = view[BUFFER:]
        except OSError:
            raise self._broken("the client closed the data connection") from None
        finally:
            self._waiting = False

    async def _share(self) -> None:
        """Leave a turn to others, as after each slice: who is always ahead never has us wait."""
        await asyncio.sleep(0)
        self._until = monotonic() + SLICE_SECONDS

    async def _receive(self, buffer: memoryview) -> int:
        self._waiting = True
        try:
            if monotonic() >= self._until:
                await self._share()
            # What is there already needs no trip through the loop, which costs as much as a small file.
            got = self._sock.recv_into(buffer)
        except BlockingIOError:
            try:
                self._watch()
                got = await self._loop.sock_recv_into(self._sock, buffer)
            except OSError:
                raise self._broken("the data connection broke") from None
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

    def _watch(self) -> None:
        """The first wait begins: see to it that something moves, and that no packet wakes us for nothing."""
        if self._timer is not None:
            return
        self._counted = _counted(self._sock)
        self._timer = self._loop.call_later(self._seconds, self._look)
        if self._gathers:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, GATHER)

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
        if self._timer is not None:
            self._timer.cancel()
        self._sock.close()
