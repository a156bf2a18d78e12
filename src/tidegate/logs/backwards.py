# SPDX-License-Identifier: Apache-2.0
"""Lines of a log file in blocks, the newest first; of a compressed one the oldest first.

What is read is what others wrote: lines may be cut off by a crash, longer than any that the server writes, or
no JSON at all. Every block is bounded, whatever the file holds.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

BLOCK: Final = 128 * 1024
"""bytes that are read at once; the interpreter is free for others in between"""
MAX_LINE: Final = 64 * 1024
"""bytes of a line that are looked at; the rest of a longer one is left out"""
MAX_PACKED: Final = 256 * 1024 * 1024
"""bytes of a compressed file, unpacked, that are read"""
MAX_TAIL: Final = 16 * 1024 * 1024
"""bytes without the end of a line that are passed at the end of a file; a file with more is not searched"""
MAX_MEMBERS: Final = 10_000
"""parts that a compressed file may have; the server writes one"""
HEAD: Final = b'{"time":"'
"""beginning of every line that has a time"""
TIME_CHARS: Final = 24
"""characters of a time, as in 2026-01-31T12:00:00.000Z"""

Read = Callable[[int, int], bytes]
"""Bytes from an offset on, at most so many."""


class TooLongToUnpack(Exception):
    """A compressed file holds more than `MAX_PACKED` bytes, or more than `MAX_MEMBERS` parts."""


def blocks_before(read: Read, end: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines before `end`, the last one first, each with its offset.

    In the middle of a long line they are empty: whoever reads can end there.

    Args:
        read: reads the file.
        end: offset behind the end of a line.
    """
    tail = b""
    while end > 0:
        start = max(0, end - BLOCK)
        block = read(start, end - start)
        if len(block) < end - start:
            return  # the file became shorter; what is left of it belongs to another time
        first = 0 if start == 0 else block.find(b"\n") + 1
        if start and not first:  # the middle of a long line
            tail = block + tail[:MAX_LINE]
            yield start, b""
        else:
            lines = block[first:]
            yield start + first, lines + tail if tail else lines
            tail = block[:first]
        end = start


def packed_blocks(read: Read, stopped: Callable[[], bool]) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines of a compressed file, the first one first, each with its offset when unpacked.

    Args:
        read: reads the file.
        stopped: true as soon as nobody wants them any more.

    Raises:
        OSError: it cannot be read, or is no such file.
        TooLongToUnpack: it holds more than is read.
    """
    at, rest = 0, b""
    for block in _unpacked(read):
        if stopped():
            return
        end = block.rfind(b"\n") + 1
        if end:
            yield at, rest + block[:end]
            at += len(rest) + end
            rest = block[end:]
        elif len(rest) < MAX_LINE:
            rest += block
        else:
            at += len(block)  # the middle of a long line
        if at > MAX_PACKED:
            raise TooLongToUnpack
    if rest:
        yield at, rest


def _unpacked(read: Read) -> Iterator[bytes]:
    """The content of a file of gzip (RFC 1952), at most `BLOCK` bytes at once.

    Raises:
        OSError: it is cut off or no such file; what comes before that was given.
    """
    at, begun, members, rest = 0, False, 1, b""
    unpack = zlib.decompressobj(wbits=31)
    while True:
        given, rest = unpack.unconsumed_tail or rest, b""
        if not given:
            given = read(at, BLOCK)
            at += len(given)
        try:
            block = unpack.decompress(given, BLOCK)
        except zlib.error:
            raise OSError(0, "it is no gzip file") from None
        begun = begun or bool(given)
        if block:
            yield block
        if unpack.eof:  # another member may follow
            rest, members = unpack.unused_data, members + 1
            if members > MAX_MEMBERS:
                raise TooLongToUnpack
            unpack, begun = zlib.decompressobj(wbits=31), False
        elif not given and not block:
            if begun:
                raise OSError(0, "it is cut off")
            return


def packed_head(read: Read) -> bytes:
    """The first `MAX_LINE` bytes of a compressed file, unpacked, or all that can be read of it.

    Raises:
        OSError: it cannot be read, or is no such file.
        TooLongToUnpack: as `packed_blocks`.
    """
    head = b""
    try:
        for block in _unpacked(read):
            head += block
            if len(head) >= MAX_LINE:
                break
    except OSError:
        if not head:
            raise
    return head[:MAX_LINE]


def time_of(line: bytes) -> str:
    """The time of a line; empty if it does not begin with one."""
    if not line.startswith(HEAD):
        return ""
    return line[len(HEAD) : len(HEAD) + TIME_CHARS].decode("ascii", "replace")


def first_time(block: bytes) -> str:
    """The time of the first line of a block that has one; empty if none has."""
    at = 0 if block.startswith(HEAD) else block.find(b"\n" + HEAD) + 1
    return time_of(block[at : at + 64]) if at or block.startswith(HEAD) else ""


def identity(head: bytes) -> str:
    """A name of a log file that stays when it is renamed or compressed: a digest of its first lines.

    Args:
        head: the first `MAX_LINE` bytes of it, or all.

    Returns:
        The digest of what comes before the end of the first line that has a time, since others may be the
        same in several files; empty for a file without any whole line.
    """
    at = 0 if head.startswith(HEAD) else head.find(b"\n" + HEAD) + 1
    end = head.find(b"\n", at) + 1
    return blake2b(head[:end], digest_size=8).hexdigest() if end else ""


def whole_end(read: Read, size: int) -> int:
    """The offset behind the last line that has an end; 0 without any in the last `MAX_TAIL` bytes."""
    end, least = size, max(0, size - MAX_TAIL)
    while end > least:
        start = max(0, end - BLOCK)
        found = read(start, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def end_before(read: Read, end: int, time: str) -> int:
    """An offset behind a line, with nothing older than `time` after it; found by halves.

    Args:
        read: reads the file.
        end: offset behind its last line.
        time: that lines at the offset have passed.
    """
    low, high = 0, end
    while high - low > BLOCK:
        middle = (low + high) // 2
        block = read(middle, min(MAX_LINE, end - middle))
        at = block.find(b"\n" + HEAD) + 1
        if not at:
            return high  # no line with a time here
        if time_of(block[at : at + 64]) > time:
            high = middle + at
        else:
            low = middle
    return high


def reader_of(fd: int) -> Read:
    """Reads an open file at an offset, all that was asked for unless it ends before."""

    def read(offset: int, count: int) -> bytes:
        block = os.pread(fd, count, offset)
        while len(block) < count and (more := os.pread(fd, count - len(block), offset + len(block))):
            block += more
        return block

    return read
