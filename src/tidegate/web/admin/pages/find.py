# SPDX-License-Identifier: Apache-2.0
"""The answers of the palette: users, pages, addresses, connections by name, and actions by what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from tidegate.model import Account
from tidegate.model.address import parse_address
from tidegate.store.user_query import UserQuery
from tidegate.web.admin.registry import Page, all_pages, navigation
from tidegate.web.admin.rendering import BASE, url, visible
from tidegate.web.admin.visit import HEADERS, Visit

MAX_ROWS: Final = 8
"""Rows of one group."""
MAX_WISH: Final = 100
LEAST_ID: Final = 4
"""Characters of an id from which on connections are looked for."""


async def show(visit: Visit) -> Response:
    """Groups of rows for what was typed; ``@`` in front wants users, ``/`` pages, ``>`` actions."""
    wish = visit.query("q", longest=MAX_WISH).strip()
    kind, text = (wish[0], wish[1:].strip()) if wish[:1] in ("@", "/", ">") else ("", wish)
    groups: list[dict[str, Any]] = []
    if kind in ("", "@") and text and visit.may("view_users"):
        query = UserQuery(text=text, role=visit.who.role, limit=MAX_ROWS)
        accounts = await visit.services.provider.find_users(query)
        groups.append({"title": "Users", "rows": _users(visit, accounts)})
        meant = [one for one in accounts if len(accounts) == 1 or one.username.lower() == text.lower()]
        if not kind and meant:
            groups.append(_about(visit, meant[0].username))
    if not kind and parse_address(text) is not None:
        groups.append(_address(visit, text))
    if not kind and len(text) >= LEAST_ID and visit.may("view_conns"):
        own = await visit.own_users()
        groups.append({"title": "Connections", "rows": _connections(visit, text, own)})
    if kind in ("", "/"):
        groups.append({"title": "Pages", "rows": _pages(visit, text.lower())})
    if kind == ">" or (not kind and text):
        groups.append({"title": "Actions", "rows": _actions(visit, text.lower())})
    return JSONResponse([group for group in groups if group["rows"]], headers=HEADERS)


def _users(visit: Visit, accounts: Iterable[Account]) -> list[dict[str, str]]:
    rows = []
    for account in accounts:
        sessions = visit.services.registry.count(account.username)
        hint = "disabled" if account.status != 1 else f"{sessions} sessions" if sessions else ""
        name = str(visible(account.username))
        rows.append({"text": name, "href": url("users", account.username), "hint": hint})
    return rows


def _pages(visit: Visit, text: str) -> list[dict[str, str]]:
    rows = [
        {
            "text": page.nav.label,
            "href": f"{BASE}{page.path}",
            "hint": f"g {page.nav.key}" if page.nav.key else "",
        }
        for pages in navigation(visit.may).values()
        for page in pages
        if page.nav is not None and text in page.nav.label.lower()
    ]
    return [{key: str(visible(value)) for key, value in row.items()} for row in rows[:MAX_ROWS]]


def _actions(visit: Visit, text: str) -> list[dict[str, str]]:
    of_file = visit.session is not None and visit.session.of_file
    found = sorted(
        (page.action, f"{BASE}{page.path}")
        for page in all_pages()
        if page.action
        and text in page.action.lower()
        and (not page.needs or visit.may(page.needs))
        and not (of_file and page.of_records)
    )
    return [{"text": action, "href": href, "hint": ""} for action, href in found[:MAX_ROWS]]


def _about(visit: Visit, username: str) -> dict[str, Any]:
    """Rows of what there is to see about one account."""
    links = (
        ("view_events", "Log", url("logs", user=username)),
        ("view_conns", "Connections", url("connections", q=username)),
        ("view_users", "Why is something refused?", url("explain", user=username)),
    )
    rows = [{"text": text, "href": href, "hint": ""} for needs, text, href in links if visit.may(needs)]
    return {"title": f"About {visible(username)}", "rows": rows}


def _address(visit: Visit, address: str) -> dict[str, Any]:
    """Rows of what there is to see about one address."""
    links = (
        ("view_events", "Log", url("logs", ip=address)),
        ("view_conns", "Connections", url("connections", q=address)),
        ("view_defender", "May it connect?", url("explain", "connect", ip=address)),
        ("view_defender", "Bans", url("bans", q=address)),
    )
    rows = [{"text": text, "href": href, "hint": ""} for needs, text, href in links if visit.may(needs)]
    return {"title": f"About {visible(address)}", "rows": rows}


def _connections(visit: Visit, text: str, own: frozenset[str] | None) -> list[dict[str, str]]:
    """Open connections whose id begins so."""
    rows = []
    for one in visit.services.registry.all():
        found = one.peer.connection_id
        if found.startswith(text) and (own is None or one.username in own):
            hint = str(visible(one.username or "nobody"))
            rows.append({"text": str(visible(found)), "href": url("connections", found), "hint": hint})
            if len(rows) == MAX_ROWS:
                break
    return rows


PAGES: Final = (Page(path="/find", show=show),)
