# SPDX-License-Identifier: Apache-2.0
"""Requests that may overtake others, and those that may not."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer


@pytest.fixture
async def peer():
    async with Peer(MemorySession()) as peer:
        yield peer


def hold(peer, call):
    gate = peer.session.gates[call] = asyncio.Event()
    return gate


async def test_reads_of_one_handle_run_concurrently_and_answer_as_they_come(peer):
    peer.session.put("/f", b"0123456789")
    handle = await peer.open("/f")
    peer.session.slow = True
    first, second = asyncio.Event(), asyncio.Event()

    async def gated(call, *what):
        if call == "read":
            await {0: first, 5: second}[what[1]].wait()

    peer.session.pass_gate = gated
    peer.send(p.read(1, handle, 0, 5), p.read(2, handle, 5, 5))
    second.set()
    (reply,) = await peer.replies(1)
    assert (reply.rid, reply.data) == (2, b"56789")
    first.set()
    (reply,) = await peer.replies(1)
    assert (reply.rid, reply.data) == (1, b"01234")


async def test_close_waits_for_the_writes_before_it(peer):
    handle = await peer.open("/f", "w")
    peer.session.slow = True
    gate = hold(peer, "write")
    peer.send(p.write(1, handle, 0, b"abc"), p.write(2, handle, 3, b"def"), p.close(3, handle))
    await peer.turns()
    assert peer.take() == []
    assert peer.session.open_files
    gate.set()
    assert [(r.rid, r.code) for r in await peer.replies(3)] == [(1, 0), (2, 0), (3, 0)]
    assert peer.session.log[-1] == ("close", "/f", 6)


async def test_a_handle_is_closed_from_the_moment_close_arrives(peer):
    handle = await peer.open("/f", "w")
    peer.session.slow = True
    gate = hold(peer, "write")
    peer.send(p.write(1, handle, 0, b"abc"), p.close(2, handle))
    peer.send(p.write(3, handle, 3, b"no"), p.fstat(4, handle), p.close(5, handle))
    assert [(r.rid, r.text) for r in await peer.replies(3)] == [(i, "invalid handle") for i in (3, 4, 5)]
    gate.set()
    assert [(r.rid, r.code) for r in await peer.replies(2)] == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("build", "call"),
    [
        (p.fstat, "fstat"),
        (lambda rid, h: p.fsetstat(rid, h, p.attrs(times=(1, 1))), "fsetstat"),
        (lambda rid, h: p.extended(rid, "fsync@openssh.com", p.s(h)), "sync"),
        (
            lambda rid, h: p.extended(rid, "check-file-handle", p.s(h) + p.s("md5") + bytes(20)),
            "checksum",
        ),
    ],
)
async def test_what_is_asked_about_a_handle_comes_after_its_writes_and_before_later_ones(peer, build, call):
    handle = await peer.open("/f", "w+")
    peer.session.slow = True
    write, ask = hold(peer, "write"), hold(peer, call)
    peer.send(p.write(1, handle, 0, b"abc"), build(2, handle), p.write(3, handle, 3, b"def"))
    await peer.turns()
    assert [e[0] for e in peer.session.entered if e[0] in ("write", call)] == ["write"]
    write.set()
    await peer.turns()
    assert [e[0] for e in peer.session.entered if e[0] in ("write", call)] == ["write", call]
    ask.set()
    assert [r.rid for r in await peer.replies(3)] == [1, 2, 3]
    assert (await peer.ask(p.close, handle)).code == 0


async def test_a_fast_write_does_not_overtake_a_slow_truncation(peer):
    peer.session.put("/f", b"0123456789")
    handle = await peer.open("/f", "r+")
    gate = hold(peer, "fsetstat")
    peer.send(p.fsetstat(1, handle, p.attrs(size=0)), p.write(2, handle, 0, b"ab"), p.read(3, handle, 0, 10))
    await peer.turns()
    assert peer.take() == []
    gate.set()
    replies = await peer.replies(3)
    assert [r.rid for r in replies] == [1, 2, 3]
    assert replies[2].data == b"ab"
    assert (await peer.ask(p.close, handle)).code == 0


async def test_other_requests_do_not_wait_for_reads_and_writes(peer):
    peer.session.put("/other", b"xy")
    handle, other = await peer.open("/f", "w"), await peer.open("/other")
    peer.session.slow = True
    gate = hold(peer, "write")
    peer.send(p.write(1, handle, 0, b"abc"), p.stat(2, "/other"), p.read(3, other, 0, 9), p.close(4, other))
    assert {r.rid for r in await peer.replies(3)} == {2, 3, 4}
    gate.set()
    assert [r.rid for r in await peer.replies(1)] == [1]
    assert (await peer.ask(p.close, handle)).code == 0


@pytest.mark.inline_only
async def test_requests_without_a_handle_run_in_order_of_arrival(peer):
    gate = hold(peer, "mkdir")
    peer.send(p.mkdir(1, "/d"), p.stat(2, "/d"), p.rename(3, "/d", "/e"), p.stat(4, "/e"), p.realpath(5, "."))
    await peer.turns()
    assert peer.take() == []
    gate.set()
    assert [(r.rid, r.kind) for r in await peer.replies(5)] == [
        (1, 101),
        (2, 105),
        (3, 101),
        (4, 105),
        (5, 104),
    ]


async def test_overlapping_writes_land_in_order_of_arrival(peer):
    handle = await peer.open("/f", "w")
    peer.session.slow = True
    seen = []
    original = peer.session.pass_gate

    async def gated(call, *what):
        if call == "write":
            seen.append(what[1])
            for _ in range(20 - 5 * len(seen)):
                await asyncio.sleep(0)
        else:
            await original(call, *what)

    peer.session.pass_gate = gated
    peer.send(p.write(1, handle, 0, b"aaaa"), p.write(2, handle, 2, b"bbbb"), p.write(3, handle, 6, b"cc"))
    await peer.replies(3)
    assert seen == [0, 6, 2]  # the third did not wait
    assert (await peer.ask(p.close, handle)).code == 0
    assert peer.session.data("/f") == b"aabbbbcc"


async def test_a_read_sees_the_write_before_it(peer):
    handle = await peer.open("/f", "w+")
    peer.session.slow = True
    gate = hold(peer, "write")
    peer.send(p.write(1, handle, 0, b"abcd"), p.read(2, handle, 2, 2))
    await peer.turns()
    gate.set()
    assert (await peer.replies(2))[1].data == b"cd"
    assert (await peer.ask(p.close, handle)).code == 0


async def test_appends_land_in_order_even_if_the_first_has_to_wait(peer):
    handle = await peer.open("/log", "a")
    peer.session.slow = True
    gate = hold(peer, "write")
    peer.send(p.write(1, handle, 0, b"one "))
    peer.session.slow = False
    peer.send(p.write(2, handle, 0, b"two "), p.write(3, handle, 0, b"three"))
    await peer.turns()
    gate.set()
    await peer.replies(3)
    assert (await peer.ask(p.close, handle)).code == 0
    assert peer.session.data("/log") == b"one two three"


async def test_copy_data_waits_for_both_files(peer):
    peer.session.put("/a", b"....")
    source, target = await peer.open("/a", "r+"), await peer.open("/b", "w")
    peer.session.slow = True
    gate = hold(peer, "write")
    body = p.s(source) + p.u64(0) + p.u64(0) + p.s(target) + p.u64(0)
    peer.send(
        p.write(1, source, 0, b"abcd"), p.write(2, target, 4, b"tail"), p.extended(3, "copy-data", body)
    )
    peer.send(p.close(4, source), p.close(5, target))
    await peer.turns()
    assert peer.take() == []
    gate.set()
    assert [r.rid for r in await peer.replies(5)][2:] == [3, 4, 5]
    assert peer.session.data("/b") == b"abcdtail"


async def test_copy_data_onto_the_same_handle_does_not_wait_for_itself(peer):
    handle = await peer.open("/f", "w+")
    body = p.s(handle) + p.u64(0) + p.u64(0) + p.s(handle) + p.u64(0)
    peer.session.slow = True
    assert (await peer.ask(p.extended, "copy-data", body)).code == 4
    assert (await peer.ask(p.write, handle, 0, b"x")).code == 0
    assert (await peer.ask(p.close, handle)).code == 0


@pytest.mark.parametrize("seed", range(5))
async def test_a_storm_of_requests_ends_as_if_they_had_run_in_order(peer, seed):
    chance = random.Random(seed)
    handles = [await peer.open(f"/{i}", "w+") for i in range(3)]
    expected = [bytearray() for _ in handles]

    async def gated(call, *what):
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    peer.session.pass_gate = gated
    wanted = {}
    rid = 100
    for _ in range(300):
        peer.session.slow = chance.random() < 0.7
        which, rid = chance.randrange(3), rid + 1
        data, at = expected[which], chance.randrange(40)
        kind = chance.choice(["write", "write", "read", "truncate", "fstat"])
        if kind == "write":
            block = chance.randbytes(chance.randrange(1, 12))
            data.extend(bytes(max(0, at - len(data))))
            data[at : at + len(block)] = block
            peer.send(p.write(rid, handles[which], at, block))
        elif kind == "read":
            wanted[rid] = bytes(data[at : at + 8])
            peer.send(p.read(rid, handles[which], at, 8))
        elif kind == "truncate":
            size = chance.randrange(40)
            data.extend(bytes(max(0, size - len(data))))
            del data[size:]
            peer.send(p.fsetstat(rid, handles[which], p.attrs(size=size)))
        else:
            wanted[rid] = len(data)
            peer.send(p.fstat(rid, handles[which]))
        if chance.random() < 0.2:
            await asyncio.sleep(0)
    for reply in await peer.replies(300):
        if reply.rid in wanted:
            assert (reply.attrs["size"] if reply.kind == 105 else reply.data) == wanted[reply.rid]
        else:
            assert reply.code == 0
    for which, handle in enumerate(handles):
        assert (await peer.ask(p.close, handle)).code == 0
        assert peer.session.data(f"/{which}") == bytes(expected[which])
