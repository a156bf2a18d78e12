# SPDX-License-Identifier: Apache-2.0
r"""The records of SCP, as text: what OpenSSH's scp.c writes and reads.

::

    C<mode> <size> <name>\n              a file; its bytes follow, then an answer of the sender
    D<mode> 0 <name>\n                   a directory begins
    E\n                                  the innermost directory ends
    T<mtime> <µs> <atime> <µs>\n         times of the file or directory that follows
    \0                                   an answer: go on
    \1<text>\n  \2<text>\n               an answer: something failed; the second ends the conversation

Each record and each file's content is answered. Modes are octal, numbers decimal, names one component each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidegate.errors import ProtocolViolation
from tidegate.model import Entry

MAX_LINE: Final = 4096
"""Longest record or message, bytes, without its newline: a name has 255, four times that if it is escaped."""

MAX_SIZE: Final = 2**63 - 1
"""Largest file, bytes: what an off_t holds."""

MAX_SECONDS: Final = 2**33
"""Latest time that is taken over, seconds since the epoch: a later one overflows somewhere."""

OK: Final = b"\0"

_MODE: Final = re.compile(rb"[0-7]{3,6}", re.ASCII)
_NUMBER: Final = re.compile(rb"[0-9]{1,20}", re.ASCII)
_MICROSECONDS: Final = re.compile(rb"[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file follows: permission bits, bytes, name."""

    mode: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """A directory begins: permission bits, name."""

    mode: int
    name: str


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The innermost directory ends."""


@dataclass(frozen=True, slots=True)
class TimesRecord:
    """Times of what follows, nanoseconds since the epoch; None if they are out of range."""

    mtime_ns: int | None
    atime_ns: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The peer says that something failed.

    Attributes:
        fatal: it ends the conversation.
        text: what it says, on one line.
    """

    fatal: bool
    text: str


Record = FileRecord | DirectoryRecord | EndRecord | TimesRecord | Failure


def parse(line: bytes) -> Record:
    """The record that a line holds; the line comes without its newline.

    Raises:
        ProtocolViolation: it is none; the text says in which way.
    """
    kind = line[:1]
    if kind in (b"\1", b"\2"):
        return Failure(kind == b"\2", _text(line[1:]))
    if kind == b"E":
        return EndRecord()
    if kind == b"T":
        return _times(line[1:])
    if kind not in (b"C", b"D"):
        raise ProtocolViolation("expected control record" if line else "unexpected <newline>")
    mode_text, space, rest = line[1:].partition(b" ")
    if not space:
        raise ProtocolViolation("mode not delimited")
    if not _MODE.fullmatch(mode_text):
        raise ProtocolViolation("bad mode")
    size_text, space, name = rest.partition(b" ")
    if not _NUMBER.fullmatch(size_text):
        raise ProtocolViolation("size not present" if not size_text else "size not delimited")
    if not space:
        raise ProtocolViolation("size not delimited")
    size = int(size_text)
    if size > MAX_SIZE:
        raise ProtocolViolation("size out of range")
    mode = int(mode_text, 8) & 0o7777
    if kind == b"D":
        return DirectoryRecord(mode, plain_name(name))
    return FileRecord(mode, size, plain_name(name))


def plain_name(raw: bytes) -> str:
    """One component of a path.

    Raises:
        ProtocolViolation: it is none: empty, ``.``, ``..``, or with a slash or NUL byte in it
            (CVE-2018-20685, CVE-2019-6111).
    """
    if not raw or raw in (b".", b"..") or b"/" in raw or b"\0" in raw:
        raise ProtocolViolation(f"unexpected filename: {_text(raw)}")
    return raw.decode("utf-8", "surrogateescape")


def _times(rest: bytes) -> TimesRecord:
    fields = rest.split(b" ")
    if len(fields) != 4:
        raise ProtocolViolation("times not delimited")
    mtime, mtime_us, atime, atime_us = fields
    if not _NUMBER.fullmatch(mtime) or not _NUMBER.fullmatch(atime):
        raise ProtocolViolation("seconds not present")
    if not _MICROSECONDS.fullmatch(mtime_us) or not _MICROSECONDS.fullmatch(atime_us):
        raise ProtocolViolation("microseconds not delimited")
    modified, accessed = int(mtime), int(atime)
    if max(modified, accessed) > MAX_SECONDS:
        return TimesRecord(None, None)
    return TimesRecord(
        modified * 10**9 + int(mtime_us) * 1000,
        accessed * 10**9 + int(atime_us) * 1000,
    )


def _text(raw: bytes) -> str:
    return printable(raw.decode("utf-8", "surrogateescape"))


def printable(text: str) -> str:
    """Text on one line, without what a terminal would act on: other characters as their octal bytes."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in text
    )


def file_line(entry: Entry, size: int, name: str) -> bytes:
    """``C``: a file of `size` bytes."""
    return b"C%04o %d %s\n" % (entry.mode & 0o7777, size, escaped(name))


def directory_line(mode: int, name: str) -> bytes:
    """``D``."""
    return b"D%04o 0 %s\n" % (mode & 0o7777, escaped(name))


def times_line(entry: Entry) -> bytes:
    """``T``, in whole seconds as scp.c sends them."""
    return b"T%d 0 %d 0\n" % (max(0, entry.mtime_ns // 10**9), max(0, entry.atime_ns // 10**9))


END: Final = b"E\n"


def escaped(name: str) -> bytes:
    r"""A name as bytes; one with a newline in it as scp.c sends it, in the form of vis(3): ``\^J``."""
    if "\n" in name:
        name = name.replace("\\", "\\\\").replace("\n", "\\^J")
    return name.encode("utf-8", "surrogateescape")


def failure_line(text: str, *, fatal: bool = False) -> bytes:
    """An answer that says what failed."""
    line = printable(text).encode("utf-8", "surrogateescape")[: MAX_LINE - 8]
    return (b"\2" if fatal else b"\1") + b"scp: " + line + b"\n"
