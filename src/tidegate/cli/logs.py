# SPDX-License-Identifier: Apache-2.0
"""``tidegate logs``: searching and following the log, of this host or of a running server."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import typer

from tidegate.cli import flags
from tidegate.cli.provider import run
from tidegate.cli.serve import DEFAULT_LOG
from tidegate.cli.spread import spread
from tidegate.cli.terminal import note, visible
from tidegate.cli.where import Where
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.cli.target import Log
    from tidegate.logs.filters import LogLine
    from tidegate.logs.search import LogReader

MAX_LINES: Final = 100_000
"""Lines that a command prints at most before it follows; they are held to be turned round."""
PAGE: Final = 500
FOLLOW_SECONDS: Final = 0.5
"""Time between two looks at what is new."""
OVERLAP_SECONDS: Final = 5
"""Seconds by which lines may stand in the log before older ones and are still seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The lines that are wanted, as REST and the pages take them."""

    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Account.")] = ""
    ip: Annotated[str, typer.Option("--ip", metavar="ADDRESS", help="Client, or a network.")] = ""
    connection: Annotated[
        str, typer.Option("--connection", metavar="ID", help="Connection, or a channel of it.")
    ] = ""
    protocol: Annotated[str, typer.Option("--protocol", help="SFTP, SCP, SSH, FTP, DAV or HTTP.")] = ""
    level: Annotated[str, typer.Option("--level", help="Least level: debug, info, warn or error.")] = ""
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="transfers, operations, logins, refusals, connections, changes, requests or server.",
        ),
    ] = ""
    sender: Annotated[str, typer.Option("--sender", help="Sender of the line, such as Upload.")] = ""
    path: Annotated[str, typer.Option("--path", metavar="TEXT", help="Part of a path.")] = ""
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="UTC, such as 2026-11-30T12:00, or 90m, 24h, 7d ago."),
    ] = ""
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Likewise.")] = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Lines, the newest first, and where older ones begin; empty if there are none."""

    lines: list[LogLine]
    cursor: str
    notes: list[str]


class Source(Protocol):
    """A log."""

    async def page(self, wanted: dict[str, str], cursor: str, limit: int) -> Page:
        """The newest lines that are wanted, or those before a cursor.

        Raises:
            InvalidArgument: a part of what is wanted is wrong.
        """
        ...


@spread
def logs(
    *,
    text: Annotated[
        str, typer.Argument(help="Anything in a line, without regard to case.", show_default=False)
    ] = "",
    number: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=MAX_LINES, help="Most lines, the newest ones.")
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with lines that come.")] = False,
    as_written: Annotated[
        bool, typer.Option("--json", help="Lines as they are written: one JSON object each.")
    ] = False,
    filters: Filters,
    log_file_path: Annotated[
        str,
        typer.Option(
            "--log-file-path",
            "-l",
            envvar=flags.envs("LOG_FILE_PATH"),
            metavar="FILE",
            help="Log file, as `serve` has it; files that were rotated are read too.",
        ),
    ] = DEFAULT_LOG,
    where: Where,
) -> None:
    """Search the log, and show what comes; the oldest line first.

    Without --url the file of this host is read; the server need not run.
    """
    if follow and filters.until:
        raise typer.BadParameter("what comes has no end", param_hint="--follow with --until")
    wanted: dict[str, str] = {"q": text, **asdict(filters)}

    async def work() -> None:
        async with _opened(where, log_file_path) as source:
            began = time.time()
            lines = await _newest(source, wanted, number)
            for line in lines:
                _say(line, as_written=as_written)
            if follow:
                sys.stdout.flush()
                async for line in _coming(source, wanted, lines, began):
                    _say(line, as_written=as_written)
                    sys.stdout.flush()

    run(work())


@asynccontextmanager
async def _opened(where: Where, log_file_path: str) -> AsyncIterator[Source]:
    if where.url:
        async with where.opened() as target:
            yield _Remote(target.log)
        return
    where.check_here()
    if log_file_path in ("", "-"):
        raise InvalidArgument(
            "--log-file-path: the server writes to standard error, so whatever started it has the lines; "
            "with --url a running server tells its last ones"
        )
    path = where.config_dir.absolute() / log_file_path
    if not path.is_file():
        raise InvalidArgument(f"there is no log {path}: --log-file-path names it as `serve` does")
    from tidegate.logs.recent import RecentLines
    from tidegate.logs.search import LogReader

    yield _Local(LogReader(path, RecentLines(), str(path)))


class _Local:
    """The log of this host."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def page(self, wanted: dict[str, str], cursor: str, limit: int) -> Page:
        from tidegate.web.api.log_lines import Wish

        lines = Wish(**wanted).filter(None)
        try:
            found = await asyncio.to_thread(self._reader.search, lines, cursor=cursor, limit=limit)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        return Page(list(found.lines), found.cursor, list(found.notes))


class _Remote:
    """The log of a running server."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def page(self, wanted: dict[str, str], cursor: str, limit: int) -> Page:
        from tidegate.logs.filters import LogLine
        from tidegate.logs.lines import to_json

        found = await self._log.page({**wanted, "cursor": cursor, "limit": limit})
        lines = [LogLine(0, fields, to_json(fields)) for fields in found["lines"]]
        return Page(lines, found["cursor"], found["notes"])


async def _newest(source: Source, wanted: dict[str, str], number: int) -> list[LogLine]:
    """The newest lines that are wanted, the oldest first."""
    lines: list[LogLine] = []
    cursor = ""
    while len(lines) < number:
        page = await source.page(wanted, cursor, min(PAGE, number - len(lines)))
        lines += page.lines
        for text in page.notes:
            note(text)
        cursor = page.cursor
        if not cursor:
            break
    lines.reverse()
    return lines


async def _last(source: Source, began: float) -> str:
    """The time of the newest line of the whole log; that of the start of the command if there is none.

    What is followed begins there, by the clock of whoever writes the log.
    """
    page = await source.page({}, "", 1)
    here = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return page.lines[0].time if page.lines and page.lines[0].time else here


async def _coming(
    source: Source, wanted: dict[str, str], shown: list[LogLine], began: float
) -> AsyncIterator[LogLine]:
    """Lines that come after those that were shown.

    Each look reads the last `OVERLAP_SECONDS` again; of equal lines as many are new as there are more.
    """
    last = max((line.time for line in shown), default="") or await _last(source, began)
    found = await _newest(source, {**wanted, "since": _before(last)}, MAX_LINES)
    raws = [line.raw for line in found]
    if shown and shown[-1].raw in raws:
        new = found[len(raws) - raws[::-1].index(shown[-1].raw) :]
    else:
        new = [line for line in found if line.time > last]
    while True:
        for line in new:
            yield line
        last = max([last, *(line.time for line in found)])
        since = _before(last)
        left = Counter(line.raw for line in found if line.time >= since)
        await asyncio.sleep(FOLLOW_SECONDS)
        found, new = await _newest(source, {**wanted, "since": since}, MAX_LINES), []
        for line in found:
            if left[line.raw]:
                left[line.raw] -= 1
            else:
                new.append(line)


def _before(stamp: str) -> str:
    """A time `OVERLAP_SECONDS` before another."""
    moment = datetime.fromisoformat(stamp) - timedelta(seconds=OVERLAP_SECONDS)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _say(line: LogLine, *, as_written: bool) -> None:
    """Print a line; characters that a terminal would obey are escapes."""
    if as_written:
        text = line.raw
    else:
        from tidegate.web.log_sentences import line_text

        text = line_text(line)
    shown = visible(text.replace("\n", "\\n"))
    sys.stdout.write(f"{shown.encode('utf-8', 'backslashreplace').decode()}\n")
