# SPDX-License-Identifier: Apache-2.0
"""Bandwidth, the hot path, digests and copies."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import zlib

import pytest
from blake3 import blake3
from tests.support.vfs_world import GET, PUT, get, p, put, vfs_world

from tidegate import errors as e
from tidegate.model import BandwidthLimit
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files.handle import SMALL_FILE_BYTES


@pytest.fixture
async def world(tmp_path):
    async with vfs_world(tmp_path) as world:
        yield world


async def timed(*acts) -> float:
    start = time.monotonic()
    await asyncio.gather(*acts)
    return time.monotonic() - start


async def test_a_limited_transfer_takes_its_time(world):
    world.account(upload_bandwidth=400, download_bandwidth=500)
    s = await world.login()
    data = os.urandom(131_072)
    assert await timed(put(s, "/a", data)) >= 131 / 400
    assert await timed(get(s, "/a")) >= 131 / 500


async def test_nowait_transfers_pay_before_they_count(world):
    world.account(upload_bandwidth=200)
    s = await world.login()
    file = await s.open(p("/a"), PUT)
    start = time.monotonic()
    assert file.write_nowait(0, bytes(32768))
    assert not file.write_nowait(32768, bytes(32768))
    await file.close()
    assert time.monotonic() - start >= 32 / 200


async def test_sessions_of_a_user_share_and_share_evenly(world):
    world.account(upload_bandwidth=600)
    sessions = [await world.login() for _ in range(2)]
    done: dict[str, float] = {}
    start = time.monotonic()

    async def upload(session, name: str) -> None:
        file = await session.open(p(f"/{name}"), PUT)
        # A greedy client keeps eight writes in flight, a modest one only one.
        width = 8 if name == "greedy" else 1
        for base in range(4 if width == 1 else 1):
            await asyncio.gather(
                *(file.write((base * width + i) * 32768, bytes(32768)) for i in range(width))
            )
        done[name] = time.monotonic() - start
        await file.close()

    await asyncio.gather(upload(sessions[0], "greedy"), upload(sessions[1], "modest"))
    assert time.monotonic() - start >= 12 * 32.768 / 600
    # Four modest blocks take turns with four of the greedy ones.
    assert done["modest"] <= 9.5 * 32.768 / 600 < done["greedy"]


async def test_others_are_not_slowed(world):
    world.account("slow", upload_bandwidth=64)
    world.account("free")
    slow, free = await world.login("slow"), await world.login("free")
    creeping = asyncio.create_task(put(slow, "/a", bytes(65_536)))
    await asyncio.sleep(0.01)
    assert await timed(put(free, "/a", bytes(1_000_000))) < 0.5
    assert not creeping.done()
    creeping.cancel()
    await asyncio.wait([creeping])


async def test_the_network_of_a_client_chooses_its_limit(world):
    limits = (BandwidthLimit(sources=("10.0.0.0/8",), upload_bandwidth=0, download_bandwidth=0),)
    world.account(upload_bandwidth=10, filters={"bandwidth_limits": limits})
    inside = await world.login(ip="10.1.2.3")
    assert await timed(put(inside, "/a", bytes(500_000))) < 1
    outside = await world.login()
    file = await outside.open(p("/b"), PUT)
    assert file.write_nowait(0, bytes(8000))
    assert not file.write_nowait(8000, bytes(8000))
    await outside.close()


async def test_nowait_refuses_what_a_limit_forbids_and_charges_nothing(world):
    world.account(quota_size=1000, upload_data_transfer=1, used_upload_data_transfer=1_048_576 - 900)
    s = await world.login()
    file = await s.open(p("/a"), PUT)
    usage = world.vfs.tracker.live("alice")
    assert file.write_nowait(0, bytes(600))
    assert not file.write_nowait(600, bytes(401))
    assert not file.write_nowait(0, bytes(301))
    assert (usage.size.used, usage.upload.used) == (600, 1_048_576 - 300)
    assert file.readinto_nowait(0, [memoryview(bytearray(1))]) is None
    await file.close()


async def test_nowait_costs_little(world):
    world.account(
        quota_size=1 << 40, quota_files=1000, upload_bandwidth=100_000_000, download_bandwidth=100_000_000
    )
    s = await world.login()
    file = await s.open(p("/a"), OpenFlags(read=True, write=True, create=True))

    class Free:
        def write_nowait(self, offset, data):
            return True

        def readinto_nowait(self, offset, buffers):
            return 32768

    file._write, file._readinto = Free().write_nowait, Free().readinto_nowait
    block, slots = bytes(32768), [memoryview(bytearray(32768))]
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        for i in range(1000):
            assert file.write_nowait(i * 32768, block)
            assert file.readinto_nowait(i * 32768, slots)
        best = min(best, (time.perf_counter() - start) / 2000)
    file._upload.reservation.suspect = True
    await file.close()
    assert best < 15e-6, f"{best * 1e6:.1f} us a call"


DIGESTS = {
    "md5": lambda d: hashlib.md5(d).digest(),
    "sha1": lambda d: hashlib.sha1(d).digest(),
    "sha224": lambda d: hashlib.sha224(d).digest(),
    "sha256": lambda d: hashlib.sha256(d).digest(),
    "sha384": lambda d: hashlib.sha384(d).digest(),
    "sha512": lambda d: hashlib.sha512(d).digest(),
    "crc32": lambda d: zlib.crc32(d).to_bytes(4, "big"),
    "blake3": lambda d: blake3(d).digest(),
}


@pytest.mark.parametrize("algorithm", DIGESTS)
async def test_digests(world, algorithm):
    world.account()
    s = await world.login()
    data = os.urandom(2_500_000)
    await put(s, "/a", data)
    await put(s, "/empty", b"")
    digest = DIGESTS[algorithm]
    assert await s.checksum(p("/a"), algorithm) == [digest(data)]
    assert await s.checksum(p("/a"), algorithm.upper(), 100, 1_200_000) == [digest(data[100:1_200_100])]
    assert await s.checksum(p("/a"), algorithm, 2_499_990, 1000) == [digest(data[-10:])]
    assert await s.checksum(p("/empty"), algorithm) == [digest(b"")]
    file = await s.open(p("/a"), GET)
    blocks = await s.checksum(file, algorithm, 5, 2_000_000, 700_001)
    part = data[5:2_000_005]
    assert blocks == [digest(part[i : i + 700_001]) for i in range(0, len(part), 700_001)]
    exact = await s.checksum(file, algorithm, 0, 1024, 256)
    assert exact == [digest(data[i : i + 256]) for i in range(0, 1024, 256)]
    await file.close()


async def test_bad_digest_requests(world):
    world.account()
    s = await world.login()
    await put(s, "/a", bytes(5_000_000))
    for bad, error in (
        (("rot13",), e.Unsupported),
        (("md5", -1), e.InvalidArgument),
        (("md5", 0, -1), e.InvalidArgument),
        (("md5", 0, 0, 255), e.InvalidArgument),
        (("md5", 0, 0, 256), e.InvalidArgument),
    ):
        with pytest.raises(error):
            await s.checksum(p("/a"), *bad)
    file = await s.open(p("/b"), PUT)
    with pytest.raises(e.InvalidArgument):
        await s.checksum(file, "md5")
    await file.close()


async def test_copy_range(world):
    world.account()
    s = await world.login()
    data = os.urandom(600_000)
    await put(s, "/a", data)
    source = await s.open(p("/a"), OpenFlags(read=True, write=True))
    target = await s.open(p("/b"), OpenFlags(read=True, write=True, create=True))
    assert await s.copy_range(source, 10, 500_000, target, 5) == 500_000
    assert await target.read(5, 600_000) == data[10:500_010]
    assert await s.copy_range(source, 599_990, 100, target, 0) == 10
    assert await s.copy_range(source, 700_000, 0, target, 0) == 0
    with pytest.raises(e.InvalidArgument):
        await s.copy_range(source, 0, 1000, source, 500)
    assert await s.copy_range(source, 0, 1000, source, 1000) == 1000
    with pytest.raises(e.InvalidArgument):
        await s.copy_range(source, -1, 1, target, 0)
    await source.close()
    await target.close()
    reader = await s.open(p("/a"), GET)
    with pytest.raises(e.InvalidArgument):
        await s.copy_range(reader, 0, 10, reader, 20)
    await reader.close()


async def test_copy_keeps_the_target_when_it_may_not_replace(world):
    world.account()
    s = await world.login()
    await put(s, "/a", b"a")
    await put(s, "/b", b"b")
    with pytest.raises(e.AlreadyExists):
        await s.copy(p("/a"), p("/b"), replace=False)
    with pytest.raises(e.InvalidArgument):
        await s.copy(p("/a"), p("/a"), replace=True)
    with pytest.raises(e.NotFound):
        await s.copy(p("/a"), p("/no/b"), replace=False)
    assert await get(s, "/b") == b"b"
    await s.copy(p("/a"), p("/b"), replace=True)
    assert await get(s, "/b") == b"a"


async def test_a_small_file_says_so_and_others_do_not(tmp_path):
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account())
        (world.home() / "small").write_bytes(b"x" * 2048)
        (world.home() / "empty").touch()
        (world.home() / "large").write_bytes(bytes(SMALL_FILE_BYTES + 1))
        for name, small in (("/small", 2048), ("/empty", 0), ("/large", 0)):
            file = await session.open(p(name), GET)
            assert file.small == small
            await file.close()
        file = await session.open(p("/small"), PUT)
        assert not file.small
        await file.close()


@pytest.mark.parametrize("work", ["copy", "digests"])
async def test_long_work_on_fast_storage_lets_others_run(world, work):
    world.account()
    s = await world.login()
    await put(s, "/a", bytes(4 * 1024**2))
    source = await s.open(p("/a"), GET)
    target = await s.open(p("/b"), PUT)
    turns, over = 0, False

    async def others() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    if work == "copy":
        await s.copy_range(source, 0, 4 * 1024**2, target, 0)
    else:
        await s.checksum(source, "md5", 0, 4 * 1024**2, 256)
    over = True
    await running
    assert turns >= 16
    await source.close()
    await target.close()
