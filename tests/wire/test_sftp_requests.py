# SPDX-License-Identifier: Apache-2.0
"""Requests of SFTP 3, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sftp_packets as p

from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import requests as r
from tidegate.doors.sftp.wire.decoding import EXTENSIONS, decode, decode_init
from tidegate.errors import ProtocolViolation
from tidegate.model import Attrs

A = b"\0\0\0\2/a"
B = b"\0\0\0\2/b"
H = b"\0\0\0\2hh"
NONE = b"\0\0\0\0"
BY_HAND = [
    (3, A + b"\0\0\0\x1a" + NONE, r.Open(b"/a", 0x1A, Attrs())),
    (
        3,
        A + b"\0\0\0\1" + b"\0\0\0\x0f" + b"\0\0\0\1\0\0\0\2" + b"\0\0\0\3\0\0\0\4"
        b"\0\0\x81\xed" + b"\0\0\0\5\0\0\0\6",
        r.Open(b"/a", 1, Attrs(0x100000002, 0o755, 3, 4, 5 * 10**9, 6 * 10**9)),
    ),
    (4, H, r.Close(b"hh")),
    (5, H + b"\0\0\0\0\0\0\1\0" + b"\0\0\x80\0", r.Read(b"hh", 256, 32768)),
    (6, H + b"\0\0\0\0\0\0\1\0" + b"\0\0\0\3xyz", r.Write(b"hh", 256, b"xyz")),
    (7, A, r.Stat(b"/a", follow=False)),
    (8, H, r.Fstat(b"hh")),
    (9, A + b"\0\0\0\1" + b"\0\0\0\0\0\0\0\7", r.Setstat(b"/a", Attrs(size=7))),
    (10, H + b"\0\0\0\4" + b"\0\0\1\xa4", r.Fsetstat(b"hh", Attrs(mode=0o644))),
    (11, A, r.Opendir(b"/a")),
    (12, H, r.Readdir(b"hh")),
    (13, A, r.Remove(b"/a")),
    (14, A + NONE, r.Mkdir(b"/a", Attrs())),
    (15, A, r.Rmdir(b"/a")),
    (16, b"\0\0\0\1.", r.Realpath(b".")),
    (17, A, r.Stat(b"/a")),
    (18, A + B, r.Rename(b"/a", b"/b")),
    (19, A, r.Readlink(b"/a")),
    (20, A + B, r.Symlink(text=b"/a", link=b"/b")),
    (42, A, r.Unknown(42)),
    (101, A, r.Unknown(101)),
]

EXTENDED = [
    ("posix-rename@openssh.com", A + B, r.Rename(b"/a", b"/b", replace=True)),
    ("statvfs@openssh.com", A, r.Statvfs(b"/a")),
    ("fstatvfs@openssh.com", H, r.Fstatvfs(b"hh")),
    ("hardlink@openssh.com", A + B, r.Hardlink(b"/a", b"/b")),
    ("fsync@openssh.com", H, r.Fsync(b"hh")),
    ("lsetstat@openssh.com", A + NONE, r.Setstat(b"/a", Attrs(), follow=False)),
    ("limits@openssh.com", b"", r.AskLimits()),
    ("expand-path@openssh.com", b"\0\0\0\2~x", r.ExpandPath(b"~x")),
    (
        "copy-data",
        H + b"\0" * 7 + b"\1" + b"\0" * 7 + b"\2" + H + b"\0" * 7 + b"\3",
        r.CopyData(b"hh", 1, 2, b"hh", 3),
    ),
    ("copy-file", A + B + b"\1", r.CopyFile(b"/a", b"/b", replace=True)),
    ("home-directory", NONE, r.HomeDirectory(b"")),
    (
        "users-groups-by-id@openssh.com",
        b"\0\0\0\x08\0\0\0\1\0\0\0\2" + b"\0\0\0\4\0\0\0\3",
        r.NamesById((1, 2), (3,)),
    ),
    (
        "check-file-name",
        A + b"\0\0\0\3md5" + b"\0" * 7 + b"\1" + b"\0" * 7 + b"\2" + b"\0\0\1\0",
        r.CheckName(b"/a", b"md5", 1, 2, 256),
    ),
    (
        "check-file-handle",
        H + b"\0\0\0\3md5" + b"\0" * 16 + NONE,
        r.CheckHandle(b"hh", b"md5", 0, 0, 0),
    ),
    ("check-file", H + b"\0\0\0\3md5" + b"\0" * 16 + NONE, r.CheckHandle(b"hh", b"md5", 0, 0, 0, echo=True)),
    ("space-available", A, r.SpaceAvailable(b"/a")),
    ("flock@openssh.com", H, r.Unknown(200, b"flock@openssh.com")),
]
ALL = BY_HAND + [(200, p.s(name) + body, expected) for name, body, expected in EXTENDED]


@pytest.mark.parametrize(("kind", "body", "expected"), ALL, ids=lambda v: str(v)[:40])
def test_a_request_written_by_hand(kind, body, expected):
    assert decode(kind, body) == expected


@pytest.mark.parametrize(("kind", "body", "expected"), ALL, ids=lambda v: str(v)[:40])
def test_bytes_after_the_known_fields_are_tolerated(kind, body, expected):
    assert decode(kind, body + b"\0\0\0\5extra") == expected


@pytest.mark.parametrize(("kind", "body", "expected"), ALL, ids=lambda v: str(v)[:40])
def test_a_request_cut_short_is_a_violation(kind, body, expected):
    if isinstance(expected, (r.Unknown, r.AskLimits)):
        assert decode(kind, body) == expected
        return
    for cut in range(len(body)):
        with pytest.raises(ProtocolViolation):
            decode(kind, body[:cut])


def test_every_extension_is_covered_here():
    assert {name.encode() for name, _, _ in EXTENDED} - {b"flock@openssh.com"} == set(EXTENSIONS)


def test_init_with_and_without_extensions():
    assert decode_init(b"\0\0\0\3") == r.Init(3)
    assert decode_init(b"\0\0\0\6" + p.s("a") + p.s("1")) == r.Init(6, ((b"a", b"1"),))
    for broken in (b"", b"\0\0\0", b"\0\0\0\3\0", b"\0\0\0\3" + p.s("a")):
        with pytest.raises(ProtocolViolation):
            decode_init(broken)


def test_extended_attributes_are_skipped_and_bounded():
    pairs = ((b"acl", b"x" * 10), (b"b", b""))
    body = A + p.attrs(size=1, extended=pairs)
    assert decode(9, body) == r.Setstat(b"/a", Attrs(size=1))
    with pytest.raises(ProtocolViolation):
        decode(9, A + p.attrs(extended=((b"k", b"v"),) * (c.MAX_ATTR_EXTENSIONS + 1)))
    with pytest.raises(ProtocolViolation):
        decode(9, A + b"\x80\0\0\0" + b"\xff\xff\xff\xff")


def test_attribute_flags_that_nobody_knows_are_ignored():
    assert decode(9, A + b"\x00\x10\x00\x00") == r.Setstat(b"/a", Attrs())


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [((7, 2**32 - 1), Attrs(uid=7)), ((2**32 - 1, 8), Attrs(gid=8)), ((2**32 - 1, 2**32 - 1), Attrs())],
)
def test_an_owner_of_minus_one_is_left_as_it_is(sent, wanted):
    """Phpseclib sends it for the group in `chown`, and for the user in `chgrp`."""
    assert decode(9, A + p.attrs(owner=sent)) == r.Setstat(b"/a", wanted)


def test_names_by_id_wants_whole_numbers():
    with pytest.raises(ProtocolViolation):
        decode(200, p.s("users-groups-by-id@openssh.com") + p.s(b"abc") + p.s(b""))


@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_bytes_decode_or_violate(kind, body):
    try:
        found = decode(kind, body)
    except ProtocolViolation:
        return
    assert isinstance(found, r.Request)


@given(st.sampled_from([name for name, _, _ in EXTENDED]), st.binary(max_size=120))
def test_any_extended_bytes_decode_or_violate(name, body):
    try:
        found = decode(200, p.s(name) + body)
    except ProtocolViolation:
        return
    assert isinstance(found, r.Request)


@given(st.binary(max_size=100))
def test_any_init_decodes_or_violates(body):
    try:
        found = decode_init(body)
    except ProtocolViolation:
        return
    assert 0 <= found.version < 2**32


names = st.binary(max_size=64)
numbers32 = st.integers(0, 2**32 - 1)
numbers64 = st.integers(0, 2**64 - 1)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "size": numbers64,
        "owner": st.tuples(numbers32, numbers32),
        "mode": st.integers(0, 0o7777),
        "times": st.tuples(numbers32, numbers32),
    },
)


def as_attrs(found):
    uid, gid = (None if v == 2**32 - 1 else v for v in found.get("owner", (None, None)))
    atime, mtime = (None if v is None else v * 10**9 for v in found.get("times", (None, None)))
    return Attrs(found.get("size"), found.get("mode"), uid, gid, atime, mtime)


def body(packet):
    """A packet without length, type and id."""
    return packet[4], packet[9:]


@given(names, numbers32, attributes)
def test_open_round_trip(path, flags, found):
    packet = p.open_(7, path, flags, p.attrs(**found))
    assert decode(*body(packet)) == r.Open(path, flags, as_attrs(found))


@given(names, numbers64, names)
def test_write_round_trip(handle, offset, data):
    assert decode(*body(p.write(1, handle, offset, data))) == r.Write(handle, offset, data)


@given(names, numbers64, numbers32)
def test_read_round_trip(handle, offset, size):
    assert decode(*body(p.read(1, handle, offset, size))) == r.Read(handle, offset, size)


@given(names, names, attributes)
def test_two_names_and_attributes_round_trip(first, second, found):
    assert decode(*body(p.rename(1, first, second))) == r.Rename(first, second)
    assert decode(*body(p.symlink(1, first, second))) == r.Symlink(first, second)
    assert decode(*body(p.setstat(1, first, p.attrs(**found)))) == r.Setstat(first, as_attrs(found))
    assert decode(*body(p.fsetstat(1, first, p.attrs(**found)))) == r.Fsetstat(first, as_attrs(found))


def test_the_header_read_in_place_agrees_with_the_decoder():
    packet = p.write(0x01020304, b"12345678", 2**40, b"data")
    length, kind, rid, hlen, key, offset, size = r.IO_HEADER.unpack_from(packet)
    assert (length, kind, rid, hlen) == (len(packet) - 4, 6, 0x01020304, 8)
    assert key.to_bytes(8, "big") == b"12345678"
    assert (offset, size) == (2**40, 4)
    assert packet[r.IO_HEADER.size :] == b"data"
