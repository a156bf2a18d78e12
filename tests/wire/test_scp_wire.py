# SPDX-License-Identifier: Apache-2.0
"""The records of SCP, against bytes written by hand and against OpenSSH's own reading of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.doors.scp import wire
from tidegate.errors import ProtocolViolation
from tidegate.model import Entry, Kind


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"C0644 5 raw.txt", wire.FileRecord(0o644, 5, "raw.txt")),
        (b"C0644 0 with  two spaces ", wire.FileRecord(0o644, 0, "with  two spaces ")),
        (b"C07777 5 x", wire.FileRecord(0o7777, 5, "x")),
        (b"C100644 5 x", wire.FileRecord(0o644, 5, "x")),
        (b"C644 5 x", wire.FileRecord(0o644, 5, "x")),
        (b"C0600 9223372036854775807 x", wire.FileRecord(0o600, 2**63 - 1, "x")),
        (b"C0600 1 \xff\xfe", wire.FileRecord(0o600, 1, "\udcff\udcfe")),
        (b"C0600 1 ...", wire.FileRecord(0o600, 1, "...")),
        (b"C0600 1 a\\^Jb", wire.FileRecord(0o600, 1, "a\\^Jb")),
        (b"D0755 0 rd", wire.DirectoryRecord(0o755, "rd")),
        (b"D0755 4096 rd", wire.DirectoryRecord(0o755, "rd")),
        (b"E", wire.EndRecord()),
        (b"T1500000000 0 1400000000 999999", wire.TimesRecord(15 * 10**17, 14 * 10**17 + 999_999_000)),
        (b"T99999999999999 0 0 0", wire.TimesRecord(None, None)),
        (b"\1scp: no", wire.Failure(False, "scp: no")),
        (b"\2gone\x1b[2J", wire.Failure(True, "gone\\033[2J")),
    ],
)  # fmt: skip
def test_records(line: bytes, expected: wire.Record) -> None:
    assert wire.parse(line) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "unexpected <newline>"),
        (b"X", "expected control record"),
        (b"bash: scp: command not found", "expected control record"),
        (b"C", "mode not delimited"),
        (b"C0644", "mode not delimited"),
        (b"C0648 5 x", "bad mode"),
        (b"C-644 5 x", "bad mode"),
        (b"C 5 x", "bad mode"),
        (b"C0644777 5 x", "bad mode"),
        (b"C0644  5 x", "size not present"),
        (b"C0644 -5 x", "size not delimited"),
        (b"C0644 +5 x", "size not delimited"),
        (b"C0644 5x x", "size not delimited"),
        (b"C0644 abc raw.txt", "size not delimited"),
        (b"C0644 5", "size not delimited"),
        (b"C0644 9223372036854775808 x", "size out of range"),
        (b"C0644 " + b"9" * 40 + b" x", "size not delimited"),
        ("C0644 ٣ x".encode(), "size not delimited"),
        (b"C0644 5 ", "unexpected filename: "),
        (b"C0644 5 .", "unexpected filename: ."),
        (b"C0644 5 ..", "unexpected filename: .."),
        (b"C0644 5 ../x", "unexpected filename: ../x"),
        (b"C0644 5 /etc/passwd", "unexpected filename: /etc/passwd"),
        (b"C0644 5 a\0b", "unexpected filename: a\\000b"),
        (b"D0755 0 ..", "unexpected filename: .."),
        (b"D0755 0 a/b", "unexpected filename: a/b"),
        (b"T", "times not delimited"),
        (b"T1 0 1", "times not delimited"),
        (b"T-1 0 1 0", "seconds not present"),
        (b"T1 0 x 0", "seconds not present"),
        (b"T1 -1 1 0", "microseconds not delimited"),
        (b"T1 1000000 1 0", "microseconds not delimited"),
        (b"T1 0 1 0 ", "times not delimited"),
    ],
)
def test_what_is_no_record(line: bytes, reason: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        wire.parse(line)
    assert caught.value.text == reason


@given(st.binary(max_size=100))
def test_nothing_else_is_raised(line: bytes) -> None:
    for first in (b"", b"C0644 1 ", b"D0755 0 ", b"T", b"\1"):
        with contextlib.suppress(ProtocolViolation):
            record = wire.parse(first + line)
            if isinstance(record, wire.FileRecord | wire.DirectoryRecord):
                assert record.name not in ("", ".", "..")
                assert "/" not in record.name
                assert "\0" not in record.name


def test_what_is_sent() -> None:
    entry = Entry("f", Kind.FILE, 7, 0o4755, mtime_ns=1_500_000_000_900_000_000, atime_ns=-5)
    assert wire.file_line(entry, 7, "a b") == b"C4755 7 a b\n"
    assert wire.directory_line(0o40755, "\udcff") == b"D0755 0 \xff\n"
    assert wire.times_line(entry) == b"T1500000000 0 0 0\n"
    assert wire.escaped("new\nli\\ne") == b"new\\^Jli\\\\ne"
    assert wire.escaped("back\\slash") == b"back\\slash"
    assert wire.failure_line("no\nsuch \x07", fatal=True) == b"\2scp: no\\012such \\007\n"
    assert len(wire.failure_line("x" * 10_000)) <= wire.MAX_LINE
