# SPDX-License-Identifier: Apache-2.0
"""Entries as READDIR sends them: name, a line shaped like ``ls -l``, attributes.

The columns are those of OpenSSH's server, which old graphical clients and scripts take apart. This is the
innermost loop of a listing, so what repeats from file to file (mode, owner, minute) is formatted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from struct import Struct, error
from typing import Final

from tidegate.doors.common.ls_lines import mode_letters
from tidegate.doors.common.owners import Names
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import replies
from tidegate.model import Entry, Kind

MAX_NAMES: Final = 250
"""Most names in one READDIR answer; clients know as many from other servers."""

LONG_NAMES: Final = 600
"""The same for OpenSSH's clients, which count nothing: as many as find room there (`listings`)."""

_CACHE_ENTRIES: Final = 4096
_HALF_YEAR_SECONDS: Final = 365 * 24 * 3600 // 2
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NS: Final = 1_000_000_000

_ATTRS_KNOWN: Final = c.ATTR_SIZE | c.ATTR_OWNER | c.ATTR_MODE | c.ATTR_TIMES


_records: dict[tuple[int, int], Callable[..., bytes]] = {}


def _record(name: int, line: int) -> Callable[..., bytes]:
    """The packer of one entry whose name and line have these lengths: two strings and ATTRS in one go."""
    if len(_records) >= _CACHE_ENTRIES:
        _records.clear()
    made = _records[name, line] = Struct(f">I{name}sI{line}sIQIIIII").pack
    return made


class Longnames:
    """Formats entries for one session.

    Args:
        names: what owners are called.
        clock: seconds since the epoch; entries of the last half year show the time of day, others the year.
    """

    def __init__(self, names: Names, clock: Callable[[], float] = time.time) -> None:
        self._names = names
        self._clock = clock
        self._now = 0
        self._heads: dict[tuple[Kind, int, int, int, int], tuple[bytes, int]] = {}
        self._times: dict[int, bytes] = {}

    def _head(self, kind: Kind, mode: int, uid: int, gid: int, nlink: int) -> tuple[bytes, int]:
        user = self._names.user(uid) or str(uid)
        group = self._names.group(gid) or str(gid)
        line = f"{mode_letters(kind, mode)}  {nlink:3d} {user:<8} {group:<8} "
        made = line.encode("utf-8", "replace"), replies.TYPE_BITS[kind] | (mode & 0o7777)
        if len(self._heads) >= _CACHE_ENTRIES:
            self._heads.clear()
        self._heads[kind, mode, uid, gid, nlink] = made
        return made

    def _time(self, minute: int) -> bytes:
        try:
            when = time.localtime(minute * 60)
        except (OverflowError, OSError, ValueError):
            when = time.gmtime(0)
        month = _MONTHS[when.tm_mon - 1]
        if 0 <= self._now - minute * 60 < _HALF_YEAR_SECONDS:
            text = f" {month} {when.tm_mday:2d} {when.tm_hour:02d}:{when.tm_min:02d} "
        else:
            text = f" {month} {when.tm_mday:2d}  {when.tm_year:4d} "
        made = text.encode("ascii")
        if len(self._times) >= _CACHE_ENTRIES:
            self._times.clear()
        self._times[minute] = made
        return made

    def line(self, entry: Entry) -> bytes:
        """The longname of one entry."""
        self._refresh()
        head, _ = self._head(entry.kind, entry.mode, entry.uid, entry.gid, entry.nlink)
        when = self._time(entry.mtime_ns // _NS // 60)
        return b"%b%8d%b%b" % (head, entry.size, when, entry.name.encode("utf-8", "surrogateescape"))

    def _refresh(self) -> None:
        """Forget formatted times when the minute changes: what counts as recent moves on."""
        now = int(self._clock())
        if now // 60 != self._now // 60:
            self._times.clear()
        self._now = now

    def lay_out(
        self, entries: Sequence[Entry], first: int, parts: list[bytes], left: int, most: int = MAX_NAMES
    ) -> tuple[int, int]:
        """Add entries from index `first` on to the names of an answer, as many as it takes.

        Args:
            entries: a batch.
            first: index of the entry to begin with.
            parts: encoded names; the first of them is added whatever its size.
            left: bytes that there is room for.
            most: names in `parts` at the end.

        Returns:
            the index of the first entry that found no room, and the bytes that are left.
        """
        self._refresh()
        heads, times, records = self._heads, self._times, _records
        add = parts.append
        before = len(parts)
        for entry in islice(entries, first, first + most - len(parts)):
            name, kind, length, mode, uid, gid, mtime_ns, atime_ns, nlink = entry
            raw = name.encode("utf-8", "surrogateescape")
            head, bits = heads.get((kind, mode, uid, gid, nlink)) or self._head(kind, mode, uid, gid, nlink)
            mtime = mtime_ns // _NS
            when = times.get(mtime // 60) or self._time(mtime // 60)
            line = b"%b%8d%b%b" % (head, length, when, raw)
            shape = (len(raw), len(line))
            record = records.get(shape) or _record(*shape)
            try:
                encoded = record(
                    shape[0],
                    raw,
                    shape[1],
                    line,
                    _ATTRS_KNOWN,
                    length,
                    uid,
                    gid,
                    bits,
                    atime_ns // _NS,
                    mtime,
                )
            except error:
                encoded = replies.string(raw) + replies.string(line) + replies.entry_attrs(entry)
            if len(encoded) > left and parts:
                break
            left -= len(encoded)
            add(encoded)
        return first + len(parts) - before, left
