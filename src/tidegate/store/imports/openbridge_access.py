# SPDX-License-Identifier: Apache-2.0
"""`ftpd_allow` and `ftpd_deny`: what mod_wrap2 makes of them, said with networks.

mod_wrap2 asks the allow table first, then the deny table, and lets in who is in neither. Tidegate asks
denied networks first, then allowed ones (if there are any). The same people come in when allowed networks
are cut out of the denied ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
    summarize_address_range,
)
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.store.imports.common import Harvest

Network = IPv4Network | IPv6Network

MAX_NETWORKS: Final = 5000
"""Networks in the result; more would be asked at every login."""

_EVERYBODY: Final[tuple[Network, ...]] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
_PREFIX: Final = re.compile(r"(?:\d{1,3}\.){1,3}")


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Values for `Filters`; both empty if everybody may come."""

    allowed_ip: tuple[str, ...] = ()
    denied_ip: tuple[str, ...] = ()


def check_access(
    allow: Sequence[Mapping[str, Any]],
    deny: Sequence[Mapping[str, Any]],
    *,
    closed_by_default: bool,
    harvest: Harvest,
) -> AccessRules:
    """The filters that every account gets.

    An allow row that cannot be said with networks (a host name, EXCEPT) is left out with a note, which
    lets fewer people in; such a deny row is a problem.
    """
    allowed = _networks(allow, "ftpd_allow", harvest, strict=False)
    denied = list(_EVERYBODY) if closed_by_default else _networks(deny, "ftpd_deny", harvest, strict=True)
    if any(everybody in allowed for everybody in _EVERYBODY):
        allowed = list(_EVERYBODY)
    if not denied:
        if allowed:
            harvest.notes.append(
                f"ftpd_allow has {len(allow)} rows and ftpd_deny none: everybody may come, unless the old "
                "server had builtin:all for a deny table (closed_by_default)"
            )
        return AccessRules()
    if all(everybody in denied for everybody in _EVERYBODY):
        if not allowed:
            return AccessRules(denied_ip=_texts(denied))
        return AccessRules() if allowed == list(_EVERYBODY) else AccessRules(allowed_ip=_texts(allowed))
    left = [part for version in (4, 6) for part in _subtract(denied, allowed, version)]
    if len(left) > MAX_NETWORKS:
        harvest.problem("ftpd_deny", f"comes to more than {MAX_NETWORKS} networks")
        return AccessRules(denied_ip=_texts(list(_EVERYBODY)))
    return AccessRules(denied_ip=_texts(left))


def _networks(
    rows: Sequence[Mapping[str, Any]], table: str, harvest: Harvest, *, strict: bool
) -> list[Network]:
    found: list[Network] = []
    for index, row in enumerate(rows):
        where, pattern = f"{table}[{index}]", str(row.get("client_ip") or "").strip()
        daemons = str(row.get("allowed") or "ALL").strip()
        try:
            if daemons.upper() != "ALL":
                raise BadRecord(where, f"is for {daemons[:40]!r} only, not for ALL")
            for part in pattern.replace(",", " ").split() or [""]:
                found += _network(part, where)
        except BadRecord as error:
            if strict:
                harvest.problem(error.field, error.what)
            else:
                harvest.notes.append(f"{error}: left out")
    return found


def _network(pattern: str, where: str) -> list[Network]:
    """One client pattern of hosts_access(5) as networks."""
    if pattern.upper() == "ALL":
        return list(_EVERYBODY)
    text = pattern
    if _PREFIX.fullmatch(pattern):
        numbers = pattern.rstrip(".").split(".")
        text = ".".join([*numbers, *["0"] * (4 - len(numbers))]) + f"/{8 * len(numbers)}"
    elif pattern.startswith("["):
        text = pattern.replace("[", "", 1).replace("]", "", 1)
    try:
        if "%" in text:
            raise ValueError
        return [ip_network(text, strict=False)]
    except ValueError:
        raise BadRecord(where, f"{pattern[:80]!r} is not an address or network") from None


def _subtract(wholes: Sequence[Network], parts: Sequence[Network], version: int) -> list[Network]:
    """The addresses of `wholes` that are in none of `parts`, as networks; one IP version at a time."""
    holes = _ranges(parts, version)
    left: list[Network] = []
    for start, end in _ranges(wholes, version):
        for first, last in holes:
            if last < start or first > end:
                continue
            if first > start:
                left += _summary(start, first - 1, version)
            start = last + 1
        if start <= end:
            left += _summary(start, end, version)
        if len(left) > MAX_NETWORKS:
            break
    return left


def _ranges(networks: Sequence[Network], version: int) -> list[tuple[int, int]]:
    """First and last addresses as numbers, in order, without overlaps."""
    spans = sorted(
        (int(net.network_address), int(net.broadcast_address)) for net in networks if net.version == version
    )
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _summary(first: int, last: int, version: int) -> Iterator[Network]:
    if version == 4:
        return summarize_address_range(IPv4Address(first), IPv4Address(last))
    return summarize_address_range(IPv6Address(first), IPv6Address(last))


def _texts(networks: list[Network]) -> tuple[str, ...]:
    four = collapse_addresses([net for net in networks if isinstance(net, IPv4Network)])
    six = collapse_addresses([net for net in networks if isinstance(net, IPv6Network)])
    return (*map(str, four), *map(str, six))
