# SPDX-License-Identifier: Apache-2.0
"""Events that must not be lost: into the data provider at once, from there to each kept sink.

One task writes, so that what many sessions do at the same time is one transaction. One task a sink hands on,
from the sink's cursor, and tries again for ever. Where several servers share a provider, one of them hands on
to a sink at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tidegate.abc import KeptSink
from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.events.batches import (
    ADVANCE_SECONDS,
    BATCH_EVENTS,
    CLAIM_SECONDS,
    KeptUse,
    Place,
    Recent,
    RecentRow,
    deliver,
)
from tidegate.events.documents import encode
from tidegate.events.kinds import Event

if TYPE_CHECKING:
    from tidegate.store.outbox import OutboxRow, OutboxStore

RECORD_SECONDS: Final = 10.0
"""Seconds that an act waits for its event to be stored; then its client is told that it failed."""
PENDING_LIMIT: Final = 10_000
"""Events waiting in memory to be stored; what comes then is as if the outbox were full."""
WRITE_EVENTS: Final = 200
"""Events of one transaction."""
DELIVER_SECONDS: Final = 40.0
"""Seconds that a sink may take for a batch."""
LOOK_SECONDS: Final = 15.0
"""Seconds between two looks of a sink's task for events of other servers, and for servers that have gone."""
GATHER_SECONDS: Final = 0.05
"""The least seconds between two batches for a sink: what comes meanwhile is handed on together."""
TRIM_SECONDS: Final = 10.0
"""The least seconds between two removals of what every sink has, unless a full batch was handed on."""
FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 60.0
"""Seconds between tries: doubled each time, from the one to the other."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """See the constants of this module."""

    record_seconds: float = RECORD_SECONDS
    first_delay: float = FIRST_DELAY
    trim_seconds: float = TRIM_SECONDS


class Outbox:
    """Stores events and hands them on. Life: constructed, `open`, `put` and `keep`..., `close`.

    Args:
        store: the provider's.
        uses: the sinks; at least one.
        server: this server's name among those that share the provider.
        limit: events that may wait in the store.
        timing: bounds of what may take time; tests are in a hurry.
        refuse_when_full: `full` says so, and acts are refused; else the newest events are lost.
    """

    def __init__(
        self,
        store: OutboxStore,
        uses: Sequence[KeptUse],
        *,
        server: str,
        limit: int,
        refuse_when_full: bool = False,
        timing: Timing | None = None,
    ) -> None:
        self._timing = timing or Timing()
        self._store = store
        self._uses = tuple(uses)
        self._names = [use.name for use in uses]
        self._server = server
        self._limit = limit
        self._refuses = refuse_when_full
        self._pending: deque[tuple[Event, str, asyncio.Future[None]]] = deque()
        self._recent = Recent()
        self._stored = 0
        self._lost = 0
        self._registered = False
        self._trimmed = 0.0
        self._filled = asyncio.Event()
        self._places = [Place(use) for use in uses]
        self._closing = False
        self._stop = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._deliveries: list[asyncio.Task[None]] = []
        self._open: list[KeptSink] = []

    def wants(self, event: Event) -> bool:
        """True if some sink gets events like this one."""
        return any(use.takes(event) for use in self._uses)

    def names(self) -> frozenset[str]:
        """Names of the events that some sink gets now."""
        return frozenset[str]().union(*(use.names() for use in self._uses))

    @property
    def waiting(self) -> int:
        """Events that some kept sink does not have yet."""
        return self._stored + len(self._pending)

    @property
    def full(self) -> bool:
        """True while acts whose events would be kept are to be refused."""
        return self._refuses and self._no_room()

    def _no_room(self) -> bool:
        return self._stored + len(self._pending) >= self._limit or len(self._pending) >= PENDING_LIMIT

    async def open(self) -> None:
        """Open the sinks and begin."""
        for use in self._uses:
            self._open.append(use.sink)
            await use.sink.open()
        self._writer = asyncio.create_task(self._write(), name="outbox")
        for place in self._places:
            task = asyncio.create_task(self._hand_on(place), name=f"kept sink {place.use.name}")
            self._deliveries.append(task)

    # -- into the store ------------------------------------------------------------------------------

    def put(self, event: Event) -> asyncio.Future[None]:
        """Have an event stored; the future ends when it is."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._no_room() and (not self._refuses or len(self._pending) >= PENDING_LIMIT):
            self._lost += 1
            if self._lost == 1:
                log.error(
                    "the outbox is full (%d), a kept sink is behind: events are lost until it catches up",
                    self._stored + len(self._pending),
                )
            done.set_result(None)
            return done
        self._pending.append((event, encode(event), done))
        self._filled.set()
        return done

    async def keep(self, event: Event) -> None:
        """Have an event stored, and wait for it.

        Raises:
            ProviderUnavailable: it is not stored yet. It will be, if the provider answers before the process
                ends.
        """
        await asyncio.shield(self.keep_nowait(event))

    def keep_nowait(self, event: Event) -> asyncio.Future[None]:
        """As `keep`: the future ends when the event is stored, or with its exception."""
        done = self.put(event)
        if not done.done():
            timer = done.get_loop().call_later(self._timing.record_seconds, _late, done)
            done.add_done_callback(lambda _: timer.cancel())
        return done

    async def _write(self) -> None:
        delay = 0.0
        while True:
            await self._filled.wait()
            if self._closing and not self._pending:
                return
            batch = [self._pending[index] for index in range(min(len(self._pending), WRITE_EVENTS))]
            try:
                await self._register()
                if batch:
                    last = await self._store.append([document for _, document, _ in batch])
                    self._recent.add(last - len(batch) + 1, [(event, text) for event, text, _ in batch])
            except Exception as error:
                if not delay:
                    log.error("events cannot be kept: %s; tried again until they are", _said(error))
                delay = min(max(delay * 2, self._timing.first_delay), LAST_DELAY)
                await self._pause(delay)
                continue
            if delay:
                log.info("events are kept again")
            delay = 0.0
            self._stored += len(batch)
            for _, _, done in batch:
                self._pending.popleft()
                if not done.done():
                    done.set_result(None)
            if not self._pending and not self._closing:
                self._filled.clear()
            for place in self._places:
                place.news.set()

    async def _after(self, position: int) -> Sequence[OutboxRow | RecentRow]:
        """The next rows after a position."""
        recent = self._recent.after(position)
        return recent or await self._store.after(position, BATCH_EVENTS)

    async def _register(self) -> None:
        if not self._registered:
            await self._store.register(self._names)
            self._registered = True
            self._stored = await self._store.trim(self._names)

    # -- out of it -----------------------------------------------------------------------------------

    async def _hand_on(self, place: Place) -> None:
        use, delay = place.use, 0.0
        while not self._closing:
            place.news.clear()
            try:
                count = await self._hand_on_once(place)
            except Exception as error:
                if not delay:
                    log.warning(
                        "kept sink %s: %s; tried again until it takes the events", use.name, _said(error)
                    )
                delay = min(max(delay * 2, self._timing.first_delay), LAST_DELAY)
                place.claimed = -CLAIM_SECONDS  # somebody else may have it by now
                await self._pause(delay)
                continue
            if delay:
                log.info("kept sink %s takes events again", use.name)
                delay = 0.0
            if not count or place.position == self._recent.last:
                wait = LOOK_SECONDS if place.position == place.written else ADVANCE_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await place.news.wait()
        with contextlib.suppress(ProviderError):
            await self._advance(place)

    async def _hand_on_once(self, place: Place) -> int:
        """Hand on a batch; returns its size."""
        await self._claim(place)
        count = 0
        if place.position is not None and await self._after(place.position):
            await self._pause(place.handed + GATHER_SECONDS - time.monotonic())
            rows = await self._after(place.position)
            place.handed = time.monotonic()
            if self._closing:
                return 0
            async with asyncio.timeout(DELIVER_SECONDS):
                await deliver(place.use, rows)
            place.position, count = rows[-1].id, len(rows)
        if not count or count == BATCH_EVENTS or self._no_room() or place.late():
            await self._advance(place)
        await self._trim(now=count == BATCH_EVENTS)
        return count

    async def _claim(self, place: Place) -> None:
        now = time.monotonic()
        if place.position is None or now - place.claimed > CLAIM_SECONDS / 3:
            place.claimed = now
            await self._register()
            found = await self._store.claim(place.use.name, self._server, seconds=CLAIM_SECONDS)
            place.written = found
            place.position = found if found is None or place.position is None else max(found, place.position)

    async def _advance(self, place: Place) -> None:
        position = place.position
        if position is not None and position != place.written:
            place.written, place.advanced = position, time.monotonic()
            if not await self._store.advance(place.use.name, self._server, position):
                place.position = None

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _trim(self, *, now: bool) -> None:
        moment = time.monotonic()
        if now or moment - self._trimmed > self._timing.trim_seconds or self._no_room():
            self._trimmed = moment
            self._stored = await self._store.trim(self._names)
            if self._lost and not self._no_room():
                log.error("the outbox has room again; %d events were lost", self._lost)
                self._lost = 0

    # -- the end -------------------------------------------------------------------------------------

    async def close(self, drain_seconds: float = 5.0) -> None:
        """Store what waits and let batches end; then close the sinks. What they have not yet stays kept."""
        self._closing = True
        self._stop.set()
        self._filled.set()
        for place in self._places:
            place.news.set()
        tasks = [task for task in (self._writer, *self._deliveries) if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._pending:
            log.error("%d events could not be kept", len(self._pending))
        self._writer, self._deliveries = None, []
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(drain_seconds):
                for name in self._names if self._registered else ():
                    await self._store.release(name, self._server)
        for sink in self._open:
            try:
                await sink.close()
            except Exception:
                log.exception("a kept sink could not be closed")
        self._open = []


def _late(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(ProviderUnavailable())


def _said(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
