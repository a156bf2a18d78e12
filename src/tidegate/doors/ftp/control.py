# SPDX-License-Identifier: Apache-2.0
"""The control connection: lines in, replies out, TLS when it is asked for, everything bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from tidegate.doors.common.tls_stream import TlsFailed, TlsStream
from tidegate.doors.common.turns import turns_of
from tidegate.doors.ftp.wire.commands import Command, CommandReader, TooLong

MAX_WAITING: Final = 32
"""Commands that wait; a client that sends more is not read meanwhile."""

SLICE: Final = 1024
"""Bytes that are looked at between two looks at the number of commands that wait."""

TICKETS: Final = 16
"""TLS 1.3 session tickets: clients in Java use up one for each data connection."""


CLOSE_SECONDS: Final = 5.0
"""How long a client may take to read the last replies; then the connection is cut."""


class Control(asyncio.Protocol):
    """One control connection. `next` gives commands in order; replies go out by `send`.

    Args:
        touched: called whenever the client sends something.
        lost: called once, when the connection has ended; the argument is the error, None for none.
        seconds: in which a client that does not read has to begin; then the connection is cut.

    Attributes:
        tls: the TLS of the connection; None in the clear.
    """

    def __init__(
        self, touched: Callable[[], None], lost: Callable[[Exception | None], None], seconds: float
    ) -> None:
        self.tls: TlsStream | None = None
        self._touched, self._lost, self._seconds = touched, lost, seconds
        self._cut: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = CommandReader()
        self._commands: deque[Command | TooLong] = deque()
        self._arrived = asyncio.Event()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._held = bytearray()
        self._paused = False
        self._clearing = False
        self._ended = False
        self._closing = False
        self._shaken: asyncio.Future[None] | None = None

    # -- asyncio -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._cut_later(None)
        self._ended = True
        self._transport = None
        self._arrived.set()
        self._gone.set()
        self._writable.set()
        if self._shaken is not None and not self._shaken.done():
            self._shaken.set_exception(TlsFailed("the connection ended"))
            self._shaken.exception()
        self._lost(exc)

    def eof_received(self) -> bool:
        """The client sends nothing more."""
        self._ended = True
        self._arrived.set()
        if self._shaken is not None and not self._shaken.done():
            self._shaken.set_exception(TlsFailed("the client went away within the handshake"))
            self._shaken.exception()
        return True  # replies to what was asked can still be sent

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writable.clear()
        if not self._ended:
            self._cut_later(self._seconds)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable.set()
        if not self._closing:
            self._cut_later(None)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self._touched()
        turns = turns_of()
        turns.begin()
        try:
            if self.tls is None:
                self._lines(data)
            else:
                self.tls.feed(data)
                self._advance(self.tls)
        except TlsFailed as error:
            self._fail(error)
        finally:
            turns.end()

    # -- input -------------------------------------------------------------------------------------------

    def _lines(self, data: bytes) -> None:
        """Take commands out of `data`, as many as may wait; the rest is held."""
        if self._held:
            self._held += data
            return
        at = 0
        while at < len(data) and len(self._commands) < MAX_WAITING:
            self._commands.extend(self._reader.feed(data[at : at + SLICE]))
            at += SLICE
        self._held += data[at:]
        if self._held:
            self._pause()
        if self._commands:
            self._arrived.set()

    def _advance(self, tls: TlsStream) -> None:
        if not tls.established:
            done = tls.handshake()
            self._flush(tls)
            if not done:
                return
            if self._shaken is not None and not self._shaken.done():
                self._shaken.set_result(None)
        if not self._held:
            self._lines(tls.read())
            self._flush(tls)
        if tls.ended and self._clearing:
            self.tls, self._clearing = None, False
            self._lines(tls.leftover())
        elif tls.ended:
            self._ended = True
            self._arrived.set()

    def _flush(self, tls: TlsStream) -> None:
        out = tls.output()
        if out and self._transport is not None:
            self._transport.write(out)

    def _fail(self, error: TlsFailed) -> None:
        if self.tls is not None:
            self._flush(self.tls)  # an alert, so that the client knows
        if self._shaken is not None and not self._shaken.done():
            self._shaken.set_exception(error)
            self._shaken.exception()  # whoever waits gets it; nobody may be waiting
        self._end_transport()

    def _end_transport(self) -> None:
        """Close once everything is sent; a client that does not read is not waited for without end."""
        self._ended = self._closing = True
        self._arrived.set()
        self._writable.set()
        if self._transport is not None:
            self._transport.close()
            if self._transport is not None:
                self._cut_later(CLOSE_SECONDS)

    def _cut_later(self, seconds: float | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
        if seconds is not None:
            self._cut = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._held and len(self._commands) < MAX_WAITING // 2:
            held, self._held = bytes(self._held), bytearray()
            self._lines(held)
            if not self._held and self.tls is not None:
                try:
                    self._advance(self.tls)
                except TlsFailed as error:
                    self._fail(error)
        if self._paused and not self._held:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    # -- for the dialogue --------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """True once the client sends nothing more; commands that came before may still wait."""
        return self._ended

    async def next(self) -> Command | TooLong | None:
        """The next command; None if none will come."""
        while not self._commands:
            if self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        command = self._commands.popleft()
        self._resume()
        return command

    async def gone(self) -> None:
        """Wait until the connection has ended."""
        await self._gone.wait()

    async def send(self, reply: bytes) -> None:
        """Send a reply; waits while the client does not read."""
        self.send_nowait(reply)
        if not self._writable.is_set():
            await self._writable.wait()

    def send_nowait(self, reply: bytes) -> None:
        """Send a reply that is short, or the last one."""
        if self._transport is None or self._transport.is_closing():
            return
        if self.tls is not None:
            try:
                self.tls.write(reply)
            except TlsFailed as error:
                self._fail(error)
                return
            self._flush(self.tls)
        else:
            self._transport.write(reply)

    def begin_tls(self, context: ssl.SSLContext, reply: bytes = b"") -> None:
        """Speak TLS from here on. What the client sent before it could know of `reply` does not count.

        Commands in the packet behind AUTH would be carried out as if they had come encrypted
        (CVE-2011-0411 and its kind).
        """
        self._commands.clear()
        self._reader.clear()
        self._held.clear()
        if reply:
            self.send_nowait(reply)
        self.tls = TlsStream(context, tickets=TICKETS)
        self._shaken = asyncio.get_running_loop().create_future()
        self._resume()

    async def handshake(self) -> None:
        """Wait for the end of the handshake that `begin_tls` began.

        Raises:
            TlsFailed: it failed; the connection ends.
        """
        assert self._shaken is not None
        if self._ended and not self._shaken.done():
            raise TlsFailed("the client went away before the handshake")
        await self._shaken

    def clear_tls(self, reply: bytes) -> None:
        """Go back to the clear after `reply` (CCC), once the client has ended its TLS too."""
        tls = self.tls
        if tls is None:
            return
        self.send_nowait(reply)
        tls.close()
        self._flush(tls)
        self._clearing = True

    def close(self) -> None:
        """End the connection after what was sent. Safe to call twice."""
        if self._closing:
            return
        if self._transport is not None and self.tls is not None and self.tls.established:
            self.tls.close()
            self._flush(self.tls)
        self._end_transport()

    def abort(self) -> None:
        """End the connection now. Safe to call twice."""
        self._ended = True
        self._arrived.set()
        if self._transport is not None:
            self._transport.abort()
