# SPDX-License-Identifier: Apache-2.0
"""`ftpd_allow` and `ftpd_deny`: what mod_wrap2 makes of them, said with networks.

mod_wrap2 asks the allow table first, then the deny table, and lets in who is in neither. Tidegate asks
denied networks first, then allowed ones (if there are any). The same people come in when allowed networks
are cut out of the denied ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    summarize_address_range,
)
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.model.address_list import Network
from tidegate.model.host_patterns import EVERYBODY, networks_of_pattern
from tidegate.store.imports.common import Harvest

MAX_NETWORKS: Final = 5000
"""Networks in the result; more would be asked at every login."""


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
    denied = list(EVERYBODY) if closed_by_default else _networks(deny, "ftpd_deny", harvest, strict=True)
    if any(everybody in allowed for everybody in EVERYBODY):
        allowed = list(EVERYBODY)
    if not denied:
        if allowed:
            harvest.notes.append(
                f"ftpd_allow has {len(allow)} rows and ftpd_deny none: everybody may come, unless the old "
                "server had builtin:all for a deny table (closed_by_default)"
            )
        return AccessRules()
    if all(everybody in denied for everybody in EVERYBODY):
        if not allowed:
            return AccessRules(denied_ip=_texts(denied))
        return AccessRules() if allowed == list(EVERYBODY) else AccessRules(allowed_ip=_texts(allowed))
    left = [part for version in (4, 6) for part in _subtract(denied, allowed, version)]
    if len(left) > MAX_NETWORKS:
        harvest.problem("ftpd_deny", f"comes to more than {MAX_NETWORKS} networks")
        return AccessRules(denied_ip=_texts(list(EVERYBODY)))
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


def _network(pattern: str, where: str) -> tuple[Network, ...]:
    """One client pattern of hosts_access(5) as networks."""
    try:
        return networks_of_pattern(pattern)
    except ValueError as error:
        raise BadRecord(where, str(error)) from None


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
