# SPDX-License-Identifier: Apache-2.0
"""The answers of the palette: pages and users by their names."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse, Response

from tidegate.web.admin.registry import Page, navigation
from tidegate.web.admin.rendering import BASE, visible
from tidegate.web.admin.visit import HEADERS, Visit

MAX_ROWS: Final = 8
"""Rows of one group."""
MAX_WISH: Final = 100


async def show(visit: Visit) -> Response:
    """Groups of rows for what was typed; ``@`` in front wants users, ``/`` pages."""
    wish = visit.query("q", longest=MAX_WISH).strip()
    kind, text = (wish[0], wish[1:].strip()) if wish[:1] in ("@", "/") else ("", wish)
    groups: list[dict[str, Any]] = []
    if kind != "@":
        groups.append({"title": "Pages", "rows": _pages(visit, text.lower())})
    return JSONResponse([group for group in groups if group["rows"]], headers=HEADERS)


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
