# SPDX-License-Identifier: Apache-2.0
"""The last hour in points, from what is counted anyway, kept from the start of the server (docs/adr/0083)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tidegate.metrics.counts import EventCounts
from tidegate.metrics.recent import Recent
from tidegate.model.action import DIRECTIONS

EVERY_SECONDS: Final = 10.0
"""Seconds between two points."""
POINTS: Final = 360
"""Points that are kept: an hour."""
MAX_GAP_SECONDS: Final = 100.0
"""After a longer pause (a host that slept) no point is made: an average over it would tell nothing."""

InFlight = Callable[[], Mapping[str, tuple[int, int]]]
"""Gives number and bytes of the transfers in flight, by direction (``in``, ``out``)."""


class Point(NamedTuple):
    """One moment.

    Attributes:
        at: seconds since the epoch.
        bytes_in: bytes a second since the point before; `bytes_out` likewise.
        logins: of the last minute; `refusals` likewise.
    """

    at: int
    bytes_in: float
    bytes_out: float
    logins: int
    refusals: int


class MovedBytes:
    """Bytes that were moved since the start, those of transfers in flight included.

    The end of a transfer is told a moment after it has gone from the list; the totals never fall meanwhile.

    Args:
        events: has the bytes of transfers that ended.
    """

    def __init__(self, events: EventCounts) -> None:
        self._events = events
        self._most = {"in": 0.0, "out": 0.0}

    def totals(self, in_flight: Mapping[str, tuple[int, int]]) -> Mapping[str, float]:
        """Bytes by direction, as of now."""
        now = {name: float(in_flight.get(name, (0, 0))[1]) for name in self._most}
        for key, count in self._events.transfers.items():
            now[DIRECTIONS[key[0]]] += count.size
        self._most = {name: max(self._most[name], value) for name, value in now.items()}
        return self._most


class History:
    """Adds a point every `EVERY_SECONDS`. Life: constructed (pure), `start`, read, `close`.

    Args:
        events: counts of the server.
        recent: its last minute.
        in_flight: gives the transfers in flight.
        monotonic: seconds.

    Attributes:
        recent: as given.
        points: the last `POINTS`, the newest last.
    """

    def __init__(
        self,
        events: EventCounts,
        recent: Recent,
        in_flight: InFlight,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recent: Final = recent
        self.points: Final[deque[Point]] = deque(maxlen=POINTS)
        self._moved = MovedBytes(events)
        self._in_flight = in_flight
        self._monotonic = monotonic
        self._before = self._now()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Add points from now on."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="history of metrics")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def add(self) -> None:
        """Add the point of this moment."""
        (before, first), (now, last) = self._before, self._now()
        self._before = now, last
        elapsed = now - before
        if 0 < elapsed <= MAX_GAP_SECONDS:
            self.points.append(
                Point(
                    int(time.time()),
                    (last["in"] - first["in"]) / elapsed,
                    (last["out"] - first["out"]) / elapsed,
                    self.recent.logins.counts().total(),
                    self.recent.refusals.counts().total(),
                )
            )

    def _now(self) -> tuple[float, Mapping[str, float]]:
        return self._monotonic(), self._moved.totals(self._in_flight())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.add()
