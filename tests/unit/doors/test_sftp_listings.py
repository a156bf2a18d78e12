# SPDX-License-Identifier: Apache-2.0
"""Directory handles: the next answer is made ahead, and holds what the client takes."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.memory_session import MemorySession

from tidegate.doors.common.owners import AccountNames
from tidegate.doors.sftp.listings import LONG_NAMES_BYTES, MAX_NAMES_BYTES, Listing, most_bytes
from tidegate.doors.sftp.longname import LONG_NAMES, MAX_NAMES, Longnames
from tidegate.errors import StorageFailed
from tidegate.model import Entry, Kind, VPath

LONGEST = "n" * 255


class Source:
    """Batches of entries; counts those that were asked for."""

    def __init__(
        self, *sizes: int, name: str = "a-name", error: Exception | None = None, waits: bool = False
    ):
        self.sizes, self.name, self.error, self.waits = sizes, name, error, waits
        self.asked = 0

    async def __call__(self):
        for size in self.sizes:
            self.asked += 1
            if self.waits:
                await asyncio.sleep(0)
            yield [Entry(self.name, Kind.FILE, 5, 0o644)] * size
        if self.error is not None:
            raise self.error


def listing_of(source: Source, most: int = MAX_NAMES_BYTES) -> Listing:
    return Listing(VPath("/d"), source(), Longnames(AccountNames(MemorySession().principal)), most)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def counts_of(listing: Listing) -> list[int]:
    found = []
    while (names := await listing.next_names()) is not None:
        found.append(names.number)
        listing.look_ahead()
        await turns()
    await listing.close()
    return found


@pytest.mark.parametrize("waits", [False, True])
async def test_an_answer_is_filled_from_several_batches_that_need_not_be_waited_for(waits):
    source = Source(256, 256, 256, 100, waits=waits)
    listing = listing_of(source)
    await listing.open()
    counts = await counts_of(listing)
    assert sum(counts) == 868
    # What has to be waited for is no reason to keep back what is there.
    assert counts == ([250, 6, 250, 6, 250, 6, 100] if waits else [250, 250, 250, 118])


async def test_the_next_answer_is_made_before_it_is_asked_for():
    source = Source(*[250] * 10)
    listing = listing_of(source)
    await listing.open()
    assert source.asked == 1
    for number in range(1, 6):
        listing.look_ahead()
        await turns()
        assert source.asked == number  # and no further one
        ready = listing._ready
        assert ready is not None
        assert await listing.next_names() is ready
        listing.look_ahead()
        listing.look_ahead()
        await turns()
        assert source.asked == number + 1
    await listing.close()
    assert listing._ready is None


@pytest.mark.parametrize(
    ("version", "most"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2", LONG_NAMES_BYTES),
        ("SSH-2.0-WinSCP_release_6.3", MAX_NAMES_BYTES),
        ("SSH-2.0-libssh2_1.4.3 OpenSSH_", MAX_NAMES_BYTES),
        ("", MAX_NAMES_BYTES),
    ],
)
async def test_how_much_a_client_takes(version, most):
    assert most_bytes(version) == most
    listing = listing_of(Source(256, 256, name=LONGEST), most_bytes(version))
    await listing.open()
    sizes, entry = [], 0
    while (names := await listing.next_names()) is not None:
        assert len(names.body) <= most
        entry = len(names.body) // names.number
        sizes.append(names.number)
    assert sum(sizes) == 512
    assert max(sizes) == most // entry < MAX_NAMES


@pytest.mark.parametrize(("version", "most"), [("SSH-2.0-OpenSSH_9.2", LONG_NAMES), ("", MAX_NAMES)])
async def test_how_many_short_names_a_client_takes(version, most):
    listing = listing_of(Source(1200, name="f"), most_bytes(version))
    await listing.open()
    listing.look_ahead()
    await turns()
    assert (names := listing.take_ready()) is not None
    assert names.number == most
    assert len(names.body) <= most_bytes(version)
    assert listing.take_ready() is None
    assert sum(await counts_of(listing)) == 1200 - most


async def test_a_failure_comes_after_the_names_that_were_before_it():
    listing = listing_of(Source(256, error=StorageFailed()))
    await listing.open()
    listing.look_ahead()
    await turns()
    first, second = await listing.next_names(), await listing.next_names()
    assert (first.number, second.number) == (250, 6)
    with pytest.raises(StorageFailed):
        await listing.next_names()
    assert await listing.next_names() is None
    await listing.close()


async def test_what_is_shown_first_comes_first():
    listing = listing_of(Source(1))
    await listing.open()
    listing.begin_with([Entry(".", Kind.DIRECTORY, 0, 0o755)])
    names = await listing.next_names()
    assert names.number == 2
    assert names.body.startswith(b"\0\0\0\1.")
    await listing.close()
