# SPDX-License-Identifier: Apache-2.0
"""CLOSE of uploads whose end is kept: answered when the event is stored, without holding anybody else up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support import sftp_packets as p
from tests.support.sftp_peer import Peer
from tests.support.vfs_world import World, vfs_world
from tests.unit.events.test_events_outbox import Store as AwayStore
from tests.unit.events.test_events_outbox import Taker

from tidegate.events.batches import KeptUse
from tidegate.events.bus import Bus
from tidegate.events.kinds import Failed
from tidegate.events.outbox import Outbox, Timing
from tidegate.vfs.files.handle import File

OK, FAILURE = 0, 4


class Store(AwayStore):
    """An outbox that stores nothing until its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    async def append(self, documents: Sequence[str]) -> int:
        self.asked.set()
        await self.gate.wait()
        return await super().append(documents)


@asynccontextmanager
async def kept(
    tmp_path: Path, *, seconds: float = 20, wanted: bool = True
) -> AsyncIterator[tuple[World, Peer, Store]]:
    """A client whose uploads are kept, at a session with real storage where nothing needs waiting."""
    bus, store = Bus([]), Store()
    await bus.open()
    use = KeptUse("t", Taker(), frozenset(("upload",)), wants=lambda _: wanted)
    await bus.keep_in(Outbox(store, [use], server="s", limit=100, timing=Timing(record_seconds=seconds)))
    async with vfs_world(tmp_path, kept=bus) as world:
        world.home().mkdir(parents=True)
        session = await world.login(world.account(quota_files=100, quota_size=10_000))
        peer = Peer(session)  # type: ignore[arg-type]
        try:
            store.gate.set()
            assert (await peer.ask(p.close, await peer.open("/warm", "w"))).code == OK
            store.gate.clear()
            store.asked.clear()
            yield world, peer, store
        finally:
            store.gate.set()
            await peer.drop()
            assert not session._context.files
    await bus.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each CLOSE, whether it went the quick way."""
    seen: list[bool] = []
    original = File.close_nowait

    def noted(self: File, *args: object) -> bool:
        seen.append(original(self, *args))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(File, "close_nowait", noted)
    # A busy machine must not look like a slow disk, whose files are never opened at once.
    monkeypatch.setattr("tidegate.backends.local.device.SLOW_CALL_NS", 1 << 62)
    return seen


async def put(peer: Peer, path: str, number: int = 900) -> None:
    """Everything of an upload but the answer to its CLOSE, whose id is `number`."""
    handle = await peer.open(path, "w")
    assert (await peer.ask(p.write, handle, 0, b"content")).code == OK
    peer.send(p.close(number, handle))


async def test_the_client_is_told_when_the_event_is_stored(tmp_path: Path, quick: list[bool]) -> None:
    async with kept(tmp_path) as (world, peer, store):
        quick.clear()
        await put(peer, "/a")
        await store.asked.wait()
        assert peer.take() == []
        # What comes behind it does not wait for it, and finds the file complete.
        assert (await peer.ask(p.stat, "/a")).attrs["size"] == 7
        assert (await peer.ask(p.close, await peer.open("/a", "r"))).code == OK
        assert await world.used() == (7, 2)
        assert len(await store.after(0, 9)) == 1
        store.gate.set()
        (reply,) = await peer.replies(1)
        assert (reply.rid, reply.code) == (900, OK)
        assert len(await store.after(0, 9)) == 2
        assert quick == [True, True]


async def test_many_that_end_together_are_one_transaction(tmp_path: Path, quick: list[bool]) -> None:
    async with kept(tmp_path) as (_, peer, store):
        before = store.calls
        for number in range(20):
            await put(peer, f"/{number}", 900 + number)
        assert peer.take() == []
        store.gate.set()
        replies = await peer.replies(20)
        assert sorted((one.rid, one.code) for one in replies) == [(900 + n, OK) for n in range(20)]
        assert store.calls - before <= 2
        assert all(quick)


async def test_what_is_not_stored_in_time_has_failed(tmp_path: Path, quick: list[bool]) -> None:
    async with kept(tmp_path, seconds=0.2) as (world, peer, store):
        await put(peer, "/a")
        (reply,) = await peer.replies(1)
        assert (reply.rid, reply.code) == (900, FAILURE)
        assert quick[-1]
        failed = [one for one in world.events if isinstance(one, Failed)]
        assert [(one.intent, one.virtual_path, one.rule) for one in failed] == [("upload", "/a", "server")]
        store.gate.set()  # it is stored all the same, once that can be
        await put(peer, "/b", 901)
        (reply,) = await peer.replies(1)
        assert (reply.rid, reply.code) == (901, OK)
        assert len(await store.after(0, 9)) == 3


async def test_a_client_that_leaves_loses_no_event(tmp_path: Path, quick: list[bool]) -> None:
    async with kept(tmp_path) as (_, peer, store):
        await put(peer, "/a")
        await store.asked.wait()
        await peer.drop()
        store.gate.set()
        async with asyncio.timeout(20):
            while len(await store.after(0, 9)) < 2:
                await asyncio.sleep(0.005)
        assert quick[-1]


async def test_the_end_of_input_waits_for_it(tmp_path: Path, quick: list[bool]) -> None:
    async with kept(tmp_path) as (_, peer, store):
        await put(peer, "/a")
        peer.dialogue.eof_received()
        await store.asked.wait()
        await peer.turns()
        assert peer.channel.exit_status is None
        store.gate.set()
        (reply,) = await peer.replies(1)
        assert reply.code == OK
        async with asyncio.timeout(20):
            while peer.channel.exit_status is None:
                await asyncio.sleep(0.005)
        assert peer.channel.exit_status == 0
        assert quick[-1]


async def test_what_nobody_wants_is_answered_at_once(tmp_path: Path, quick: list[bool]) -> None:
    async with kept(tmp_path, wanted=False) as (_, peer, store):
        await put(peer, "/a")
        (reply,) = peer.take()
        assert reply.code == OK
        assert quick[-1]
        assert await store.after(0, 9) == []
