# SPDX-License-Identifier: Apache-2.0
"""Reading of a connection's socket: pause and resume, and the way to a parser.

Several parts may object to reading: the turn is over, the socket does not take what we send, an earlier
packet has to be finished first, the application holds enough. Each has a flag of `Why`; the socket is read
while no flag is set.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from time import monotonic
from typing import Final

from tidegate.doors.common.turns import Turns

MAX_BACKLOG: Final = 16 * 1024 * 1024
"""Bytes read and not yet parsed at which a connection is cut. Reading stops at the first of them; a loop
that goes on delivering all the same (a TLS layer may, for what it holds) stays far below."""


class Why(enum.IntFlag):
    """Reasons for which a socket is not read."""

    TURN = 1
    """Bytes that were read are processed in later turns."""
    OUTPUT = 2
    """The peer does not take what we send."""
    ORDER = 4
    """An earlier packet is still being processed."""
    APPLICATION = 8
    """Whoever gets the data holds enough of it."""
    SWITCH = 16
    """The protocol of the transport is being changed."""
    MEMORY = 32
    """All connections together hold too much, and this one holds most."""


# Plain numbers: an operation on members of an IntFlag costs a microsecond.
TURN: Final = int(Why.TURN)
OUTPUT: Final = int(Why.OUTPUT)
ORDER: Final = int(Why.ORDER)
APPLICATION: Final = int(Why.APPLICATION)
SWITCH: Final = int(Why.SWITCH)
MEMORY: Final = int(Why.MEMORY)


class Reading:
    """The one owner of a transport's `pause_reading` and `resume_reading`.

    Args:
        transport: reading.
        turns: of its loop.

    Attributes:
        reasons: flags of `Why` that are set.
        work: processes what waits for a later turn; called within a slice when only `TURN` is set.
        later: takes it until then: the queue of the turns, or that of strangers.
    """

    __slots__ = ("_paused", "_queued", "_transport", "later", "reasons", "work")

    def __init__(self, transport: asyncio.Transport, turns: Turns) -> None:
        self._transport = transport
        self.later = turns.later
        self._queued = False
        self._paused = False
        self.reasons = 0
        self.work: Callable[[], None] | None = None

    def stop(self, why: int) -> None:
        """Do not read, for this reason."""
        self.reasons |= why
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def hold(self, why: int) -> None:
        """Process nothing more, for this reason, which will soon be gone; read no more once something comes.

        A peer that waits for our answer sends nothing meanwhile, and to pause and resume a socket takes two
        calls of the system. Who is given data while a reason is set keeps it and calls `put_off`.
        """
        self.reasons |= why

    def go(self, why: int) -> None:
        """The reason is gone; read, if it was the last one."""
        before = self.reasons
        left = self.reasons = before & ~why
        if not left:
            if self._paused and not self._transport.is_closing():
                self._paused = False
                self._transport.resume_reading()
        elif left == TURN:
            self.put_off()

    def put_off(self) -> None:
        """Something waits for a later turn: read no more, and call `work` then."""
        self.stop(TURN)
        if not self._queued:
            self._queued = True
            self.later(self._work)

    def _work(self) -> None:
        self._queued = False
        # With another reason set, `go` asks again once it is gone.
        if self.reasons == TURN and self.work is not None:
            self.work()


class Intake:
    """Hands a connection's input to its parser in steps, for a slice of a turn, and keeps the rest.

    Args:
        reading: of the connection; its `work` becomes ours.
        turns: of the loop.
        step: bytes handed over between two looks at the clock; at the parser's worst rate under 10 ms.
        take: the parser; it may stop the reading, or close the intake.
    """

    __slots__ = ("_backlog", "_closed", "_heavy", "_reading", "_step", "_take", "_turns")

    def __init__(self, reading: Reading, turns: Turns, step: int, take: Callable[[bytes], None]) -> None:
        self._reading = reading
        self._turns = turns
        self._step = step
        self._take = take
        self._backlog = b""
        self._closed = False
        self._heavy = False
        reading.work = self._go_on

    def put(self, data: bytes, *, waits: bool = False) -> bool:
        """Data arrived; `waits` says that it is for a later turn.

        Returns:
            False if more is held than can be; the caller ends the connection.
        """
        if self._closed:
            return True
        reading, turns = self._reading, self._turns
        if waits or self._backlog or reading.reasons or not turns.may_work or (self._heavy and turns.crowded):
            if len(self._backlog) + len(data) > MAX_BACKLOG:
                return False
            self._backlog += data
            reading.put_off()
        else:
            self._heavy = False
            self._process(data)
        return True

    def _go_on(self) -> None:
        data, self._backlog = self._backlog, b""
        self._process(data)
        if not self._backlog:
            self._reading.go(TURN)

    def _process(self, data: bytes) -> None:
        reading, step, size = self._reading, self._step, len(data)
        position = 0
        deadline = self._turns.begin()
        try:
            while position < size and not self._closed:
                end = position + step
                self._take(data[position:end] if position or end < size else data)
                position = end
                if reading.reasons & ~TURN or monotonic() >= deadline:
                    break
        finally:
            self._turns.end()
        if position < size and not self._closed:
            self._backlog = data[position:] + self._backlog
            self._heavy = True
            reading.put_off()

    @property
    def held(self) -> int:
        """Bytes that wait for a later turn."""
        return len(self._backlog)

    def hand_over(self) -> bytes:
        """Give up what is held, to a successor who also takes over `Reading.work`."""
        data, self._backlog = self._backlog, b""
        self._reading.work = None
        return data

    def take_back(self) -> None:
        """Be the one who processes input again."""
        self._reading.work = self._go_on

    def close(self) -> None:
        """Take nothing more; what is held is dropped."""
        self._closed = True
        self._backlog = b""
