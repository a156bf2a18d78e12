# SPDX-License-Identifier: Apache-2.0
"""A bounded bus between those who act and those who keep record."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from tidegate.abc import Sink
from tidegate.errors import ProviderUnavailable
from tidegate.events.kinds import Event
from tidegate.events.outbox import Outbox

QUEUE_LIMIT: Final = 10_000
"""Events waiting for one sink; beyond it the sink loses the newest, and says so once it has caught up."""

GATHER_SECONDS: Final = 0.02
"""The least seconds between two batches for a sink that never waits; the first event goes at once."""

log = logging.getLogger(__name__)


class Bus:
    """Hands each event to every sink, in order, from one task a sink (or a callback, if it never waits).

    What kept sinks want goes to the outbox besides.

    Attributes:
        uploads: True while ends of uploads are kept; downloads likewise.

    Life: constructed, `open`, `emit`..., `close` (delivers what is queued, at most `drain_seconds`).
    """

    def __init__(self, sinks: Sequence[Sink], *, queue_limit: int = QUEUE_LIMIT) -> None:
        self._queues = [_queue_of(sink, queue_limit) for sink in sinks]
        self._takers: dict[type, tuple[_AnyQueue, ...]] = {}
        self._limit = queue_limit
        self._outbox: Outbox | None = None
        self.uploads = self.downloads = False

    async def open(self) -> None:
        """Open the sinks and start delivering."""
        for queue in self._queues:
            await queue.open()

    async def add(self, sink: Sink) -> None:
        """Open another sink, which gets what comes from now on."""
        queue = _queue_of(sink, self._limit)
        self._queues.append(queue)
        self._takers.clear()
        await queue.open()

    async def keep_in(self, outbox: Outbox) -> None:
        """Open an outbox, which gets what comes from now on."""
        self._outbox = outbox
        await outbox.open()
        self.look()

    def look(self) -> None:
        """Find out which events are kept, after that has changed."""
        names = frozenset[str]() if self._outbox is None else self._outbox.names()
        self.uploads = "upload" in names or "upload_failed" in names
        self.downloads = "download" in names or "download_failed" in names

    @property
    def outbox(self) -> Outbox | None:
        """The outbox of kept events; None if no sink wants that."""
        return self._outbox

    @property
    def full(self) -> bool:
        """True while nothing is to be done whose events would be kept."""
        return self._outbox is not None and self._outbox.full

    @property
    def waiting(self) -> int:
        """Events that wait for the sink that is furthest behind."""
        return max((queue.waiting for queue in self._queues), default=0)

    def wants(self, event: Event) -> bool:
        """True if a kept sink gets events like this one."""
        return self._outbox is not None and self._outbox.wants(event)

    def emit(self, event: Event, *, kept: bool = False) -> None:
        """Queue an event for every sink. Never blocks, never raises.

        Args:
            event: what happened.
            kept: `keep` was called for it.
        """
        for queue in self._takers.get(type(event)) or self._find_takers(type(event)):
            queue.put(event)
        if not kept and self._outbox is not None and self._outbox.wants(event):
            self._outbox.put(event)

    async def keep(self, event: Event) -> None:
        """Store an event for kept sinks alone, before what it tells of is done; `emit` follows it.

        Raises:
            ProviderUnavailable: it is not stored, or there is no room.
        """
        if self._outbox is not None and self._outbox.wants(event):
            if self._outbox.full:
                raise ProviderUnavailable
            await self._outbox.keep(event)

    async def record(self, *events: Event) -> None:
        """As `emit` for each; returns when no crash can take away those that a kept sink wants.

        To be awaited before somebody is told that what they tell of is done.

        Raises:
            ProviderUnavailable: it is not stored yet; nobody should be told.
        """
        for event in events:
            for queue in self._takers.get(type(event)) or self._find_takers(type(event)):
                queue.put(event)
        outbox = self._outbox
        if outbox is not None and (wanted := [event for event in events if outbox.wants(event)]):
            await asyncio.gather(*map(outbox.keep, wanted))

    def record_nowait(self, event: Event) -> asyncio.Future[None] | None:
        """As `record` of one event; the future ends when it is stored, None if no kept sink wants it.

        Its exception is `ProviderUnavailable`: the event is not stored yet, and nobody should be told.
        """
        for queue in self._takers.get(type(event)) or self._find_takers(type(event)):
            queue.put(event)
        outbox = self._outbox
        return outbox.keep_nowait(event) if outbox is not None and outbox.wants(event) else None

    def _find_takers(self, kind: type) -> tuple[_AnyQueue, ...]:
        """The queues of the sinks that take a kind of event; kept, because each act asks."""
        found = tuple(queue for queue in self._queues if queue.kinds is None or issubclass(kind, queue.kinds))
        self._takers[kind] = found
        return found

    async def close_outbox(self, drain_seconds: float = 5.0) -> None:
        """Store what waits, and close the kept sinks; while the data provider is still open."""
        if self._outbox is not None:
            outbox, self._outbox = self._outbox, None
            self.look()
            await outbox.close(drain_seconds)

    async def close(self, drain_seconds: float = 5.0) -> None:
        """Deliver what is queued, then close the sinks."""
        await self.close_outbox(drain_seconds)
        for queue in self._queues:
            await queue.close(drain_seconds)


class _SinkQueue:
    """One sink with its queue."""

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self.kinds = _kinds_of(sink)
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(limit + 1)  # one place kept for the end mark
        self._limit = limit
        self._lost = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    async def open(self) -> None:
        await self._sink.open()
        self._task = asyncio.create_task(self._run(), name=f"sink {type(self._sink).__name__}")

    def put(self, event: Event) -> None:
        if self._queue.qsize() >= self._limit:
            self._lost += 1
        else:
            self._queue.put_nowait(event)

    async def _run(self) -> None:
        while (event := await self._queue.get()) is not None:
            try:
                await self._sink.handle(event)
            except Exception:  # a sink's fault must not stop the others' record
                log.exception("sink %s failed on %s", type(self._sink).__name__, type(event).__name__)
            if self._lost and self._queue.empty():
                log.warning("sink %s lost %d events", type(self._sink).__name__, self._lost)
                self._lost = 0

    async def close(self, drain_seconds: float) -> None:
        if self._task is not None:
            self._queue.put_nowait(None)
            try:
                await asyncio.wait_for(self._task, drain_seconds)
            except TimeoutError:
                log.warning("sink %s did not drain in %s s", type(self._sink).__name__, drain_seconds)
            self._task = None
        await self._sink.close()


class _QuickSinkQueue:
    """A sink that never waits, with its queue: emptied by a callback of the loop, after what is running now.

    So whoever emitted first answers its client, and no task is woken. What comes soon after is gathered for a
    moment: twenty events in a row cost half of what they cost one by one between other work.
    """

    def __init__(self, sink: Sink, handle: Callable[[Event], None], limit: int) -> None:
        self._sink = sink
        self.kinds = _kinds_of(sink)
        self._take: Callable[[deque[Event]], None] = getattr(sink, "take_nowait", self._each)
        self._gather = 0.0 if getattr(sink, "prompt", False) else GATHER_SECONDS
        self._handle = handle
        self._waiting: deque[Event] = deque()
        self._limit = limit
        self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._planned = False
        self._drained = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def open(self) -> None:
        await self._sink.open()
        self._loop = asyncio.get_running_loop()
        self._drain()

    def put(self, event: Event) -> None:
        if len(self._waiting) >= self._limit:
            self._lost += 1
            return
        self._waiting.append(event)
        if not self._planned and self._loop is not None:
            self._planned = True
            wait = self._gather and self._drained + self._gather - self._loop.time()
            if wait > 0:
                self._loop.call_later(wait, self._drain)
            else:
                self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._planned = False
        if self._loop is not None:
            self._drained = self._loop.time()
        while before := len(self._waiting):
            try:
                self._take(self._waiting)
            except Exception:  # a sink's fault must not stop the others' record
                log.exception("sink %s failed", type(self._sink).__name__)
                if len(self._waiting) == before:  # what it failed on would be there for ever
                    self._waiting.popleft()
        if self._lost:
            log.warning("sink %s lost %d events", type(self._sink).__name__, self._lost)
            self._lost = 0

    def _each(self, waiting: deque[Event]) -> None:
        while waiting:
            event = waiting.popleft()
            try:
                self._handle(event)
            except Exception:  # one event must not stop the others
                log.exception("sink %s failed on %s", type(self._sink).__name__, type(event).__name__)

    async def close(self, drain_seconds: float) -> None:
        del drain_seconds
        if self._loop is not None:
            self._drain()
            self._loop = None
        await self._sink.close()


_AnyQueue = _SinkQueue | _QuickSinkQueue


def _kinds_of(sink: Sink) -> tuple[type, ...] | None:
    """The kinds of event that a sink takes; None: all."""
    kinds = getattr(sink, "kinds", None)
    return None if kinds is None else tuple(kinds)


def _queue_of(sink: Sink, limit: int) -> _AnyQueue:
    handle = getattr(sink, "handle_nowait", None)
    return _SinkQueue(sink, limit) if handle is None else _QuickSinkQueue(sink, handle, limit)
