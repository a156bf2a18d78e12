# SPDX-License-Identifier: Apache-2.0
"""Peers that do not behave: the answer is an error or the end of the channel, never more."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate import errors
from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.model import Entry, Kind


async def ended(peer, status=1):
    assert peer.channel.exit_status == status
    peer.send(p.stat(1, "/"))
    await peer.turns(5)
    assert peer.take() == []


@pytest.mark.parametrize(
    "garbage",
    [
        p.stat(1, "/"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\1",
        b"\xff\xff\xff\xff\1\0\0\0\3",
        p.packet(1, b""),
        p.packet(1, b"\0\0\0"),
        p.packet(1, b"\0\0\0\3" + b"\0\0\0\x09short"),
        p.write(1, b"12345678", 0, b"x"),
        p.read(1, b"12345678", 0, 1),
    ],
)
async def test_garbage_before_init_ends_the_channel(garbage):
    async with Peer(greet=False) as peer:
        peer.send(garbage)
        await ended(peer)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0\0",
        b"\x00\x10\x00\x01\x05",
        b"\xff\xff\xff\xff\x06",
        p.packet(17, b"\0\0\0"),
        p.packet(5, b""),
        p.packet(6, b"\0\0"),
        p.packet(99, b""),
        p.init(),
    ],
)
async def test_what_carries_no_request_id_ends_the_channel(garbage):
    async with Peer() as peer:
        peer.send(garbage)
        await ended(peer)


@pytest.mark.parametrize(
    "body",
    [
        (17, b""),
        (17, b"\0\0\0\x09/short"),
        (3, p.s("/f")),
        (5, b"\0\0\0"),
        (5, p.s(b"12345678") + b"\0"),
        (6, p.s(b"12345678") + p.u64(0) + b"\0\0\0\x09x"),
        (6, p.s(b"12345678") + p.u64(0)),
        (6, p.s(b"x") + p.u64(0) + b"\xff\xff\xff\xff"),
        (200, b""),
        (200, p.s("copy-data") + b"\0"),
    ],
)
async def test_broken_fields_are_a_bad_message_and_the_channel_lives(body):
    async with Peer() as peer:
        reply = await peer.ask(lambda rid: p.packet(body[0], p.u32(rid) + body[1]))
        assert (reply.kind, reply.code, reply.text) == (101, 5, "bad message")
        assert (await peer.ask(p.realpath, ".")).kind == 104


@pytest.mark.parametrize("handle", [b"", b"x", b"12345678", bytes(8), b"x" * 300, b"\xff" * 8])
async def test_handles_that_were_never_issued(handle):
    async with Peer() as peer:
        check = p.s(handle) + p.s("md5") + bytes(20)
        for build in (
            lambda rid: p.read(rid, handle, 0, 10),
            lambda rid: p.write(rid, handle, 0, b"abc"),
            lambda rid: p.close(rid, handle),
            lambda rid: p.fstat(rid, handle),
            lambda rid: p.fsetstat(rid, handle, p.NO_ATTRS),
            lambda rid: p.readdir(rid, handle),
            lambda rid: p.extended(rid, "fsync@openssh.com", p.s(handle)),
            lambda rid: p.extended(rid, "fstatvfs@openssh.com", p.s(handle)),
            lambda rid: p.extended(rid, "check-file-handle", check),
        ):
            reply = await peer.ask(build)
            assert (reply.code, reply.text) == (4, "invalid handle")


async def test_numbers_that_no_file_can_have():
    async with Peer() as peer:
        peer.session.put("/f", b"abc")
        one, two = await peer.open("/f", "r+"), await peer.open("/g", "w+")
        huge = p.attrs(size=2**63)
        copy = p.s(one) + p.u64(2**63) + p.u64(0) + p.s(two) + p.u64(0)
        copy_far = p.s(one) + p.u64(0) + p.u64(0) + p.s(two) + p.u64(2**64 - 1)
        check = p.s(one) + p.s("md5") + p.u64(2**64 - 1) + p.u64(0) + p.u32(256)
        for build in (
            lambda rid: p.setstat(rid, "/f", huge),
            lambda rid: p.fsetstat(rid, one, huge),
            lambda rid: p.open_(rid, "/h", "w", huge),
            lambda rid: p.mkdir(rid, "/d", huge),
            lambda rid: p.extended(rid, "copy-data", copy),
            lambda rid: p.extended(rid, "copy-data", copy_far),
            lambda rid: p.extended(rid, "check-file-handle", check),
        ):
            reply = await peer.ask(build)
            assert (reply.code, reply.text) == (4, "offset or size out of range")
        assert "/h" not in peer.session.nodes


async def test_handles_are_not_issued_twice_and_differ_between_sessions():
    async with Peer() as one, Peer() as two:
        seen = set()
        for peer in (one, two):
            peer.session.put("/f")
            for _ in range(50):
                handle = await peer.open("/f")
                seen.add(handle)
                assert (await peer.ask(p.close, handle)).code == 0
        assert len(seen) == 100


async def test_a_handle_of_another_session_is_invalid():
    async with Peer() as one, Peer() as two:
        one.session.put("/f", b"secret")
        handle = await one.open("/f")
        assert (await two.ask(p.read, handle, 0, 10)).text == "invalid handle"


async def test_ten_thousand_opens_stop_at_the_bound():
    async with Peer() as peer:
        peer.session.put("/f")
        codes = []
        for start in range(0, 10_000, 100):
            peer.send(*(p.open_(rid, "/f") for rid in range(start, start + 100)))
            replies = sorted(await peer.replies(100), key=lambda reply: reply.rid)
            codes += [r.code if r.kind == 101 else "handle" for r in replies]
        assert codes == ["handle"] * 1024 + [4] * (10_000 - 1024)
        assert (await peer.ask(p.opendir, "/")).text == "too many open handles"
        assert (await peer.ask(p.stat, "/f")).kind == 105


async def test_handles_that_are_being_closed_count_until_they_are():
    async with Peer(limits=SftpLimits(handles=1)) as peer:
        handle = await peer.open("/f", "w")
        gate = peer.session.gates["close"] = asyncio.Event()
        peer.send(p.close(1, handle))
        await peer.turns(5)
        gate.set()
        assert [r.code for r in await peer.replies(1)] == [0]
        handle = await peer.open("/f")
        assert (await peer.ask(p.open_, "/f")).text == "too many open handles"
        assert (await peer.ask(p.close, handle)).code == 0


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
async def test_packets_that_come_in_pieces(piece):
    async with Peer(greet=False) as peer:
        peer.session.put("/f", b"0123456789")
        stream = p.init() + p.open_(1, "/f")
        for at in range(0, len(stream), piece):
            peer.send(stream[at : at + piece])
        handle = (await peer.replies(2))[1].handle
        stream = p.read(2, handle, 0, 4) + p.stat(3, "/f") + p.read(4, handle, 4, 6) + p.close(5, handle)
        for at in range(0, len(stream), piece):
            peer.send(stream[at : at + piece])
        replies = await peer.replies(4)
        assert [(r.rid, r.data) for r in replies] == [(2, b"0123"), (3, b""), (4, b"456789"), (5, b"")]


async def test_the_largest_packet_is_taken_and_one_byte_more_is_not():
    async with Peer() as peer:
        handle = await peer.open("/f", "w")
        room = 1024 * 1024 - 29
        data = bytes(range(256)) * (room // 256 + 1)
        largest = p.write(1, handle, 0, data[:room])
        assert len(largest) == 4 + 1024 * 1024
        for at in range(0, len(largest), 32768):
            peer.send(largest[at : at + 32768])
        assert [r.code for r in await peer.replies(1)] == [0]
        assert peer.session.data("/f") == data[:room]
        peer.send(p.write(2, handle, 0, data[: room + 1])[:100])
        await ended(peer)


async def test_a_file_that_keeps_what_it_was_given_does_not_break_the_carrier():
    async with Peer() as peer:
        handle = await peer.open("/f", "w")
        kept = []
        file = peer.session.open_files[0]
        file.write_nowait = lambda _offset, data: kept.append(data) or True
        stream = b"".join(p.write(i, handle, i * 4, b"%04d" % i) for i in range(50))
        peer.send(stream[:10])
        peer.send(stream[10:777])
        peer.send(stream[777:])
        assert [r.rid for r in await peer.replies(50)] == list(range(50))
        assert len(kept) == 50
        del file.write_nowait
        assert (await peer.ask(p.close, handle)).code == 0


async def test_a_listing_that_breaks_off():
    class Breaks(MemorySession):
        async def list(self, path):
            yield [Entry("a", Kind.FILE, 1, 0o644)]
            raise errors.StorageFailed

    async with Peer(Breaks()) as peer:
        handle = (await peer.ask(p.opendir, "/")).handle
        assert [n.name for n in (await peer.ask(p.readdir, handle)).names] == [b".", b"..", b"a"]
        reply = await peer.ask(p.readdir, handle)
        assert (reply.code, reply.text) == (4, "storage failure")
        assert (await peer.ask(p.readdir, handle)).code == 1
        assert (await peer.ask(p.close, handle)).code == 0


packets = st.one_of(
    st.builds(
        lambda k, r, b: p.packet(k, p.u32(r) + b),
        st.integers(0, 255),
        st.integers(0, 9),
        st.binary(max_size=60),
    ),
    st.builds(p.open_, st.integers(0, 9), st.sampled_from(["/f", "/g", "/d"]), st.integers(0, 63)),
    st.builds(p.stat, st.integers(0, 9), st.binary(max_size=20)),
    st.builds(p.opendir, st.integers(0, 9), st.just("/")),
    st.binary(max_size=40),
)


@given(st.lists(packets, max_size=12), st.lists(st.integers(1, 30), max_size=30), st.booleans())
@settings(deadline=None, max_examples=150)
def test_any_bytes_split_anywhere_never_break_the_server(sent, cuts, slow):
    async def run():
        session = MemorySession()
        session.put("/f", b"data")
        peer = Peer(session)
        session.slow = slow
        stream = b"".join(sent)
        for cut in cuts:
            peer.send(stream[:cut])
            stream = stream[cut:]
        peer.send(stream)
        await peer.turns(30)
        peer.take()
        assert peer.channel.exit_status in (None, 1)
        await peer.drop()
        assert session.open_files == []
        assert session.open_listings == 0

    asyncio.run(run())
