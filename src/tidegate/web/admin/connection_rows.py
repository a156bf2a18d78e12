# SPDX-License-Identifier: Apache-2.0
"""Live connections as pages show them: found by what is typed, counted, fifty at a time."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.cluster.registry import LiveConnection
from tidegate.model import Protocol
from tidegate.model.action import DIRECTIONS
from tidegate.model.geography import Locate
from tidegate.web.admin.transfers import TransferRow
from tidegate.web.figures import size, span

ROWS: Final = 50
"""Connections of a page."""
ACTIVE_SECONDS: Final = 5.0
"""A connection without a request for so long is called idle."""
NAMES: Final = {"DAV": "WebDAV", "DAVS": "WebDAV"}
"""Names of protocols that people know by another word."""
CLEAR: Final = ("FTP", "DAV")
"""Protocols that send in the clear; with TLS they have other names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow:
    """A connection as pages show it.

    Attributes:
        one: the connection.
        place: country of its address; empty if unknown.
        protocol: in words.
        cipher: in words.
        clear: true if it is not encrypted.
        transfers: what it moves, the largest first; speeds are of the last sample.
        does: what it does besides, in words.
        since: Unix milliseconds.
    """

    one: LiveConnection
    place: str
    protocol: str
    cipher: str
    clear: bool
    transfers: Sequence[TransferRow]
    does: str
    since: int

    @property
    def speed(self) -> str:
        """Bytes a second of all transfers in words; empty for none."""
        return size(sum(row.speed for row in self.transfers), rate=True) if self.transfers else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of connections.

    Attributes:
        rows: of the page.
        number: of all that match.
        first: place of the first row among these, from 0.
        counts: of all that somebody may see, by the value of the chip.
    """

    rows: list[ConnectionRow]
    number: int
    first: int
    counts: Counter[str]


def find(
    connections: Sequence[LiveConnection],
    transfers: Sequence[TransferRow],
    *,
    own: Collection[str] | None,
    text: str = "",
    only: str = "",
    first: int = 0,
    locate: Locate,
) -> Found:
    """The page of connections, the newest first.

    Args:
        connections: all live ones, oldest first.
        transfers: of the last sample.
        own: names of the accounts that may be seen; None for all.
        text: part of a user's name, address, client, id or path, without regard to case.
        only: ``moving``, ``idle``, ``clear`` or the name of a protocol; empty for all.
        first: connections to leave out.
        locate: looks up addresses.
    """
    moves: dict[str, list[TransferRow]] = defaultdict(list)
    for row in transfers:
        moves[row.connection_id].append(row)
    seen = [one for one in reversed(connections) if own is None or one.username in own]
    counts: Counter[str] = Counter()
    wanted = text.casefold()
    matching: list[LiveConnection] = []
    for one in seen:
        kinds = _kinds(one)
        counts.update(kinds)
        if (not only or only in kinds) and (not wanted or wanted in _text(one)):
            matching.append(one)
    counts[""] = len(seen)
    first = max(0, min(first, (len(matching) - 1) // ROWS * ROWS)) if matching else 0
    rows = [row_of(one, moves[one.peer.connection_id], locate) for one in matching[first : first + ROWS]]
    return Found(rows=rows, number=len(matching), first=first, counts=counts)


def row_of(one: LiveConnection, transfers: Sequence[TransferRow], locate: Locate) -> ConnectionRow:
    """A connection with what the last sample knows of its transfers."""
    protocol = one.peer.protocol.value
    clear = protocol in CLEAR
    silent = one.activity.silent_seconds
    does = f"idle for {span(silent)}" if silent >= ACTIVE_SECONDS else "active"
    return ConnectionRow(
        one=one,
        place=locate(one.peer.remote_ip).country,
        protocol=NAMES.get(protocol, protocol),
        cipher="in the clear" if clear else one.cipher or ("TLS" if protocol == Protocol.DAVS else ""),
        clear=clear,
        transfers=sorted(_moves(one, transfers), key=lambda row: -(row.total or row.size)),
        does=one.command or does,
        since=int(one.connected_at * 1000),
    )


def _moves(one: LiveConnection, sampled: Sequence[TransferRow]) -> list[TransferRow]:
    """The transfers of this moment; one that began after the last sample has no speed yet."""
    by_path = {row.path: row for row in sampled}
    found = []
    for item in list(one.transfers):
        total = int(getattr(item, "total_size", 0) or 0)
        blank = TransferRow(
            key="",
            username=one.username,
            connection_id=one.peer.connection_id,
            direction=DIRECTIONS.get(item.operation_type, "work"),
            kind=item.operation_type,
            path=item.virtual_path,
            size=item.size,
            total=max(total, item.size) if total else 0,
            speed=0.0,
            left=-1,
            silent=0,
        )
        found.append(by_path.get(item.virtual_path, blank))
    return found


def stamp(connections: Sequence[LiveConnection]) -> int:
    """A number that differs as soon as a connection comes or goes, or a transfer moves."""
    moved = [(id(one), item.size) for one in connections for item in list(one.transfers)]
    return hash((tuple(one.peer.connection_id for one in connections), tuple(moved))) & 0xFFFFFFFF


def is_idle(one: LiveConnection, now: float | None = None) -> bool:
    """True if a connection moves nothing and has asked for nothing lately."""
    at = time.time() if now is None else now
    return not one.transfers and at - one.last_activity >= ACTIVE_SECONDS


def _kinds(one: LiveConnection) -> tuple[str, ...]:
    protocol = one.peer.protocol.value
    kinds = [NAMES.get(protocol, protocol)]
    if one.transfers:
        kinds.append("moving")
    elif is_idle(one):
        kinds.append("idle")
    if protocol in CLEAR:
        kinds.append("clear")
    return tuple(kinds)


def _text(one: LiveConnection) -> str:
    peer = one.peer
    parts = [one.username, peer.remote_ip, peer.client_version, peer.connection_id]
    return "\n".join([*parts, *(item.virtual_path for item in list(one.transfers))]).casefold()
