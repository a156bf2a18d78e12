# SPDX-License-Identifier: Apache-2.0
"""Write locks that clients hold (WebDAV): on what, until when, and ending one."""

from __future__ import annotations

import logging
from typing import Final

from starlette.responses import Response

from tidegate.contracts.cluster import HeldLock
from tidegate.errors import NotFound
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit

ROWS: Final = 50
MAX_FIRST: Final = 10**6

_log = logging.getLogger(__name__)


async def show(visit: Visit) -> Response:
    """The list, by account and path."""
    text, given = visit.query("q").strip(), visit.query("first", longest=8)
    first = min(int(given), MAX_FIRST) if given.isascii() and given.isdigit() else 0
    locks = await _seen(visit)
    wanted = text.casefold()
    found = [one for one in locks if wanted in f"{one.account}\n{one.path}\n{one.owner}".casefold()]
    found.sort(key=lambda one: (one.account, one.path, one.token))
    context = {
        "rows": found[first : first + ROWS],
        "number": len(locks),
        "text": text,
        "shown": f"{count(first + 1)} to {count(min(first + ROWS, len(found)))} of {count(len(found))}",
        "before": url("locks", q=text, first=max(first - ROWS, 0)) if first else "",
        "after": url("locks", q=text, first=first + ROWS) if len(found) > first + ROWS else "",
        "closes": visit.may("close_conns"),
    }
    return visit.html("locks.html", context)


async def _seen(visit: Visit) -> list[HeldLock]:
    """Locks of the accounts that an administrator may see."""
    own = await visit.own_users()
    locks = await visit.services.sessions.locks.all(None)
    return [one for one in locks if own is None or one.account in own]


async def end(visit: Visit) -> Response:
    """End a lock; whoever holds it is refused from then on.

    Raises:
        NotFound: it has ended meanwhile, or is none of the administrator's accounts.
    """
    token = visit.form["lock"][:255]
    held = next((one for one in await _seen(visit) if one.token == token), None)
    if held is None or not await visit.services.sessions.locks.release(token, None):
        raise NotFound("this lock has ended meanwhile")
    _log.info("lock %s removed by administrator %r", token, visit.who.username)
    return visit.go("locks", done=f"The lock of {held.account} on {held.path} is ended.")


PAGES: Final = (
    Page(
        path="/locks",
        show=show,
        needs="view_conns",
        nav=Nav(group="Now", label="Write locks", icon="lock", order=25),
        action="End a write lock",
    ),
    Page(path="/locks/end", act=end, needs="close_conns"),
)
