# SPDX-License-Identifier: Apache-2.0
"""A meter of event loop turns: how long the longest one was, in processor time of the loop's thread.

Processor time and not wall time: what other processes do, or a debugger, does not count.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final, Self

IDLE_SECONDS: Final = 0.001
"""Processor time of a turn in which nothing, or a single request, was done."""


class TurnMeter:
    """Measures every turn of the running loop while it is entered. Keeps the loop busy, so it is for tests.

    What lives already is taken from the garbage collector meanwhile: a full collection over all that a test
    run has loaded takes longer than a turn may. Where something was taken from it before, that stays so.

    Attributes:
        longest: seconds of processor time of the longest turn.
        turns: number in all.
        worked: number that took more than `IDLE_SECONDS`.
        idle: number in a row, up to now, that did not.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.turns = 0
        self.worked = 0
        self.idle = 0
        self._last = 0.0
        self._frozen = 0
        self._handle: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Begin with the next turn."""
        gc.collect()
        self._frozen = gc.get_freeze_count()
        gc.freeze()
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._handle = self._loop.call_soon(self._probe)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._frozen:
            gc.unfreeze()

    def _probe(self) -> None:
        # Called once a turn: what is scheduled by a callback runs in the next one.
        now = time.thread_time()
        if self._last:
            took = now - self._last
            self.longest = max(self.longest, took)
            self.turns += 1
            if took > IDLE_SECONDS:
                self.worked += 1
                self.idle = 0
            else:
                self.idle += 1
        self._last = now
        assert self._loop is not None
        self._handle = self._loop.call_soon(self._probe)
