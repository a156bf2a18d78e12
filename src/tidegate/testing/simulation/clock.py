# SPDX-License-Identifier: Apache-2.0
"""A clock that stands still until nobody has anything to do, and an event loop that lives by it.

`SimulatedLoop` is an ordinary asyncio loop without sockets and without waiting: callbacks run in the order
asyncio promises, and when none is ready the clock goes to the next timer at once. What would come from
outside (threads, servers) comes from timers, so one seed gives one order of events.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Final

DAY_SECONDS: Final = 86_400.0
_TAKES_TIME: Final = ("time", "monotonic", "monotonic_ns")


class StuckError(AssertionError):
    """Nothing is ready, no timer runs, and the simulation has not ended: something waits for ever."""


class Clock:
    """Seconds that pass only when the loop says so.

    Attributes:
        now: monotonic seconds since the history began.
        wall: what `time.time` says at `now` zero.
        passed: seconds by which it is later than the system thinks; days pass by moving it.
    """

    __slots__ = ("now", "passed", "wall")

    def __init__(self) -> None:
        self.now = 0.0
        # Files get their times from the system: that is where it starts, and none is from the future.
        self.wall = time.time()
        self.passed = 0.0

    def monotonic(self) -> float:
        """As `time.monotonic`; never zero, which stands for "not asked" in places."""
        return 1000.0 + self.now

    def monotonic_ns(self) -> int:
        """As `time.monotonic_ns`."""
        return int(self.monotonic() * 1e9)

    def time(self) -> float:
        """As `time.time`."""
        return max(self.wall + self.passed + self.now, time.time() + self.passed)

    @contextmanager
    def installed(self, *packages: str) -> Iterator[None]:
        """Let the modules of some packages that are imported by now take their time from this clock.

        Args:
            packages: for instance ``tidegate.vfs``.
        """
        shim = _Shim(self)
        changed: list[tuple[dict[str, Any], str, Any]] = []
        real = {getattr(time, name): name for name in _TAKES_TIME}
        prefixes = tuple(f"{package}." for package in packages)
        for name, module in list(sys.modules.items()):
            if name not in packages and not name.startswith(prefixes):
                continue
            names = vars(module)
            if names.get("time") is time:
                changed.append((names, "time", time))
                names["time"] = shim
            for taken in _TAKES_TIME:
                there = names.get(taken)
                if callable(there) and there in real:
                    changed.append((names, taken, there))
                    names[taken] = getattr(self, real[there])
        try:
            yield
        finally:
            for names, name, value in changed:
                names[name] = value


class _Shim:
    """Stands for the module `time`."""

    def __init__(self, clock: Clock) -> None:
        self.time = clock.time
        self.monotonic = clock.monotonic
        self.monotonic_ns = clock.monotonic_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class _Skips:
    """The loop's selector: there is nothing to wait for but time, and that passes at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def select(self, timeout: float | None) -> list[Any]:
        """No events; the clock has moved by the time-out."""
        if timeout is None:
            raise StuckError("nothing is ready and no timer runs: something waits for ever")
        if timeout > 0:
            self._clock.now += timeout
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module.

    Args:
        clock: its time.
        executor: runs what goes to threads.
    """

    def __init__(self, clock: Clock, executor: Executor | None = None) -> None:
        super().__init__()
        self._selector = _Skips(clock)
        self._clock = clock
        self.executor = executor

    def time(self) -> float:
        """The clock's seconds."""
        return self._clock.now

    def run_in_executor(  # type: ignore[override]  # typeshed spells it with a TypeVarTuple
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """In the simulation's executor, if none is named."""
        chosen = executor or self.executor
        if chosen is None:
            raise RuntimeError("this simulation has no executor")
        return asyncio.wrap_future(chosen.submit(func, *args), loop=self)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """The loop never sleeps, so nobody has to wake it."""
