# SPDX-License-Identifier: Apache-2.0
"""Storage that takes the writes of a file in order gets them in order, whatever order clients send them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.vfs_world import GET, PUT, RESUME, World, get, p, put

from tidegate import errors as e
from tidegate.abc import Backend, Capability, OpenOptions, Outcome, Publish
from tidegate.backends.local import LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.model import Attrs, StorageSpec
from tidegate.resources.room import Room
from tidegate.testing.backend import get as content
from tidegate.testing.backend import options_for
from tidegate.testing.flavours import Failing, Fault, Latency, Sequential
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files import in_order
from tidegate.vfs.files.in_order import InOrder

PIECE = 100
DATA = bytes(range(256)) * 4
ATOMIC = options_for(Publish.ATOMIC)


async def opened(backend: Backend, room: Room | None = None, options: OpenOptions = ATOMIC) -> InOrder:
    return InOrder(await backend.open_file("f", options), 0, append=False, room=room or Room(1 << 20))


# -- the stage by itself


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(11)),
    together=st.booleans(),
    latency=st.booleans(),
)
async def test_any_order_becomes_the_order_of_the_file(
    order: list[int], together: bool, latency: bool
) -> None:
    memory = MemoryBackend()
    room = Room(1 << 20)
    handle = await opened(Sequential(Latency(memory, 0) if latency else memory), room)

    async def write(number: int) -> None:
        at = number * PIECE
        await handle.write(at, DATA[at : at + PIECE])

    if together:
        await asyncio.gather(*map(write, order))
    else:
        for number in order:
            await write(number)
    await handle.close()
    assert await content(memory, "f") == DATA[: 11 * PIECE]
    assert room.held == 0


async def test_what_is_next_needs_no_waiting_and_what_is_early_does() -> None:
    handle = await opened(MemoryBackend())
    assert handle.write_nowait(0, b"a" * 100)
    assert not handle.write_nowait(200, b"c" * 100)
    await handle.write(200, b"c" * 100)
    assert not handle.write_nowait(100, b"b" * 100)  # those that wait follow it
    await handle.write(100, b"b" * 100)
    assert handle.write_nowait(300, b"d")
    await handle.close()


async def test_what_no_longer_waits_takes_no_room() -> None:
    room = Room(1 << 20)
    handle = await opened(MemoryBackend(), room)
    await handle.write(100, b"b" * 100)
    await handle.write(200, b"c" * 50)
    assert room.held == 150
    await handle.write(300, b"e" * 10)
    await handle.write(0, b"a" * 100)
    assert room.held == 10
    await handle.write(250, b"d" * 50)
    assert room.held == 0
    await handle.close()


async def test_what_storage_does_not_take_at_once_is_not_handed_on() -> None:
    memory = MemoryBackend()
    handle = await opened(Latency(memory, 0))
    assert not handle.write_nowait(0, b"a" * 100)
    await handle.write(0, b"a" * 100)
    await handle.close()
    assert await content(memory, "f") == b"a" * 100


@pytest.mark.parametrize(
    "writes",
    [
        [(0, 100), (0, 100)],  # again
        [(0, 100), (50, 100)],  # over the end of what was handed on
        [(100, 100), (150, 100)],  # over what waits
        [(100, 100), (100, 100)],  # a retransmission of what waits
        [(100, 100), (0, 150)],  # what is next reaches into what waits
        [(150, 10), (100, 100)],  # around what waits
    ],
)
async def test_ranges_that_overlap_are_refused(writes: list[tuple[int, int]]) -> None:
    memory, room = MemoryBackend(), Room(1 << 20)
    handle = await opened(Sequential(memory), room)
    await handle.write(*_filled(writes[0]))
    with pytest.raises(e.Unsupported, match="takes each byte of a file once, in order"):
        await handle.write(*_filled(writes[1]))
    await handle.close(Outcome.DROP)
    assert room.held == 0


def _filled(write: tuple[int, int]) -> tuple[int, bytes]:
    return write[0], b"x" * write[1]


async def test_what_waits_is_bounded_for_each_file_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "AHEAD_BYTES", 300)
    monkeypatch.setattr(in_order, "AHEAD_PIECES", 4)
    room = Room(500)
    one, two, three = [await opened(MemoryBackend(), room) for _ in range(3)]
    for at in (10, 110, 210):
        await one.write(at, b"x" * 100)
    with pytest.raises(e.PeerLimit, match="bytes 0 to 9 are missing"):
        await one.write(310, b"x")
    with pytest.raises(e.PeerLimit):  # it has failed for good
        await one.write(0, b"x" * 10)
    for at in range(1, 9, 2):
        await two.write(at, b"x")
    with pytest.raises(e.PeerLimit):
        await two.write(20, b"x")
    await three.write(1, b"x" * 196)
    with pytest.raises(e.PeerLimit):
        await three.write(300, b"x")
    assert room.held == 500
    for handle in (one, two, three):
        await handle.close(Outcome.DROP)
    assert room.held == 0


async def test_a_gap_at_the_end_is_no_file() -> None:
    memory, room = MemoryBackend(), Room(1 << 20)
    handle = await opened(Sequential(memory), room)
    await handle.write(0, b"x" * 100)
    await handle.write(200, b"x" * 100)
    with pytest.raises(e.Unsupported, match="bytes 100 to 199 never came"):
        await handle.close()
    with pytest.raises(e.NotFound):
        await memory.stat("f")
    assert room.held == 0


async def test_a_write_that_is_broken_off_ends_the_upload() -> None:
    memory, room = MemoryBackend(), Room(1 << 20)
    storage = Failing(memory, Fault.HANG, 2, ["handle.write"])
    handle = await opened(storage, room)
    await handle.write(0, b"x" * 100)
    await handle.write(200, b"x" * 100)
    hanging = asyncio.create_task(handle.write(100, b"x" * 100))
    await storage.tripped.wait()
    behind = asyncio.create_task(handle.write(300, b"x" * 100))
    await asyncio.sleep(0)
    hanging.cancel()
    await asyncio.wait([hanging, behind])
    assert hanging.cancelled()
    assert isinstance(behind.exception(), e.StorageFailed)
    with pytest.raises(e.StorageFailed, match="broken off"):
        await handle.write(400, b"x")
    await handle.close(Outcome.DROP)
    assert room.held == 0


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.CUT])
async def test_a_write_that_fails_is_told_to_all_that_follow(fault: Fault) -> None:
    handle = await opened(Failing(MemoryBackend(), fault, 2, ["handle.write"]))
    await handle.write(100, b"x" * 100)
    with pytest.raises(e.StorageFailed):
        await handle.write(0, b"x" * 100)  # and then those that waited
    with pytest.raises(e.StorageFailed):
        await handle.write(200, b"x" * 100)


async def test_the_size_stays() -> None:
    handle = await opened(Sequential(MemoryBackend()))
    await handle.write(0, b"x" * 100)
    await handle.set_attrs(Attrs(size=100))
    for size in (0, 99, 101):
        with pytest.raises(e.Unsupported):
            await handle.set_attrs(Attrs(size=size))
    await handle.close()


# -- through sessions


class _Ordered(World):
    inner: Callable[[], Backend]
    hidden = Capability.NONE

    def build(self, spec: StorageSpec) -> Backend:
        self.storage = Sequential(self.inner(), self.hidden)
        return self.storage


@pytest.fixture(params=["memory", "latency", "local"])
async def ordered(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    worlds: list[World] = []
    made: list[Backend] = []

    def inner() -> Backend:
        if not made:
            kinds: dict[str, Callable[[], Backend]] = {
                "memory": MemoryBackend,
                "latency": lambda: Latency(MemoryBackend(), 0.0005),
                "local": lambda: LocalBackend(str(tmp_path / "root"), create=True),
            }
            made.append(kinds[request.param]())
        return made[0]

    def make(hidden: Capability = Capability.NONE, **options: Any) -> World:
        world = _Ordered(tmp_path, **options)
        world.inner, world.hidden = inner, hidden
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        await world.close()
        assert world.options.early.held == 0


@pytest.mark.parametrize("mode", Publish)
async def test_writes_at_300_0_200_100(ordered: Any, mode: Publish) -> None:
    world = ordered(upload_mode=mode)
    s = await world.login(world.account(quota_size=10_000))
    file = await s.open(p("/f"), PUT)
    for at in (300, 0, 200, 100):
        await file.write(at, DATA[at : at + 100])
    await file.close()
    assert await get(s, "/f") == DATA[:400]
    assert await world.used() == (400, 1)


@pytest.mark.parametrize("mode", Publish)
async def test_storage_that_keeps_no_unfinished_uploads_has_every_upload_mode(
    ordered: Any, mode: Publish
) -> None:
    world = ordered(Capability.PARTIALS | Capability.APPEND, upload_mode=mode)
    s = await world.login(world.account(quota_size=10_000))
    await put(s, "/f", b"old" * 100)
    await put(s, "/f", b"new")
    assert await get(s, "/f") == b"new"
    assert await world.used() == (3, 1)


async def test_a_gap_fails_the_upload_and_nothing_is_charged(ordered: Any) -> None:
    world = ordered(upload_mode=Publish.ATOMIC)
    s = await world.login(world.account(quota_size=10_000))
    await put(s, "/f", b"old")
    file = await s.open(p("/f"), PUT)
    await file.write(200, b"x" * 100)
    with pytest.raises(e.Unsupported, match="bytes 0 to 199 never came"):
        await file.close()
    assert await get(s, "/f") == b"old"
    assert await world.used() == (3, 1)


async def test_rewriting_fails_the_upload(ordered: Any) -> None:
    world = ordered(upload_mode=Publish.ATOMIC)
    s = await world.login(world.account(quota_size=10_000))
    file = await s.open(p("/f"), PUT)
    await file.write(0, b"x" * 100)
    with pytest.raises(e.Unsupported):
        await file.write(0, b"y" * 100)
    with pytest.raises(e.Unsupported):
        await file.close()
    assert await world.used() == (0, 0)


async def test_reading_is_refused_while_a_file_is_written(ordered: Any) -> None:
    s = await (world := ordered()).login(world.account())
    for flags in (
        OpenFlags(read=True, write=True, create=True, exclusive=True),
        OpenFlags(read=True, write=True, create=True, truncate=True),
    ):
        file = await s.open(p("/f"), flags)  # as git opens each file that it writes
        await file.write(0, b"content")
        with pytest.raises(e.Unsupported, match="cannot read and write one file at a time"):
            await file.read(0, 10)
        await file.close()
        assert await get(s, "/f") == b"content"
    with pytest.raises(e.Unsupported, match="cannot read and write one file at a time"):
        await s.open(p("/f"), OpenFlags(read=True, write=True, create=True))


async def test_an_upload_goes_on_at_the_end_where_the_storage_can(ordered: Any) -> None:
    world = ordered()
    s = await world.login(world.account(quota_size=10_000))
    await put(s, "/f", DATA[:100])
    file = await s.open(p("/f"), RESUME)
    for at in (300, 100, 200):
        await file.write(at, DATA[at : at + 100])
    await file.close()
    appending = await s.open(p("/f"), OpenFlags(write=True, append=True))
    await appending.write(0, DATA[400:450])
    await appending.write(0, DATA[450:500])
    await appending.close()
    assert await get(s, "/f") == DATA[:500]
    assert await world.used() == (500, 1)
    again = await s.open(p("/f"), RESUME)
    with pytest.raises(e.Unsupported):
        await again.write(0, b"x")
    await again.abort()
    assert await get(s, "/f") == DATA[:500]


async def test_an_upload_does_not_go_on_where_the_storage_cannot(ordered: Any) -> None:
    world = ordered(Capability.APPEND | Capability.PARTIALS)
    s = await world.login(world.account())
    await put(s, "/f", b"whole")
    with pytest.raises(e.Unsupported, match="cannot continue a file"):
        await s.open(p("/f"), RESUME)
    new = await s.open(p("/new"), OpenFlags(write=True, append=True, create=True))
    await new.write(0, b"one")
    await new.write(0, b"two")
    await new.close()
    assert await get(s, "/new") == b"onetwo"


async def test_an_unfinished_upload_is_taken_up(ordered: Any) -> None:
    world = ordered(upload_mode=Publish.RESUMABLE)
    s = await world.login(world.account(quota_size=10_000))
    file = await s.open(p("/f"), PUT)
    await file.write(0, DATA[:100])
    await file.abort()
    assert (await s.stat(p("/f"))).size == 100
    file = await s.open(p("/f"), RESUME)
    await file.write(200, DATA[200:300])
    await file.write(100, DATA[100:200])
    await file.close()
    assert await get(s, "/f") == DATA[:300]
    assert await world.used() == (300, 1)


async def test_one_upload_has_one_writer_and_may_be_read_and_renamed(tmp_path: Path) -> None:
    world = _Ordered(tmp_path, upload_mode=Publish.ATOMIC)
    world.inner = lambda: LocalBackend(str(tmp_path / "root"), create=True)
    s = await world.login(world.account())
    file = await s.open(p("/f"), PUT)
    await file.write(0, b"half")
    with pytest.raises(e.Conflict):
        await s.open(p("/f"), RESUME)
    reading = await s.open(p("/f"), GET)
    assert await reading.read(0, 10) == b"half"
    await reading.close()
    await s.rename(p("/f"), p("/g"), replace=False)
    await file.write(4, b" done")
    await file.close()
    assert await get(s, "/g") == b"half done"
    await world.close()


async def test_copies_and_moves_write_in_order(tmp_path: Path) -> None:
    world = _Ordered(tmp_path)
    world.inner = lambda: Latency(MemoryBackend(), 0)
    world.hidden = Capability.SERVER_COPY
    world.account(virtual_folders=(world.mount("other", "/other"),))
    s = await world.login()
    await put(s, "/f", DATA)
    await s.copy(p("/f"), p("/g"), replace=False)
    assert await get(s, "/g") == DATA
    await s.rename(p("/g"), p("/other/g"), replace=False)
    assert await get(s, "/other/g") == DATA
    target = await s.open(p("/h"), PUT)
    source = await s.open(p("/f"), GET)
    await s.copy_range(source, 0, 0, target, 0)
    await source.close()
    await target.close()
    assert await get(s, "/h") == DATA
    await world.close()
