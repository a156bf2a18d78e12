# SPDX-License-Identifier: Apache-2.0
"""Uploads that were refused and are kept apart: who sent and who refused them, releasing, removing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import NotFound, TidegateError
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit
from tidegate.web.figures import size

if TYPE_CHECKING:
    from tidegate.inspection.quarantine import Item
    from tidegate.web.api.services import QuarantineHost

ROWS: Final = 50
MAX_FIRST: Final = 10**6


async def show(visit: Visit) -> Response:
    """The list, the newest first."""
    host = visit.services.quarantine
    items = [] if host is None else await host.all()
    text, given = visit.query("q").strip(), visit.query("first", longest=8)
    first = min(int(given), MAX_FIRST) if given.isascii() and given.isdigit() else 0
    found = [item for item in reversed(items) if not text or _matches(item, text.casefold())]
    context = {
        "active": host is not None,
        "rows": found[first : first + ROWS],
        "number": len(items),
        "bytes": size(sum(item.size for item in items)),
        "text": text,
        "shown": f"{count(first + 1)} to {count(min(first + ROWS, len(found)))} of {count(len(found))}",
        "before": url("quarantine", q=text, first=max(first - ROWS, 0)) if first else "",
        "after": url("quarantine", q=text, first=first + ROWS) if len(found) > first + ROWS else "",
    }
    return visit.html("quarantine.html", context)


def _matches(item: Item, wanted: str) -> bool:
    return wanted in f"{item.username}\n{item.path}\n{item.ip}\n{item.rule}\n{item.reason}".casefold()


async def show_one(visit: Visit) -> Response:
    """One file, with what can be done with it."""
    return await _one(visit, visit.name("id"))


async def _one(visit: Visit, name: str, *, path: str = "", error: str = "") -> Response:
    item = await _item(_host(visit), name)
    context: dict[str, Any] = {"item": item, "path": path or item.path, "error": error}
    return visit.html("quarantine_file.html", context, status=400 if error else 200)


async def release(visit: Visit) -> Response:
    """Publish a file as an upload of its account; what refuses it is told beside the form."""
    host, name, path = _host(visit), visit.name("id"), visit.form["path"][:4096]
    item = await _item(host, name)
    try:
        to = "" if path == _in_a_field(item.path) else path
        where = await host.release(item.id, to=to, by=visit.who.username)
    except TidegateError as error:
        return await _one(visit, name, path=path, error=sentence(error.text))
    return visit.go("quarantine", done=f"{where} of {item.username} is released.")


def _in_a_field(path: str) -> str:
    """A path as a browser sends it from a field of one line: no line ends, nothing that is no UTF-8."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.replace("\r", "").replace("\n", "")


async def drop(visit: Visit) -> Response:
    """Remove a file for good."""
    host, name = _host(visit), visit.name("id")
    item = await _item(host, name)
    try:
        await host.drop(item.id, by=visit.who.username)
    except TidegateError as error:
        return await _one(visit, name, error=sentence(error.text))
    return visit.go("quarantine", done=f"{item.path or item.id} is removed for good.")


async def _item(host: QuarantineHost, name: str) -> Item:
    """One file, also one whose facts cannot be read: that can be removed.

    Raises:
        NotFound: somebody has released or removed it, or there never was one of this name.
    """
    found = next((item for item in await host.all() if item.id == name), None)
    if found is None:
        raise NotFound("this file is not in quarantine any more")
    return found


def _host(visit: Visit) -> QuarantineHost:
    if visit.services.quarantine is None:
        raise NotFound("there is no quarantine: inspection.quarantine.directory is not set")
    return visit.services.quarantine


PAGES: Final = (
    Page(
        path="/quarantine",
        show=show,
        needs=EVERYTHING,
        nav=Nav(group="Defence", label="Quarantine", icon="archive", order=15),
        action="Release a file from quarantine",
    ),
    Page(path="/quarantine/{id}", show=show_one, needs=EVERYTHING),
    Page(path="/quarantine/{id}/release", act=release, needs=EVERYTHING),
    Page(path="/quarantine/{id}/drop", act=drop, needs=EVERYTHING),
)
