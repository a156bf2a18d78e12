# SPDX-License-Identifier: Apache-2.0
"""Who may connect: limits on all connections, on those before login, and on those of one host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tidegate.doors.ssh.options import SshOptions
from tidegate.model.address import host_of, parse_address
from tidegate.resources import Arrivals, Ledger

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


class Owner(Protocol):
    """What is asked of a connection that has not logged in."""

    @property
    def spoke(self) -> bool:
        """True once the client sent its version line."""
        ...

    def abort(self, by: str) -> None:
        """End the connection at once."""
        ...


class Visit:
    """One connection that was let in, from accept to its end.

    Attributes:
        address: of the client.
        host: what counts as its source.
        owner: the connection, once there is one.
        rename_onto: what the binding it came by says of RENAME onto a name that exists.
    """

    __slots__ = ("address", "host", "over", "owner", "rename_onto")

    def __init__(self, address: str) -> None:
        self.address = address
        self.host = host_of(address)
        self.owner: Owner | None = None
        self.over = False
        self.rename_onto = ""

    @property
    def spoke(self) -> bool:
        """True once the client sent its version line."""
        return self.owner is not None and self.owner.spoke


class Admission:
    """Counts connections against the limits.

    Args:
        ledger: of the process.
    """

    def __init__(self, ledger: Ledger, arrivals: Arrivals[Visit] | None = None) -> None:
        self._ledger = ledger
        self._hosts: Counter[str] = Counter()
        self._open = 0
        self._arrivals: Arrivals[Visit] = arrivals if arrivals is not None else Arrivals()
        self._kept_back: Counter[str] = Counter()
        self._reported: dict[str, float] = {}

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._open

    @property
    def starting(self) -> int:
        """Connections that have not logged in."""
        return len(self._arrivals)

    def enter(
        self, address: str, options: SshOptions, now: float, evict: Callable[[Visit], None] | None = None
    ) -> Visit | Refusal:
        """Count a new connection in, or say why it may not come (nothing is counted then).

        Args:
            address: of the client.
            options: the limits.
            now: seconds of the ledger's clock.
            evict: ends a connection that makes room for this one; it is counted out already.
        """
        visit = Visit(address)
        host = visit.host
        if options.max_connections and self._open >= options.max_connections:
            return Refusal("max_connections", f"{self._open} connections are open")
        if options.max_per_host and self._hosts[host] >= options.max_per_host:
            return Refusal("max_per_host", f"{host} has {self._hosts[host]} connections")
        exchanges = self._ledger.key_exchanges
        if exchanges.spent(host, now):
            return Refusal(exchanges.rule, f"{host}: more than {exchanges.amount} {exchanges.unit} a minute")
        verdict = self._arrivals.judge(host, options.max_startups, now)
        if verdict.refused:
            return Refusal("max_startups", f"{self.starting} connections are logging in")
        if verdict.victim is not None:
            self.leave(verdict.victim)
            if evict is not None:
                evict(verdict.victim)
        self._open += 1
        self._hosts[host] += 1
        self._arrivals.enter(visit, host, now)
        return visit

    def proves(self, visit: Visit) -> None:
        """A connection began to log in."""
        self._arrivals.proves(visit)

    def logged_in(self, visit: Visit) -> None:
        """A connection is no longer logging in."""
        self._arrivals.leave(visit)

    def leave(self, visit: Visit) -> None:
        """Count a connection out. Safe to call twice."""
        if visit.over:
            return
        visit.over = True
        self._arrivals.leave(visit)
        self._open -= 1
        self._hosts[visit.host] -= 1
        if self._hosts[visit.host] <= 0:
            del self._hosts[visit.host]

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
