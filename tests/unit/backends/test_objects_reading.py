# SPDX-License-Identifier: Apache-2.0
"""Reading objects: ranges ahead of the client within bounds, one content, and what fails."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket

from tidegate.backends.objects import reading
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import Limits, ObjectChanged
from tidegate.backends.objects.budget import ByteBudget
from tidegate.backends.objects.reading import ObjectReader
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.errors import StorageFailed
from tidegate.testing.backend import READ, names

LARGE = Limits(put=1 << 30, copy=1 << 30, part_least=4096, part=1 << 30, parts=1000, object=1 << 40)
DATA = random.Random(5).randbytes(3_000_000)


async def reader_of(
    bucket: MemoryBucket,
    shared: ObjectShared | None = None,
    data: bytes = DATA,
    *,
    listed: bool = False,
    **settings: int,
) -> ObjectReader:
    """A handle on an object with `data`."""
    bucket.opened = True
    await bucket.put("f", data, {})
    backend = ObjectBackend(bucket, "", ObjectSettings(**settings), shared)  # type: ignore[arg-type]
    if listed:  # then opening sends no request
        await names(backend)
    handle = await backend.open_file("f", READ)
    assert isinstance(handle, ObjectReader)
    bucket.calls.clear()
    return handle


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_BYTES", 16384)
    monkeypatch.setattr(reading, "WHOLE_BYTES", 65536)
    monkeypatch.setattr(reading, "BEHIND_BYTES", 65536)


async def test_a_small_file_is_one_request() -> None:
    bucket = MemoryBucket(limits=LARGE)
    handle = await reader_of(bucket, data=DATA[:60000])
    pieces = await asyncio.gather(*(handle.read(at, 1000) for at in range(0, 60000, 1000)))
    assert b"".join(pieces) == DATA[:60000]
    assert bucket.calls == {"get": 1}
    await handle.close()


async def test_reading_in_sequence_is_fetched_ahead_in_bounded_memory() -> None:
    bucket, shared = MemoryBucket(limits=LARGE), ObjectShared(ByteBudget(10**9))
    part, ahead = 131072, 3
    handle = await reader_of(bucket, shared, download_part_size=part, download_concurrency=ahead)
    got = bytearray()
    most = waited = 0
    room = bytearray(32768)
    while True:
        count = handle.readinto_nowait(len(got), [memoryview(room)])
        if count is None:
            waited += 1
            piece = await handle.read(len(got), 32768)
        else:
            piece = bytes(room[:count])
        if not piece:
            break
        got += piece
        most = max(most, shared.budget.held)
        for _ in range(4):
            await asyncio.sleep(0)
    assert bytes(got) == DATA
    assert waited < 5
    assert most <= part * (ahead + 1) + 2 * 65536
    assert bucket.calls["get"] < 3_000_000 / part + 12
    await handle.close()
    assert shared.budget.held == 0


@pytest.mark.parametrize("late", [8, 30])
async def test_what_was_overtaken_is_not_fetched_again(late: int) -> None:
    """Of the requests on their way some are answered from memory while one before them waits."""
    bucket = MemoryBucket(limits=LARGE)
    part = 131072
    handle = await reader_of(bucket, download_part_size=part, download_concurrency=6)
    size, room = 32768, bytearray(32768)
    order: list[int] = []
    for first in range(0, len(DATA), size * late):  # the first of each group comes last
        group = list(range(first, min(first + size * late, len(DATA)), size))
        order += [*group[1:], group[0]] if first else group
    got: dict[int, bytes] = {}
    for at in order:
        count = handle.readinto_nowait(at, [memoryview(room)])
        got[at] = await handle.read(at, size) if count is None else bytes(room[:count])
        for _ in range(4):
            await asyncio.sleep(0)
    assert b"".join(got[at] for at in sorted(got)) == DATA
    parts = -(-(len(DATA) - 2 * part) // part)
    assert bucket.calls["get"] <= parts + 6  # and the first ones, which grow
    await handle.close()


async def test_reads_at_once_that_cross_the_ends_of_ranges_are_a_sequence() -> None:
    """As asyncssh reads a file: all of it at once, by requests of another size than those to the service."""
    bucket = MemoryBucket(limits=LARGE)
    handle = await reader_of(bucket, download_part_size=131072, download_concurrency=6)
    pieces = await asyncio.gather(*(handle.read(at, 16_000) for at in range(0, len(DATA), 16_000)))
    assert b"".join(pieces) == DATA
    assert bucket.calls["get"] <= 4 + len(DATA) // 131072
    await handle.close()


async def test_what_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "OVERTAKEN_BYTES", 500_000)
    bucket, shared = MemoryBucket(limits=LARGE), ObjectShared(ByteBudget(10**9))
    part = 131072
    handle = await reader_of(bucket, shared, download_part_size=part, download_concurrency=6)
    most = 0
    for at in range(0, len(DATA), 40_000):  # leaves out a fifth of all
        assert await handle.read(at, 32_000) == DATA[at : at + 32_000]
        most = max(most, shared.budget.held)
    assert most <= 7 * part
    await handle.close()
    assert shared.budget.held == 0


async def test_reads_anywhere_are_exact() -> None:
    bucket, shared = MemoryBucket(limits=LARGE), ObjectShared(ByteBudget(200_000))
    handle = await reader_of(bucket, shared, download_part_size=65536)
    seeded = random.Random(6)

    async def one() -> None:
        at, size = seeded.randrange(3_100_000), seeded.randrange(50_000)
        await asyncio.sleep(0)
        assert await handle.read(at, size) == DATA[at : at + size]

    for _ in range(20):
        await asyncio.gather(*(one() for _ in range(10)))
    await handle.close()
    assert shared.budget.held == 0


async def test_seeking_does_not_fetch_far() -> None:
    bucket = MemoryBucket(limits=LARGE)
    handle = await reader_of(bucket)
    await handle.read(2_000_000, 100)
    await handle.read(1_000_000, 100)
    await handle.read(500_000, 100)
    await asyncio.sleep(0)
    assert bucket.calls == {"get": 3}
    await handle.close()


async def test_a_replaced_object_is_noticed() -> None:
    bucket = MemoryBucket(limits=LARGE)
    handle = await reader_of(bucket, download_part_size=16384, download_concurrency=1)
    assert await handle.read(0, 10) == DATA[:10]
    await bucket.put("f", b"another content", {})
    with pytest.raises(ObjectChanged):
        await handle.read(2_000_000, 10)
    await handle.close()


async def test_what_was_known_at_opening_may_be_out_of_date() -> None:
    """Nothing of it was read yet, so the handle reads what is there now."""
    bucket = MemoryBucket(limits=LARGE)
    handle = await reader_of(bucket, listed=True)
    assert bucket.calls == {}
    await bucket.put("f", b"another content", {})
    assert await handle.read(0, 100) == b"another content"
    assert (await handle.stat()).size == 15
    await handle.close()


async def test_a_failure_ahead_is_nobodys_until_it_is_needed() -> None:
    bucket, shared = MemoryBucket(limits=LARGE), ObjectShared()
    handle = await reader_of(bucket, shared)
    bucket.faults.append(Fault("get", 2))
    assert await handle.read(0, 10) == DATA[:10]
    for _ in range(5):
        await asyncio.sleep(0)
    bucket.faults.append(Fault("get", 1))
    position = 10
    failed = 0
    while position < 200_000:
        try:
            piece = await handle.read(position, 30_000)
        except StorageFailed:
            failed += 1
            continue
        assert piece == DATA[position : position + len(piece)]
        position += len(piece)
    assert failed <= 1
    await handle.close()
    assert shared.budget.held == 0


async def test_closing_ends_what_is_under_way() -> None:
    bucket, shared = MemoryBucket(limits=LARGE), ObjectShared()
    handle = await reader_of(bucket, shared)
    stuck = Fault("get", 2, error=None, always=True)
    bucket.faults.append(stuck)
    await handle.read(0, 10)
    await stuck.reached.wait()
    await handle.close()
    assert shared.budget.held == 0


async def test_a_reader_that_gives_up_disturbs_no_other() -> None:
    bucket = MemoryBucket(limits=LARGE)
    handle = await reader_of(bucket)
    gone = asyncio.create_task(handle.read(0, 10))
    stays = asyncio.create_task(handle.read(5, 10))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == DATA[5:15]
    await asyncio.gather(gone, return_exceptions=True)
    await handle.close()


async def test_files_that_are_opened_and_not_read_keep_no_memory_from_others() -> None:
    shared = ObjectShared(ByteBudget(4 * 16384, wait=0.01))
    handles = [await reader_of(MemoryBucket(limits=LARGE), shared) for _ in range(4)]
    assert shared.budget.held == 4 * 16384
    other = shared.budget.of("other")
    await other.take("another", 4 * 16384)
    assert shared.budget.held == 4 * 16384
    other.give_back(4 * 16384)
    for handle in handles:
        assert await handle.read(0, 40_000) == DATA[:40_000]
        await handle.close()
    assert shared.budget.held == 0
