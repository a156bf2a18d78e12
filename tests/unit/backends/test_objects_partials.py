# SPDX-License-Identifier: Apache-2.0
"""Uploads that broke off: kept with the service, seen, resumed, hidden, aged, and taken up after a crash."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket

from tidegate.abc import OpenOptions, Outcome, Publish, TellsPartials
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.budget import ByteBudget
from tidegate.backends.objects.keys import is_record
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.errors import Conflict, NotFound, PeerLimit, StorageFailed
from tidegate.model import Entry
from tidegate.testing.backend import READ, exists, get, names, options_for, put

DATA = random.Random(9).randbytes(60_000)
SETTINGS = ObjectSettings(upload_part_size=4096, upload_concurrency=2)
START = options_for(Publish.RESUMABLE)
RESUME = OpenOptions(write=True, create=True, append=True, publish=Publish.RESUMABLE)


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
async def backend(bucket: MemoryBucket) -> AsyncIterator[ObjectBackend]:
    backend = ObjectBackend(bucket, "root", SETTINGS)
    await backend.open()
    yield backend
    await backend.close()


def records(bucket: MemoryBucket) -> list[str]:
    return [key for key in bucket.contents if is_record(key)]


async def kept(backend: ObjectBackend, key: str = "") -> list[Entry]:
    return [entry async for batch in backend.partials(key) for entry in batch]


@pytest.mark.parametrize("size", [1, 4096, 4097, 30_000])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_an_upload_is_resumed_to_the_byte(
    bucket: MemoryBucket, backend: ObjectBackend, size: int, elsewhere: bool
) -> None:
    await put(backend, "f", DATA[:size], START, Outcome.KEEP)
    if elsewhere:  # another process
        backend = ObjectBackend(MemoryBucket(bucket.service), "root", SETTINGS)
        await backend.open()
    assert (await backend.stat("f")).size == size
    assert await names(backend) == []
    assert [(entry.name, entry.size) for entry in await kept(backend)] == [("f", size)]
    handle = await backend.open_file("f", RESUME)
    assert handle.existed_size == size
    assert handle.took
    await handle.write(0, DATA[size : size + 10_000])
    await handle.close(Outcome.KEEP)
    assert (await backend.stat("f")).size == size + 10_000
    handle = await backend.open_file("f", RESUME)
    await handle.write(0, DATA[size + 10_000 :])
    await handle.close()
    assert bucket.contents == {"root/f": DATA}
    assert not bucket.service.pending
    assert bucket.calls["get"] <= 3


async def test_names_that_are_no_utf8(backend: ObjectBackend) -> None:
    await backend.mkdir("d")
    await put(backend, "d/\udcff \u201bx", DATA[:5000], START, Outcome.KEEP)
    assert [entry.name for entry in await kept(backend, "d")] == ["\udcff \u201bx"]


async def test_a_part_that_is_missing_ends_what_counts(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    bucket.faults.append(Fault("part", 3))
    handle = await backend.open_file("f", START)
    with pytest.raises(StorageFailed):
        for at in range(0, 60_000, 1000):
            await handle.write(at, DATA[at : at + 1000])
    await handle.close(Outcome.KEEP)
    size = (await backend.stat("f")).size
    assert size == 2 * 4096
    handle = await backend.open_file("f", RESUME)
    await handle.write(0, DATA[size:])
    await handle.close()
    assert bucket.contents == {"root/f": DATA}


async def test_after_a_kill_the_stored_parts_count(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    handle = await backend.open_file("f", START)
    for at in range(0, 20_000, 1000):
        await handle.write(at, DATA[at : at + 1000])
    # The process is gone: nothing of it is asked any more.
    other = ObjectBackend(MemoryBucket(bucket.service), "root", SETTINGS)
    await other.open()
    size = (await other.stat("f")).size
    assert size in {3 * 4096, 4 * 4096}
    resumed = await other.open_file("f", RESUME)
    assert resumed.existed_size == size
    await resumed.write(0, DATA[size:])
    await resumed.close()
    assert bucket.contents == {"root/f": DATA}
    with pytest.raises(NotFound):  # its upload is another's by now
        await handle.close()
    assert bucket.contents == {"root/f": DATA}


async def test_one_writer_at_a_time(backend: ObjectBackend) -> None:
    first = await backend.open_file("f", START)
    await first.write(0, DATA[:9000])
    assert (await backend.stat("f")).size == 9000  # as it grows
    assert await kept(backend) == []  # somebody writes it
    with pytest.raises(Conflict):
        await backend.open_file("f", RESUME)
    second = await backend.open_file("f", START)
    await second.write(0, b"second")
    await second.close(Outcome.KEEP)
    await first.close(Outcome.KEEP)
    assert (await backend.stat("f")).size == 9000
    await backend.remove("f")
    assert not await exists(backend, "f")


@pytest.mark.parametrize("how", ["start", "remove", "finish", "mkdir", "rename", "rmdir", "copy", "tree"])
async def test_parts_go_with_the_unfinished_upload(
    bucket: MemoryBucket, backend: ObjectBackend, how: str
) -> None:
    await backend.mkdir("d")
    await put(backend, "other", b"other")
    await put(backend, "d/f", DATA[:30_000], START, Outcome.KEEP)
    assert len(records(bucket)) == len(bucket.service.pending) == 1
    if how == "start":
        await put(backend, "d/f", b"short", START)
    elif how == "remove":
        await backend.remove("d/f")
    elif how == "finish":
        await put(backend, "d/f", b"short", options_for(Publish.ATOMIC))
    elif how == "mkdir":
        await backend.mkdir("d/f")
    elif how == "rename":
        await backend.rename("other", "d/f", replace=False)
    elif how == "rmdir":
        await backend.rmdir("d")
    elif how == "copy":
        await backend.copy("other", "d/f", replace=False)
    else:
        await backend.rename("d", "e", replace=False)
    assert records(bucket) == []
    assert not bucket.service.pending


async def test_a_finished_file_drops_what_breaks_off_over_it(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await put(backend, "f", b"finished")
    await put(backend, "f", DATA, START, Outcome.KEEP)
    assert bucket.contents == {"root/f": b"finished"}
    assert not bucket.service.pending


async def test_old_ones_expire(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    for name in ("old", "hidden", "young"):
        await put(backend, name, DATA[:9000], START, Outcome.KEEP)
    record = [key for key in records(bucket) if backend._partials.record_key("old") == key]
    for key in record:
        stored = bucket.service.objects[key].stored
        from dataclasses import replace

        bucket.service.objects[key].stored = replace(stored, modified=stored.modified - 8 * 86400)
    await bucket.put("root/hidden", b"of others", {})
    listing = backend.list("")
    async for _ in listing:
        pass
    assert isinstance(listing, TellsPartials)
    assert (listing.parts, listing.expired) == (True, True)
    assert [entry.name for entry in await backend.expire_partials("")] == ["old"]
    assert [entry.name for entry in await kept(backend)] == ["young"]
    assert len(bucket.service.pending) == 1


async def test_a_hidden_record_cannot_be_read_or_made(backend: ObjectBackend) -> None:
    await put(backend, "f", b"x", START, Outcome.KEEP)
    name = backend._partials.record_key("f").rpartition("/")[2]
    for act in (backend.stat(name), backend.open_file(name, READ), backend.open_file(name, START)):
        with pytest.raises(NotFound):
            await act
    with pytest.raises(NotFound):
        await get(backend, "f")  # an unfinished upload is no file yet


async def test_records_of_others_are_no_uploads(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    for number, metadata in enumerate(
        (
            {},
            {"tidegate-name": "x/y"},
            {"tidegate-name": "f", "tidegate-upload": "gone", "tidegate-parts": "x"},
        )
    ):
        await bucket.put(f"root/.tidegate-part.{number}", b"content", metadata)
    assert await kept(backend) == []
    assert await names(backend) == []


async def test_an_upload_that_cannot_be_taken_up_now_is_kept(bucket: MemoryBucket) -> None:
    shared = ObjectShared(ByteBudget(4096, wait=0.01))
    backend = ObjectBackend(bucket, "root", SETTINGS, shared)
    await backend.open()
    await put(backend, "f", DATA[:10_000], START, Outcome.KEEP)
    other = shared.budget.of("other")
    assert other.take_nowait(4096)
    await other.take("another", 1)  # nobody else may go beyond the limit
    with pytest.raises(PeerLimit):
        await backend.open_file("f", RESUME)
    other.give_back(4097)
    assert (await backend.stat("f")).size == 10_000
    handle = await backend.open_file("f", RESUME)
    await handle.write(0, DATA[10_000:])
    await handle.close()
    assert bucket.contents == {"root/f": DATA}
    assert not bucket.service.pending
    await backend.close()
