# SPDX-License-Identifier: Apache-2.0
"""The bytes of one SCP channel: answers, records and content, in the order that the protocol has.

At any time the channel either waits for something certain (an answer, a record, the content of a file) or
takes no input; what the peer sends meanwhile stays with the transport, whose window holds the peer back. So
nothing is queued here but content that storage could not take at once (`content.HELD_BYTES`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from tidegate.cluster.registry import Activity
from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.common.turns import SLICE_SECONDS
from tidegate.doors.scp import wire
from tidegate.errors import PeerGone, ProtocolViolation

_KNOWN_ANSWERS: Final = (b"\1", b"\2")


class Stream:
    """One channel's bytes; has the side of `doors.common.transport.Conversation` that moves them.

    Args:
        transport: of the channel.
        activity: takes note whenever the peer sends something.

    Attributes:
        held: bytes of content that wait for storage.
        loop: the event loop.
    """

    def __init__(self, transport: PacketTransport, activity: Activity) -> None:
        self.transport = transport
        self._activity = activity
        self.loop = asyncio.get_running_loop()
        self.held = 0
        self._take: Callable[[memoryview], int] | None = None
        self._input: asyncio.Future[None] | None = None
        self._output: asyncio.Future[None] | None = None
        self._line = bytearray()
        self._got = b""
        self._ended = False
        self._gone = False
        self._slice_end = 0.0

    # -- the transport's side --------------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """True while nothing is awaited."""
        return self._take is None

    def feed(self, view: memoryview) -> int:
        """Take what is awaited off the front of `view`; returns how many bytes that was."""
        self._activity.touch()
        used, size = 0, len(view)
        while used < size and self._take is not None:
            taken = self._take(view[used:] if used else view)
            if not taken:
                break
            used += taken
        return used

    def eof_received(self) -> None:
        """The peer sends no more."""
        self._ended = True
        self.taken()

    def connection_lost(self) -> None:
        """The channel is gone."""
        self._gone = self._ended = True
        self.taken()
        self.sent()

    # -- waiting ---------------------------------------------------------------------------------------

    async def take(self, take: Callable[[memoryview], int]) -> None:
        """Have `take` called with input until it calls `taken`, or the input ends.

        It returns how many bytes it took off the front.

        Raises:
            PeerGone: the channel is gone.
        """
        self.check()
        if self._ended:
            return
        self._take = take
        self._input = waiter = self.loop.create_future()
        self.transport.flush()
        self.transport.resume()
        if waiter.done():
            # A peer that does not wait for answers must not keep the loop from the others.
            if monotonic() > self._slice_end:
                await asyncio.sleep(0)
                self._slice_end = monotonic() + SLICE_SECONDS
        else:
            try:
                await waiter
            finally:
                self._take = None
            self._slice_end = monotonic() + SLICE_SECONDS
        self.check()

    def taken(self) -> None:
        """Note that all that was awaited has come."""
        self._take = None
        waiter, self._input = self._input, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def hold(self) -> None:
        """Take no input for now, in the midst of what is awaited."""
        self._take = None

    def go_on(self, take: Callable[[memoryview], int]) -> None:
        """Take input again after `hold`."""
        if self._input is not None:
            self._take = take
            self.loop.call_soon(self.transport.resume)

    async def output(self, begin: Callable[[], None]) -> None:
        """Call `begin`, and wait until `sent` is called or the channel is gone.

        Raises:
            PeerGone: the latter.
        """
        self.check()
        self._output = waiter = self.loop.create_future()
        begin()
        await waiter
        self.check()

    def sent(self) -> None:
        """Note that `output` need not wait any longer."""
        waiter, self._output = self._output, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def check(self) -> None:
        """Go no further without a peer.

        Raises:
            PeerGone: the channel is gone.
        """
        if self._gone:
            raise PeerGone

    # -- records and answers ---------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Queue a record or an answer; it goes out when the next thing is awaited."""
        self.transport.send(data)

    async def line(self) -> bytes | None:
        """The next record without its newline; None at the end of input.

        Raises:
            ProtocolViolation: it is longer than `wire.MAX_LINE`.
            PeerGone: the channel is gone.
        """
        self._line.clear()
        await self.take(self._take_line)
        if len(self._line) > wire.MAX_LINE:
            raise ProtocolViolation("a record without an end")
        if not self._line.endswith(b"\n"):
            return None
        return bytes(self._line[:-1])

    def _take_line(self, view: memoryview) -> int:
        room = wire.MAX_LINE + 1 - len(self._line)
        head = bytes(view[:room])
        end = head.find(b"\n") + 1
        self._line += head[:end] if end else head
        if end or len(self._line) > wire.MAX_LINE:
            self.taken()
        return end or len(head)

    async def answer(self) -> wire.Failure | None:
        """The peer's answer: None for yes.

        Raises:
            PeerGone: it ended before it answered.
        """
        self._got = b""
        await self.take(self._take_answer)
        if not self._got:
            raise PeerGone
        if self._got == wire.OK:
            return None
        # Anything but 1 and 2 is text of what runs before scp there; scp.c takes it for a fatal end.
        kind = self._got if self._got in _KNOWN_ANSWERS else b"\2" + self._got
        record = wire.parse(kind + (await self.line() or b""))
        assert isinstance(record, wire.Failure)
        return record

    def _take_answer(self, view: memoryview) -> int:
        self._got = bytes(view[:1])
        self.taken()
        return 1
