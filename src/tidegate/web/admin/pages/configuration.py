# SPDX-License-Identifier: Apache-2.0
"""The configuration as it is in effect: each value, where it was written, and what it is for."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.config.explain import Row, explain
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit

ROWS: Final = 50
ORIGINS: Final = (
    ("", "All"),
    ("set", "Set"),
    ("file", "From the file"),
    ("environment", "From the environment"),
    ("default", "Defaults"),
)


async def show(visit: Visit) -> Response:
    """The values that a search and a filter leave, a page of them."""
    loaded = visit.services.loaded
    rows = explain(loaded)
    text, only, first = (
        visit.query("q").strip(),
        visit.query("only", longest=16),
        visit.query("first", longest=6),
    )
    if "only" not in visit.request.query_params and not text:
        only = "set" if any(_from(row, "set") for row in rows) else ""
    only = only if only in dict(ORIGINS) else ""
    like = [row for row in rows if _holds(row, text)]
    found = [row for row in like if _from(row, only)]
    start = min(int(first) if first.isascii() and first.isdigit() else 0, max(len(found) - 1, 0))
    start -= start % ROWS
    after = start + ROWS
    context: dict[str, Any] = {
        "rows": found[start:after],
        "text": text,
        "only": only,
        "whole": len(rows),
        "set": sum(_from(row, "set") for row in rows),
        "file": loaded.file,
        "directory": loaded.config_dir,
        "notes": loaded.notes,
        "chips": [
            (_url(text, value), label, sum(_from(row, value) for row in like), value == only)
            for value, label in ORIGINS
        ],
        "shown": f"{count(start + 1)} to {count(min(after, len(found)))} of {count(len(found))}",
        "before": _url(text, only, max(start - ROWS, 0)) if start else "",
        "after": _url(text, only, after) if after < len(found) else "",
        "all": _url("", ""),
    }
    return visit.html("configuration.html", context)


def _url(text: str, only: str, first: int = 0) -> str:
    """The page; without a filter the parameter is there all the same, since the page begins with one."""
    return url("config", q=text, only=only, first=first) if only else f"{url('config')}?{_query(text, first)}"


def _query(text: str, first: int) -> str:
    rest = url("", q=text, first=first).partition("?")[2]
    return f"only=&{rest}" if rest else "only="


def _from(row: Row, only: str) -> bool:
    return not only or (row.source.kind != "default" if only == "set" else row.source.kind == only)


def _holds(row: Row, text: str) -> bool:
    """True if every word is in the key, the value as it is shown, its origin or its description."""
    place = f"{row.key}\n{row.text}\n{row.origin}\n{row.about}".casefold()
    return all(word in place for word in text.casefold().split())


PAGES: Final = (
    Page(
        path="/config",
        show=show,
        needs=EVERYTHING,
        nav=Nav(group="This server", label="Configuration", icon="sliders-horizontal", order=60),
    ),
)
