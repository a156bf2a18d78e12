# SPDX-License-Identifier: Apache-2.0
"""The control connection: lines in, replies out, TLS when it is asked for, everything bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Final, cast

from tidegate.cluster.registry import Activity
from tidegate.doors.common.tls_stream import TlsFailed, TlsStream
from tidegate.doors.common.turns import turns_of
from tidegate.doors.ftp.wire.commands import Command, CommandReader, TooLong
from tidegate.resources.newcomers import Newcomers

MAX_WAITING: Final = 32
"""Commands that wait; a client that sends more is not read meanwhile."""

SLICE: Final = 1024
"""Bytes that are looked at between two looks at the number of commands that wait."""

TICKETS: Final = 16
"""TLS 1.3 session tickets: clients in Java use up one for each data connection."""


CLOSE_SECONDS: Final = 5.0
"""Seconds that a client may take to read the last replies; then the connection is cut."""


class Injected(Exception):
    """Something came in the clear behind AUTH; the text says how much.

    Carried out after the handshake it would count as encrypted (CVE-2011-0411 and its kind). Clients wait for
    the reply: so somebody on the way put it there.
    """


class Control(asyncio.Protocol):
    """One control connection. `take` gives commands in order; replies go out by `send`.

    Most of many connections are idle: what waiting needs is made when somebody waits.

    Args:
        activity: touched whenever the client sends something.
        seconds: in which a client that does not read has to begin; then the connection is cut.

    Attributes:
        tls: the TLS of the connection; None in the clear.
        arrived: called when a command waits, or none will come any more; the door sets it.
        on_reply: called with each reply before it is sent; None is nobody.
        newcomers: the account of work for the client until it has logged in; None from then on.
        turns: of the loop.
    """

    __slots__ = (
        "_activity",
        "_clearing",
        "_closing",
        "_commands",
        "_cut",
        "_ended",
        "_gone",
        "_held",
        "_late",
        "_paused",
        "_reader",
        "_seconds",
        "_shaken",
        "_transport",
        "_writable",
        "arrived",
        "newcomers",
        "on_reply",
        "tls",
        "turns",
    )

    def __init__(self, activity: Activity, seconds: float) -> None:
        self.tls: TlsStream | None = None
        self.arrived: Callable[[], None] | None = None
        self.on_reply: Callable[[bytes], None] | None = None
        self._activity, self._seconds = activity, seconds
        self.turns = turns_of()
        self._cut: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = CommandReader()
        self._commands: list[Command | TooLong] = []
        self._gone: asyncio.Event | None = None
        self._writable: asyncio.Event | None = None  # while the client does not read
        self._held = b""
        self._late = b""  # of a stranger, before TLS
        self.newcomers: Newcomers | None = None
        self._paused = False
        self._clearing = False
        self._ended = False
        self._closing = False
        self._shaken: asyncio.Future[None] | None = None

    # -- asyncio -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of another class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone."""
        self._cut_later(None)
        self._ended = True
        self._transport = None
        self._wake()
        if self._gone is not None:
            self._gone.set()
        self.resume_writing()
        if self._shaken is not None and not self._shaken.done():
            self._shaken.set_exception(TlsFailed("the connection ended"))
            self._shaken.exception()

    def eof_received(self) -> bool:
        """The client sends nothing more."""
        self._ended = True
        self._wake()
        if self._shaken is not None and not self._shaken.done():
            self._shaken.set_exception(TlsFailed("the client went away within the handshake"))
            self._shaken.exception()
        return True  # replies to what was asked can still be sent

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._writable is None:
            self._writable = asyncio.Event()
        if not self._ended:
            self._cut_later(self._seconds)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if not self._closing:
            self._cut_later(None)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived; those of strangers are looked at when they have credit."""
        self._activity.touch()
        newcomers = self.newcomers
        if newcomers is None:
            self._look(data)
        elif self._late or not newcomers.may_work:
            if not self._late:
                self._pause()
                newcomers.later(self._look_late)
            self._late += data
        else:
            newcomers.begin()
            try:
                self._look(data)
            finally:
                newcomers.end()

    def _look_late(self) -> None:
        data, self._late = self._late, b""
        if data and self._transport is not None:
            self._look(data)
            self._resume()

    def _look(self, data: bytes) -> None:
        turns = self.turns
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
        if self._commands:
            self._wake()

    # -- input -------------------------------------------------------------------------------------------

    def _lines(self, data: bytes) -> None:
        """Take commands out of `data`, as many as may wait and as a turn has time for; the rest is held."""
        if self._held:
            self._held += data
            return
        turns, at = self.turns, 0
        if len(data) <= SLICE and not self._commands and turns.may_work:
            self._commands = self._reader.feed(data)
            return
        end = turns.until(monotonic()) if turns.may_work else 0.0
        while at < len(data) and len(self._commands) < MAX_WAITING:
            if monotonic() >= end:
                turns.later(self._resume)
                break
            self._commands.extend(self._reader.feed(data[at : at + SLICE]))
            at += SLICE
        self._held = data[at:]
        if self._held:
            self._pause()

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
            self._wake()

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
        self._wake()
        self.resume_writing()
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
            held, self._held = self._held, b""
            self._lines(held)
            if not self._held and self.tls is not None:
                try:
                    self._advance(self.tls)
                except TlsFailed as error:
                    self._fail(error)
            if self._commands or self._ended:
                self._wake()
        if self._paused and not self._held and not self._late:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    # -- for the dialogue --------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """True once the client sends nothing more; commands that came before may still wait."""
        return self._ended

    @property
    def over(self) -> bool:
        """True if no command will come any more; what a turn had no time for still may."""
        nothing = not self._held and not self._late
        return self._ended and (nothing or self._closing or self._transport is None)

    @property
    def waiting(self) -> bool:
        """True if there is a command to take."""
        return bool(self._commands)

    def take(self) -> Command | TooLong:
        """The next command; one has to be `waiting`."""
        command = self._commands.pop(0)
        if self._held or self._paused:
            self._resume()
        return command

    def _wake(self) -> None:
        if self.arrived is not None:
            self.arrived()

    async def gone(self) -> None:
        """Wait until the connection has ended."""
        if self._transport is None:
            return
        if self._gone is None:
            self._gone = asyncio.Event()
        await self._gone.wait()

    async def send(self, reply: bytes) -> None:
        """Send a reply; waits while the client does not read."""
        self.send_nowait(reply)
        if self._writable is not None:
            await self.drained()

    @property
    def unread(self) -> bool:
        """True while the client does not read."""
        return self._writable is not None

    async def drained(self) -> None:
        """Wait while the client does not read."""
        if self._writable is not None:
            await self._writable.wait()

    def send_nowait(self, reply: bytes) -> None:
        """Send a reply that is short, or the last one."""
        if self.on_reply is not None:
            self.on_reply(reply)
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
        """Speak TLS from here on, after `reply`.

        Raises:
            Injected: something came in the clear that the client sends before it can know of the reply.
        """
        waiting = len(self._commands)
        rest = self._reader.waiting + len(self._held) + len(self._late)
        if waiting or rest:
            raise Injected(f"{waiting} commands and {rest} further bytes")
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
        self._wake()
        if self._transport is not None:
            self._transport.abort()
