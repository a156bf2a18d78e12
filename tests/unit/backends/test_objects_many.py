# SPDX-License-Identifier: Apache-2.0
"""A bucket with many keys is listed and counted in memory that does not grow with them; a million by `make soak`."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.support.memory_bucket import MemoryBucket

from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import Page, Stored
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.vfs.mounts import listing
from tidegate.vfs.usage.progress import Scan
from tidegate.vfs.usage.scan import measure

MIB = 1024 * 1024
FEW = 3000


class Endless(MemoryBucket):
    """A bucket whose pages are made when they are asked for."""

    count = 0
    asked: Callable[[], object] = staticmethod(lambda: None)
    """Called before each page."""

    async def _pages(self, prefix: str, *, delimited: bool, after: str, size: int) -> AsyncIterator[Page]:
        for first in range(0, self.count, 1000):
            self.asked()
            numbers = range(first, min(first + 1000, self.count))
            yield Page([Stored(f"{prefix}name-{number:07}", 1, 1.0, f"e{number}") for number in numbers], [])


@pytest.fixture(params=[20_000, pytest.param(1_000_000, marks=(pytest.mark.soak, pytest.mark.timeout(1800)))])
def count(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


async def peak_of(
    count: int,
    act: Callable[[ObjectBackend], Awaitable[object]],
    asked: Callable[[], object] = lambda: None,
) -> int:
    """Bytes that an act on a new root held at most."""
    bucket = Endless()
    bucket.asked = asked
    bucket.count = count
    backend = ObjectBackend(bucket, "", ObjectSettings(listing_heads=0), ObjectShared(entries=500))
    await backend.open()
    tracemalloc.start()
    try:
        await act(backend)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await backend.close()


async def test_a_listing_is_streamed(count: int) -> None:
    found = 0

    async def look(backend: ObjectBackend) -> None:
        nonlocal found
        found = 0
        async with listing(backend, "") as batches:
            async for batch in batches:
                assert len(batch) <= 1000
                found += len(batch)

    few = await peak_of(FEW, look)
    assert found == FEW
    many = await peak_of(count, look)
    assert found == count
    assert many < few + MIB  # the names of the first 10,000 files are kept, in their order


async def test_a_scan_counts_in_bounded_memory_and_tells_how_far_it_is(count: int) -> None:
    scan, seen = Scan("user", "somebody"), set[int]()

    async def look(backend: ObjectBackend) -> None:
        scan.size = scan.files = 0
        await measure(backend, "", progress=scan)

    few = await peak_of(FEW, look)
    many = await peak_of(count, look, lambda: seen.add(scan.files))
    assert (scan.size, scan.files) == (count, count)
    assert seen >= set(range(0, count, 1000))
    assert many < few + MIB // 2
