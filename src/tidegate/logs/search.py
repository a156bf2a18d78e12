# SPDX-License-Identifier: Apache-2.0
"""Finding lines in the log, the newest first: in its file, in those that were rotated, or in memory.

Each search has a bound of bytes and of time. Who reaches it gets what was found, and a cursor from which the
next search goes on; a cursor holds when files are rotated, compressed or appended to meanwhile. Blocking:
meant for a thread. It reads in small blocks and rests in between, so the interpreter is never held for long.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from tidegate.logs import backwards
from tidegate.logs.backwards import Read, first_time
from tidegate.logs.filters import LineFilter, LogLine, Matcher
from tidegate.logs.log_files import OpenFile, files
from tidegate.logs.recent import RecentLines

MAX_LINES: Final = 500
"""lines of one search"""
MAX_BYTES: Final = 1024 * 1024 * 1024
"""bytes that one search reads"""
MAX_FOUND: Final = 2 * 1024 * 1024
"""characters of all lines that one search finds, but for those of the last one"""
MAX_SECONDS: Final = 1.5
"""seconds that one search takes; a compressed file that was begun is read to its end"""
WORK_SECONDS: Final = 0.001
"""seconds after which a search rests, since who gives the interpreter away for less gets it back first"""
REST_SECONDS: Final = 0.0003
REST_LINES: Final = 32
"""lines of a block after which it may rest"""
ORDER_SECONDS: Final = 60
"""seconds by which a line may stand before an older one"""
MEMORY: Final = "memory"
"""name of the lines in memory, in cursors"""

_CURSOR: Final = re.compile(r"([0-9a-f]{16}|memory):(\d{1,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Lines that were found.

    Attributes:
        lines: the newest first.
        cursor: where the next search goes on; empty if there is nothing older.
        searched_to: time of the oldest line that was looked at; empty if none was.
        notes: what could not be read.
    """

    lines: tuple[LogLine, ...] = ()
    cursor: str = ""
    searched_to: str = ""
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Budget:
    """The state of a search: what it may still do, and what it has found."""

    limit: int
    left: int
    deadline: float
    stopped: Callable[[], bool]
    since: str
    begins: str
    lines: list[LogLine] = field(default_factory=list)
    size: int = 0
    notes: list[str] = field(default_factory=list)
    searched_to: str = ""
    passed: bool = False
    begun: bool = False
    rested: float = 0.0

    def add(self, line: LogLine) -> None:
        """A line was found."""
        self.lines.append(line)
        self.size += len(line.raw)
        self.begun = self.begun or (self.begins != "" and line.text("sender") == self.begins)

    def full(self) -> bool:
        """True if no more lines are wanted."""
        return len(self.lines) >= self.limit or self.size >= MAX_FOUND

    def spent(self) -> bool:
        """True if the search has to end."""
        return (
            self.passed
            or self.begun
            or self.full()
            or self.left <= 0
            or time.monotonic() > self.deadline
            or self.stopped()
        )

    def rest(self) -> None:
        """Let other threads go on, unless that was done a moment ago."""
        if time.monotonic() - self.rested > WORK_SECONDS:
            time.sleep(REST_SECONDS)
            self.rested = time.monotonic()

    def looked_at(self, block: bytes) -> None:
        """A block was searched."""
        self.left -= len(block)
        self.rest()
        if found := first_time(block):
            self.searched_to = min(self.searched_to or found, found)
            self.passed = self.passed or found < self.since


class LogReader:
    """The log of this server, to be read.

    Args:
        path: its file; None if lines go elsewhere.
        recent: its last lines in memory.
        target: words for where lines go, for people.
    """

    def __init__(self, path: Path | None, recent: RecentLines, target: str) -> None:
        self.path = path
        self.recent = recent
        self.target = target

    def search(
        self,
        wanted: LineFilter,
        *,
        cursor: str = "",
        limit: int = MAX_LINES,
        seconds: float = MAX_SECONDS,
        most: int = MAX_BYTES,
        stopped: Callable[[], bool] = bool,
    ) -> Found:
        """The newest lines that are wanted, or those before a cursor. Blocking.

        Args:
            wanted: what is looked for.
            cursor: of an earlier search for the same.
            limit: most lines.
            seconds: that the search may take.
            most: bytes that it may read.
            stopped: true as soon as nobody waits any more.

        Raises:
            ValueError: the cursor is none, or the filter has no address where it should have one.
        """
        name, place = _read_cursor(cursor)
        budget = _Budget(
            limit, most, time.monotonic() + seconds, stopped, earlier(wanted.since), wanted.begins
        )
        matcher = Matcher(wanted)
        if self.path is None:
            return self._in_memory(matcher, place if name == MEMORY else None, budget)
        return self._in_files(self.path, matcher, name, place, budget)

    # -- memory ------------------------------------------------------------------------------------------

    def _in_memory(self, matcher: Matcher, place: int | None, budget: _Budget) -> Found:
        begin, lines = self.recent.since(0)
        end = len(lines) if place is None else max(0, min(place - begin, len(lines)))
        last = _backwards(lambda at, count: lines[at : at + count], end, matcher, budget, begin)
        return _found(budget, MEMORY, last, more=last > begin)

    # -- files -------------------------------------------------------------------------------------------

    def _in_files(self, path: Path, matcher: Matcher, name: str, place: int, budget: _Budget) -> Found:
        until = later(matcher.wanted.until)
        at, last, left = "", 0, False
        for file in files(path):
            with file:
                if name and file.name != name:
                    continue
                end, name = place if name else None, ""
                if budget.passed or budget.begun:
                    break
                if at and budget.spent():
                    return _found(budget, file.name, _whole(file) if end is None else end, more=True)
                if until and file.first > until:
                    continue
                at, last = file.name, _search_file(file, matcher, end, until, budget)
                left = last > 0
                if left:
                    break
                budget.passed = budget.passed or bool(file.first and file.first < budget.since)
        if name:
            budget.notes.append("the lines before these were removed meanwhile")
        return _found(budget, at, last, more=left)


def _found(budget: _Budget, name: str, place: int, *, more: bool) -> Found:
    return Found(
        lines=tuple(budget.lines),
        cursor=f"{name}:{place}" if more and not budget.passed and not budget.begun else "",
        searched_to=budget.searched_to,
        notes=tuple(budget.notes),
    )


def _read_cursor(text: str) -> tuple[str, int]:
    if not text:
        return "", 0
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise ValueError("cursor: none of an earlier answer")
    return found[1], int(found[2])


# -- one file ------------------------------------------------------------------------------------------------


def _whole(file: OpenFile) -> int:
    """The end of the last whole line."""
    if file.packed:
        return backwards.MAX_PACKED
    return backwards.whole_end(backwards.reader_of(file.fd), os.fstat(file.fd).st_size)


def _search_file(file: OpenFile, matcher: Matcher, end: int | None, until: str, budget: _Budget) -> int:
    """Search a file before `end`, or all of it; returns the offset before which nothing was looked at."""
    if file.packed:
        return _packed(file, matcher, backwards.MAX_PACKED if end is None else end, budget)
    read = backwards.reader_of(file.fd)
    last = _whole(file) if end is None else end
    if until:
        last = backwards.end_before(read, last, until)
    return _backwards(read, last, matcher, budget)


def _backwards(read: Read, end: int, matcher: Matcher, budget: _Budget, base: int = 0) -> int:
    """Search what comes before `end`; returns the offset before which nothing was looked at, `base` added."""
    for offset, block in backwards.blocks_before(read, end):
        budget.looked_at(block)
        if matcher.may_hold(block):
            for number, (place, line) in enumerate(reversed(list(_lines(offset, block)))):
                if not number % REST_LINES:
                    budget.rest()
                if budget.begun:
                    return base
                if budget.full():
                    return base + place + len(line)
                if (found := matcher.parsed(base + place, line)) is not None:
                    budget.add(found)
        if budget.spent():
            return base + offset
    return base


def _packed(file: OpenFile, matcher: Matcher, end: int, budget: _Budget) -> int:
    """Search a compressed file before `end`: from its beginning, keeping the last lines that are wanted."""
    room = budget.limit - len(budget.lines)
    kept: deque[LogLine] = deque()
    size, dropped = budget.size, False
    try:
        for offset, block in backwards.packed_blocks(backwards.reader_of(file.fd), budget.stopped):
            if offset >= end:
                break
            budget.left -= len(block)
            budget.rest()
            if matcher.may_hold(block):
                for number, (place, line) in enumerate(_lines(offset, block)):
                    if not number % REST_LINES:
                        budget.rest()
                    if place < end and (found := matcher.parsed(place, line)) is not None:
                        kept.append(found)
                        size += len(found.raw)
                        while len(kept) > room or (size >= MAX_FOUND and len(kept) > 1):
                            size -= len(kept.popleft().raw)
                            dropped = True
    except backwards.TooLongToUnpack:
        most = backwards.MAX_PACKED >> 20
        budget.notes.append(f"{file.path.name} holds more than {most} MiB; only its beginning was read")
    except OSError as error:
        budget.notes.append(f"{file.path.name} cannot be read to its end: {error.strerror or error}")
    for found in reversed(kept):
        if not budget.begun:
            budget.add(found)
    oldest = kept[0].time if dropped and kept else file.first
    budget.searched_to = min(budget.searched_to or oldest, oldest)
    return kept[0].place if dropped else 0


def _lines(offset: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines of a block, their ends included, each with its offset."""
    at = 0
    while at < len(block):
        end = block.find(b"\n", at) + 1 or len(block)
        yield offset + at, block[at:end]
        at = end


def earlier(stamp: str) -> str:
    """A time so much before another that no line before it is as new as that; empty for none."""
    return _moved(stamp, -ORDER_SECONDS)


def later(stamp: str) -> str:
    """A time so much after another that no line after it is as old as that; empty for none."""
    return _moved(stamp, ORDER_SECONDS)


def _moved(stamp: str, seconds: int) -> str:
    if not stamp:
        return ""
    try:
        moment = datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        return (moment + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S") + stamp[19:]
    except (ValueError, OverflowError):
        return stamp
