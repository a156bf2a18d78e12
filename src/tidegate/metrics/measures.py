# SPDX-License-Identifier: Apache-2.0
"""Everything that one server counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.metrics.counts import EventCounts
from tidegate.metrics.histogram import LAG_SECONDS, Histogram
from tidegate.metrics.history import History, InFlight
from tidegate.metrics.recent import Recent
from tidegate.metrics.timings import Timings

LAG_EVERY: Final = 0.5
"""Seconds between two looks at the delay of the event loop."""


class Measures:
    """The counts of one server. Nothing is counted before `count`.

    Args:
        add_sink: has events handed to a sink from now on.

    Attributes:
        events: counts of events.
        storage: requests to storage services, by kind and operation.
        hooks: calls of hooks, by name and kind (``program`` or ``http``).
        lag: delays of the event loop.
    """

    def __init__(self, add_sink: Callable[[EventCounts], Awaitable[None]]) -> None:
        self._add_sink = add_sink
        self._adding: asyncio.Task[None] | None = None
        self._history: History | None = None
        self.events: Final = EventCounts()
        self.storage: Final = Timings()
        self.hooks: Final = Timings()
        self.lag: Final = Histogram(LAG_SECONDS)

    async def count(self) -> EventCounts:
        """Count events from now on, unless that is done already."""
        if self._adding is None:
            self._adding = asyncio.ensure_future(self._add_sink(self.events))
        await self._adding
        return self.events

    async def remember(self, in_flight: InFlight) -> History:
        """Keep the last minute and the last hour from now on, unless that is done already.

        Args:
            in_flight: gives the transfers in flight.
        """
        if self._history is None:
            self.events.recent = Recent()
            self._history = History(self.events, self.events.recent, in_flight)
            self._history.start()
        await self.count()
        return self._history

    async def close(self) -> None:
        """Stop what `remember` began."""
        if self._history is not None:
            await self._history.close()

    async def watch_loop(self) -> None:
        """Measure the delay of the event loop until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self.lag.observe(loop.time() - due)
