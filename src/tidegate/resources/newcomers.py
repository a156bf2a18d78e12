# SPDX-License-Identifier: Apache-2.0
"""The share of the event loop that clients have who have not logged in: accepted, refused, exchanging keys.

Refusing an address costs some 50 µs and making a connection of SSH a millisecond, so whoever connects as
fast as he can would have the loop for himself, and users with a session would wait. Others' work earns
strangers credit: a quarter of it, so that of a full loop they have a fifth. In a turn in which nobody else
had work they need no credit, so a loop that is idle takes everybody at full speed. What lacks credit waits
in the kernel's queue of the listening socket, which is looked at again in each turn.

A loop that has time to spare is not a host that has: where processes wait for a processor
(`resources.pressure`), what strangers take is taken from somebody, be it the client whose download the loop
could serve faster. Then they need credit in every turn while transfers go on, and earn `FLOOR` of all time
besides, so that they are served however little others do. Without a transfer nobody is held back.

Time is the processor time of the thread: a loop that waits for a core has not worked. Reading it is a call of
the system, some 0.2 µs, so it is read for strangers alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from tidegate.resources.pressure import crowded

SHARE: Final = 0.25
"""Credit for a second of others' work, seconds."""
SLICE_SECONDS: Final = 0.001
"""Refusals in one turn, and credit that is kept."""
IDLE_SECONDS: Final = 0.00006
"""Others' work in a turn below which there was none: the loop itself takes some 30 µs."""
MAX_DEBT_SECONDS: Final = 0.1
"""Debt beyond this is forgotten: strangers, however many, wait for half a second of others' work at most."""

FLOOR: Final = 0.1
"""Credit for a second of any time on a crowded host, seconds."""
WINDOW_SECONDS: Final = 0.05
"""Time over which it is found whether others work."""
BUSY: Final = 0.05
"""The share of the time that others work, from which on they count as working."""
HOLD_SECONDS: Final = 0.5
"""Time for which they count so, while transfers go on."""
PAUSE_SECONDS: Final = 0.002
"""Time until who lacks credit looks again, where the loop would only turn around meanwhile."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Newcomers:
    """Accounts for the work of one loop for strangers, and has a queue of what they sent.

    Args:
        clock: processor time of the loop's thread, seconds.
        wall: seconds that do not go backwards.
        crowded: True if processes of this host wait for a processor.
        transfers: True if those who have logged in have files open.

    Attributes:
        held_back: strangers need credit though the loop has time to spare; who lacks it looks again after
            `PAUSE_SECONDS`.
    """

    __slots__ = (
        "_at",
        "_began",
        "_busy_until",
        "_clock",
        "_credit",
        "_crowded",
        "_depth",
        "_earned",
        "_entered",
        "_mark",
        "_planned",
        "_queue",
        "_since",
        "_spent",
        "_transfers",
        "_wall",
        "_worked",
        "held_back",
    )

    def __init__(
        self,
        clock: Callable[[], float] = time.thread_time,
        *,
        wall: Callable[[], float] = time.monotonic,
        crowded: Callable[[], bool] = crowded,
        transfers: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._crowded = crowded
        self._transfers = transfers
        self._busy_until = 0.0
        self.held_back = False
        self._worked = 0.0
        self._since = self._at = wall()
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
            self._plan()

    async def admitted(self, work: Coroutine[Any, Any, T], stranger: Callable[[], bool]) -> T:
        """Do a stranger's work when there is credit, and charge it as long as its client is one."""
        if not self.may_work:
            try:
                await self._waited()
            except BaseException:
                work.close()
                raise
        done: T = await Charged(work, self, stranger)
        return done

    async def wait_for_credit(self) -> None:
        """Wait for credit for work that is done later, in turns that this queue does not see.

        As an accepted connection does, it ends the turn: one caller goes on in each, for what it costs is
        known only when the work has been charged.
        """
        if self.may_work:
            self.entered()
        else:
            await self._waited(self.entered)

    async def _waited(self, given: Callable[[], None] = lambda: None) -> None:
        turn = asyncio.get_running_loop().create_future()

        def give() -> None:
            if not turn.done():
                turn.set_result(None)
                given()

        self.later(give)
        await turn

    def _plan(self) -> None:
        self._planned = True
        loop = asyncio.get_running_loop()
        if self.held_back:
            loop.call_later(PAUSE_SECONDS, self._next)
        else:
            loop.call_soon(self._next)

    def _next(self) -> None:
        """A turn begins: those who waited, in order, as far as credit goes."""
        self._planned = False
        queue, most = self._queue, self.look(self._mark)
        entered = self._entered
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
            if most <= 0 or self._entered != entered:
                break
        if queue and not self._planned:
            self._plan()

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
        self._earn(others)
        idle = others - mark.others < IDLE_SECONDS and not self.held_back
        mark.others, mark.entered = others, self._entered
        if idle:
            self._credit = max(0.0, self._credit)
        return SLICE_SECONDS if idle else max(0.0, self._credit)

    def _earn(self, others: float) -> None:
        """Credit for others' work until now, and for the time on a crowded host."""
        now, worked = self._wall(), others - self._earned
        self._earned = others
        if worked >= IDLE_SECONDS:
            self._worked += worked
            self._credit += worked * SHARE
        if self.held_back:
            self._credit += (now - self._at) * FLOOR
        self._credit = min(SLICE_SECONDS, self._credit)
        self._at = now
        passed = now - self._since
        if passed >= WINDOW_SECONDS:
            if self._worked >= passed * BUSY:
                self._busy_until = now + HOLD_SECONDS
            self.held_back = now < self._busy_until and self._transfers() and self._crowded()
            self._since, self._worked = now, 0.0

    @property
    def strange_seconds(self) -> float:
        """Processor time of work for strangers since the start."""
        return self._spent

    @property
    def spares(self) -> bool:
        """`held_back`, brought up to date; while it is true, threads that work for strangers do little."""
        self._earn(self._clock() - self._spent)
        return self.held_back

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


class Charged(Coroutine[Any, Any, T]):
    """A coroutine whose steps are work for a stranger, as long as its client is one.

    Args:
        inner: it.
        newcomers: the account.
        stranger: True while the client has not logged in.
    """

    __slots__ = ("_inner", "_newcomers", "_stranger")

    def __init__(
        self, inner: Coroutine[Any, Any, T], newcomers: Newcomers, stranger: Callable[[], bool]
    ) -> None:
        self._inner = inner
        self._newcomers = newcomers
        self._stranger = stranger

    def send(self, value: Any) -> Any:
        """As of a coroutine."""
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        """As of a coroutine."""
        return self._step(self._inner.throw, *error)

    def _step(self, step: Callable[..., Any], *given: Any) -> Any:
        if not self._stranger():
            return step(*given)
        newcomers = self._newcomers
        newcomers.begin()
        try:
            return step(*given)
        finally:
            newcomers.end()

    def close(self) -> None:
        """As of a coroutine."""
        self._inner.close()

    def __await__(self) -> Charged[T]:
        return self

    def __iter__(self) -> Charged[T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)
