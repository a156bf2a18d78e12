# SPDX-License-Identifier: Apache-2.0
"""The live connections: who, from where, by which client, and what they do now; and ending them."""

from __future__ import annotations

import logging
from typing import Any, Final

from starlette.responses import Response

from tidegate.cluster.registry import LiveConnection
from tidegate.errors import NotFound
from tidegate.logs.filters import connection_of
from tidegate.web.admin.connection_rows import ROWS, Found, find, row_of
from tidegate.web.admin.pages.explain import refusal_row
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit

MAX_FIRST: Final = 10**7
REFUSALS: Final = 20
"""Refusals of one connection on its page."""
KINDS: Final = (("", "All"), ("moving", "Moving files"), ("idle", "Idle"), ("clear", "In the clear"))
"""Chips beside those of the protocols."""

_log = logging.getLogger(__name__)


async def show(visit: Visit) -> Response:
    """The list; for a script its changing part."""
    context = await _list(visit)
    return visit.html("connections_rows.html" if visit.partial else "connections.html", context)


async def rows(visit: Visit) -> Response:
    """The changing part, for a page that is open; asking is no use of the session."""
    return visit.html("connections_rows.html", await _list(visit))


async def _list(visit: Visit) -> dict[str, Any]:
    services = visit.services
    figures = await visit.sampler.fresh()
    text, only = visit.query("q").strip(), visit.query("only", longest=40)
    given = visit.query("first", longest=8)
    found = find(
        services.registry.all(),
        figures.rows,
        own=await visit.own_users(),
        text=text,
        only=only,
        first=int(given) if given.isascii() and given.isdigit() else 0,
        locate=services.locate,
    )
    query = {"q": text, "only": only}
    last = found.first + ROWS
    return {
        "found": found,
        "text": text,
        "only": only,
        "sum": _sum(found),
        "chips": _chips(found, text, only),
        "before": _page(query, found.first - ROWS) if found.first else "",
        "after": _page(query, last) if last < found.number else "",
        "refresh": url("live", "connections", **query, first=found.first),
        "closes": visit.may("close_conns"),
    }


def _page(query: dict[str, str], first: int) -> str:
    # Without a parameter the first page stands there, whose number 0 `url` leaves out.
    return url("connections", **query, first=min(max(first, 0), MAX_FIRST))


def _sum(found: Found) -> str:
    counts = found.counts
    number = count(counts[""])
    return f"{number} open. {count(counts['moving'])} move files, {count(counts['idle'])} are idle."


def _chips(found: Found, text: str, only: str) -> list[dict[str, Any]]:
    """The kinds that there are, and the one that is chosen."""
    own = {value for value, _ in KINDS}
    protocols = sorted(name for name in found.counts if name not in own)
    chips = [*KINDS, *((name, name) for name in protocols)]
    return [
        {
            "label": label,
            "number": found.counts[value],
            "href": url("connections", q=text, only=value),
            "chosen": value == only,
        }
        for value, label in chips
        if not value or value == only or found.counts[value]
    ]


async def show_one(visit: Visit) -> Response:
    """One connection: facts, transfers, what it was refused; of one that has ended its story."""
    try:
        one = await _find(visit)
    except NotFound:
        if visit.services.log is None or not visit.may("view_events"):
            raise
        return visit.go("logs", "connections", connection_of(visit.name("id")))
    figures = await visit.sampler.fresh()
    moving = [row for row in figures.rows if row.connection_id == one.peer.connection_id]
    refused = [
        refusal_row(visit, refusal)
        for refusal in visit.sampler.events.newest()
        if refusal.connection_id == one.peer.connection_id
    ]
    context = {
        "row": row_of(one, moving, visit.services.locate),
        "refusals": refused[:REFUSALS] if visit.may("view_events") else None,
        "others": max(visit.services.registry.count(one.username) - 1, 0),
        "closes": visit.may("close_conns"),
        "story": visit.services.log is not None and visit.may("view_events"),
    }
    return visit.html("connection.html", context)


async def _find(visit: Visit) -> LiveConnection:
    """The connection that the path names.

    Raises:
        NotFound: there is none, or its account has not the role of the administrator.
    """
    own, wanted = await visit.own_users(), visit.name("id")
    for one in visit.services.registry.all():
        if one.peer.connection_id == wanted and (own is None or one.username in own):
            return one
    raise NotFound("this connection has ended, or there was none of that id")


async def close(visit: Visit) -> Response:
    """End one connection; what it is moving is cut off."""
    one = await _find(visit)
    visit.services.registry.close(one.peer.connection_id, by=visit.who.username)
    _log.info("connection %s closed by administrator %r", one.peer.connection_id, visit.who.username)
    return visit.go("connections", done=f"The connection of {one.username or 'nobody'} is closed.")


async def close_user(visit: Visit) -> Response:
    """End every connection of an account.

    Raises:
        NotFound: the account has not the role of the administrator.
    """
    name, own = visit.form["username"], await visit.own_users()
    if own is not None and name not in own:
        raise NotFound(f"no such user: {name}")
    number = visit.services.connections.close_user(name, by=visit.who.username)
    _log.info("%d connections of %r closed by administrator %r", number, name, visit.who.username)
    noun = "connection" if number == 1 else "connections"
    return visit.go("connections", done=f"{count(number)} {noun} of {name} closed.")


PAGES: Final = (
    Page(
        path="/connections",
        show=show,
        needs="view_conns",
        nav=Nav(group="Now", label="Connections", icon="cable", order=20, key="c"),
    ),
    Page(path="/live/connections", show=rows, needs="view_conns", streams=True),
    Page(path="/connections/{id}", show=show_one, needs="view_conns"),
    Page(path="/connections/{id}/close", act=close, needs="close_conns"),
    Page(path="/close-connections", act=close_user, needs="close_conns"),
)
