# SPDX-License-Identifier: Apache-2.0
"""A time limit that can stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Deadline:
    """Calls back once when its time is used up. To be used from one event loop.

    Args:
        seconds: of running time.
        expired: called then, unless cancelled before.
    """

    __slots__ = ("_expired", "_left", "_loop", "_paused", "_since", "_timer")

    def __init__(self, seconds: float, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expired = expired
        self._left = seconds
        self._paused = 0
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._left = 0.0
        self._expired()

    @property
    def left(self) -> float:
        """Seconds of running time that are left; 0 once it expired or was cancelled."""
        if self._timer is None:
            return self._left
        return max(0.0, self._left - (self._loop.time() - self._since))

    def cancel(self) -> None:
        """Never call back. Safe to call twice, and inside `stands_still`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._left = 0.0

    @contextmanager
    def stands_still(self) -> Iterator[None]:
        """Within, no time passes: somebody else than the peer is being waited for. May be nested."""
        self._paused += 1
        if self._timer is not None:
            self._left = self.left
            self._timer.cancel()
            self._timer = None
        try:
            yield
        finally:
            self._paused -= 1
            if not self._paused and self._left > 0:
                self._since = self._loop.time()
                self._timer = self._loop.call_later(self._left, self._fire)
