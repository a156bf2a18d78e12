# SPDX-License-Identifier: Apache-2.0
"""SCP dialogues byte by byte: what OpenSSH, WinSCP and SFTPGo's recordings show, and peers that break rules."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.memory_session import DISTANT, MemorySession
from tests.support.scp_peer import ScpPeer

from tidegate.doors.scp import content, sink, wire
from tidegate.errors import Denied, InvalidArgument, QuotaExceeded, StorageFailed

RECORDED = Path(__file__).parent.parent / "data" / "recorded" / "2.7.5-scp.jsonl"


@pytest.fixture(params=[False, True], ids=["inline", "distant"])
def session(request: pytest.FixtureRequest):
    token = DISTANT.set(request.param)
    session = MemorySession()
    DISTANT.reset(token)
    session.put("/a.txt", b"hello\n", mode=0o644)
    session.put("/dir/f1", b"1")
    session.put("/dir/sub/g", b"22")
    return session


# -- receiving -------------------------------------------------------------------------------------------


async def test_one_file(session):
    async with ScpPeer("-t /raw.txt", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 5 raw.txt\n")
        await peer.got(b"\0")
        peer.send(b"hello\0")
        await peer.got(b"\0")
        peer.end()
        assert await peer.status() == 0
    assert session.data("/raw.txt") == b"hello"


async def test_byte_by_byte_and_all_at_once(session):
    whole = b"D0755 0 top\nC0600 3 a\nabc\0C0644 0 b\n\0D0700 0 in\nT5 0 6 0\nC0644 1 c\nx\0E\nE\n"
    for pieces in ([whole], [bytes([byte]) for byte in whole]):
        async with ScpPeer("-r -p -t /dir", session) as peer:
            for piece in pieces:
                peer.send(piece)
            await peer.got(b"\0" * 12)
            peer.end()
            assert await peer.status() == 0
        assert session.data("/dir/top/a") == b"abc"
        assert session.data("/dir/top/b") == b""
        assert session.data("/dir/top/in/c") == b"x"
        assert session.nodes["/dir/top/in/c"].mtime_ns == 5 * 10**9
        assert session.nodes["/dir/top/in/c"].atime_ns == 6 * 10**9
        assert session.nodes["/dir/top/in"].mode == 0o700


async def test_the_shape_of_winscp(session):
    """Options apart, the target in double quotes, times before each entry, directories as they come."""
    session.put("/home/x")
    async with ScpPeer('-r -p -d -t "/home"', session) as peer:
        await peer.got(b"\0")
        for record in (b"T1500000000 0 1500000001 0\n", b"D0755 0 My Documents\n"):
            peer.send(record)
            await peer.got(b"\0")
        for record in (b"T1600000000 0 1600000001 0\n", b"C0644 4 a file.doc\n"):
            peer.send(record)
            await peer.got(b"\0")
        peer.send(b"data")
        peer.send(b"\0")
        await peer.got(b"\0")
        peer.send(b"E\n")
        await peer.got(b"\0")
        peer.end()
        assert await peer.status() == 0
    assert session.data("/home/My Documents/a file.doc") == b"data"
    assert session.nodes["/home/My Documents/a file.doc"].mtime_ns == 1600000000 * 10**9
    assert session.nodes["/home/My Documents"].mtime_ns == 1500000000 * 10**9


async def test_a_file_that_cannot_be_written_is_answered_and_the_next_one_taken(session):
    session.errors["open"] = Denied()
    async with ScpPeer("-t /dir", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 5 no\n")
        assert await peer.line() == b"\1scp: /dir/no: Permission denied\n"
        del session.errors["open"]
        peer.send(b"C0644 3 yes\n")
        await peer.got(b"\0")
        peer.send(b"abc\0")
        await peer.got(b"\0")
        peer.end()
        assert await peer.status() == 1
    assert session.data("/dir/yes") == b"abc"
    assert session.failures[0][:2] == ("upload", "/dir/no")


async def test_what_fails_while_it_is_written_is_dropped_to_its_end(session):
    size = 3 * content.PIECE_BYTES
    async with ScpPeer("-t /dir", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 %d big\n" % size)
        await peer.got(b"\0")
        peer.send(bytes(content.PIECE_BYTES))
        session.errors["write_nowait"] = session.errors["write"] = QuotaExceeded("denied: quota_size")
        peer.send(bytes(2 * content.PIECE_BYTES))
        peer.send(b"\0")
        assert await peer.line() == b"\1scp: /dir/big: Denied: quota_size\n"
        session.errors.clear()
        peer.send(b"C0644 1 next\nx\0")
        await peer.got(b"\0\0")
        peer.end()
        assert await peer.status() == 1
    assert session.data("/dir/next") == b"x"


async def test_a_sender_that_could_not_read_all_has_no_file_published(session):
    """scp.c sends zeros in place of what it cannot read, and then says so; OpenSSH's server keeps the zeros."""
    async with ScpPeer("-t /dir", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 4 torn\n")
        await peer.got(b"\0")
        file = session.open_files[0]
        peer.send(b"ab\0\0\1scp: torn: Input/output error\n")
        assert (await peer.line()).startswith(b"\1scp: /dir/torn: The sender could not read")
        assert file.ended == "aborted"
        peer.end()
        assert await peer.status() == 1


async def test_a_peer_that_goes_in_the_midst(session):
    for last in (b"", b"C0644 4 x\n", b"C0644 4 x\nab", b"C0644 4 x\nabcd", b"T1 0", b"D0755 0 y\nC0"):
        async with ScpPeer("-r -t /dir", session) as peer:
            await peer.got(b"\0")
            peer.send(last)
            for _ in range(5):
                await asyncio.sleep(0)
            assert await peer.drop() == 1
    for last in (b"C0644 4 x\n", b"C0644 4 x\nab", b"C0644 4 x\nabcd"):
        async with ScpPeer("-t /dir", session) as peer:
            await peer.got(b"\0")
            peer.send(last)
            peer.end()
            assert await peer.status() == 1
            assert session.open_files == []


async def test_a_peer_that_goes_while_a_file_is_published(session):
    """It is published all the same: cancelling then would only add doubt."""
    gate = session.gates["close"] = asyncio.Event()
    peer = ScpPeer("-t /dir", session)
    await peer.got(b"\0")
    peer.send(b"C0644 2 x\nab\0")
    while ("close", "/dir/x") not in session.entered:
        await asyncio.sleep(0)
    dropping = asyncio.ensure_future(peer.drop())
    await asyncio.sleep(0)
    gate.set()
    assert await dropping == 1
    assert session.open_files == []
    assert ("close", "/dir/x", 2) in session.log


@pytest.mark.parametrize(
    ("line", "records", "said"),
    [
        ("-t /dir", b"C0644 5 ../x\n", "protocol error: unexpected filename: ../x"),
        ("-t /dir", b"C0644 5 /etc/cron.d/x\n", "protocol error: unexpected filename: /etc/cron.d/x"),
        ("-t /dir", b"C0644 -1 x\n", "protocol error: size not delimited"),
        ("-t /dir", b"C0644 99999999999999999999 x\n", "protocol error: size out of range"),
        ("-t /dir", b"D0755 0 x\n", "protocol error: received directory without -r"),
        ("-r -t /dir", b"D0755 0 .\n", "protocol error: unexpected filename: ."),
        ("-t /dir", b"\n", "protocol error: unexpected <newline>"),
        ("-t /dir", b"Hello there\n", "protocol error: expected control record"),
        ("-t /dir", b"C" * 5000, "protocol error: a record without an end"),
        ("-t /dir", b"C0644 1 x\nyz\n", None),
    ],
)
async def test_what_breaks_the_protocol_ends_the_channel(session, line, records, said):
    before = dict(session.nodes)
    async with ScpPeer(line, session) as peer:
        await peer.got(b"\0")
        peer.send(records)
        if said is None:
            # What follows a file's bytes is no answer of a sender: the text of something else.
            assert (await peer.until(lambda got: got.endswith(b"\n"))).startswith(b"\0\1scp: /dir/x: ")
        else:
            assert await peer.line() == b"\2scp: " + said.encode() + b"\n"
        assert await peer.status() == 1
    if said is not None:
        assert session.nodes.keys() == before.keys()


async def test_an_endless_line_is_not_kept(session):
    async with ScpPeer("-t /dir", session) as peer:
        await peer.got(b"\0")
        for _ in range(wire.MAX_LINE + 1):
            peer.send(b"C")
        assert await peer.status() == 1


async def test_directories_within_each_other_have_a_bound(session):
    async with ScpPeer("-r -t /dir", session) as peer:
        await peer.got(b"\0")
        for _ in range(sink.MAX_DEPTH):
            peer.send(b"D0755 0 d\n")
        await peer.got(b"\0" * sink.MAX_DEPTH)
        peer.send(b"D0755 0 d\n")
        assert b"more than 256 of them" in await peer.line()
        peer.send(b"E\n" * sink.MAX_DEPTH)
        await peer.got(b"\0" * sink.MAX_DEPTH)
        peer.end()
        assert await peer.status() == 1


async def test_a_directory_in_place_of_a_file_and_a_file_in_place_of_a_directory(session):
    async with ScpPeer("-r -t /dir", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 1 sub\n")
        assert await peer.line() == b"\1scp: /dir/sub: Is a directory\n"
        peer.send(b"D0755 0 f1\n")
        assert await peer.line() == b"\1scp: /dir/f1: Not a directory\n"
        peer.end()
        assert await peer.status() == 1
    assert session.data("/dir/f1") == b"1"


async def test_a_file_as_target_takes_what_comes_whatever_its_name(session):
    async with ScpPeer("-t /a.txt", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 3 other\nnew\0")
        await peer.got(b"\0\0")
        peer.end()
        assert await peer.status() == 0
    assert session.data("/a.txt") == b"new"


async def test_more_than_storage_takes_waits_in_the_window(session):
    """Content is held up to a bound; the rest is not read from the peer."""
    if session.far is None:
        session.slow = True
    gate = session.gates["write"] = asyncio.Event()
    size = 64 * content.PIECE_BYTES
    async with ScpPeer("-t /dir", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 %d big\n" % size)
        await peer.got(b"\0")
        for _ in range(64):
            peer.send(bytes(content.PIECE_BYTES))
            for _ in range(3):
                await asyncio.sleep(0)
        assert peer.dialogue.held_bytes <= content.HELD_BYTES
        assert not peer.channel.reading
        assert peer.transport.held_bytes <= 2 * content.PIECE_BYTES
        gate.set()
        del session.gates["write"]
        peer.send(b"\0")
        await peer.got(b"\0")
        assert peer.dialogue.held_bytes == 0
        peer.end()
        assert await peer.status() == 0
    assert len(session.data("/dir/big")) == size


# -- sending ---------------------------------------------------------------------------------------------


async def test_a_file_is_sent_as_recorded(session):
    async with ScpPeer("-p -f /a.txt", session) as peer:
        peer.send(b"\0")
        assert await peer.line() == b"T1000000000 0 1000000000 0\n"
        peer.send(b"\0")
        assert await peer.line() == b"C0644 6 a.txt\n"
        peer.send(b"\0")
        await peer.got(b"hello\n\0")
        peer.send(b"\0")
        assert await peer.status() == 0


async def test_a_tree(session):
    async with ScpPeer("-r -f /dir", session) as peer:
        got = []
        for _ in range(20):
            peer.send(b"\0")
            got.append(await peer.until(lambda got: bool(got) or peer.channel.exit_status is not None))
            if peer.channel.exit_status is not None:
                break
        assert (
            b"".join(got) == (b"D0755 0 dir\nC0644 1 f1\n1\0D0755 0 sub\nC0644 2 g\n22\0E\nE\n")
            or b"".join(got) == b"D0755 0 dir\nD0755 0 sub\nC0644 2 g\n22\0E\nC0644 1 f1\n1\0E\n"
        )
        assert peer.channel.exit_status == 0


async def test_what_a_client_does_not_want_is_left_out(session):
    async with ScpPeer("-f /a.txt /dir/f1", session) as peer:
        peer.send(b"\0")
        await peer.line()
        peer.send(b"\1scp: a.txt: Permission denied\n")
        assert await peer.line() == b"C0644 1 f1\n"
        peer.send(b"\2that is enough\n")
        assert await peer.status() == 1


async def test_an_answer_that_is_none_ends_it(session):
    async with ScpPeer("-f /a.txt", session) as peer:
        peer.send(b"GET / HTTP/1.1\r\n")
        assert await peer.status() == 1


async def test_a_file_that_became_shorter_is_sent_in_full_and_called_broken(session):
    node = session.put("/shrinks", bytes(3 * content.PIECE_BYTES))
    async with ScpPeer("-f /shrinks /a.txt", session) as peer:
        peer.send(b"\0")
        await peer.line()
        del node.data[100:]
        file = session.open_files[0]
        peer.send(b"\0")
        got = await peer.until(lambda got: len(got) > 3 * content.PIECE_BYTES)
        assert got[3 * content.PIECE_BYTES :].startswith(b"\1scp: /shrinks: The file became shorter")
        assert file.ended != "closed"
        peer.send(b"\1\n")
        assert await peer.line() == b"C0644 6 a.txt\n"
        peer.send(b"\0")
        await peer.until(lambda got: got.endswith(b"\0"))
        peer.send(b"\0")
        assert await peer.status() == 1


async def test_a_file_that_cannot_be_read_any_more(session):
    session.put("/bad", bytes(2 * content.PIECE_BYTES))
    async with ScpPeer("-f /bad", session) as peer:
        peer.send(b"\0")
        await peer.line()
        session.errors["readinto_nowait"] = session.errors["read"] = StorageFailed()
        peer.send(b"\0")
        got = await peer.until(lambda got: len(got) > 2 * content.PIECE_BYTES)
        assert got[: 2 * content.PIECE_BYTES] == bytes(2 * content.PIECE_BYTES)
        assert got[2 * content.PIECE_BYTES :].startswith(b"\1scp: /bad: ")
        peer.send(b"\0")
        assert await peer.status() == 1


async def test_no_more_is_read_than_the_peer_takes(session):
    session.put("/big", bytes(64 * content.PIECE_BYTES))
    async with ScpPeer("-f /big", session, window=100) as peer:
        peer.send(b"\0")
        await peer.line()
        peer.send(b"\0")
        for _ in range(300):
            await asyncio.sleep(0)
        assert peer.channel.most_pending <= 4 * content.PIECE_BYTES
        peer.channel.open_window(None)
        await peer.until(lambda got: len(got) > 64 * content.PIECE_BYTES - 100)
        peer.send(b"\0")
        assert await peer.status() == 0


async def test_a_peer_that_goes_while_it_is_sent_something(session):
    session.put("/big", bytes(64 * content.PIECE_BYTES))
    for steps in range(4):
        async with ScpPeer("-r -p -f / /big", session, window=10_000) as peer:
            for _ in range(steps):
                peer.send(b"\0")
                for _ in range(20):
                    await asyncio.sleep(0)
            assert await peer.drop() == 1


# -- the rest --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "-t to receive"),
        ("-t", "no file"),
        ("-tf x", "-t to receive"),
        ("-t -z x", "unknown option -- z"),
    ],
)
async def test_command_lines_that_are_none(line, said):
    with pytest.raises(InvalidArgument, match=said):
        ScpPeer(line)


async def test_no_new_file_while_the_server_stops(session):
    async with ScpPeer("-t /dir", session) as peer:
        await peer.got(b"\0")
        peer.send(b"C0644 2 a\n")
        await peer.got(b"\0")
        peer.dialogue.refuse_opens()
        peer.send(b"ab\0")
        await peer.got(b"\0")
        peer.send(b"C0644 2 b\n")
        assert await peer.line() == b"\2scp: server is shutting down\n"
        assert await peer.status() == 1
    assert session.data("/dir/a") == b"ab"


DIFFERENT = {
    "scp -t /raw.txt C0644 5\n": "\2scp: protocol error: size not delimited\n",
    "scp -t /raw.txt X\n": "\2scp: protocol error: expected control record\n",
    "scp -t /raw.txt C0644 abc raw.txt\n": "\2scp: protocol error: size not delimited\n",
    "scp -t / D0755 0 rd\n": "\2scp: protocol error: received directory without -r\n",
    "scp -f /missing \0": "\1scp: /missing: No such file or directory\n",
    "scp -f /dir \0": "\1scp: /dir: Not a regular file\n",
}
"""Scripts that SFTPGo answers with nothing, or with a directory without -r: what is said instead."""


@pytest.mark.parametrize(
    "recorded",
    [json.loads(line) for line in RECORDED.read_text().splitlines() if '"raw_scp"' in line],
    ids=lambda recorded: recorded["raw_scp"] + " " + str(len(recorded["dialogue"])),
)
async def test_recorded_dialogues(recorded, session):
    """Raw dialogues with SFTPGo 2.7.5; where it is silent about what went wrong, that is said here."""
    last = ""
    line = recorded["raw_scp"].removeprefix("scp ")
    async with ScpPeer(line, session) as peer:
        for step in recorded["dialogue"]:
            if "client" in step:
                peer.send(step["client"].encode())
                last = step["client"]
                continue
            expected = DIFFERENT.get(f"{recorded['raw_scp']} {last}", step["server"])
            if expected.startswith(("T", "D")):
                assert (await peer.line())[:1] == expected[:1].encode()
                if expected.startswith("D"):
                    return  # the order and content of a directory are its own
            elif expected:
                await peer.got(expected.encode())
