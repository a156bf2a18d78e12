# SPDX-License-Identifier: Apache-2.0
"""Listings: the ``ls -l`` line, and NAME packets of bounded size."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import sftp_packets as p

from tidegate.doors.common.ls_lines import mode_letters
from tidegate.doors.sftp.listings import MAX_NAMES_BYTES
from tidegate.doors.sftp.longname import MAX_NAMES, Longnames
from tidegate.doors.sftp.wire import replies
from tidegate.model import Entry, Kind

NOW = 1_700_000_000  # Tue Nov 14 22:13:20 2023 UTC


class Ids:
    def user(self, uid):
        return {1000: "alice", 7: "averylongusername"}.get(uid)

    def group(self, gid):
        return {1000: "staff"}.get(gid)


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def made(clock=lambda: NOW):
    return Longnames(Ids(), clock)


def entry(name="f", *, size=5, uid=0, gid=0, mtime=NOW, nlink=1):
    return Entry(name, Kind.FILE, size, 0o644, uid, gid, mtime * 10**9, 0, nlink)


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        (Kind.FILE, 0o644, "-rw-r--r--"),
        (Kind.DIRECTORY, 0o1777, "drwxrwxrwt"),
        (Kind.DIRECTORY, 0o1776, "drwxrwxrwT"),
        (Kind.LINK, 0o777, "lrwxrwxrwx"),
        (Kind.FILE, 0o4755, "-rwsr-xr-x"),
        (Kind.FILE, 0o6644, "-rwSr-Sr--"),
        (Kind.OTHER, 0, "p---------"),
    ],
)
def test_mode_letters(kind, mode, expected):
    assert mode_letters(kind, mode) == expected


def packet_of(longnames, rid, entries, first):
    """The answer with the entries from an index on, and the index of the first that found no room."""
    parts = []
    following, left = longnames.lay_out(entries, first, parts, MAX_NAMES_BYTES)
    assert left == MAX_NAMES_BYTES - sum(map(len, parts))
    return replies.names(rid, len(parts), b"".join(parts)), following


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize(
    ("given_entry", "expected"),
    [
        (entry("a b", uid=1000, gid=1000), b"-rw-r--r--    1 alice    staff           5 Nov 14 22:13 a b"),
        (entry("f", nlink=12), b"-rw-r--r--   12 0        0               5 Nov 14 22:13 f"),
        (
            entry("old", mtime=0, size=123456789012),
            b"-rw-r--r--    1 0        0        123456789012 Jan  1  1970 old",
        ),
        (entry("new", mtime=NOW + 86400), b"-rw-r--r--    1 0        0               5 Nov 15  2023 new"),
        (entry("u", uid=7), b"-rw-r--r--    1 averylongusername 0               5 Nov 14 22:13 u"),
        (entry("\udcff"), b"-rw-r--r--    1 0        0               5 Nov 14 22:13 \xff"),
    ],
)
def test_the_line_has_the_columns_of_ls(given_entry, expected):
    assert made().line(given_entry) == expected
    packet, _ = packet_of(made(), 1, [given_entry], 0)
    assert p.parse(packet[4:]).names[0].longname == expected


@pytest.mark.usefixtures("utc")
def test_what_counts_as_recent_moves_with_the_clock():
    now = [NOW]
    longnames = made(lambda: now[0])
    assert b"22:13" in packet_of(longnames, 1, [entry()], 0)[0]
    now[0] += 200 * 86400
    assert b" 2023 " in packet_of(longnames, 1, [entry()], 0)[0]


def test_a_listing_is_cut_into_packets_by_count():
    entries = [entry(f"file{i}") for i in range(1000)]
    longnames, at, seen = made(), 0, []
    while at < len(entries):
        packet, following = packet_of(longnames, 5, entries, at)
        names = p.parse(packet[4:]).names
        assert following - at == len(names) <= MAX_NAMES
        seen += [n.name.decode() for n in names]
        at = following
    assert seen == [e.name for e in entries]


def test_a_listing_is_cut_into_packets_by_size_and_always_moves_on():
    entries = [entry("x" * 20000), entry("y" * 20000), *[entry("n" * 255)] * 200]
    longnames, at, counts = made(), 0, []
    while at < len(entries):
        packet, following = packet_of(longnames, 5, entries, at)
        assert following > at
        assert following - at == 1 or len(packet) <= MAX_NAMES_BYTES + 13 == 34_000
        counts.append(following - at)
        at = following
    assert counts[:2] == [1, 1]
    assert sum(counts) == len(entries)


def test_the_caches_stay_bounded():
    longnames = made()
    for i in range(3 * 4096):
        longnames.line(entry(uid=i, mtime=i * 60))
    assert len(longnames._heads) <= 4096
    assert len(longnames._times) <= 4096


@given(
    st.lists(
        st.builds(
            Entry,
            st.text(
                st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
            ),
            st.sampled_from(Kind),
            st.integers(-5, 2**64 + 5),
            st.integers(0, 0o7777),
            st.integers(-1, 2**33),
            st.integers(-1, 2**33),
            st.integers(-(2**66), 2**66),
            st.integers(-(2**66), 2**66),
        ),
        max_size=5,
    )
)
def test_any_entries_make_a_packet_that_reads_back(entries):
    packet, end = packet_of(made(), 3, entries, 0)
    names = p.parse(packet[4:]).names
    assert [n.name.decode() for n in names] == [e.name for e in entries[:end]]
    assert end == len(entries)
