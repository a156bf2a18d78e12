# SPDX-License-Identifier: Apache-2.0
"""Finding lines in the log, the newest first: in its file, in those that were rotated, or in memory.

Each search has a bound of bytes and of time. Who reaches it gets what was found, and a cursor from which the
next search goes on; a cursor holds when files are rotated, compressed or appended to meanwhile. Blocking:
meant for a thread. It reads in small blocks and rests in between, so the interpreter is never held for long.

Long, because every way in which a file is found, read and left to go on later works on one budget.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
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
from tidegate.logs.recent import RecentLines
from tidegate.logs.rotation import backups_of

MAX_LINES: Final = 500
"""lines of one search"""
MAX_BYTES: Final = 1024 * 1024 * 1024
"""bytes that one search reads"""
MAX_SECONDS: Final = 1.5
"""seconds that one search takes; a compressed file that was begun is read to its end"""
MAX_FILES: Final = 1_000
"""files that are looked at, the newest"""
LOOKS: Final = 5
"""looks at the names of files until two of them agree"""
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
    notes: list[str] = field(default_factory=list)
    searched_to: str = ""
    passed: bool = False
    begun: bool = False
    rested: float = 0.0

    def add(self, line: LogLine) -> None:
        """A line was found."""
        self.lines.append(line)
        self.begun = self.begun or (self.begins != "" and line.text("sender") == self.begins)

    def spent(self) -> bool:
        """True if the search has to end."""
        return (
            self.passed
            or self.begun
            or len(self.lines) >= self.limit
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
        for file in _files(path):
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


class _File:
    """An open file of the log.

    Attributes:
        path: of it.
        fd: of it.
        packed: it is compressed.
        name: that stays when it is renamed or compressed.
        first: time of its first line that has one.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.packed = path.suffix == ".gz"
        self.name = self.first = ""

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read_head(self) -> bool:
        """Learn name and first time; False for a file without any whole line."""
        read = backwards.reader_of(self.fd)
        head = backwards.packed_head(read) if self.packed else read(0, backwards.MAX_LINE)
        self.name, self.first = backwards.identity(head), first_time(head)
        return bool(self.name)


def _files(path: Path) -> Iterator[_File]:
    """Files of the log that have lines, the newest first. Each has to be closed by who gets it."""
    seen: set[str] = set()
    current, others = _at_rest(path)
    for name in [None, *others[:MAX_FILES]]:
        file = current if name is None else _set_aside(name) or _set_aside(name.with_name(f"{name.name}.gz"))
        if file is None:
            continue
        readable = False
        if stat.S_ISREG(os.fstat(file.fd).st_mode):
            with contextlib.suppress(OSError, backwards.TooLongToUnpack):
                readable = file.read_head() and file.name not in seen
        seen.add(file.name)
        if readable:
            yield file
        else:
            os.close(file.fd)


def _at_rest(path: Path) -> tuple[_File | None, list[Path]]:
    """The current file, open, and those that were set aside before it, the newest first.

    A file that is set aside between two looks would be missed, or stand before a newer one: so it looks again
    until nothing has changed in between. A directory is not read at one moment either.
    """
    before = _rotated(path)
    for tries in range(LOOKS):
        current, after = _opened(path), _rotated(path)
        if tries == LOOKS - 1 or {_plain(one) for one in before} == {_plain(one) for one in after}:
            break
        if current is not None:
            os.close(current.fd)
        before = after
    return current, [one for one in after if one.suffix != ".gz" or _plain(one) not in after]


def _plain(path: Path) -> Path:
    """The name of a file before it is compressed; while that is done both are there."""
    return path.with_suffix("") if path.suffix == ".gz" else path


def _rotated(path: Path) -> list[Path]:
    """Files that were set aside, the newest first: by the server, or named as logrotate names them."""
    own = list(reversed(backups_of(path)))
    pattern = re.compile(re.escape(path.name) + r"(?:\.\d{1,4}|-\d{8}(?:\d\d)?(?:-\d{1,10})?)(?:\.gz)?")
    foreign: list[Path] = []
    with contextlib.suppress(OSError):
        foreign = [one for one in path.parent.iterdir() if pattern.fullmatch(one.name)]
    return sorted([*own, *foreign], key=_changed, reverse=True) if foreign else own


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _set_aside(path: Path) -> _File | None:
    # A link would show any file that the server may read: whoever writes to the directory could make one.
    return _file(path, os.O_NOFOLLOW)


def _opened(path: Path) -> _File | None:
    return _file(path)


def _file(path: Path, more: int = 0) -> _File | None:
    try:
        return _File(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | more))
    except OSError:
        return None


def _whole(file: _File) -> int:
    """The end of the last whole line."""
    if file.packed:
        return backwards.MAX_PACKED
    return backwards.whole_end(backwards.reader_of(file.fd), os.fstat(file.fd).st_size)


def _search_file(file: _File, matcher: Matcher, end: int | None, until: str, budget: _Budget) -> int:
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
                if len(budget.lines) >= budget.limit:
                    return base + place + len(line)
                if (found := matcher.parsed(base + place, line)) is not None:
                    budget.add(found)
        if budget.spent():
            return base + offset
    return base


def _packed(file: _File, matcher: Matcher, end: int, budget: _Budget) -> int:
    """Search a compressed file before `end`: from its beginning, keeping the last lines that are wanted."""
    room = budget.limit - len(budget.lines)
    kept: deque[LogLine] = deque(maxlen=room)
    dropped = False
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
                        dropped = dropped or len(kept) == room
                        kept.append(found)
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
