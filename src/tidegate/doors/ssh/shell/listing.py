# SPDX-License-Identifier: Apache-2.0
"""``ls -la`` as GNU coreutils print it, with ``--full-time`` and ``-d``: what WinSCP takes apart."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.common.ls_lines import mode_letters
from tidegate.doors.common.owners import AccountNames
from tidegate.doors.ssh.command import Call
from tidegate.doors.ssh.file_commands import apart, path_of
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.model import Entry, Kind, VPath

MAX_LISTED: Final = 200_000
"""Names of one directory: all are known before the first is sent."""

SERIOUS: Final = 2
"""Exit status of ls when something that was named cannot be listed; WinSCP takes 1 for a mere warning."""

_LETTERS: Final = "1aAdln"
_BATCH_LINES: Final = 500
_HALF_YEAR_SECONDS: Final = 365 * 24 * 3600 // 2
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NS: Final = 1_000_000_000


async def ls(call: Call) -> int:
    """List directories and files; ``-l``, ``-a``, ``-A``, ``-1``, ``-d``, ``-n``, ``--full-time``."""
    arguments = [word for word in call.invocation.arguments if word != "--full-time"]
    full_time = len(arguments) < len(call.invocation.arguments)
    try:
        words = apart(arguments, _LETTERS)
    except InvalidArgument as error:
        await call.output.error(f"ls: {error.text}")
        return SERIOUS
    lines = _Lines(call, words.options | ({"l"} if full_time else set()), full_time=full_time)
    status = 0
    for word in words.names or (Word("."),):
        path: VPath | None = None
        try:
            path = path_of(call, word)
            await lines.show(path, word)
        except TidegateError as error:
            if not error.told:
                call.session.failed("list", path or str(word), error)
            await call.output.error(f"ls: cannot access '{word}': {error.text}")
            status = SERIOUS
    return status


class _Lines:
    """The output of one ls."""

    def __init__(self, call: Call, options: frozenset[str] | set[str], *, full_time: bool) -> None:
        self._call = call
        self._session = call.session
        self._options = options
        self._full_time = full_time
        self._names = AccountNames(call.session.principal)
        self._now = time.time()

    async def show(self, path: VPath, word: str) -> None:
        """Print what a path leads to.

        Raises:
            TidegateError: it cannot be looked at.
        """
        entry = await self._session.stat(path, follow="d" not in self._options and "l" not in self._options)
        if entry.is_link and "d" not in self._options:
            with suppress(TidegateError):
                found = await self._session.stat(path)
                entry = found if found.is_dir else entry
        if not entry.is_dir or "d" in self._options:
            await self._print([await self._line(entry, path, str(word) or ".")])
            return
        # Sorted batch by batch and merged as they are printed: no step keeps the loop from others for long.
        batches: list[list[tuple[bytes, Entry]]] = []
        count = blocks = 0
        async for batch in self._session.list(path):
            shown = [one for one in batch if self._options & {"a", "A"} or not one.name.startswith(".")]
            blocks += sum(-(-one.size // 1024) for one in shown)
            count += len(shown)
            batches.append(sorted(((_key(one), one) for one in shown), key=_first))
            if count > MAX_LISTED:
                raise InvalidArgument(f"more than {MAX_LISTED} names")
        lines = [f"total {blocks}"] if "l" in self._options else []
        if "a" in self._options:
            lines.append(await self._line(entry, path, "."))
            with suppress(TidegateError):  # it may not be seen
                above = await self._session.stat(path.parent)
                lines.append(await self._line(above, path.parent, ".."))
        for _, one in heapq.merge(*batches, key=_first):
            lines.append(await self._line(one, path.child(one.name), one.name))
            if len(lines) >= _BATCH_LINES:
                await self._print(lines)
                await asyncio.sleep(0)
                lines = []
        await self._print(lines)

    async def _print(self, lines: list[str]) -> None:
        if lines:
            await self._call.output.write("\n".join([*lines, ""]).encode("utf-8", "surrogateescape"))

    async def _line(self, entry: Entry, path: VPath, name: str) -> str:
        shown = _on_one_line(name)
        if "l" not in self._options:
            return shown
        user = str(entry.uid) if "n" in self._options else self._names.user(entry.uid) or str(entry.uid)
        group = str(entry.gid) if "n" in self._options else self._names.group(entry.gid) or str(entry.gid)
        if entry.kind is Kind.LINK:
            try:
                shown = f"{shown} -> {_on_one_line(await self._session.readlink(path))}"
            except TidegateError:
                shown = f"{shown} -> ?"
        when = _full(entry.mtime_ns) if self._full_time else _short(entry.mtime_ns // _NS, self._now)
        letters = mode_letters(entry.kind, entry.mode)
        return f"{letters} {entry.nlink} {user} {group} {entry.size} {when} {shown}"


def _key(entry: Entry) -> bytes:
    return entry.name.encode("utf-8", "surrogateescape")


def _first(item: tuple[bytes, Entry]) -> bytes:
    return item[0]


def _on_one_line(name: str) -> str:
    """A name with ``?`` for characters that would end the line."""
    return name.replace("\n", "?").replace("\r", "?") if "\n" in name or "\r" in name else name


def _full(mtime_ns: int) -> str:
    """A time as ``--full-time`` has it, in UTC."""
    seconds, rest = divmod(mtime_ns, _NS)
    when = _broken_down(seconds, time.gmtime)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', when)}.{rest:09d} +0000"


def _short(seconds: int, now: float) -> str:
    """A time as ``ls -l`` has it, in the server's zone: with the year if it is not of the last half year."""
    when = _broken_down(seconds, time.localtime)
    day = f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2d}"
    if 0 <= now - seconds < _HALF_YEAR_SECONDS:
        return f"{day} {when.tm_hour:02d}:{when.tm_min:02d}"
    return f"{day}  {when.tm_year:4d}"


def _broken_down(seconds: int, zone: Callable[[float], time.struct_time]) -> time.struct_time:
    try:
        return zone(seconds)
    except (OverflowError, OSError, ValueError):
        return time.gmtime(0)
