# SPDX-License-Identifier: Apache-2.0
"""The end of a channel: by the peer, by accident, by the server."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate import errors


@pytest.fixture
async def peer():
    async with Peer(MemorySession()) as peer:
        yield peer


async def exit_status(peer):
    for _ in range(1000):
        if peer.channel.exit_status is not None:
            return peer.channel.exit_status
        await asyncio.sleep(0)
    raise AssertionError("the channel did not end")


async def test_end_of_input_is_exit_status_0(peer):
    assert peer.transport.eof_received() is True
    assert await exit_status(peer) == 0


async def test_end_of_input_before_init_is_exit_status_0():
    async with Peer(greet=False) as peer:
        peer.transport.eof_received()
        assert await exit_status(peer) == 0


async def test_what_was_asked_before_the_end_is_answered(peer):
    handle = await peer.open("/f", "w")
    peer.session.slow = True
    gate = peer.session.gates["write"] = asyncio.Event()
    peer.send(p.write(1, handle, 0, b"abc"), p.close(2, handle), p.stat(3, "/f"))
    peer.transport.eof_received()
    await peer.turns()
    assert peer.channel.exit_status is None
    gate.set()
    assert await exit_status(peer) == 0
    assert [r.rid for r in peer.take()] == [1, 2, 3]
    assert ("close", "/f", 3) in peer.session.log


@pytest.mark.inline_only
async def test_the_end_of_input_waits_for_requests_held_back(peer):
    peer.session.put("/f", bytes(400_000))
    handle = await peer.open("/f")
    peer.channel.window = 0
    peer.send(*(p.read(rid, handle, 0, 32768) for rid in range(100)))
    peer.transport.eof_received()
    await peer.turns()
    assert peer.channel.exit_status is None
    seen = []
    while len(seen) < 100:
        peer.channel.open_window(500_000)
        await asyncio.sleep(0)
        seen += peer.take()
    assert await exit_status(peer) == 0


async def test_files_left_open_at_the_end_are_aborted(peer):
    handle = await peer.open("/f", "w")
    await peer.ask(p.write, handle, 0, b"abc")
    (await peer.ask(p.opendir, "/"))
    peer.transport.eof_received()
    assert await exit_status(peer) == 0
    assert peer.session.log[-1] == ("abort", "/f", 3)
    assert peer.session.open_listings == 0


async def test_half_a_packet_at_the_end(peer):
    peer.send(p.stat(1, "/")[:-1])
    peer.transport.eof_received()
    assert await exit_status(peer) == 0


async def test_a_lost_connection_aborts_what_is_open(peer):
    peer.session.put("/d/f")
    await peer.open("/a", "w")
    await peer.open("/d/f")
    await peer.ask(p.opendir, "/d")
    await peer.drop()
    assert sorted(e[1] for e in peer.session.log if e[0] == "abort") == ["/a", "/d/f"]
    assert peer.session.open_listings == 0


async def test_a_lost_connection_in_the_middle_of_a_write(peer):
    handle = await peer.open("/f", "w")
    peer.session.slow = True
    peer.session.gates["write"] = asyncio.Event()
    peer.send(
        p.write(1, handle, 0, b"abc"), p.write(2, handle, 1, b"abc"), p.close(3, handle), p.stat(4, "/f")
    )
    await peer.turns()
    await peer.drop()
    assert [e[0] for e in peer.session.log] == ["abort"]
    assert peer.take() == []


async def test_a_lost_connection_in_the_middle_of_an_open(peer):
    peer.session.gates["open"] = asyncio.Event()
    peer.send(p.open_(1, "/f", "w"), p.open_(2, "/g", "w"))
    await peer.turns()
    await peer.drop()
    assert peer.session.open_files == []
    assert [e[1] for e in peer.session.entered if e[0] == "open"] == (
        ["/f", "/g"] if peer.session.overlaps else ["/f"]
    )


async def test_a_file_that_is_being_published_when_the_peer_goes_is_published(peer):
    handle = await peer.open("/f", "w")
    await peer.ask(p.write, handle, 0, b"abc")
    gate = peer.session.gates["close"] = asyncio.Event()
    peer.send(p.close(1, handle))
    await peer.turns()
    peer.transport.connection_lost(ConnectionResetError())
    await peer.turns()
    gate.set()
    await peer.drop()
    assert peer.session.log[-1] == ("close", "/f", 3)


async def test_a_lost_connection_while_the_end_is_being_prepared(peer):
    await peer.open("/f", "w")
    peer.transport.eof_received()
    await peer.drop()
    assert [e[0] for e in peer.session.log] == ["abort"]
    assert peer.channel.exit_status is None


async def test_nothing_is_sent_after_the_connection_is_lost(peer):
    peer.session.put("/f", b"x")
    handle = await peer.open("/f")
    await peer.drop()
    peer.transport.data_received(p.stat(1, "/f") + p.read(2, handle, 0, 1))
    peer.transport.resume_writing()
    peer.transport.eof_received()
    peer.transport.connection_lost(None)
    await peer.turns()
    assert peer.take() == []
    assert peer.channel.exit_status is None


async def test_a_channel_that_refuses_to_take_more_is_survived(peer):
    peer.channel.exit_status = 7
    peer.send(p.stat(1, "/"), p.packet(5, b""))
    await peer.turns()
    assert peer.channel.exit_status == 7


async def test_draining_lets_transfers_finish_and_refuses_new_ones(peer):
    handle = await peer.open("/f", "w")
    draining = asyncio.create_task(peer.dialogue.drain())
    await peer.turns(5)
    refused = await peer.ask(p.open_, "/g", "w")
    assert (refused.code, refused.text) == (4, "server is shutting down")
    assert (await peer.ask(p.opendir, "/")).code == 4
    assert (await peer.ask(p.write, handle, 0, b"abc")).code == 0
    assert not draining.done()
    assert (await peer.ask(p.close, handle)).code == 0
    await asyncio.wait_for(draining, 5)
    assert peer.channel.exit_status == 0
    assert peer.session.log[-1] == ("close", "/f", 3)


async def test_draining_an_idle_channel_ends_it_at_once(peer):
    await asyncio.wait_for(peer.dialogue.drain(), 5)
    assert peer.channel.exit_status == 0


async def test_draining_ends_when_the_peer_goes(peer):
    await peer.open("/f", "w")
    draining = asyncio.create_task(peer.dialogue.drain())
    await peer.turns(5)
    await peer.drop()
    await asyncio.wait_for(draining, 5)
    assert peer.session.log[-1][0] == "abort"


@pytest.mark.parametrize("how", ["close", "lost"])
async def test_a_listing_that_is_fetching_ahead_is_released(peer, how):
    for i in range(600):
        peer.session.put(f"/d/{i:03}")
    peer.session.batch = 250
    handle = (await peer.ask(p.opendir, "/d")).handle
    gate = peer.session.gates["list"] = asyncio.Event()
    assert len((await peer.ask(p.readdir, handle)).names) == 250
    await peer.turns()
    assert [e[0] for e in peer.session.entered].count("list") == 2
    assert peer.session.open_listings == 1
    if how == "close":
        assert (await peer.ask(p.close, handle)).code == 0
    else:
        await peer.drop()
    assert peer.session.open_listings == 0
    gate.set()


async def test_a_listing_that_fails_ahead_fails_the_readdir_that_follows(peer):
    for i in range(600):
        peer.session.put(f"/d/{i:03}")
    peer.session.batch = 300
    for slow in (False, True):
        handle = (await peer.ask(p.opendir, "/d")).handle
        peer.session.slow = slow
        peer.session.errors["list"] = errors.StorageFailed()
        assert len((await peer.ask(p.readdir, handle)).names) == 250
        await peer.turns()
        assert len((await peer.ask(p.readdir, handle)).names) == 52
        assert (await peer.ask(p.readdir, handle)).text == "storage failure"
        assert (await peer.ask(p.readdir, handle)).code == 1
        assert (await peer.ask(p.close, handle)).code == 0
        peer.session.errors.clear()


async def test_a_readdir_that_comes_before_the_look_ahead(peer):
    for i in range(250):
        peer.session.put(f"/d/{i:03}")
    peer.session.batch = 50
    handle = (await peer.ask(p.opendir, "/d")).handle
    peer.send(*(p.readdir(rid, handle) for rid in range(10)))
    replies = await peer.replies(10)
    assert [r.rid for r in replies] == list(range(10))
    answers = [len(r.names) for r in replies if r.kind == 104]
    assert sum(answers) == 252
    assert [r.kind for r in replies] == [104] * len(answers) + [101] * (10 - len(answers))
    assert all(r.code == 1 for r in replies[len(answers) :])


async def test_waiting_for_the_end_lasts_until_the_connection_is_gone(peer):
    waiting = asyncio.create_task(peer.dialogue.wait_closed())
    await peer.open("/f", "w")
    peer.transport.eof_received()
    assert await exit_status(peer) == 0
    await peer.turns()
    assert not waiting.done()
    peer.transport.connection_lost(None)
    await asyncio.wait_for(waiting, 5)
    assert peer.session.open_files == []
