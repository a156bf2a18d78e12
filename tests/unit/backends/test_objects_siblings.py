# SPDX-License-Identifier: Apache-2.0
"""Small files that are fetched ahead of a client which copies a directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket

from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.budget import ByteBudget
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.errors import NotFound
from tidegate.testing.backend import READ, names

COUNT = 30


@pytest.fixture
async def bucket() -> MemoryBucket:
    bucket = MemoryBucket()
    bucket.opened = True
    for number in range(COUNT):
        await bucket.put(f"d/{number:03}", content(number), {})
    return bucket


@pytest.fixture
async def shared() -> ObjectShared:
    return ObjectShared(ByteBudget(10**6))


@pytest.fixture
async def backend(bucket: MemoryBucket, shared: ObjectShared) -> AsyncIterator[ObjectBackend]:
    made = ObjectBackend(bucket, "", ObjectSettings(), shared)
    await made.open()
    await names(made, "d")
    bucket.calls.clear()
    yield made
    await made.close()
    assert shared.budget.held == 0


def content(number: int) -> bytes:
    return f"{number:05}".encode() * 40


async def read(backend: ObjectBackend, number: int) -> bytes:
    handle = await backend.open_file(f"d/{number:03}", READ)
    try:
        return await handle.read(0, 32768)
    finally:
        await handle.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_files_are_fetched_once_two_were_opened_in_order(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    assert await read(backend, 0) == content(0)
    await settle()
    assert bucket.calls["get"] == 1
    assert await read(backend, 1) == content(1)
    await settle()
    assert bucket.calls["get"] == 2 + 4
    for number in range(2, COUNT):
        assert await read(backend, number) == content(number)
    assert bucket.calls == {"get": COUNT}  # each once, and nothing else


async def test_files_in_another_order_are_not_fetched_ahead(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    for number in (20, 10, 25, 3, 15):
        assert await read(backend, number) == content(number)
    await settle()
    assert bucket.calls == {"get": 5}


async def test_nothing_is_fetched_ahead_without_the_setting(
    bucket: MemoryBucket, shared: ObjectShared
) -> None:
    for settings in (ObjectSettings(files_ahead=0), ObjectSettings(attribute_seconds=0)):
        backend = ObjectBackend(bucket, "", settings, shared)
        await backend.open()
        await names(backend, "d")
        bucket.calls.clear()
        for number in range(4):
            assert await read(backend, number) == content(number)
        await settle()
        assert bucket.calls["get"] == 4
        await backend.close()


async def test_own_changes_and_removals_are_seen(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    for number in (0, 1):
        await read(backend, number)
    await settle()
    await backend.remove("d/002")
    with pytest.raises(NotFound):
        await read(backend, 2)
    await backend.rename("d/004", "d/003", replace=True)
    assert await read(backend, 3) == content(4)


async def test_an_object_that_others_replaced_is_read_whole(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await read(backend, 0)
    await bucket.put("d/002", b"another", {})  # the condition of the fetch fails
    await read(backend, 1)
    assert await read(backend, 2) == b"another"


async def test_a_fetch_that_fails_is_asked_again_by_who_opens(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await read(backend, 0)
    bucket.faults.append(Fault("get", 3))
    await read(backend, 1)
    await settle()
    assert await read(backend, 2) == content(2)


async def test_others_get_the_memory_when_they_need_it(
    bucket: MemoryBucket, backend: ObjectBackend, shared: ObjectShared
) -> None:
    for number in (0, 1):
        await read(backend, number)
    await settle()
    held = shared.budget.held
    assert held == 4 * len(content(0))
    other = shared.budget.of("other")
    await other.take("upload", 10**6)
    assert shared.budget.held == 10**6
    assert await read(backend, 2) == content(2)
    other.give_back(10**6)


async def test_what_nobody_asks_for_goes(bucket: MemoryBucket, shared: ObjectShared) -> None:
    backend = ObjectBackend(bucket, "", ObjectSettings(attribute_seconds=0.05), shared)
    await backend.open()
    await names(backend, "d")
    for number in (0, 1):
        await read(backend, number)
    await settle()
    assert shared.budget.held == 4 * len(content(0))
    async with asyncio.timeout(10):
        while shared.budget.held:
            await asyncio.sleep(0.01)
    assert await read(backend, 2) == content(2)
    await backend.close()


async def test_who_gives_up_waiting_leaves_nothing(
    bucket: MemoryBucket, backend: ObjectBackend, shared: ObjectShared
) -> None:
    await read(backend, 0)
    fault = Fault("get", error=None)  # of what is fetched ahead: it was asked before 1 is read
    bucket.faults.append(fault)
    await read(backend, 1)
    await asyncio.wait_for(fault.reached.wait(), 10)
    opening = asyncio.create_task(backend.open_file("d/002", READ))
    await settle()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert await read(backend, 3) == content(3)


async def test_two_who_copy_the_same_directory_both_get_it(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    for number in range(COUNT):
        assert await asyncio.gather(read(backend, number), read(backend, number)) == [content(number)] * 2
