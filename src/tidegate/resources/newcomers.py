# SPDX-License-Identifier: Apache-2.0
"""The share of the event loop that clients have who have not logged in: accepted, refused, exchanging keys.

Refusing an address costs some 50 µs and making a connection of SSH a millisecond, so whoever connects as
fast as he can would have the loop for himself, and users with a session would wait. Others' work earns
strangers credit: a quarter of it, so that of a full loop they have a fifth. In a turn in which nobody else
had work they need no credit, so a loop that is idle takes everybody at full speed. What lacks credit waits
in the kernel's queue of the listening socket, which is looked at again in each turn; no timer holds back
who could be served.

Time is the processor time of the thread: a loop that waits for a core has not worked. Reading it is a call of
the system, some 0.2 µs, so it is read for strangers alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.25
"""Credit for a second of others' work, seconds."""
SLICE_SECONDS: Final = 0.001
"""Refusals in one turn, and credit that is kept."""
IDLE_SECONDS: Final = 0.0001
"""Others' work in a turn below which there was none: the loop itself takes some 30 µs."""
MAX_DEBT_SECONDS: Final = 0.1
"""Debt beyond this is forgotten: strangers, however many, wait for half a second of others' work at most."""

log = logging.getLogger(__name__)


class Newcomers:
    """Accounts for the work of one loop for strangers, and has a queue of what they sent.

    Args:
        clock: processor time of the loop's thread, seconds.
    """

    __slots__ = (
        "_began",
        "_clock",
        "_credit",
        "_depth",
        "_earned",
        "_entered",
        "_mark",
        "_planned",
        "_queue",
        "_spent",
    )

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._spent = 0.0
        self._credit = SLICE_SECONDS
        self._earned = clock()
        self._began = 0.0
        self._depth = 0
        self._entered = 0
        self._mark = Mark()
        self._queue: deque[Callable[[], None]] = deque()
        self._planned = False

    # -- input of strangers ----------------------------------------------------------------------------

    @property
    def may_work(self) -> bool:
        """True if input of a stranger may be processed now; if not, ask for a place by `later`."""
        return not self._queue and self.look(self._mark) > 0

    def later(self, work: Callable[[], None]) -> None:
        """Have `work` called in a later turn, once there is credit, behind those who wait already."""
        self._queue.append(work)
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """A turn begins: those who waited, in order, as far as credit goes."""
        self._planned = False
        queue, most = self._queue, self.look(self._mark)
        for _ in range(len(queue) if most else 0):
            work = queue.popleft()
            self.begin()
            began = self._began
            try:
                work()
            except Exception:
                log.exception("unforeseen error in work that was put off")
            finally:
                self.end()
            most -= self._clock() - began
            if most <= 0:
                break
        if queue and not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._next)

    # -- accounts --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Work for a stranger begins; within such work it is part of that."""
        if not self._depth:
            self._began = self._clock()
        self._depth += 1

    def end(self) -> None:
        """It ends, and is paid for."""
        self._depth -= 1
        if not self._depth:
            used = self._clock() - self._began
            self._spent += used
            self._credit = max(-MAX_DEBT_SECONDS, self._credit - used)

    def entered(self) -> None:
        """One was let in: what follows costs more than to refuse."""
        self._entered += 1

    def look(self, mark: Mark) -> float:
        """Begin a turn of a listener, or of the queue.

        Args:
            mark: its own.

        Returns:
            seconds of processor time that it may take now; 0 if it has to wait for a later turn.
        """
        others = self._clock() - self._spent
        idle = others - mark.others < IDLE_SECONDS
        mark.others, mark.entered = others, self._entered
        self._credit = min(SLICE_SECONDS, self._credit + max(0.0, others - self._earned) * SHARE)
        self._earned = others
        if idle:
            self._credit = max(0.0, self._credit)
        return SLICE_SECONDS if idle else max(0.0, self._credit)

    def may_go_on(self, mark: Mark, most: float) -> bool:
        """True between `begin` and `end`, while nobody was let in and `most` is not used up."""
        return self._entered == mark.entered and self._clock() - self._began < most


class Mark:
    """The state of others' work as one listener saw it last.

    Attributes:
        others: processor seconds of it.
        entered: strangers who had been let in by then.
    """

    __slots__ = ("entered", "others")

    def __init__(self) -> None:
        self.others = 0.0
        self.entered = 0
