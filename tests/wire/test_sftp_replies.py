# SPDX-License-Identifier: Apache-2.0
"""Replies of SFTP 3, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sftp_packets as p

from tidegate.doors.sftp.wire import replies
from tidegate.model import Entry, Kind, Space

RID = b"\x01\x02\x03\x04"
N = 0x01020304
ENTRY = Entry("f", Kind.FILE, 258, 0o640, 3, 4, 6_999_999_999, 5 * 10**9)
ENTRY_BYTES = (
    b"\0\0\0\x0f" + b"\0\0\0\0\0\0\1\2" + b"\0\0\0\3\0\0\0\4" + b"\0\0\x81\xa0" + b"\0\0\0\5\0\0\0\6"
)
SPACE = Space(512, 512 * 100, 512 * 40, 70, 30, 200, read_only=True)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (replies.status_ok(N), b"\0\0\0\x1ae" + RID + b"\0\0\0\0" + b"\0\0\0\7success\0\0\0\2en"),
        (replies.status_eof(N), b"\0\0\0\x1ee" + RID + b"\0\0\0\1\0\0\0\x0bend of file\0\0\0\2en"),
        (replies.status(N, 2, "no"), b"\0\0\0\x15e" + RID + b"\0\0\0\2\0\0\0\2no\0\0\0\2en"),
        (replies.handle(N, b"12345678"), b"\0\0\0\x11f" + RID + b"\0\0\0\x0812345678"),
        (replies.data(N, b"abc"), b"\0\0\0\x0cg" + RID + b"\0\0\0\3abc"),
        (replies.name(N, b"/x"), b"\0\0\0\x19h" + RID + b"\0\0\0\1" + b"\0\0\0\2/x" * 2 + b"\0\0\0\0"),
        (replies.attrs(N, ENTRY), b"\0\0\0\x25i" + RID + ENTRY_BYTES),
        (replies.version([(b"ab", b"1")]), b"\0\0\0\x10\x02\0\0\0\3\0\0\0\2ab\0\0\0\x011"),
        (
            replies.limits(N, 1, 2, 3, 4),
            b"\0\0\0\x25\xc9" + RID + b"".join(b"\0" * 7 + bytes([i]) for i in (1, 2, 3, 4)),
        ),
        (
            replies.statvfs(N, SPACE),
            b"\0\0\0\x5d\xc9" + RID + b"".join(map(p.u64, (512, 512, 100, 40, 40, 70, 30, 30, 0, 3, 200))),
        ),
        (
            replies.space_available(N, SPACE),
            b"\0\0\0\x29\xc9" + RID + b"".join(map(p.u64, (51200, 20480, 51200, 20480))) + p.u32(512),
        ),
        (
            replies.id_names(N, [b"al", b""], [b"g"]),
            b"\0\0\0\x1c\xc9" + RID + b"\0\0\0\x0a\0\0\0\2al\0\0\0\0" + b"\0\0\0\5\0\0\0\1g",
        ),
    ],
)
def test_a_reply_written_by_hand(packet, expected):
    assert packet == expected
    assert int.from_bytes(packet[:4], "big") == len(packet) - 4


@pytest.mark.parametrize(
    ("kind", "bits"), [(Kind.FILE, 0o100000), (Kind.DIRECTORY, 0o040000), (Kind.LINK, 0o120000)]
)
def test_the_mode_carries_the_type(kind, bits):
    reply = p.parse(replies.attrs(1, Entry("x", kind, 0, 0o1777))[4:])
    assert reply.attrs["mode"] == bits | 0o1777


def test_numbers_out_of_range_are_shown_as_the_nearest():
    odd = Entry("x", Kind.FILE, -1, 0o644, 2**40, -5, mtime_ns=-1, atime_ns=2**70)
    shown = p.parse(replies.attrs(1, odd)[4:]).attrs
    assert shown == {
        "size": 0,
        "uid": 2**32 - 1,
        "gid": 0,
        "mode": 0o100644,
        "mtime": 0,
        "atime": 2**32 - 1,
    }


def test_the_header_of_data_is_that_of_the_whole_packet():
    assert replies.data_header(N, 3) + b"abc" == replies.data(N, b"abc")


def test_a_space_without_a_block_size_is_counted_in_bytes():
    reply = p.parse(replies.statvfs(1, Space(0, 10, 5, 0, 0))[4:])
    fields = p.Fields(reply.data)
    assert [fields.u64() for _ in range(4)] == [1, 1, 10, 5]


def test_a_status_text_is_bounded_and_survives_surrogates():
    assert len(replies.status(1, 4, "x" * 5000)) == 1024 + 23
    assert p.parse(replies.status(1, 4, "a\udcffb")[4:]).text == "a?b"


@given(st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_data_round_trip(rid, payload):
    found, rest = p.split(replies.data(rid, payload))
    assert [(f.kind, f.rid, f.data) for f in found] == [(103, rid, payload)]
    assert rest == b""


@given(
    st.builds(
        Entry,
        st.just("n"),
        st.sampled_from(Kind),
        st.integers(0, 2**64 - 1),
        st.integers(0, 0o7777),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**62),
        st.integers(0, 2**62),
    )
)
def test_attrs_round_trip(entry):
    shown = p.parse(replies.attrs(9, entry)[4:]).attrs
    assert (shown["size"], shown["uid"], shown["gid"]) == (entry.size, entry.uid, entry.gid)
    assert shown["mode"] & 0o7777 == entry.mode
    assert shown["mtime"] == min(entry.mtime_ns // 10**9, 2**32 - 1)
