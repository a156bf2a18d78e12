# SPDX-License-Identifier: Apache-2.0
"""The first page: whether all is well; and the stream that keeps it so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from tidegate.errors import OutsideBusy
from tidegate.metrics.history import EVERY_SECONDS, POINTS
from tidegate.metrics.recent import Refusal
from tidegate.web.admin.live import Figures, Item, Sampler
from tidegate.web.admin.pages.explain import refusal_row
from tidegate.web.admin.registry import Nav, Page, all_pages
from tidegate.web.admin.rendering import count, url, visible
from tidegate.web.admin.transfers import TransferRow, largest
from tidegate.web.admin.visit import HEADERS, Visit
from tidegate.web.figures import size, span

ROWS: Final = 8
"""Transfers on the page."""
HOUR_SECONDS: Final = EVERY_SECONDS * POINTS
CURVE_POINTS: Final = 120
"""Points of a drawn curve, about."""
LAST: Final = 8
"""Refusals on the page."""
CHECK_TICKS: Final = 10
"""A stream asks after so many samples whether its session still holds."""

_DOOR_NAMES: Final = {"SSH": "SSH", "SFTP": "SFTP", "FTP": "FTP", "DAV": "WebDAV", "HTTP": "HTTP"}


@dataclass(frozen=True, slots=True)
class Sight:
    """The part of the figures that somebody may see.

    Attributes:
        status: figures of the whole server.
        transfers: who moves what.
        refusals: who was refused what.
        users: names of accounts near a quota.
        own: names of the accounts of their role; None for all.
    """

    status: bool
    transfers: bool
    refusals: bool
    users: bool
    own: frozenset[str] | None

    def rows(self, figures: Figures) -> list[TransferRow]:
        """The largest transfers."""
        return largest(figures.rows, ROWS, self.own) if self.transfers else []

    def last(self, sampler: Sampler) -> list[Refusal]:
        """The last refusals and failures of storage, the newest first."""
        if not self.refusals:
            return []
        seen = [one for one in sampler.events.newest() if self.own is None or one.username in self.own]
        return seen[:LAST]

    def items(self, items: tuple[Item, ...]) -> list[Item]:
        """The things to do."""
        return [
            item
            for item in items
            if item.link[:1] != ("users",) or (self.users and (self.own is None or item.subject in self.own))
        ]


async def _sight(visit: Visit) -> Sight:
    return Sight(
        status=visit.may("view_status"),
        transfers=visit.may("view_conns"),
        refusals=visit.may("view_events"),
        users=visit.may("view_users"),
        own=await visit.own_users(),
    )


async def show(visit: Visit) -> Response:
    """The dashboard; who may not see the state of the server sees the verdict alone."""
    sampler, sight = visit.sampler, await _sight(visit)
    figures = await sampler.fresh()
    state = sampler.state()
    paths = {page.path for page in all_pages()}
    context = {
        "sight": sight,
        "figures": figures,
        "items": [item for item in sight.items(state.items) if not item.link or f"/{item.link[0]}" in paths],
        "frame": _frame(sampler, sight, figures),
        "refusals": [refusal_row(visit, one) for one in sight.last(sampler)],
        "connections": visit.may("view_conns"),
        "curves": _curves(sampler),
        "door_names": _DOOR_NAMES,
    }
    return visit.html("dashboard.html", context)


async def refusals(visit: Visit) -> Response:
    """The last refusals alone, for a dashboard that is open; asking is no use of the session."""
    sight = await _sight(visit)
    visit.require("view_events")
    context = {
        "refusals": [refusal_row(visit, one) for one in sight.last(visit.sampler)],
    }
    return visit.html("dashboard_refusals.html", context)


# -- frames --------------------------------------------------------------------------------------------------


def _frame(sampler: Sampler, sight: Sight, figures: Figures, *, curves: bool = False) -> dict[str, Any]:
    """The figures of one sample for the page: small, with every text as it is shown.

    Args:
        sampler: of the server.
        sight: the part that somebody may see.
        figures: of the sample.
        curves: the hour's curves too.
    """
    frame = sampler.head(figures)
    if sight.status:
        directions = [row.direction for row in figures.rows]
        points, refusals = list(sampler.points), figures.refusals
        doors = sorted(figures.sessions.items())
        frame["texts"] = {
            "flight": count(len(directions)),
            "flight-in": f"{count(directions.count('in'))} in",
            "flight-out": f"{count(directions.count('out'))} out",
            "rate-in": f"in {size(figures.rates['in'], rate=True)}",
            "rate-out": f"out {size(figures.rates['out'], rate=True)}",
            "sessions": count(figures.sessions.total()),
            "doors": "  ".join(f"{_DOOR_NAMES.get(name, name)} {count(number)}" for name, number in doors),
            "logins": count(figures.logins.total()),
            "logins-average": f"avg {count(_average([point.logins for point in points]))}",
            "refusals": count(refusals.total()),
            "refusals-average": f"avg {count(_average([point.refusals for point in points]))}",
            "refusals-by": f"login {count(refusals['login'])}  policy {count(refusals['policy'])}",
        }
        if curves:
            paths = _curves(sampler)
            frame["curves"] = {name: {"line": line, "area": area} for name, (line, area) in paths.items()}
    if sight.refusals:
        frame["refused"] = next((one.at for one in sight.last(sampler)), 0)
    if sight.transfers:
        frame["rows"] = [_row(row) for row in sight.rows(figures)]
        own = [row for row in figures.rows if sight.own is None or row.username in sight.own]
        frame["of"] = count(len(own))
        frame["stamp"] = figures.stamp
    return frame


def _row(row: TransferRow) -> dict[str, Any]:
    done = f"{row.percent} %" if row.percent >= 0 else size(row.size)
    return {
        "key": row.key,
        "user": visible(row.username),
        "direction": row.direction,
        "kind": row.kind,
        "path": visible(row.path),
        "percent": row.percent,
        "done": done,
        "speed": f"stalled {span(row.silent)}" if row.silent else size(row.speed, rate=True),
        "stalled": bool(row.silent),
        "left": span(row.left) if row.left >= 0 else "",
        "href": url("connections", row.connection_id),
    }


def _average(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _curves(sampler: Sampler) -> dict[str, tuple[str, str]]:
    """Paths of SVG, line and area: the hour's logins and refusals 120 by 30, bytes in and out 600 by 100."""
    points = list(sampler.points)
    # From the newest backwards, so that it is always among them.
    points = points[:: -max(1, len(points) // CURVE_POINTS)][::-1]
    ages = [(points[-1].at - point.at) / HOUR_SECONDS for point in points]
    most = max([1.0, *(point.bytes_in for point in points), *(point.bytes_out for point in points)])
    return {
        "logins": _path(ages, [point.logins for point in points], 120, 30, 28),
        "refusals": _path(ages, [point.refusals for point in points], 120, 30, 28),
        "in": _path(ages, [point.bytes_in for point in points], 600, 50, 48, most=most),
        "out": _path(ages, [point.bytes_out for point in points], 600, 50, 48, most=most, down=True),
    }


def _path(
    ages: list[float],
    values: list[float] | list[int],
    width: int,
    base: int,
    height: int,
    *,
    most: float = 0.0,
    down: bool = False,
) -> tuple[str, str]:
    """A line and the area between it and its base; the right edge is now, the left one an hour ago."""
    if len(values) < 2:
        return "", ""
    top = most or max([1.0, *values])
    sign = 1 if down else -1
    across = [max(0.0, width * (1 - age)) for age in ages]
    dots = [
        f"{x:.1f} {base + sign * height * value / top:.1f}" for x, value in zip(across, values, strict=True)
    ]
    line = "M" + "L".join(dots)
    return line, f"{line}L{width} {base}L{across[0]:.1f} {base}Z"


# -- the stream ----------------------------------------------------------------------------------------------


async def stream(visit: Visit) -> Response:
    """Frames as server-sent events, one for each sample, until the session or the server ends.

    Raises:
        OutsideBusy: too many streams are open.
    """
    sampler, sight, name = visit.sampler, await _sight(visit), visit.who.username
    sampler.wake()
    if sampler.full(name):
        raise OutsideBusy("too many pages are live; this one shows the figures of its loading")

    async def frames() -> AsyncIterator[bytes]:
        seen = sight
        with sampler.watching(name) as room:
            ticks, drawn = 0, 0
            while room and (figures := await sampler.next()) is not None:
                ticks += 1
                if ticks % CHECK_TICKS == 0:
                    fresh = await visit.still()
                    if fresh is None:
                        yield b"event: ended\ndata: {}\n\n"
                        return
                    seen = await _sight(fresh)
                newest = sampler.points[-1].at if sampler.points else 0
                frame = _frame(sampler, seen, figures, curves=newest != drawn)
                drawn = newest
                text = json.dumps(frame, separators=(",", ":"))
                yield f"data: {text}\n\n".encode("utf-8", "backslashreplace")

    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return StreamingResponse(frames(), media_type="text/event-stream", headers=headers)


PAGES: Final = (
    Page(path="/", show=show, nav=Nav(group="Now", label="Dashboard", icon="gauge", order=10, key="d")),
    Page(path="/live", show=stream, streams=True),
    Page(path="/live/refusals", show=refusals, streams=True),
)
