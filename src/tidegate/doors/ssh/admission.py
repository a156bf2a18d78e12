# SPDX-License-Identifier: Apache-2.0
"""How many connections there may be: in all, before login, and from one host."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import Final

from tidegate.doors.ssh.options import SshOptions

IPV6_HOST_BITS: Final = 64
"""Whoever has one IPv6 address usually has its /64, so that is what counts as one host."""

REPORT_SECONDS: Final = 5.0
"""Refusals by one rule are reported at most this often, with the number of those kept back."""


def plain_address(address: str) -> str:
    """An address without scope, IPv4 written as IPv4; what is no address is returned as it is."""
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def host_of(address: str) -> str:
    """What counts as one host: the address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, IPV6_HOST_BITS), strict=False))
    except ValueError:
        return address


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection that was not let in.

    Attributes:
        rule: the option that decided.
        text: one sentence for the log.
        unreported: refusals by this rule since the last one reported.
    """

    rule: str
    text: str
    unreported: int = 0


class Admission:
    """Counts connections against the limits."""

    def __init__(self) -> None:
        self._hosts: Counter[str] = Counter()
        self._open = 0
        self._starting = 0
        self._kept_back: Counter[str] = Counter()
        self._reported: dict[str, float] = {}

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._open

    @property
    def starting(self) -> int:
        """Connections that have not logged in."""
        return self._starting

    def enter(self, address: str, options: SshOptions) -> Refusal | None:
        """Count a new connection in; None if it may come, else why it may not (nothing is counted then)."""
        host = host_of(address)
        if options.max_connections and self._open >= options.max_connections:
            return Refusal("max_connections", f"{self._open} connections are open")
        if options.max_startups and self._starting >= options.max_startups:
            return Refusal("max_startups", f"{self._starting} connections are logging in")
        if options.max_per_host and self._hosts[host] >= options.max_per_host:
            return Refusal("max_per_host", f"{host} has {self._hosts[host]} connections")
        self._open += 1
        self._starting += 1
        self._hosts[host] += 1
        return None

    def logged_in(self) -> None:
        """One connection is no longer logging in."""
        self._starting -= 1

    def leave(self, address: str, *, logged_in: bool) -> None:
        """Count a connection out."""
        host = host_of(address)
        self._open -= 1
        if not logged_in:
            self._starting -= 1
        self._hosts[host] -= 1
        if self._hosts[host] <= 0:
            del self._hosts[host]

    def worth_reporting(self, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal with the count of those kept back, or None if one was reported just now.

        A flood must not become a flood of log lines.
        """
        last = self._reported.get(refusal.rule)
        if last is not None and now - last < REPORT_SECONDS:
            self._kept_back[refusal.rule] += 1
            return None
        self._reported[refusal.rule] = now
        return Refusal(refusal.rule, refusal.text, self._kept_back.pop(refusal.rule, 0))
