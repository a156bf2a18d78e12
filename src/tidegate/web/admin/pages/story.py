# SPDX-License-Identifier: Apache-2.0
"""The story of one connection, told from the log: how it came, what it did and was refused, how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from tidegate.errors import InvalidArgument, NotFound
from tidegate.logs.filters import LineFilter, LogLine, belongs, connection_of
from tidegate.logs.search import MAX_LINES, Found
from tidegate.web.admin.connection_rows import NAMES
from tidegate.web.admin.log_rows import ICONS, LogRow, log_row, seconds_of
from tidegate.web.admin.pages.logs import NEEDS, searches_of
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import count, url
from tidegate.web.admin.visit import Visit
from tidegate.web.api.log_lines import KINDS, LogSearches
from tidegate.web.figures import lasted, size, span

GAP_SECONDS: Final = 60
"""Silence that is told."""
RUN: Final = 6
"""So many acts of one kind in a row are told as one."""
TURNS: Final = frozenset(("connected", "login", "connection_failed", "disconnected"))
"""Senders of lines whose time is shown in full."""
SAID: Final = frozenset().union(*(senders for name, (_, senders) in KINDS.items() if name != "server"))
"""Senders of what matters."""
REFUSED: Final = frozenset(("refused", "connection_failed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of a story.

    Attributes:
        row: the line, or the first of several.
        when: time of the day at a turn, else the time since the one before.
        tone: class of the mark: ok, no, in, out or empty.
        silence: time in words in which nothing happened before; empty for a short one.
        number: of lines that are told as one.
        sum: their bytes in words.
        last: path of the last of them.
    """

    row: LogRow
    when: str
    tone: str
    silence: str = ""
    number: int = 1
    sum: str = ""
    last: str = ""


async def show(visit: Visit) -> Response:
    """The story.

    Raises:
        NotFound: the log has no line of this connection, or none that the administrator may see.
    """
    log, identifier = await searches_of(visit), connection_of(visit.name("id"))
    cursor, every = visit.query("cursor", longest=64), visit.query("every") == "1"
    own = await visit.own_users()
    try:
        found = await _found(log, identifier, cursor, own)
    except InvalidArgument:
        raise NotFound("the log has no line of this connection") from None
    lines = _seen(list(reversed(found.lines)), own)
    if not lines and not found.cursor:
        raise NotFound("the log has no line of this connection; lines that were rotated away are gone")
    facts = _facts(lines)
    told = lines if every else [line for line in lines if _matters(line)]
    live = bool(lines) and any(
        connection_of(one.peer.connection_id) == identifier for one in visit.services.registry.all()
    )
    query = {"every": "1"} if every else {}
    context = {
        "id": identifier,
        "title": _title(lines, facts),
        "facts": facts,
        "verdict": _verdict(lines, facts, live=live),
        "steps": list(_steps(visit, told, run=10**9 if every else RUN)),
        "every": every,
        "numbers": (sum(1 for line in lines if _matters(line)), len(lines)),
        "day": lines[0].time[:10] if lines else "",
        "why": next((row.why for row in _refusals(visit, lines) if row.why), ""),
        "lines": lines[-50:],
        "place": visit.services.locate(facts["address"]).country if facts["address"] else "",
        "protocol": NAMES.get(facts["protocol"], facts["protocol"]),
        "older": url("logs", "connections", identifier, cursor=found.cursor, **query) if found.cursor else "",
        "newest": url("logs", "connections", identifier, **query) if cursor else "",
        "found": found,
    }
    return visit.html("story.html", context)


async def _found(log: LogSearches, identifier: str, cursor: str, own: frozenset[str] | None) -> Found:
    """The lines of a connection, or those before a cursor.

    Who has a role gets them only if their accounts have lines among them. Until one is found the answer is
    that of a search for their lines alone: a connection of others then looks like one that never was.
    """
    if own is not None:
        theirs = await log.find(LineFilter(connection=identifier, own=own), cursor=cursor, limit=1)
        if not theirs.lines:
            return theirs
    wanted = LineFilter(connection=identifier, begins="connected")
    return await log.find(wanted, cursor=cursor, limit=MAX_LINES)


def _seen(lines: list[LogLine], own: frozenset[str] | None) -> list[LogLine]:
    """The lines that may be seen: of own accounts, and of nobody where no other account was tried."""
    if own is None:
        return lines
    names = {name for line in lines if (name := line.account)}
    shared = bool(names) and names <= own
    return [line for line in lines if belongs(line, own) or (shared and not line.account)]


def _matters(line: LogLine) -> bool:
    return line.text("sender") in SAID and (line.text("level") != "debug" or line.text("sender") in TURNS)


# -- steps ---------------------------------------------------------------------------------------------------


def _steps(visit: Visit, lines: Sequence[LogLine], *, run: int) -> Iterator[Step]:
    before = 0.0
    at = 0
    while at < len(lines):
        line = lines[at]
        same = _run(lines, at)
        number = same if same >= run else 1
        now = seconds_of(line)
        silence = now - before if before and now else 0.0
        turn = line.text("sender") in TURNS or not before
        yield Step(
            row=log_row(visit, line),
            when=line.time[11:23] if turn else f"+{lasted(round(1000 * max(silence, 0.0)))}",
            tone=_tone(line),
            silence=span(silence) if silence >= GAP_SECONDS else "",
            number=number,
            sum=size(sum(max(one.number("size_bytes"), 0) for one in lines[at : at + number])),
            last=lines[at + number - 1].text("virtual_path"),
        )
        at += number
        before = seconds_of(lines[at - 1]) or before


def _run(lines: Sequence[LogLine], at: int) -> int:
    """The number of acts of one kind in a row that all went well."""
    sender, end = lines[at].text("sender"), at
    while end < len(lines) and lines[end].text("sender") == sender and _well(lines[end]):
        end += 1
    return end - at


def _well(line: LogLine) -> bool:
    sender = line.text("sender")
    return (
        sender in ICONS.keys() - TURNS - REFUSED and line.text("status") in ("", "ok") and sender != "failed"
    )


def _tone(line: LogLine) -> str:
    sender = line.text("sender")
    if sender in REFUSED or sender in ("failed", "quarantined") or line.text("status") in ("failed", "quota"):
        return "no"
    return {"Upload": "in", "Download": "out", "login": "ok"}.get(sender, "")


# -- facts ---------------------------------------------------------------------------------------------------


def _facts(lines: Sequence[LogLine]) -> dict[str, Any]:
    """The facts that the lines tell of the connection; the last word holds."""
    facts: dict[str, Any] = dict.fromkeys(
        (
            "user",
            "remote",
            "address",
            "local",
            "protocol",
            "client",
            "cipher",
            "method",
            "by",
            "error",
            "plain",
        ),
        "",
    )
    facts |= {"ended": False, "lasted": ""}
    for line in lines:
        text, sender = line.text, line.text("sender")
        named = {"address": line.address, "remote": text("remote_addr"), "local": text("local_addr")}
        named |= {"client": text("client"), "protocol": line.protocol}
        if sender == "login":
            named |= {"user": text("username"), "cipher": text("cipher"), "method": text("method")}
            named["plain"] = "" if line.fields.get("encrypted") else "in the clear"
        if sender == "disconnected":
            facts |= {"ended": True, "by": text("by"), "error": text("error")}
            facts["lasted"] = lasted(line.number("duration_ms"))
        facts |= {name: value for name, value in named.items() if value}
    return facts


def _title(lines: Sequence[LogLine], facts: dict[str, Any]) -> str:
    tried = next((line.text("username") for line in lines if line.text("username")), "")
    name = facts["user"] or tried or "nobody"
    if not lines:
        return name
    first, last = lines[0].time[11:16], lines[-1].time[11:16]
    return f"{name}, {first}" if first == last else f"{name}, {first} to {last}"


def _verdict(lines: Sequence[LogLine], facts: dict[str, Any], *, live: bool) -> dict[str, str]:
    """The sentence above a story."""
    parts: list[str] = []
    for sender, noun in (("Upload", "upload"), ("Download", "download")):
        good = [line for line in lines if line.text("sender") == sender and line.text("status") == "ok"]
        if good:
            moved = size(sum(max(line.number("size_bytes"), 0) for line in good))
            parts.append(f"{_things(len(good), noun)} ({moved})")
    bad = sum(line.text("status") in ("failed", "quota") for line in lines)
    refused = sum(
        line.text("sender") in REFUSED and line.text("login_type") != "no_auth_tried" for line in lines
    )
    failed = sum(line.text("sender") == "failed" for line in lines)
    parts += [f"{_things(bad, 'transfer')} cut short"] if bad else []
    parts += [f"{count(refused)} refused"] if refused else []
    parts += [f"{count(failed)} failed"] if failed else []
    title = ", ".join(parts) or ("Logged in, and moved nothing" if facts["user"] else "Nobody logged in")
    return {
        "level": "soon" if bad or refused or failed else "ok",
        "title": f"{title}.",
        "text": _end(facts, live),
    }


def _end(facts: dict[str, Any], live: bool) -> str:
    if not facts["ended"]:
        return "The connection is open." if live else "The log does not say how it ended."
    who = facts["by"] or "the client"
    how = f" ({facts['error']})" if facts["error"] else ""
    return f"Closed by {who} after {facts['lasted'] or 'a while'}{how}."


def _things(number: int, noun: str) -> str:
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def _refusals(visit: Visit, lines: Sequence[LogLine]) -> Iterator[LogRow]:
    return (log_row(visit, line) for line in reversed(lines) if line.text("sender") in REFUSED)


PAGES: Final = (Page(path="/logs/connections/{id}", show=show, needs=NEEDS),)
