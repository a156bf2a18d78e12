# SPDX-License-Identifier: Apache-2.0
"""Uploads: in parts behind the client, visible when they are complete, and nothing of them left otherwise."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from blake3 import blake3
from tests.support.memory_bucket import SMALL, Fault, MemoryBucket

from tidegate.abc import KnowsDigests, OpenOptions, Outcome, Publish
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import Limits, ObjectChanged
from tidegate.backends.objects.budget import ByteBudget
from tidegate.backends.objects.part_buffer import PartBuffer
from tidegate.backends.objects.parts import part_size
from tidegate.backends.objects.settings import MIB, ObjectSettings, ObjectShared
from tidegate.backends.objects.sums import THREAD_BYTES
from tidegate.errors import AlreadyExists, Conflict, StorageFailed, TooLarge, Unsupported
from tidegate.model import Attrs
from tidegate.testing.backend import READ, get, names, options_for, put
from tidegate.vfs.files.checksums import digest_range

DATA = random.Random(7).randbytes(100_000)
SETTINGS = ObjectSettings(upload_part_size=4096, upload_concurrency=2, digests=("blake3", "md5"))
ATOMIC = options_for(Publish.ATOMIC)


@pytest.fixture
def shared() -> ObjectShared:
    return ObjectShared(ByteBudget(10**6))


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
async def backend(bucket: MemoryBucket, shared: ObjectShared) -> AsyncIterator[ObjectBackend]:
    backend = ObjectBackend(bucket, "", SETTINGS, shared)
    await backend.open()
    yield backend
    await backend.close()
    assert not bucket.service.pending
    assert shared.budget.held == 0


async def send(backend: ObjectBackend, key: str, data: bytes, options: OpenOptions = ATOMIC) -> None:
    """Upload in pieces that fit no part."""
    handle = await backend.open_file(key, options)
    outcome = Outcome.DROP
    start = handle.existed_size or 0 if options.append else 0
    try:
        for at in range(0, len(data), 1500):
            piece = data[at : at + 1500]
            if not handle.write_nowait(start + at, piece):
                await handle.write(start + at, piece)
        outcome = Outcome.COMMIT
    finally:
        await handle.close(outcome)


async def test_a_large_file_goes_in_parts(
    bucket: MemoryBucket, backend: ObjectBackend, shared: ObjectShared
) -> None:
    await send(backend, "f", DATA)
    assert bucket.contents == {"f": DATA}
    assert bucket.calls["part"] == -(-len(DATA) // 4096)
    assert bucket.calls["put"] == 0


async def test_memory_of_an_upload_is_bounded(backend: ObjectBackend, shared: ObjectShared) -> None:
    handle = await backend.open_file("f", ATOMIC)
    most = 0
    for at in range(0, len(DATA), 1000):
        await handle.write(at, DATA[at : at + 1000])
        most = max(most, shared.budget.held)
    assert most <= 3 * 4096
    await handle.close()


async def test_the_next_part_is_begun_without_waiting_while_there_is_room_for_it(
    bucket: MemoryBucket, backend: ObjectBackend, shared: ObjectShared
) -> None:
    """Nobody waits before as many parts are on their way as may be; then what comes waits for one of them."""
    handle = await backend.open_file("f", ATOMIC)
    await handle.write(0, DATA[:5000])  # the upload in parts has begun
    at = 5000
    held = Fault("part", error=None, always=True)
    bucket.faults.append(held)
    while handle.write_nowait(at, DATA[at : at + 1500]):
        at += 1500
    assert at == 11_000  # two parts on their way, the third nearly full
    assert shared.budget.held == at
    assert not handle.write_nowait(at, DATA[at : at + 1500])
    assert await handle.stat() is not None
    assert (await handle.stat()).size == at
    await handle.close(Outcome.DROP)
    bucket.faults.clear()
    assert bucket.contents == {}


async def test_bytes_on_both_sides_of_a_boundary_of_parts_arrive_in_order(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    draw = random.Random(3)
    handle = await backend.open_file("f", ATOMIC)
    at = slow = 0
    while at < len(DATA):
        piece = DATA[at : at + draw.randrange(1, 4096)]
        if not handle.write_nowait(at, piece):
            await handle.write(at, piece)
            slow += 1
        at += len(piece)
        if draw.random() < 0.5:
            await asyncio.sleep(0)
    await handle.close()
    assert bucket.contents == {"f": DATA}
    assert slow < bucket.calls["part"]


async def test_content_is_summed_up_as_it_comes_where_the_service_takes_that() -> None:
    bucket = MemoryBucket(limits=replace(SMALL, takes_crc32=True))
    backend = ObjectBackend(bucket, "", SETTINGS)
    await backend.open()
    await send(backend, "large", DATA)
    await send(backend, "small", DATA[:4000])
    assert bucket.summed == {True: bucket.calls["part"] + 1}
    handle = await backend.open_file("cut", ATOMIC)
    await handle.write(0, DATA[:4000])
    await handle.set_attrs(Attrs(size=3000))
    await handle.write(3000, DATA[3000:9000])
    await handle.close()
    assert bucket.summed[False] == 1  # what was cut has to be summed up again; the parts behind it have not
    assert bucket.contents == {"cut": DATA[:9000], "large": DATA, "small": DATA[:4000]}
    await backend.close()


async def test_pieces_that_would_hold_up_the_loop_are_not_summed_up_as_they_come() -> None:
    buffer = PartBuffer(summed=True)
    for piece in (b"abc", bytes(THREAD_BYTES)):
        buffer.add(piece, MIB)
        assert buffer.crc32 == f"{zlib.crc32(buffer.view()):08x}"
    buffer.add(bytes(THREAD_BYTES + 1), 2 * MIB)
    assert not buffer.crc32
    assert len(buffer.take()) == 3 + 2 * THREAD_BYTES + 1
    buffer.add(b"abc", MIB)
    assert buffer.crc32 == f"{zlib.crc32(b'abc'):08x}"


async def test_digests_are_kept_as_metadata(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await send(backend, "small", DATA[:4000])
    metadata = bucket.service.objects["small"].stored.metadata or {}
    assert metadata["tidegate-blake3"] == blake3(DATA[:4000]).hexdigest()
    await send(backend, "small", DATA[:10], OpenOptions(write=True, append=True))
    metadata = bucket.service.objects["small"].stored.metadata or {}
    assert metadata["tidegate-blake3"] == blake3(DATA[:4000] + DATA[:10]).hexdigest()


async def test_digests_of_parts_cost_a_copy(bucket: MemoryBucket) -> None:
    settings = ObjectSettings(upload_part_size=4096, digest_copy=50_000)
    backend = ObjectBackend(bucket, "", settings)
    await backend.open()
    await send(backend, "medium", DATA[:50_000])
    await send(backend, "large", DATA)
    metadata = bucket.service.objects["medium"].stored.metadata or {}
    assert metadata["tidegate-blake3"] == blake3(DATA[:50_000]).hexdigest()
    assert "tidegate-blake3" not in (bucket.service.objects["large"].stored.metadata or {})
    handle = await backend.open_file("medium", READ)
    assert isinstance(handle, KnowsDigests)
    assert await handle.digest("sha256") is None
    bucket.calls.clear()
    assert await digest_range(handle, "BLAKE3", 0, 0, 0) == [blake3(DATA[:50_000]).digest()]
    assert await digest_range(handle, "blake3", 0, 50_000, 1 << 20) == [blake3(DATA[:50_000]).digest()]
    assert bucket.calls == {"head": 2}
    part = await digest_range(handle, "blake3", 10, 0, 0)
    assert part == [blake3(DATA[10:50_000]).digest()]  # that is read
    await bucket.put("medium", b"of others", {"tidegate-blake3": "00"})
    with pytest.raises(ObjectChanged):
        await digest_range(handle, "blake3", 0, 0, 0)
    await handle.close()
    await backend.close()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["begin", "part", "complete", "put"])
async def test_no_success_for_what_is_not_stored(
    bucket: MemoryBucket, backend: ObjectBackend, name: str, after: bool
) -> None:
    await put(backend, "f", b"old")
    for nth in (1, 2, 5):
        for data in (DATA[:20_000], DATA[:100]):
            fault = Fault(name, nth, after=after)
            bucket.faults = [fault]
            try:
                await send(backend, "f", data)
            except StorageFailed:
                assert fault.reached.is_set()
                if not (after and name in {"complete", "put"}):
                    assert bucket.contents["f"] in {b"old", DATA[:20_000], DATA[:100]}
            else:
                assert bucket.contents["f"] == data
                assert await get(backend, "f") == data
            if not (name == "begin" and after):
                assert not bucket.service.pending
            bucket.service.pending.clear()  # whose answer was lost is not known to us
    bucket.faults = []


async def test_a_part_that_hangs_ends_with_the_upload(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    stuck = Fault("part", 2, error=None)
    bucket.faults.append(stuck)
    handle = await backend.open_file("f", ATOMIC)
    for at in range(0, 12_000, 1000):
        await handle.write(at, DATA[at : at + 1000])
    await stuck.reached.wait()
    await handle.close(Outcome.KEEP)
    assert bucket.contents == {}


async def test_a_commit_that_is_cancelled_leaves_nothing(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    stuck = Fault("complete", error=None)
    bucket.faults.append(stuck)
    handle = await backend.open_file("f", ATOMIC)
    await handle.write(0, DATA)
    closing = asyncio.create_task(handle.close())
    await stuck.reached.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert bucket.contents == {}


async def test_exclusive_is_decided_by_the_service(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    for data in (DATA, b"small"):
        handle = await backend.open_file("f", options_for(Publish.ATOMIC, exclusive=True))
        await handle.write(0, data)
        await bucket.put("f", b"somebody else's", {})
        with pytest.raises(AlreadyExists):
            await handle.close()
        assert bucket.contents == {"f": b"somebody else's"}
        await backend.remove("f")


async def test_appending_copies_in_the_service(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await send(backend, "f", DATA[:50_000])
    bucket.calls.clear()
    await send(backend, "f", DATA[50_000:60_000], OpenOptions(write=True, append=True))
    assert bucket.contents["f"] == DATA[:60_000]
    assert bucket.calls["get"] == 0
    assert bucket.calls["copy_part"] == 1
    await send(backend, "s", DATA[:1000])
    await send(backend, "s", DATA[1000:9000], OpenOptions(write=True, append=True))
    assert bucket.contents["s"] == DATA[:9000]  # too small for a part: it is read again


async def test_an_append_that_breaks_off_leaves_the_old_file(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await send(backend, "f", DATA[:50_000])
    for outcome in (Outcome.KEEP, Outcome.DROP):
        handle = await backend.open_file("f", OpenOptions(write=True, append=True))
        await handle.write(0, DATA)
        await handle.close(outcome)
        assert bucket.contents["f"] == DATA[:50_000]
    handle = await backend.open_file("f", OpenOptions(write=True, append=True))
    await handle.close()  # nothing was added: nothing is written
    assert bucket.calls["complete"] == 1


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 50_000, 99_999, 100_001, 130_000])
async def test_truncating(bucket: MemoryBucket, backend: ObjectBackend, size: int) -> None:
    await send(backend, "f", DATA)
    await backend.set_attrs("f", Attrs(size=size))
    assert bucket.contents["f"] == DATA[:size].ljust(size, b"\0")
    assert (await backend.stat("f")).size == size


async def test_what_cannot_be_resized(bucket: MemoryBucket) -> None:
    backend = ObjectBackend(bucket, "", ObjectSettings(upload_part_size=4096, extend=1000))
    await backend.open()
    await put(backend, "f", b"x")
    with pytest.raises(TooLarge, match="adds at most 1000 zeros"):
        await backend.set_attrs("f", Attrs(size=2000))
    handle = await backend.open_file("g", ATOMIC)
    await handle.write(0, DATA[:9000])
    with pytest.raises(Unsupported, match="shorten"):
        await handle.set_attrs(Attrs(size=100))
    await handle.set_attrs(Attrs(size=8500))
    await handle.close()
    assert bucket.contents["g"] == DATA[:8500]
    await backend.close()


async def test_writes_come_in_order(backend: ObjectBackend) -> None:
    handle = await backend.open_file("f", ATOMIC)
    await handle.write(0, b"abc")
    for offset in (0, 2, 4):
        with pytest.raises(Unsupported, match="in order"):
            await handle.write(offset, b"x")
    await handle.close(Outcome.DROP)


async def test_own_uploads_are_used_before_they_are_published(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    handle = await backend.open_file("f", ATOMIC)
    await handle.write(0, b"abc")
    view = await backend.reopen(handle, READ)
    assert await view.read(1, 10) == b"bc"
    assert (await view.stat()).size == 3
    await view.close()
    await backend.mkdir("d")
    await backend.retarget(handle, "d/g", exclusive=True)
    await handle.close()
    assert await names(backend) == ["d"]
    assert await get(backend, "d/g") == b"abc"
    handle = await backend.open_file("f", ATOMIC)
    await handle.write(0, DATA)
    with pytest.raises(Conflict):
        await backend.retarget(handle, "g", exclusive=True)
    view = await backend.reopen(handle, READ)
    with pytest.raises(Unsupported, match="being written"):
        await view.read(0, 1)
    await view.close()
    await backend.forsake(handle)
    await handle.close()
    assert await names(backend) == ["d"]


def test_parts_grow_so_that_the_largest_object_fits() -> None:
    least, most, parts, largest = 5 * MIB, 5 * 1024 * MIB, 10_000, 5 * 1024**2 * MIB
    sent = number = 0
    while sent < largest:
        size = part_size(least, most, least, sent)
        assert least <= size <= most
        sent += size
        number += 1
        if sent <= 10 * 1024 * MIB:
            assert size == least
    assert number <= parts


async def test_a_file_that_is_too_large_is_refused() -> None:
    limits = Limits(put=SMALL.put, copy=SMALL.copy, part_least=10, part=100, parts=3, object=250)
    bucket = MemoryBucket(limits=limits)
    backend = ObjectBackend(bucket, "", ObjectSettings(upload_part_size=10))
    await backend.open()
    for size in (40, 251):
        handle = await backend.open_file("f", ATOMIC)
        with pytest.raises(TooLarge):
            await handle.write(0, DATA[:size])
            await handle.close()
        if size == 251:
            await handle.close(Outcome.DROP)
    assert not bucket.service.pending
    assert bucket.contents == {}
    await backend.close()


@pytest.mark.parametrize("publish", [Publish.ATOMIC, Publish.RESUMABLE])
async def test_an_upload_in_parts_is_copied_for_times_of_the_client_alone(publish: Publish) -> None:
    bucket = MemoryBucket()
    backend = ObjectBackend(bucket, "", ObjectSettings(upload_part_size=4096))
    await backend.open()
    for mtime, copies in ((None, 0), (5 * 10**9, 1)):
        handle = await backend.open_file("f", options_for(publish))
        for at in range(0, 20_000, 1000):
            await handle.write(at, bytes(1000))
        if mtime is not None:
            await handle.set_attrs(Attrs(mtime_ns=mtime))
        bucket.calls.clear()
        await handle.close()
        assert (bucket.calls["complete"], bucket.calls["copy"]) == (1, copies)
        shown = (await backend.stat("f")).mtime_ns
        fresh = ObjectBackend(MemoryBucket(bucket.service), "")
        await fresh.open()
        assert (await fresh.stat("f")).mtime_ns == shown
        assert mtime is None or shown == mtime
        await fresh.close()
    await backend.close()
