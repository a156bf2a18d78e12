# SPDX-License-Identifier: Apache-2.0
"""How many connections there may be: in all, before login, and from one host."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from tidegate.doors.ssh.options import SshOptions
from tidegate.model.address import host_of, parse_address

REPORT_SECONDS: Final = 5.0
"""Refusals by one rule are reported at most this often, with the number of those kept back."""


def plain_address(address: str) -> str:
    """An address without scope, IPv4 written as IPv4; what is no address is returned as it is."""
    parsed = parse_address(address)
    return address if parsed is None else str(parsed)


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
