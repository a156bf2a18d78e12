# SPDX-License-Identifier: Apache-2.0
"""The log: its newest lines, search, what is new while one looks, and all of it as CSV."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.responses import Response, StreamingResponse

from tidegate.errors import InvalidArgument, NotFound, OutsideBusy
from tidegate.logs.filters import LEVELS, LineFilter, LogLine, Matcher
from tidegate.logs.search import Found
from tidegate.model import Protocol
from tidegate.web.admin.log_rows import BLANK, log_row
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import HEADERS, Visit
from tidegate.web.api.log_lines import KINDS, LogSearches, Wish

NEEDS: Final = "view_events"
AFTER_SECONDS: Final = (60.0, 10.0, 2.0, 0.5, 0.1, 0.0)
"""Seconds after a moment up to which lines are shown: the longest whose lines fill half a page at most."""
ROWS: Final = 50
"""Lines of a page."""
FRAME_ROWS: Final = 50
"""Lines of one frame of the stream."""
CHECK_TICKS: Final = 10
"""A stream asks after so many samples whether its session still holds."""
LONGEST: Final = {"path": 4_096, "since": 40, "until": 40, "ip": 64}
PARTS: Final = ("q", "user", "ip", "connection", "protocol", "level", "kind", "path", "since", "until")
MORE: Final = ("user", "ip", "connection", "protocol", "level", "path", "since", "until")
"""Parts of a search that stand below the others."""
LEVEL_NAMES: Final = (
    ("", "all"),
    *((one, f"{one} and worse" if one != "error" else one) for one in LEVELS[1:]),
)


async def searches_of(visit: Visit) -> LogSearches:
    """Searches in the log.

    Raises:
        NotFound: there is no log that could be read.
    """
    if visit.services.log is None:
        raise NotFound("this server has no log that could be read")
    return await visit.services.log()


def _values(visit: Visit) -> dict[str, str]:
    return {name: visit.query(name, longest=LONGEST.get(name, 255)).strip() for name in PARTS}


async def _around(
    log: LogSearches, values: dict[str, str], around: str, own: frozenset[str] | None
) -> tuple[str, str]:
    """The moment that a page is to show, and the end of its lines, so that the moment is on the page.

    Raises:
        InvalidArgument: it is no time.
    """
    try:
        if around.isdecimal():  # milliseconds, as Grafana writes them
            moment = datetime.fromtimestamp(int(around) / 1000, UTC)
        else:
            moment = datetime.fromisoformat(around)
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        ends = [moment + timedelta(seconds=seconds) for seconds in AFTER_SECONDS]
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument("around: a time such as 2026-11-30T12:00:00.000Z, or milliseconds") from None
    here, end = _stamp(moment), _stamp(ends[-1])
    for later in ends:
        after = Wish(**{**values, "since": here, "until": _stamp(later)}).filter(own)
        if len((await log.find(after, limit=ROWS // 2 + 1)).lines) <= ROWS // 2:
            end = _stamp(later)
            break
    return here, end


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


async def show(visit: Visit) -> Response:
    """The list, the newest line first; a search that found too little says how far it came."""
    log, values, cursor = await searches_of(visit), _values(visit), visit.query("cursor", longest=64)
    found, errors = Found(), {}
    around, here = visit.query("around", longest=40), ""
    try:
        if around:
            here, values["until"] = await _around(log, values, around, await visit.own_users())
        wanted = Wish(**values).filter(await visit.own_users())
        found = await log.find(wanted, cursor=cursor, limit=ROWS)
    except InvalidArgument as error:
        name, _, text = error.text.partition(": ")
        errors = {name if name in PARTS else "": text or name}
    rows = [log_row(visit, line) for line in found.lines]
    context = {
        "values": values,
        "errors": errors,
        "rows": rows,
        "here": here,
        "blank": BLANK,
        "found": found,
        "back_to": found.searched_to[:19].replace("T", " "),
        "more": any(values[name] for name in MORE),
        "filtered": any(values.values()),
        "chips": _chips(values),
        "levels": LEVEL_NAMES,
        "protocols": [("", "all"), *((one.value, one.value) for one in Protocol)],
        "newest": url("logs", **values) if cursor else "",
        "older": url("logs", **values, cursor=found.cursor),
        "export": url("logs", "export", **values),
        "stream": "" if cursor or values["until"] or errors else url("live", "logs", **values),
        "target": log.reader.target,
        "names_file": not visit.who.role,
        "file": log.reader.path is not None,
    }
    return visit.html("logs.html", context, status=400 if errors else 200)


def _chips(values: dict[str, str]) -> list[tuple[str, str, bool]]:
    titles = [("", "All"), *((name, title) for name, (title, _) in KINDS.items())]
    return [
        (url("logs", **{**values, "kind": name}), title, name == values["kind"]) for name, title in titles
    ]


async def export(visit: Visit) -> Response:
    """All lines that are wanted as CSV.

    Raises:
        InvalidArgument: a part of the search is wrong.
    """
    log = await searches_of(visit)
    pieces = await log.export(Wish(**_values(visit)).filter(await visit.own_users()))
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="tidegate-log.csv"'}
    headers |= {"X-Content-Type-Options": "nosniff"}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


# -- the stream ----------------------------------------------------------------------------------------------


async def stream(visit: Visit) -> Response:
    """New lines as server-sent events, a frame for each sample, until the session or the server ends.

    The first frame has what came since the line that the page shows first.

    Raises:
        InvalidArgument: a part of the search is wrong.
        OutsideBusy: too many streams are open.
    """
    log, sampler, name = await searches_of(visit), visit.sampler, visit.who.username
    values, after = _values(visit), visit.query("after", longest=40)
    wanted = Wish(**values).filter(await visit.own_users())
    Matcher(wanted)
    sampler.wake()
    if sampler.full(name):
        raise OutsideBusy("too many pages are live; this one shows the lines of its loading")

    async def frames() -> AsyncIterator[bytes]:
        matcher, seen, ticks = Matcher(wanted), visit, 0
        with sampler.watching(name) as room, log.tail.watching():
            missed = await _since(log, values, wanted, after)
            while room and (figures := await sampler.next()) is not None:
                ticks += 1
                if ticks % CHECK_TICKS == 0:
                    fresh = await visit.still()
                    if fresh is None or not fresh.may(NEEDS):
                        yield b"event: ended\ndata: {}\n\n"
                        return
                    seen = fresh
                    matcher = Matcher(Wish(**values).filter(await fresh.own_users()))
                lines, skipped = await log.tail.look(figures.at)
                new = [*missed, *(line for line in lines if matcher.wants(line))]
                missed = []
                frame = sampler.head(figures)
                frame["lines"] = [log_row(seen, line).frame() for line in new[-FRAME_ROWS:]]
                left_out = skipped + max(len(new) - FRAME_ROWS, 0)
                frame["left"] = f"{count(left_out)} more lines came; search shows them." if left_out else ""
                text = json.dumps(frame, separators=(",", ":"))
                yield f"data: {text}\n\n".encode("utf-8", "backslashreplace")

    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return StreamingResponse(frames(), media_type="text/event-stream", headers=headers)


async def _since(log: LogSearches, values: dict[str, str], wanted: LineFilter, after: str) -> list[LogLine]:
    """Lines that came between the loading of a page and its stream, the oldest first."""
    if not after:
        return []
    try:
        since = Wish(**{**values, "since": after}).filter(wanted.own)
        found = await log.find(since, limit=FRAME_ROWS)
    except (InvalidArgument, OutsideBusy):
        return []
    return list(reversed(found.lines))


PAGES: Final = (
    Page(
        path="/logs",
        show=show,
        needs=NEEDS,
        nav=Nav(group="Now", label="Logs", icon="scroll-text", order=30, key="l"),
    ),
    Page(path="/logs/export", show=export, needs=NEEDS),
    Page(path="/live/logs", show=stream, needs=NEEDS, streams=True),
)
