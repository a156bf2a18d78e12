# SPDX-License-Identifier: Apache-2.0
"""Addresses that are banned, penalised or watched: why, until when, and ending or making a ban."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

from starlette.responses import Response

from tidegate.accounts.lists import canonical
from tidegate.defence.defender import Host
from tidegate.errors import AlreadyExists, BadRecord, NotFound
from tidegate.model.address import parse_address
from tidegate.model.address_list import AddressList, parse_network
from tidegate.model.listed import ListEntry, ListKind, entry_name
from tidegate.web.admin.record_pages import sentence
from tidegate.web.admin.registry import Nav, Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit
from tidegate.web.figures import span

ROWS: Final = 50
MINUTES: Final = 30
MAX_MINUTES: Final = 60 * 24 * 366 * 10
KINDS: Final = (("", "All"), ("banned", "Banned"), ("penalty", "Penalised"), ("watched", "Being watched"))

_log = logging.getLogger(__name__)


async def show(visit: Visit) -> Response:
    """The list."""
    return await _page(visit, {})


async def _page(visit: Visit, errors: Mapping[str, str]) -> Response:
    services = visit.services
    hosts = [] if services.defence is None else services.defence.hosts()
    text, only, given = (
        visit.query("q").strip(),
        visit.query("only", longest=16),
        visit.query("first", longest=8),
    )
    counts = {"": len(hosts), **{kind: sum(_kind(host) == kind for host in hosts) for kind, _ in KINDS[1:]}}
    wanted = parse_address(text) if text else None
    sources = services.throttle.sources
    source = sources.of(text) if wanted is not None else text
    found = [
        host
        for host in hosts
        if (not only or _kind(host) == only)
        and (not source or source in host.source or AddressList([host.source]).match(wanted) is not None)
    ]
    found.sort(key=lambda host: (-host.banned_until, -host.score, host.source))
    first = min(int(given) if given.isascii() and given.isdigit() else 0, max(len(found) - 1, 0))
    first -= first % ROWS
    query = {"q": text, "only": only}
    after = first + ROWS
    context = {
        "rows": [await _row(visit, host) for host in found[first:after]],
        "counts": counts,
        "banned": counts["banned"] + counts["penalty"],
        "text": text,
        "only": only,
        "chips": [
            (url("bans", q=text, only=value), label, counts[value], value == only) for value, label in KINDS
        ],
        "shown": f"{count(first + 1)} to {count(min(after, len(found)))} of {count(len(found))}",
        "before": url("bans", **query, first=max(first - ROWS, 0)) if first else "",
        "after": url("bans", **query, first=after) if after < len(found) else "",
        "manages": visit.may("manage_defender"),
        "explains": visit.may("view_defender"),
        "active": services.defence is not None,
        "errors": errors,
        "values": {name: visit.form[name] for name in ("ip", "minutes", "description")},
        "minutes": MINUTES,
        "prefixes": sources.prefixes,
    }
    return visit.html("bans.html", context, status=400 if errors else 200)


def _kind(host: Host) -> str:
    return "penalty" if host.penalty else "banned" if host.banned_until else "watched"


async def _row(visit: Visit, host: Host) -> dict[str, Any]:
    """A source with the reason and its country."""
    entry = await visit.services.provider.list_entry(_name(host.source)) if host.banned_until else None
    left = host.banned_until - time.time()
    address = host.source.partition("/")[0]
    of = AddressList([host.source])
    refused = [one for one in reversed(visit.sampler.events.last) if of.match(one.ip) is not None]
    names = list(dict.fromkeys(one.username for one in refused if one.username))
    return {
        "host": host,
        "kind": _kind(host),
        "place": visit.services.locate(address).country,
        "why": _why(host, entry),
        "names": names[:5] if visit.may("view_events") and not visit.who.role else [],
        "ends": "" if not host.banned_until else "never" if left > 3e8 else f"in {span(left)}",
        "ask": url("explain", "connect", ip=address),
    }


def _why(host: Host, entry: ListEntry | None) -> str:
    if host.penalty:
        return f"penalty: {host.penalty}"
    if entry is not None and entry.description:
        return entry.description
    return "its score was reached" if host.banned_until else "has a score, and may come"


def _name(source: str) -> str:
    return entry_name(ListKind.BAN, canonical(source))


async def add(visit: Visit) -> Response:
    """Ban an address, or the network that counts as one client."""
    form = visit.form
    ip, errors = form.text("ip"), {}
    if parse_address(ip) is None:
        errors["ip"] = "This is no address; a network goes on the defender list."
    minutes = 0
    try:
        minutes = form.number("minutes", label="minutes")
        if not 0 <= minutes <= MAX_MINUTES:
            raise BadRecord("minutes", f"should be a number from 0 to {MAX_MINUTES}")
    except BadRecord as error:
        errors["minutes"] = sentence(error.what)
    if errors:
        return await _page(visit, errors)
    until = int((time.time() + minutes * 60) * 1000) if minutes else 0
    try:
        source = visit.services.throttle.sources.of(ip)
        await _ban(visit, source, until, form.text("description") or "by hand")
    except (BadRecord, AlreadyExists) as error:
        where = "description" if isinstance(error, BadRecord) and error.field == "description" else "ip"
        text = "It is banned already." if isinstance(error, AlreadyExists) else sentence(error.text)
        return await _page(visit, {where: text})
    return visit.go("bans", done=f"{source} is banned.")


async def _ban(visit: Visit, source: str, until: int, description: str) -> None:
    document = {
        "type": int(ListKind.BAN),
        "ipornet": source,
        "description": description,
        "expires_at": until,
    }
    await visit.services.administration.lists.add(document, by=visit.actor)
    if visit.services.defence is not None:
        await visit.services.defence.refresh()


async def unban(visit: Visit) -> Response:
    """End a ban or penalty and forget the score.

    Raises:
        NotFound: nothing is known of the address.
    """
    source = visit.form.text("source")[:64]
    try:
        address = str(ip_network(source, strict=False).network_address)
    except ValueError:
        raise NotFound(f"{source} is no address") from None
    defence = visit.services.defence
    host = None if defence is None else defence.host(address)
    if defence is None or not await defence.forgive(address):
        raise NotFound(f"nothing is known of {source}; somebody else has let it in, or its ban has ended")
    _log.info("ban of %s ended by administrator %r", source, visit.who.username)
    undo = ""
    if host is not None and host.banned_until and not host.penalty:
        undo = url("ban-again", ip=host.source, until=int(host.banned_until))
    return visit.go("bans", done=f"{source} may come in again.", undo=undo)


async def ban_again(visit: Visit) -> Response:
    """Take back the end of a ban."""
    ip, until = visit.query("ip", longest=64), visit.query("until", longest=20)
    if parse_network(ip) is None or not (until.isascii() and until.isdigit()):
        raise NotFound("this ban cannot be made again")
    ends = int(until) * 1000
    try:
        await _ban(visit, ip, ends if ends < 2**53 else 0, "banned again by hand")
    except AlreadyExists:
        _log.info("%s was banned again before", ip)
    return visit.go("bans", done=f"{ip} is banned again.")


PAGES: Final = (
    Page(
        path="/bans",
        show=show,
        needs="view_defender",
        nav=Nav(group="Defence", label="Bans", icon="shield-ban", order=10, key="b"),
        action="Ban an address, end a ban",
    ),
    Page(path="/bans/add", act=add, needs="manage_defender"),
    Page(path="/bans/end", act=unban, needs="manage_defender"),
    Page(path="/ban-again", act=ban_again, needs="manage_defender"),
)
