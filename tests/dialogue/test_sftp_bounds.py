# SPDX-License-Identifier: Apache-2.0
"""Whatever a peer queues, a session holds a bounded amount of it."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate.doors.common import turns
from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.doors.sftp.transfers import WAITING_BYTES
from tidegate.doors.ssh.plain_transport import BATCH_BYTES

KIB = 1024
SIZE = 64 * KIB * KIB


@pytest.mark.inline_only
async def test_64_mib_of_queued_reads_and_a_peer_that_does_not_read():
    async with Peer() as peer:
        peer.session.put("/big", bytes(range(256)) * (SIZE // 256))
        handle = await peer.open("/big")
        peer.channel.window = 0
        for first in range(0, SIZE // 32768, 64):
            peer.send(*(p.read(rid, handle, rid * 32768, 32768) for rid in range(first, first + 64)))
            await asyncio.sleep(0)
        assert not peer.channel.reading
        assert peer.channel.most_pending <= BATCH_BYTES + 65536
        seen = set()
        while len(seen) < SIZE // 32768:
            peer.channel.open_window(1_000_000)
            await asyncio.sleep(0)
            for reply in peer.take():
                assert len(reply.data) == 32768
                seen.add(reply.rid)
            assert peer.channel.most_pending <= BATCH_BYTES + 65536
        await peer.turns()
        assert peer.channel.reading
        assert seen == set(range(SIZE // 32768))


async def test_queued_reads_of_a_slow_disk_are_bounded_by_count_and_bytes():
    limits = SftpLimits(requests=50, held_bytes=20 * 32768)
    async with Peer(limits=limits) as peer:
        peer.session.put("/big", bytes(1000 * 1000))
        handle = await peer.open("/big")
        peer.session.slow = True
        gate = peer.session.gates["read"] = asyncio.Event()
        peer.send(*(p.read(rid, handle, 0, 32768) for rid in range(200)))
        await peer.turns()
        assert peer.dialogue.saturated
        assert not peer.channel.reading
        assert len([e for e in peer.session.entered if e[0] == "read"]) == 20
        gate.set()
        assert len(await peer.replies(200)) == 200
        assert peer.channel.reading
        assert not peer.dialogue.saturated
        gate.clear()
        peer.send(*(p.read(rid, handle, 0, 10) for rid in range(200)))
        await peer.turns()
        assert len([e for e in peer.session.entered if e[0] == "read"]) == 250
        gate.set()
        assert len(await peer.replies(200)) == 200


async def test_queued_writes_to_a_slow_disk_are_bounded_and_none_is_lost():
    limits = SftpLimits(held_bytes=10 * 32768)
    async with Peer(limits=limits) as peer:
        handle = await peer.open("/f", "w")
        peer.session.slow = True
        gate = peer.session.gates["write"] = asyncio.Event()
        blocks = [bytes([i]) * 32768 for i in range(64)]
        for i, block in enumerate(blocks):
            peer.send(p.write(i, handle, i * 32768, block))
        await peer.turns()
        assert len([e for e in peer.session.entered if e[0] == "write"]) == 10
        assert len(peer.transport._held) <= 2 * 32768 + 100
        gate.set()
        assert {r.rid for r in await peer.replies(64)} == set(range(64))
        assert (await peer.ask(p.close, handle)).code == 0
        assert peer.session.data("/f") == b"".join(blocks)


@pytest.mark.inline_only
async def test_writes_behind_one_that_waits_for_storage_in_order_are_not_copied():
    async with Peer() as peer:
        peer.session.in_order = True
        handle = await peer.open("/f", "w")
        gate = peer.session.gates["write"] = asyncio.Event()
        blocks = [bytes([i]) * 32768 for i in range(200)]

        def entered() -> int:
            return len([e for e in peer.session.entered if e[0] == "write"])

        peer.session.slow = True
        peer.send(*(p.write(i, handle, i * 32768, block) for i, block in enumerate(blocks[:150])))
        await peer.turns()
        assert entered() == 32
        assert peer.dialogue.held_bytes == WAITING_BYTES
        assert not peer.channel.reading
        peer.session.slow = False
        gate.set()
        assert {r.rid for r in await peer.replies(150)} == set(range(150))
        assert entered() == 32  # those behind them were taken on the spot
        assert peer.channel.reading
        peer.send(*(p.write(150 + i, handle, (150 + i) * 32768, b) for i, b in enumerate(blocks[150:])))
        assert len(await peer.replies(50)) == 50
        assert (await peer.ask(p.close, handle)).code == 0
        assert peer.session.data("/f") == b"".join(blocks)


async def test_a_peer_that_goes_while_writes_are_left_with_the_transport_leaves_nothing():
    async with Peer() as peer:
        peer.session.in_order = True
        handle = await peer.open("/f", "w")
        peer.session.slow = True
        peer.session.gates["write"] = asyncio.Event()
        peer.send(*(p.write(i, handle, i * 32768, bytes(32768)) for i in range(150)))
        await peer.turns()
        assert not peer.channel.reading
        await peer.drop()
        assert peer.dialogue.held_bytes == 0


async def test_queued_requests_of_other_kinds_are_bounded():
    async with Peer(limits=SftpLimits(requests=30)) as peer:
        gate = peer.session.gates["stat"] = asyncio.Event()
        peer.send(*(p.stat(rid, b"/" + b"x" * 1000) for rid in range(500)))
        await peer.turns()
        assert peer.dialogue.saturated
        assert peer.dialogue._work.pending <= 30
        gate.set()
        assert [r.rid for r in await peer.replies(500)] == list(range(500))


async def test_one_session_that_waits_does_not_hold_up_another():
    slow, fast = Peer(MemorySession()), Peer(MemorySession())
    async with slow, fast:
        slow.session.gates["open"] = asyncio.Event()
        slow.send(p.open_(1, "/f", "w"), *(p.stat(rid, "/") for rid in range(2, 400)))
        fast.session.put("/f", b"abc")
        handle = await fast.open("/f")
        assert (await fast.ask(p.read, handle, 0, 9)).data == b"abc"
        assert slow.take() == []


@pytest.mark.parametrize("window", [1, 100, 5000])
async def test_a_peer_that_reads_in_sips_gets_everything(window):
    async with Peer() as peer:
        peer.session.put("/f", bytes(range(256)) * 1200)
        handle = await peer.open("/f")
        peer.channel.window = 0
        peer.send(*(p.read(rid, handle, rid * 1000, 1000) for rid in range(300)))
        replies, rounds = [], 0
        while len(replies) < 300:
            peer.channel.open_window(window * 100)
            await asyncio.sleep(0)
            replies += peer.take()
            rounds += 1
        assert (
            b"".join(r.data for r in sorted(replies, key=lambda r: r.rid))
            == (bytes(range(256)) * 1200)[:300_000]
        )
        assert rounds > 1 or window == 5000


@pytest.mark.inline_only
async def test_replies_of_one_burst_go_out_together():
    count = turns.LOOK_EVERY - 1
    async with Peer() as peer:
        handle = await peer.open("/f", "w")
        before = peer.channel.writes
        peer.send(*(p.write(rid, handle, rid, b"x") for rid in range(count)))
        assert len(peer.take()) == count
        assert peer.channel.writes == before + 1
        peer.session.slow = True
        peer.send(*(p.write(rid, handle, rid, b"x") for rid in range(count)))
        await peer.replies(count)
        assert peer.channel.writes <= before + 5
        peer.session.slow = False
        assert (await peer.ask(p.close, handle)).code == 0


@pytest.mark.inline_only
async def test_no_task_is_made_for_what_is_answered_at_once():
    async with Peer() as peer:
        peer.session.put("/f", b"abc")
        before = asyncio.all_tasks()
        peer.send(p.open_(1, "/f", "r+"))
        (opened,) = peer.take()
        handle = opened.handle
        for build in (
            p.read(2, handle, 0, 3),
            p.write(3, handle, 0, b"x"),
            p.fstat(4, handle),
            p.stat(5, "/f"),
            p.opendir(6, "/"),
            p.close(7, handle),
        ):
            peer.send(build)
            assert len(peer.take()) == 1
        assert asyncio.all_tasks() == before


@pytest.mark.inline_only
async def test_a_flood_of_small_requests_lets_others_have_their_turn(monkeypatch):
    monkeypatch.setattr(turns, "SLICE_SECONDS", 0.0)  # each look at the clock is the last of its turn
    most = turns.LOOK_EVERY
    async with Peer() as peer:
        peer.session.put("/f", b"x" * 100)
        handle = await peer.open("/f")
        peer.send(*(p.read(rid, handle, 0, 1) for rid in range(5000)))
        assert len(peer.take()) == most
        assert not peer.channel.reading
        assert [r.rid for r in await peer.replies(5000 - most)] == list(range(most, 5000))
        assert peer.channel.reading
