# SPDX-License-Identifier: Apache-2.0
"""Kept events: stored before anybody is told, handed on in order, tried again, bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.logs.test_logs_lines import EVENTS

from tidegate.abc import KeptEvent
from tidegate.errors import ProviderUnavailable
from tidegate.events import kinds
from tidegate.events.batches import KeptUse
from tidegate.events.bus import Bus
from tidegate.events.documents import NAMES, decode, document_of, encode, name_of
from tidegate.events.outbox import Outbox, Timing
from tidegate.model import NOWHERE, Action, Attrs
from tidegate.store.outbox import MemoryOutbox, OutboxRow

QUICK = Timing(record_seconds=5, first_delay=0.02, trim_seconds=0)
DONE = kinds.Transferred(NOWHERE, 1.0, Action.UPLOAD, virtual_path="/x")


class Store(MemoryOutbox):
    """An outbox whose database can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.back = asyncio.Event()
        self.back.set()
        self.calls = self.reads = self.advances = 0

    async def after(self, position: int, limit: int) -> list[OutboxRow]:
        self.reads += 1
        return await super().after(position, limit)

    async def advance(self, sink: str, server: str, position: int) -> bool:
        self.advances += 1
        return await super().advance(sink, server, position)

    async def append(self, documents: Sequence[str]) -> int:
        self.calls += 1
        if not self.back.is_set():
            raise ProviderUnavailable
        return await super().append(documents)


class Taker:
    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[int] = []
        self.seen = asyncio.Condition()

    async def open(self) -> None:
        pass

    async def deliver(self, events: Sequence[KeptEvent]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("not now")
        async with self.seen:
            self.taken += [event.id for event in events]
            self.seen.notify_all()

    async def close(self) -> None:
        pass

    async def wait(self, count: int) -> list[int]:
        async with asyncio.timeout(5), self.seen:
            await self.seen.wait_for(lambda: len(self.taken) >= count)
        return self.taken


@asynccontextmanager
async def opened(store: Store, *takers: Taker, **more: Any) -> AsyncIterator[Bus]:
    uses = [KeptUse(f"t{n}", taker, frozenset(("upload",))) for n, taker in enumerate(takers)]
    bus = Bus([])
    await bus.open()
    await bus.keep_in(Outbox(store, uses, server="here", **{"limit": 100, "timing": QUICK, **more}))
    try:
        yield bus
    finally:
        await bus.close()


async def test_an_event_is_stored_before_record_returns() -> None:
    store, taker = Store(), Taker(failures=1)
    async with opened(store, taker, timing=Timing(first_delay=0.3)) as bus:
        await bus.record(DONE)
        (row,) = await store.after(0, 10)
        assert json.loads(row.document)["virtual_path"] == "/x"
        await bus.record(kinds.Operated(action=Action.MKDIR))  # nobody wants it
        bus.emit(DONE)
        bus.emit(DONE, kept=True)
        assert await taker.wait(2) == [1, 2]


async def test_what_many_do_at_once_is_one_transaction() -> None:
    store, taker = Store(), Taker()
    async with opened(store, taker) as bus:
        await asyncio.gather(*(bus.record(DONE) for _ in range(90)))
        assert store.calls <= 2
        assert await taker.wait(90) == list(range(1, 91))


async def test_a_sink_that_fails_holds_up_nobody_and_gets_all(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Taker(), Taker(failures=1)
    async with opened(Store(), good, bad) as bus:
        for _ in range(3):
            await bus.record(DONE)
        assert await good.wait(3) == [1, 2, 3]
        assert await bad.wait(3) == [1, 2, 3]
    assert sum("kept sink t1: OSError: not now" in text for text in caplog.messages) == 1


async def test_nobody_is_told_while_the_database_is_away() -> None:
    store, taker = Store(), Taker()
    async with opened(store, taker, timing=Timing(record_seconds=0.05, first_delay=0.02)) as bus:
        store.back.clear()
        with pytest.raises(ProviderUnavailable):
            await bus.record(DONE)
        store.back.set()
        assert await taker.wait(1) == [1]


async def test_a_full_outbox_loses_the_newest_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    store, taker = Store(), Taker(failures=1)
    async with opened(store, taker, limit=3, timing=Timing(first_delay=0.3, trim_seconds=0)) as bus:
        for _ in range(5):
            await bus.record(DONE)
        assert not bus.full
        assert len(await store.after(0, 100)) == 3
        assert await taker.wait(3) == [1, 2, 3]
    assert sum("the outbox is full" in text for text in caplog.messages) == 1
    assert any("2 events were lost" in text for text in caplog.messages)


async def test_a_full_outbox_that_refuses_loses_nothing() -> None:
    store, taker = Store(), Taker(failures=1)
    async with opened(
        store, taker, limit=3, refuse_when_full=True, timing=Timing(first_delay=0.3, trim_seconds=0)
    ) as bus:
        for _ in range(3):
            await bus.record(DONE)
        assert bus.full
        with pytest.raises(ProviderUnavailable):
            await bus.keep(DONE)
        bus.emit(DONE)  # was under way: it is not lost
        assert await taker.wait(4) == [1, 2, 3, 4]
        async with asyncio.timeout(5):
            while bus.full:
                await asyncio.sleep(0)


async def test_what_every_sink_has_is_removed() -> None:
    store, one, two = Store(), Taker(), Taker()
    async with opened(store, one, two) as bus:
        await asyncio.gather(*(bus.record(DONE) for _ in range(20)))
        await one.wait(20)
        await two.wait(20)
        async with asyncio.timeout(5):
            while await store.after(0, 100):
                await asyncio.sleep(0)


async def test_a_row_of_another_version_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    store, taker = Store(), Taker()
    await store.register(["t0"])
    await store.append(['{"event": "upload", "type": "Teleported"}', encode(DONE)])
    async with opened(store, taker):
        assert await taker.wait(1) == [2]
    assert any("event 1 is left out: unknown kind of event 'Teleported'" in text for text in caplog.messages)


@pytest.mark.parametrize(
    "event",
    [
        *(event for event, *_ in EVENTS),
        kinds.Operated(
            action=Action.CHTIMES, virtual_path="/caf\u00e9\udcff\n", attrs=Attrs(mtime_ns=10**30)
        ),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_event_goes_round_as_a_document(event: kinds.Event) -> None:
    text = encode(event)
    assert text.isascii()
    again, document = decode(text)
    assert again == event
    assert type(again) is type(event)
    assert again.at == event.at
    assert document["event"] == name_of(event) in NAMES
    assert document == json.loads(json.dumps(document_of(event)))


async def test_what_was_stored_here_is_not_read_again_and_the_cursor_is_written_for_many() -> None:
    store, taker = Store(), Taker()
    async with opened(store, taker) as bus:
        for _ in range(20):
            await bus.record(DONE)
        assert await taker.wait(20) == list(range(1, 21))
        assert store.reads <= 3
        assert store.advances <= 3
    assert await store.claim("t0", "next", seconds=60) == 20


async def test_what_came_since_the_cursor_was_written_comes_again_with_its_id() -> None:
    store, taker, after = Store(), Taker(), Taker()
    async with opened(store, taker) as bus:
        await bus.record(DONE)
        assert await taker.wait(1) == [1]
        await bus.record(DONE)
        assert await taker.wait(2) == [1, 2]
        other = Outbox(store, [KeptUse("t0", after, frozenset(("upload",)))], server="here", limit=100)
        await other.open()  # as if this process had ended before it wrote the cursor
        assert await after.wait(1) == [2]
        await other.close()


async def test_what_another_server_stores_in_between_is_read() -> None:
    store, taker = Store(), Taker()
    async with opened(store, taker) as bus:
        await bus.record(DONE)
        assert await taker.wait(1) == [1]
        await store.append([encode(DONE)])
        await bus.record(DONE)
        assert await taker.wait(3) == [1, 2, 3]
