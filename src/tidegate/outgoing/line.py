# SPDX-License-Identifier: Apache-2.0
"""Places for calls at once, and a bounded queue before them in which no source can take all."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tidegate.errors import OutsideBusy

SOURCE_PART: Final = 2
"""One source takes at most one part in so many of the places, and of the queue (but at least one)."""


class Line:
    """Admits `at_once` calls; `waiting` more wait in the order of their coming.

    Args:
        at_once: calls under way, at least 1.
        waiting: calls that may wait; the next is refused.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._share = max(1, at_once // SOURCE_PART)
        self._waiting_share = max(1, waiting // SOURCE_PART)
        self._running = 0
        self._running_by: Counter[str] = Counter()
        self._waiting_by: Counter[str] = Counter()
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Calls that hold a place."""
        return self._running

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    @asynccontextmanager
    async def place(self, source: str = "") -> AsyncIterator[None]:
        """Hold a place; a caller that is cancelled while it waits leaves the queue.

        Args:
            source: whose share this takes, usually an address; empty for none.

        Raises:
            OutsideBusy: the queue, or the source's part of it, is full.
        """
        await self._enter(source)
        try:
            yield
        finally:
            self._leave(source)

    async def wait_idle(self) -> None:
        """Wait until no call holds a place."""
        await self._idle.wait()

    def _admits(self, source: str) -> bool:
        return self._running < self._at_once and (not source or self._running_by[source] < self._share)

    def _take(self, source: str) -> None:
        self._running += 1
        self._running_by[source] += 1
        self._idle.clear()

    async def _enter(self, source: str) -> None:
        if self._admits(source) and not self._eligible():
            self._take(source)
            return
        if len(self._queue) >= self._waiting or (source and self._waiting_by[source] >= self._waiting_share):
            raise OutsideBusy(detail=f"{len(self._queue)} calls wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((source, turn))
        self._waiting_by[source] += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(source)  # the place was given just now
            else:
                self._queue.remove((source, turn))
                _less(self._waiting_by, source)
            raise

    def _eligible(self) -> bool:
        """True if somebody who waits could go on now."""
        return any(self._admits(source) for source, _ in self._queue)

    def _leave(self, source: str) -> None:
        self._running -= 1
        _less(self._running_by, source)
        if not self._running:
            self._idle.set()
        for place, (waiting, turn) in enumerate(self._queue):
            if self._admits(waiting):
                del self._queue[place]
                _less(self._waiting_by, waiting)
                self._take(waiting)
                turn.set_result(None)
                return


def _less(counts: Counter[str], source: str) -> None:
    counts[source] -= 1
    if counts[source] <= 0:
        del counts[source]
