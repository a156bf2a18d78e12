# SPDX-License-Identifier: Apache-2.0
"""Entries of the lists of addresses, and bans, which are entries with an end."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

PROTOCOLS: Final = {"SSH": 1, "FTP": 2, "DAV": 4, "HTTP": 8}
"""The bit of each protocol in `ListEntry.protocols`."""


class ListKind(enum.IntEnum):
    """The list that an entry is in. Numbers 1 to 3 are those of SFTPGo's REST API and dumps."""

    ALLOW = 1
    """addresses that may connect at all, while `common.allowlist_status` is 1"""
    DEFENDER = 2
    """addresses that are never banned, and addresses that never get in"""
    RATE_SAFE = 3
    """addresses that no rate limiter slows"""
    BAN = 100
    """addresses that are banned for some time"""


class ListMode(enum.IntEnum):
    """The meaning of an entry."""

    ALLOW = 1
    DENY = 2


LIST_NAMES: Final = {
    ListKind.ALLOW: "allow list",
    ListKind.DEFENDER: "defender list",
    ListKind.RATE_SAFE: "rate limit safe list",
    ListKind.BAN: "bans",
}
"""The name of each list, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """An address or network in a list.

    Attributes:
        name: unique: number of the list, slash, network; see `entry_name`.
        type: the list, see `ListKind`.
        ipornet: an address or a network in CIDR notation, in its canonical form.
        mode: see `ListMode`.
        protocols: sum of bits of `PROTOCOLS`; 0 for all.
        description: for people.
        expires_at: Unix milliseconds; from then on it does not count. 0 never.
        id: number of the record, 0 before it is stored.
        created_at: Unix milliseconds; updated_at likewise.
    """

    name: str
    type: int
    ipornet: str
    mode: int = 1
    protocols: int = 0
    description: str = ""
    expires_at: int = 0
    id: int = 0
    created_at: int = 0
    updated_at: int = 0


_TOLD: Final = {
    ListKind.ALLOW: "AllowList",
    ListKind.DEFENDER: "Defender",
    ListKind.RATE_SAFE: "RateLimiterSafeList",
    ListKind.BAN: "Ban",
}
"""Beginnings of the names of entries that programs are told. Of SFTPGo only `Defender` was recorded."""


def entry_name(kind: int, network: str) -> str:
    """The name of the record of an entry."""
    return f"{int(kind)}/{network}"


def told_name(name: str) -> str:
    """The name of an entry as SFTPGo tells it to programs, of the name of its record."""
    number, slash, network = name.partition("/")
    try:
        return f"{_TOLD[ListKind(int(number))]}-{network}" if slash else name
    except ValueError:
        return name


def name_of_told(told: str) -> str:
    """The name of the record of an entry, of what `told_name` has made of it."""
    before, _, network = told.partition("-")
    return next((entry_name(kind, network) for kind, text in _TOLD.items() if text == before), told)


def prefix_of(entry: ListEntry) -> int:
    """Length of the prefix of an entry's network."""
    return int(entry.ipornet.rpartition("/")[2])
