# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses: who may connect, who is never banned or never gets in, whom no rate limiter holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.lists import ends_at
from tidegate.accounts.versions import version_of
from tidegate.errors import AlreadyExists, BadRecord, NotFound, Outdated
from tidegate.model.address import parse_address
from tidegate.model.listed import PROTOCOLS, ListEntry, ListKind, ListMode, entry_name
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, exact, url
from tidegate.web.admin.visit import Visit

ROWS: Final = 50
CHUNK: Final = 500
SCANNED: Final = 50_000
"""Entries of all lists that one page looks at."""
LISTS: Final = {
    "allow": (ListKind.ALLOW, "Allow list", "Who may connect at all, while common.allowlist_status is 1."),
    "defender": (ListKind.DEFENDER, "Defender list", "Who is never banned, and who never gets in."),
    "rate-safe": (ListKind.RATE_SAFE, "Rate limit safe list", "Whom no rate limiter holds."),
}


def _chosen(word: str) -> str:
    return word if word in LISTS else "allow"


async def show(visit: Visit) -> Response:
    """A page of one list."""
    return await _page(visit, _chosen(visit.query("list", longest=16)), {})


async def again(visit: Visit, mistakes: Sequence[str]) -> Response:
    """The page of the list that a file was sent from, with the mistakes of the file; nothing was stored."""
    return await _page(visit, _chosen(visit.form["list"]), {}, mistakes)


async def _page(
    visit: Visit, chosen: str, errors: Mapping[str, str], mistakes: Sequence[str] = ()
) -> Response:
    kind, title, lede = LISTS[chosen]
    text, given = visit.query("q").strip(), visit.query("first", longest=8)
    changed = await _changing(visit, kind)
    first = int(given) if given.isascii() and given.isdigit() else 0
    found, whole = await _found(visit, kind, text, first)
    context = {
        "chosen": chosen,
        "title": title,
        "lede": lede,
        "tabs": [(url("lists", list=word), one[1], word == chosen) for word, one in LISTS.items()],
        "rows": [_row(entry) for entry in found[:ROWS]],
        "text": text,
        "whole": whole,
        "scanned": count(SCANNED),
        "shown": f"{count(first + 1)} to {count(first + len(found[:ROWS]))}",
        "before": url("lists", list=chosen, q=text, first=max(first - ROWS, 0)) if first else "",
        "after": url("lists", list=chosen, q=text, first=first + ROWS) if len(found) > ROWS else "",
        "errors": errors,
        "mistakes": mistakes,
        "values": visit.form if visit.form or changed is None else _values(changed),
        "ticked": visit.form.all("protocols") if visit.form or changed is None else _names(changed),
        "changed": changed,
        "version": visit.form["_version"] or ("" if changed is None else version_of(changed)),
        "protocols": tuple(PROTOCOLS),
    }
    return visit.html("lists.html", context, status=400 if errors or mistakes else 200)


async def _changing(visit: Visit, kind: int) -> ListEntry | None:
    """The entry that the form changes; None where it adds one.

    Raises:
        NotFound: it is not on the list any more.
    """
    network = visit.query("change", longest=64) or (
        visit.form.text("network")[:64] if visit.page.path == "/lists/change" else ""
    )
    if not network:
        return None
    try:
        return await visit.services.administration.lists.get(entry_name(kind, network))
    except NotFound:
        raise NotFound(f"{network} is not on this list any more; somebody else has removed it") from None


def _values(entry: ListEntry) -> dict[str, str]:
    """The fields of the form for an entry."""
    return {
        "network": entry.ipornet,
        "mode": "deny" if entry.mode == ListMode.DENY else "allow",
        "until": exact(entry.expires_at) if entry.expires_at else "",
        "description": entry.description,
    }


def _names(entry: ListEntry) -> list[str]:
    return [name for name, bit in PROTOCOLS.items() if entry.protocols & bit]


async def _found(visit: Visit, kind: int, text: str, first: int) -> tuple[list[ListEntry], bool]:
    """A page of a list and one entry more, and whether all entries were looked at."""
    found: list[ListEntry] = []
    address = parse_address(text) if text else None
    for offset in range(0, SCANNED, CHUNK):
        page = await visit.services.provider.list_entries(offset=offset, limit=CHUNK)
        within = str(address) if address else ""
        found += [one for one in page if one.type == kind and (not text or _matches(one, text, within))]
        if len(page) < CHUNK or len(found) > first + ROWS:
            return found[first : first + ROWS + 1], True
    return found[first : first + ROWS + 1], False


def _matches(entry: ListEntry, text: str, address: str) -> bool:
    if address and ip_address(address) in ip_network(entry.ipornet):
        return True
    return text.casefold() in f"{entry.ipornet}\n{entry.description}".casefold()


def _row(entry: ListEntry) -> dict[str, Any]:
    protocols = _names(entry)
    over = 0 < entry.expires_at <= time.time_ns() // 1_000_000
    return {
        "entry": entry,
        "mode": "never gets in" if entry.mode == ListMode.DENY else "never banned",
        "protocols": ", ".join(protocols) or "all protocols",
        "until": "is over" if over else exact(entry.expires_at) if entry.expires_at else "for good",
        "over": over,
    }


def _document(visit: Visit, chosen: str) -> dict[str, Any]:
    """The document that the form describes.

    Raises:
        BadRecord: a field cannot be read.
    """
    form = visit.form
    return {
        "type": int(LISTS[chosen][0]),
        "ipornet": form.text("network"),
        "mode": int(ListMode.DENY if form["mode"] == "deny" and chosen == "defender" else ListMode.ALLOW),
        "protocols": sum(PROTOCOLS[name] for name in set(form.all("protocols")) if name in PROTOCOLS),
        "description": form.text("description"),
        "expires_at": ends_at(form.text("until"), "until"),
    }


async def add(visit: Visit) -> Response:
    """Add an entry to a list."""
    chosen = _chosen(visit.form["list"])
    try:
        stored = await visit.services.administration.lists.add(_document(visit, chosen), by=visit.actor)
    except BadRecord as error:
        return await _wrong(visit, chosen, error)
    except AlreadyExists:
        return await _page(visit, chosen, {"network": "It is on this list already."})
    await _changed(visit)
    return visit.go("lists", list=chosen, done=f"{stored.ipornet} is on the list.")


async def change(visit: Visit) -> Response:
    """Change an entry, unless somebody else has changed it meanwhile; its network stays.

    Raises:
        NotFound: it is not on the list any more.
    """
    chosen = _chosen(visit.form["list"])
    entry = await _changing(visit, LISTS[chosen][0])
    if entry is None:
        raise NotFound("an address or a network is needed")
    try:
        await visit.services.administration.lists.change(
            entry_name(entry.type, entry.ipornet),
            _document(visit, chosen),
            by=visit.actor,
            version=visit.form["_version"],
        )
    except BadRecord as error:
        return await _wrong(visit, chosen, error)
    except Outdated:
        text = "Somebody else has changed this entry meanwhile. Open it again to see how it is now."
        return await _page(visit, chosen, {"": text})
    await _changed(visit)
    return visit.go("lists", list=chosen, done=f"{entry.ipornet} is changed.")


async def _wrong(visit: Visit, chosen: str, error: BadRecord) -> Response:
    name = {"ipornet": "network", "expires_at": "until"}.get(error.field, error.field)
    return await _page(visit, chosen, {name: sentence(error.what)})


async def remove(visit: Visit) -> Response:
    """Take an entry from a list.

    Raises:
        NotFound: it is not on the list any more.
    """
    chosen, network = _chosen(visit.form["list"]), visit.form.text("network")[:64]
    name = entry_name(LISTS[chosen][0], network)
    try:
        await visit.services.administration.lists.remove(name, by=visit.actor)
    except NotFound:
        raise NotFound(f"{network} is not on this list any more; somebody else has removed it") from None
    await _changed(visit)
    return visit.go("lists", list=chosen, done=f"{network} is not on the list any more.")


async def _changed(visit: Visit) -> None:
    if visit.services.defence is not None:
        await visit.services.defence.refresh()


PAGES: Final = (
    Page(
        path="/lists",
        show=show,
        needs="manage_ip_lists",
        nav=Nav(group="Defence", label="Lists", icon="list-filter", order=20),
    ),
    Page(path="/lists/add", act=add, needs="manage_ip_lists"),
    Page(path="/lists/change", act=change, needs="manage_ip_lists"),
    Page(path="/lists/remove", act=remove, needs="manage_ip_lists"),
)
