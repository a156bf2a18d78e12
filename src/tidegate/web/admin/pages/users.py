# SPDX-License-Identifier: Apache-2.0
"""The list of accounts, and what is done with one without its form: enable, disable, delete."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final, cast

from starlette.responses import Response

from tidegate.errors import InvalidArgument
from tidegate.model import Account
from tidegate.store.documents import encode_account
from tidegate.store.user_query import MAX_TEXT, Only, Sort, UserQuery
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.visit import Visit
from tidegate.web.figures import size

ROWS: Final = 50
"""Accounts of a page."""

CHIPS: Final = (
    ("", "All"),
    ("disabled", "Disabled"),
    ("expired", "Expired"),
    ("near_quota", "Near a quota"),
)
SORTS: Final = ("username", "last_login", "used_quota_size")


async def show(visit: Visit) -> Response:
    """A page of accounts."""
    query = _query(visit)
    page = await visit.services.provider.find_users(query)
    more, rows = len(page) > ROWS, page[-ROWS:] if query.backwards else page[:ROWS]
    provider, role = visit.services.provider, visit.who.role
    total = len(await provider.role_users(role)) if role else await provider.count_users()
    shown = {"q": query.text, "only": query.only, "sort": visit.query("sort"), "dir": visit.query("dir")}
    has_before = more if query.backwards else query.after is not None
    has_after = query.after is not None if query.backwards else more
    context = {
        "rows": [_row(visit, account) for account in rows],
        "here": f"{visit.request.url.path}?{visit.request.url.query}"[:2_000],
        "query": query,
        "total": total,
        "chips": CHIPS,
        "before": url("users", **shown, before=_key(query, rows[0])) if rows and has_before else "",
        "after": url("users", **shown, after=_key(query, rows[-1])) if rows and has_after else "",
        "sorts": {name: _sort_link(query, name) for name in SORTS},
    }
    return visit.html("users_rows.html" if visit.partial else "users.html", context)


def _query(visit: Visit) -> UserQuery:
    wanted, only = visit.query("sort"), visit.query("only")
    key = visit.query("before", longest=2_000) or visit.query("after", longest=2_000)
    return UserQuery(
        text=visit.query("q", longest=MAX_TEXT).strip(),
        role=visit.who.role,
        only=cast("Only", only if only in {value for value, _ in CHIPS} else ""),
        sort=cast("Sort", wanted if wanted in SORTS else "username"),
        descending=visit.query("dir") == "down",
        after=_read_key(key, wanted) if key else None,
        backwards=bool(visit.query("before", longest=2_000)),
        limit=ROWS + 1,
        now_ms=time.time_ns() // 1_000_000,
    )


def _key(query: UserQuery, account: Account) -> str:
    return urlsafe_b64encode(json.dumps(query.key(account)).encode()).decode()


def _read_key(text: str, sort: str) -> tuple[int | str, str]:
    """The place of a page.

    Raises:
        InvalidArgument: the text is none that a page of ours has made.
    """
    try:
        value, name = json.loads(urlsafe_b64decode(text.encode()))
    except (ValueError, TypeError, RecursionError):
        raise InvalidArgument("this link does not lead to a page of accounts") from None
    if isinstance(name, str) and len(name) <= MAX_TEXT:
        if sort in SORTS[1:] and isinstance(value, int) and abs(value) < 2**63:
            return value, name
        if sort not in SORTS[1:] and isinstance(value, str):
            return value, name
    raise InvalidArgument("this link does not lead to a page of accounts")


def _sort_link(query: UserQuery, name: str) -> dict[str, str]:
    here = query.sort == name
    # Names read from a to z, figures from the large ones on.
    falling = not query.descending if here else name != "username"
    direction = ("descending" if query.descending else "ascending") if here else ""
    link = url("users", q=query.text, only=query.only, sort=name, dir="down" if falling else "")
    return {"href": link, "direction": direction}


def _row(visit: Visit, account: Account) -> Mapping[str, Any]:
    return {
        "account": account,
        "state": state_of(account),
        "sessions": visit.services.registry.count(account.username),
        "home": home_of(account),
        "used": size(account.used_quota_size),
        "limit": size(account.quota_size),
    }


def state_of(account: Account) -> tuple[str, str]:
    """The level and the words of an account's state."""
    if account.filters.hold:
        return "soon", "held"
    if account.status != 1:
        return "", "disabled"
    if 0 < account.expiration_date <= time.time_ns() // 1_000_000:
        return "soon", "expired"
    return "", "enabled"


def home_of(account: Account) -> tuple[str, str]:
    """The symbol and the words of the place of an account's files."""
    storage = encode_account(account, confidential=False)["filesystem"] if account.filesystem.options else {}
    for section in storage.values():
        if isinstance(section, dict):
            place = section.get("bucket") or section.get("container") or section.get("endpoint")
            if place:
                return "cloud", f"{account.filesystem.kind} {place}"
    return "hard-drive", account.home_dir or account.filesystem.kind


async def switch(visit: Visit) -> Response:
    """Enable or disable an account."""
    status = 1 if visit.form["status"] == "1" else 0
    name = visit.name()

    def edit(stored: Account) -> dict[str, Any]:
        return {**encode_account(stored, confidential=False), "status": status}

    account = await visit.services.administration.users.change(name, edit, by=visit.actor)
    word = "enabled" if status else "disabled"
    back = ("users", account.username) if visit.form["back"] == "form" else ("users",)
    return visit.go(*back, done=f"{account.username} is {word}.")


async def confirm_delete(visit: Visit) -> Response:
    """The question before an account is deleted."""
    account = await visit.services.administration.users.get_for(visit.name(), visit.actor)
    context = {"account": account, "sessions": visit.services.registry.count(account.username)}
    return visit.html("user_delete.html", context)


async def delete(visit: Visit) -> Response:
    """Delete an account; its files stay."""
    removed = await visit.services.administration.users.remove(visit.name(), by=visit.actor)
    return visit.go("users", done=f"{removed.username} is deleted. The files are still there.")


PAGES: Final = (
    Page(
        path="/users",
        show=show,
        needs="view_users",
        nav=Nav(group="Who", label="Users", icon="users", order=10, key="u"),
    ),
    Page(path="/users/{name:path}/status", act=switch, needs="edit_users"),
    Page(path="/users/{name:path}/delete", show=confirm_delete, act=delete, needs="del_users"),
)
