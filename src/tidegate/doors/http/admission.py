# SPDX-License-Identifier: Apache-2.0
"""Who may connect to the HTTP listener, and who makes room: first those that wait for a request.

A connection waits until the head of a request is there, and again after each answer. From the addresses of
trusted proxies come the connections of many clients, so these have no limit of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tidegate.model.address import host_of
from tidegate.model.address_list import AddressList
from tidegate.resources import Arrivals, Ledger

RULE: Final = "httpd.max_connections"
RULE_SOURCE: Final = "httpd.max_connections_per_source"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one binding.

    Attributes:
        connections: open at a time; 0 is no limit.
        per_source: of one client address (IPv6: one /64); 0 is no limit.
        head_seconds: time for the head of a request, and for a TLS handshake.
        proxies: addresses that `per_source` does not hold for.
    """

    connections: int = 500
    per_source: int = 100
    head_seconds: float = 10.0
    proxies: AddressList = field(default_factory=lambda: AddressList(()))


class HttpVisit:
    """One connection that was let in.

    Attributes:
        source: the client's address, as limits count it.
        abort: ends it.
    """

    __slots__ = ("abort", "over", "source")

    spoke = False

    def __init__(self, source: str) -> None:
        self.source = source
        self.abort: Callable[[], object] | None = None
        self.over = False


class HttpAdmission:
    """Counts the connections of one binding.

    Args:
        ledger: of the process.
        limits: may be replaced while running.
    """

    def __init__(self, ledger: Ledger, limits: HttpLimits) -> None:
        self.ledger = ledger
        self.limits = limits
        self._open = 0
        self._sources: Counter[str] = Counter()
        self._waiting: Arrivals[HttpVisit] = Arrivals()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._open

    def enter(self, address: str) -> HttpVisit | None:
        """Count a connection in; None if it may not come."""
        limits, notices, now = self.limits, self.ledger.notices, self.ledger.clock()
        source = host_of(address)
        mine = self._sources[source]
        rule, victim = "", None
        if limits.per_source and mine >= limits.per_source and limits.proxies.match(address) is None:
            rule, victim = RULE_SOURCE, self._waiting.oldest_of(source, now)
        elif limits.connections and self._open >= limits.connections:
            rule, victim = RULE, self._waiting.oldest(now)
        if rule:
            key = source if rule == RULE_SOURCE else ""
            notices.reached(rule, key, f"{mine if key else self._open} HTTP connections")
            if victim is None:
                return None
            self.leave(victim)
            if victim.abort is not None:
                victim.abort()
        visit = HttpVisit(source)
        self._open += 1
        self._sources[source] += 1
        self._waiting.enter(visit, source, now)
        return visit

    def busy(self, visit: HttpVisit) -> None:
        """The head of a request is there."""
        self._waiting.leave(visit)

    def idle(self, visit: HttpVisit) -> None:
        """A request was answered; the connection waits for another."""
        if not visit.over:
            self._waiting.leave(visit)
            self._waiting.enter(visit, visit.source, self.ledger.clock())

    def leave(self, visit: HttpVisit) -> None:
        """Count a connection out. Safe to call twice."""
        if visit.over:
            return
        visit.over = True
        self._waiting.leave(visit)
        self._open -= 1
        self._sources[visit.source] -= 1
        left, notices = self._sources[visit.source], self.ledger.notices
        if not left:
            del self._sources[visit.source]
        if left < self.limits.per_source // 2:
            notices.over(RULE_SOURCE, visit.source)
        if self._open < self.limits.connections // 2:
            notices.over(RULE, "")
