# SPDX-License-Identifier: Apache-2.0
"""The log for administrators: REST and the pages ask here.

Searches run in threads, few at a time, each with a bound of bytes and seconds. Who has a role sees lines of
the accounts of that role alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final

from tidegate.errors import InvalidArgument, OutsideBusy
from tidegate.events.sinks.lines import OPERATIONS, SENDERS
from tidegate.logs.filters import LEVELS, LineFilter, LogLine, parse
from tidegate.logs.search import MAX_LINES, MAX_SECONDS, Found, LogReader
from tidegate.model.address import parse_address
from tidegate.model.spreadsheet import cell
from tidegate.web.log_sentences import path_of, target_of

MAX_SEARCHES: Final = 2
"""Searches at a time."""
WAIT_SECONDS: Final = 5.0
"""Seconds that a search waits for others."""
MAX_TEXT: Final = 255
"""Characters of a text to look for."""
MAX_PATH: Final = 4_096

MAX_EXPORTS: Final = 2
"""Exports at a time."""
EXPORT_LINES: Final = 100_000
"""Lines of an export."""
EXPORT_SECONDS: Final = 120.0
"""Seconds of searching for an export."""
EXPORT_STEP: Final = 0.3
"""Seconds of one search for an export; others come in between."""

TAIL_LINES: Final = 300
"""Lines of one look at what is new; of more the newest are taken."""

REQUESTS: Final = frozenset(("httpd", "webdavd", "telemetry"))
"""Senders of lines about HTTP requests."""
KINDS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "transfers": ("Transfers", frozenset(("Upload", "Download"))),
    "operations": ("Other operations", frozenset(OPERATIONS)),
    "logins": ("Logins", frozenset(("login", "connection_failed"))),
    "refusals": (
        "Refusals and failures",
        frozenset(("refused", "failed", "connection_failed", "quarantined")),
    ),
    "connections": ("Connections", frozenset(("connected", "disconnected"))),
    "changes": ("Changes by administrators", frozenset(("administered",))),
    "requests": ("Requests over HTTP", REQUESTS),
    "server": ("The server itself", frozenset((*SENDERS, *REQUESTS, "trace"))),
}
"""Kinds of lines: title and senders; of the last all senders but these."""

COLUMNS: Final = (
    "time", "level", "sender", "username", "address", "protocol", "connection_id", "intent", "virtual_path",
    "virtual_target_path", "size_bytes", "elapsed_ms", "status", "rule", "errno", "error", "text", "method",
    "login_type", "client", "cipher", "by", "duration_ms", "admin", "action", "kind", "name", "message",
)  # fmt: skip
"""Columns of an export, fields of lines but for `address`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The lines that somebody asks for, as they write it; what is empty wants all.

    Attributes:
        q: anywhere in a line, without regard to case.
        user: name of an account.
        ip: address or network of clients.
        connection: id of a connection.
        protocol: of the door.
        level: least level.
        kind: of lines, a key of `KINDS`.
        sender: of lines.
        path: part of a path.
        since: time in UTC (RFC 3339, seconds and zone may be missing), or how long ago: ``90m``, ``7d``.
        until: likewise.
    """

    q: str = ""
    user: str = ""
    ip: str = ""
    connection: str = ""
    protocol: str = ""
    level: str = ""
    kind: str = ""
    sender: str = ""
    path: str = ""
    since: str = ""
    until: str = ""

    def filter(self, own: frozenset[str] | None, *, now: float | None = None) -> LineFilter:
        """The filter.

        Args:
            own: accounts that may be seen; None for all.
            now: seconds since the epoch.

        Raises:
            InvalidArgument: a part is wrong; the text begins with its name.
        """
        if self.level and self.level not in LEVELS:
            raise InvalidArgument(f"level: one of {', '.join(LEVELS)}")
        if self.kind and self.kind not in KINDS:
            raise InvalidArgument(f"kind: one of {', '.join(KINDS)}")
        senders = KINDS[self.kind][1] if self.kind else frozenset[str]()
        others = self.kind == "server"
        if self.sender:
            inside = not senders or (self.sender in senders) is not others
            senders, others = frozenset((self.sender if inside else "\0",)), False
        moment = time.time() if now is None else now
        return LineFilter(
            text=self.q[:MAX_TEXT],
            username=self.user[:MAX_TEXT],
            address=_address(self.ip),
            connection=self.connection[:MAX_TEXT],
            protocol=self.protocol[:MAX_TEXT].upper(),
            level=self.level,
            senders=senders,
            others=others,
            path=self.path[:MAX_PATH],
            since=_stamp("since", self.since, moment, "000"),
            until=_stamp("until", self.until, moment, "999"),
            own=own,
        )


class LogSearches:
    """Searches in the log of this server, few at a time.

    Args:
        reader: reads it.

    Attributes:
        tail: what is new.
    """

    def __init__(self, reader: LogReader) -> None:
        self.reader = reader
        self.tail = Tail(reader)
        self._running = asyncio.Semaphore(MAX_SEARCHES)
        self._exports = 0

    async def find(
        self, wanted: LineFilter, *, cursor: str = "", limit: int, seconds: float = MAX_SECONDS
    ) -> Found:
        """The newest lines that are wanted, or those before a cursor.

        Raises:
            InvalidArgument: the cursor is none.
            OutsideBusy: too many searches are running.
        """
        ended = threading.Event()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._running.acquire()
        except TimeoutError:
            raise OutsideBusy("other searches of the log are running; try again") from None
        try:
            return await asyncio.to_thread(
                self.reader.search,
                wanted,
                cursor=cursor,
                limit=min(limit, MAX_LINES),
                seconds=seconds,
                stopped=ended.is_set,
            )
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        finally:
            ended.set()
            self._running.release()

    async def export(self, wanted: LineFilter) -> AsyncGenerator[bytes, None]:
        """All lines that are wanted as CSV (RFC 4180), the newest first, in pieces.

        What is left out because there is too much of it is told by a last row of the sender ``export``.

        Raises:
            OutsideBusy: too many exports are running; raised at once, not while the pieces are read.
        """
        pieces = self._pieces(wanted)
        await anext(pieces)  # from here on it has its place, and gives it back however it ends
        return pieces

    async def _pieces(self, wanted: LineFilter) -> AsyncGenerator[bytes, None]:
        if self._exports >= MAX_EXPORTS:
            raise OutsideBusy("other exports of the log are running; try again")
        self._exports += 1
        try:
            yield b""
            cursor, count, ends, why = "", 0, time.monotonic() + EXPORT_SECONDS, ""
            yield csv_rows([COLUMNS])
            while not why:
                limit = min(MAX_LINES, EXPORT_LINES - count)
                found = await self.find(wanted, cursor=cursor, limit=limit, seconds=EXPORT_STEP)
                count += len(found.lines)
                rows = [csv_row(line) for line in found.lines]
                rows += [_remark(note) for note in found.notes]
                cursor = found.cursor
                if not cursor:
                    why = "end"
                elif count >= EXPORT_LINES:
                    why = f"this export ends after {EXPORT_LINES} lines; there are older ones"
                elif time.monotonic() > ends:
                    why = f"this export ends after {EXPORT_SECONDS:.0f} s; what is older was not searched"
                rows += [_remark(why)] if cursor and why else []
                if rows:
                    yield csv_rows(rows)
        except OutsideBusy as error:
            yield csv_rows([_remark(f"this export ends here: {error.text}")])
        finally:
            self._exports -= 1


@dataclass(slots=True)
class Tail:
    """New lines, parsed once for everybody who watches.

    Args:
        reader: of the log.
    """

    reader: LogReader
    _place: int = -1
    _seen: float = -1.0
    _lines: tuple[LogLine, ...] = ()
    _skipped: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _watchers: int = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Keep lines while somebody watches."""
        self.reader.recent.watch()
        if not self._watchers:
            self._place = self.reader.recent.end
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self.reader.recent.unwatch()

    async def look(self, tick: float) -> tuple[tuple[LogLine, ...], int]:
        """Lines that came between this tick of the clock that all share and the one before, the oldest first.

        Args:
            tick: time of it; whoever comes with the same gets the same lines.

        Returns:
            The lines, and how many were left out because there were too many.
        """
        async with self._lock:
            if self._seen != tick:
                self._seen = tick
                self._place, lines = self.reader.recent.since(self._place)
                self._lines, self._skipped = await asyncio.to_thread(_parsed, self._place, lines)
                self._place += len(lines)
            return self._lines, self._skipped


def _parsed(place: int, lines: bytes) -> tuple[tuple[LogLine, ...], int]:
    pieces = lines.splitlines()
    kept = pieces[-TAIL_LINES:]
    return tuple(parse(place, piece) for piece in kept), len(pieces) - len(kept)


# -- exports -------------------------------------------------------------------------------------------------


def csv_rows(rows: list[Any]) -> bytes:
    """Rows of CSV, in UTF-8; what is no UTF-8 as escapes."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


_SAID: Final[Mapping[str, Callable[[LogLine], str]]] = {
    "address": lambda line: line.address,
    "username": lambda line: line.account,
    "protocol": lambda line: line.protocol,
    "virtual_path": path_of,
    "virtual_target_path": target_of,
}
"""Columns that lines of level ``trace`` have by other names."""


def csv_row(line: LogLine) -> list[str | int]:
    """The row of a line; no cell is a formula."""
    row: list[str | int] = []
    for name in COLUMNS:
        value = _SAID[name](line) if name in _SAID else line.fields.get(name, "")
        number = isinstance(value, int) and not isinstance(value, bool)
        row.append(value if number else cell(value if isinstance(value, str) else line.text(name)))
    return row


def _remark(text: str) -> list[str | int]:
    return ["", "warn", "export", *[""] * (len(COLUMNS) - 4), text]


# -- parts of a wish -----------------------------------------------------------------------------------------


def _address(text: str) -> str:
    """An address or network as it is looked for.

    Raises:
        InvalidArgument: it is neither.
    """
    if not text:
        return ""
    try:
        found = ip_network(text, strict=False) if "/" in text else parse_address(text)
    except ValueError:
        found = None
    if found is None:
        raise InvalidArgument("ip: neither an address nor a network")
    return str(found)


_UNITS: Final = {"m": 60, "h": 3_600, "d": 86_400}


def _stamp(name: str, text: str, now: float, thousandths: str) -> str:
    """A time as lines write it.

    Raises:
        InvalidArgument: it is none.
    """
    if not text:
        return ""
    try:
        if text[:-1].isascii() and text[:-1].isdigit() and len(text) < 8 and text[-1] in _UNITS:
            moment = datetime.fromtimestamp(now, UTC) - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        exact = moment.microsecond // 1000
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + (f"{exact:03}Z" if exact else f"{thousandths}Z")
    except (ValueError, OverflowError):
        raise InvalidArgument(f"{name}: a time such as 2026-11-30T12:00 (UTC), or 90m, 24h, 7d") from None
