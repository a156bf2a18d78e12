# SPDX-License-Identifier: Apache-2.0
"""The answers of the palette: pages and users by their names."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse, Response

from tidegate.store.user_query import UserQuery
from tidegate.web.admin.registry import Page, navigation
from tidegate.web.admin.rendering import BASE, url, visible
from tidegate.web.admin.visit import HEADERS, Visit

MAX_ROWS: Final = 8
"""Rows of one group."""
MAX_WISH: Final = 100


async def show(visit: Visit) -> Response:
    """Groups of rows for what was typed; ``@`` in front wants users, ``/`` pages."""
    wish = visit.query("q", longest=MAX_WISH).strip()
    kind, text = (wish[0], wish[1:].strip()) if wish[:1] in ("@", "/") else ("", wish)
    groups: list[dict[str, Any]] = []
    if kind != "/" and text and visit.may("view_users"):
        groups.append({"title": "Users", "rows": await _users(visit, text)})
    if kind != "@":
        groups.append({"title": "Pages", "rows": _pages(visit, text.lower())})
    return JSONResponse([group for group in groups if group["rows"]], headers=HEADERS)


async def _users(visit: Visit, text: str) -> list[dict[str, str]]:
    query = UserQuery(text=text, role=visit.who.role, limit=MAX_ROWS)
    rows = []
    for account in await visit.services.provider.find_users(query):
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


PAGES: Final = (Page(path="/find", show=show),)
