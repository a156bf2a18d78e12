# SPDX-License-Identifier: Apache-2.0
"""The budget of one turn of the event loop, shared by all connections of a process.

A turn is what the loop does between two looks at its sockets. A peer can make work far faster than it is
done: uvloop hands over up to 8 MiB of one socket before it looks at another, and 8 MiB of 16-byte packets
are seconds of work. So whoever processes input does it in slices: `may_work` says whether it may begin,
`begin` gives the time at which it must stop, `end` accounts for what it took. Who may not begin, or was not
done, asks by `later` for a place in the queue; the queue is served in order, one slice each, in later turns.
That goes for work that a finished task sets off, and for work done ahead, as for input: the loop calls any
number of those in one turn.

Time is measured, not packets or bytes: the costs of packets differ by a factor of a thousand. Reading the
clock costs some 40 ns, so callers look after every few packets. Wall time is used because it is cheap; on a
busy machine it ends slices early, never late.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

SLICE_SECONDS: Final = 0.002
"""Work of one connection in one turn before the others have theirs."""

QUEUE_SECONDS: Final = 0.005
"""Work in one turn for those who waited in the queue."""

TURN_SECONDS: Final = 0.01
"""Work in one turn for everybody: what the queue leaves is for connections that just begin to speak."""

LOOK_SECONDS: Final = 0.001
"""Work after which the end of the turn is asked for; with less there is nothing to share."""

TASKS_A_TURN: Final = 3
"""Tasks that waited for a turn and have their slice in one."""

LOOK_EVERY: Final = 16
"""Packets or requests that a slice may process between two looks at the clock."""

log = logging.getLogger(__name__)


class Turns:
    """The turns of one event loop. Get it by `turns_of`.

    Attributes:
        used: seconds of work in this turn, by all.
        working: slices that are open, within each other; 0 outside.
        began: the time (`time.monotonic`) at which the open slice began.
        deadline: the time at which it has to stop.
    """

    __slots__ = (
        "__weakref__",
        "_call_soon",
        "_planned",
        "_queue",
        "_tasks",
        "began",
        "deadline",
        "used",
        "working",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_soon = loop.call_soon
        self._queue: deque[Callable[[], None]] = deque()
        self._tasks: deque[asyncio.Future[None]] = deque()
        self.used = 0.0
        self.began = 0.0
        self._planned = False
        self.working = 0
        self.deadline = 0.0

    @property
    def may_work(self) -> bool:
        """True if a connection may process input now; if not, ask for a place by `later`."""
        return self.used < TURN_SECONDS

    @property
    def crowded(self) -> bool:
        """True if somebody waits.

        Who used up its last slice then queues at once, and leaves the turn to those who say little.
        """
        return bool(self._queue or self._tasks)

    def begin(self) -> float:
        """Begin a slice.

        Returns:
            the time (`time.monotonic`) at which to stop. Within another slice that one's.
        """
        if not self.working:
            self.began = now = monotonic()
            self.deadline = now + SLICE_SECONDS
        self.working += 1
        return self.deadline

    def end(self) -> None:
        """End a slice, and account for it."""
        self.working -= 1
        if not self.working:  # what follows is `charge`
            used = self.used = self.used + monotonic() - self.began
            if used >= LOOK_SECONDS and not self._planned:
                self._planned = True
                self._call_soon(self._next)

    def charge(self, seconds: float) -> None:
        """Account for work that was done outside a slice, by a task."""
        self.used += seconds
        if self.used >= LOOK_SECONDS and not self._planned:
            self._planned = True
            self._call_soon(self._next)

    def until(self, now: float) -> float:
        """The time at which work that began just now has to stop, within a slice or outside."""
        return self.deadline if self.working else now + SLICE_SECONDS

    def later(self, work: Callable[[], None]) -> None:
        """Have `work` called in a later turn, within a slice of its own."""
        self._queue.append(work)
        if not self._planned:
            self._planned = True
            self._call_soon(self._next)

    async def another(self) -> None:
        """Wait for a later turn with room for the slice of a task; tasks come in order."""
        waits = asyncio.get_running_loop().create_future()
        self._tasks.append(waits)
        if not self._planned:
            self._planned = True
            self._call_soon(self._next)
        await waits

    def _next(self) -> None:
        """A turn begins: those who waited come first, in order."""
        self._planned = False
        self.used = 0.0
        queue = self._queue
        # Who asks again while it works waits for the next turn.
        for _ in range(len(queue)):
            if self.used >= QUEUE_SECONDS:
                break
            work = queue.popleft()
            self.begin()
            try:
                work()
            except Exception:
                log.exception("unforeseen error in work that was put off")
            finally:
                self.end()
        woken = 0
        while self._tasks and woken < TASKS_A_TURN:
            waits = self._tasks.popleft()
            if not waits.done():
                waits.set_result(None)
                woken += 1
        if (queue or self._tasks) and not self._planned:
            self._planned = True
            self._call_soon(self._next)


_last: tuple[Callable[[], object], Turns | None] = (lambda: None, None)
_turns: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = weakref.WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop | None = None) -> Turns:
    """The turns of a loop, by default of the one that runs."""
    global _last  # most processes have one loop, and ask for its turns ten times a login
    loop = loop or asyncio.get_running_loop()
    if _last[0]() is loop and _last[1] is not None:
        return _last[1]
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = Turns(loop)
    _last = weakref.ref(loop), found
    return found
