# SPDX-License-Identifier: Apache-2.0
"""Decides who may connect: lists and bans, limits on all connections, of one source, and on unproven ones.

A source is what limits count as one client (`model.sources`). A
connection waits from its first byte until the door says that it has proved itself, and again when the door
says so; who has waited longest makes room for others (`resources.arrivals`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from tidegate.model.address_list import AddressList
from tidegate.model.proxies import Ends
from tidegate.model.refusal import Refusal
from tidegate.resources import Arrivals, Ledger, StartupLimits
from tidegate.resources.connections import PER_SOURCE
from tidegate.resources.newcomers import Newcomers

__all__ = ["Admission", "AdmissionLimits", "AdmissionRules", "Bar", "Refusal", "Visit", "denial"]

REPORT_SECONDS: Final = 5.0
"""Refusals by one rule are reported at most this often, with the number of those kept back."""


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """Names of a door's limits, for the log.

    Attributes:
        connections: limit of all connections.
        per_source: limit of one source.
        startups: limit of those that have not logged in.
        unit: what is counted.
        common: connections count against the limits of all doors too (`resources.Ledger.connections`).
        startups_apart: those that have not logged in are counted by this door alone; where a connection that
            waits for its next request counts as one of them.
    """

    connections: str = "max_connections"
    per_source: str = "max_per_host"
    startups: str = "max_startups"
    unit: str = "connections"
    common: bool = True
    startups_apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """Limits on open connections; 0 is no limit.

    Attributes:
        connections: at a time.
        per_source: of one source at a time.
        startups: of those that have not logged in.
        exempt: addresses that `per_source` does not hold for, such as those of proxies.
        make_room: at `connections` and `per_source` the longest waiting connection makes room for a new one;
            otherwise the new one is refused.
    """

    connections: int = 0
    per_source: int = 0
    startups: StartupLimits = field(default_factory=lambda: StartupLimits(start=0))
    exempt: AddressList = field(default_factory=lambda: AddressList(()))
    make_room: bool = False


class Visit:
    """One connection that was let in, from accept to its end.

    Attributes:
        address: of the client.
        source: what limits count it as.
        end: ends the connection at once; the argument is the rule that it makes room by. Set by the door.
        heard: True once the client sent anything that made sense. Set by the door.
        rename_onto: what the binding it came by says of RENAME onto a name that exists.
        ends: the ends of the connection, as far as the door said.
        leave: counts it out, at whichever door it is.
        newcomers: the account of work for it before it has logged in; the door charges it.
    """

    __slots__ = (
        "address",
        "end",
        "ends",
        "heard",
        "leave",
        "newcomers",
        "over",
        "rename_onto",
        "source",
    )

    def __init__(self, address: str, source: str, rename_onto: str = "", ends: Ends | None = None) -> None:
        self.address = address
        self.ends = ends
        self.leave: Callable[[], None] = lambda: None
        self.newcomers: Newcomers | None = None
        self.source = source
        self.end: Callable[[str], object] | None = None
        self.heard: Callable[[], bool] | None = None
        self.over = False
        self.rename_onto = rename_onto

    @property
    def spoke(self) -> bool:
        """True once the client sent anything that made sense."""
        return self.heard is not None and self.heard()


def denial(refusal: Refusal) -> str:
    """The sentence that a client of a protocol with texts is told."""
    if refusal.banned:
        return "Access denied: banned client IP"
    return f"Access denied: {refusal.text}" if refusal.wait_seconds else "Access denied"


Bar = Callable[[str, float], Refusal | None]
"""Refuses a source for a reason of its own, or says None; the second argument is the ledger's clock."""


class Admission:
    """Counts connections against the limits.

    Args:
        ledger: of the process.
        rules: names of the limits.
        bars: asked before connections count as logging in.
        protocol: what the entrance is asked for; empty where each request asks it, as those of HTTP do.
        arrivals: those that wait; None takes those of all doors, or own ones if `rules` say so.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: AdmissionRules | None = None,
        *,
        bars: Sequence[Bar] = (),
        protocol: str = "",
        arrivals: Arrivals[Visit] | None = None,
    ) -> None:
        self._ledger = ledger
        self._rules = rules or AdmissionRules()
        self._bars = tuple(bars)
        self._protocol = protocol
        self._sources: Counter[str] = Counter()
        self._open = 0
        shared: Arrivals[Visit] = Arrivals() if self._rules.startups_apart else ledger.arrivals
        self._waiting = arrivals if arrivals is not None else shared
        self._kept_back: Counter[str] = Counter()
        self._reported: dict[str, float] = {}

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._open

    @property
    def waiting(self) -> int:
        """Connections that have not proved themselves."""
        return len(self._waiting)

    def enter(
        self, address: str, limits: AdmissionLimits, rename_onto: str = "", ends: Ends | None = None
    ) -> Visit | Refusal:
        """Count a new connection in, or say why it may not come (nothing is counted then).

        Another connection may be ended for it, by its `Visit.end`; that one is counted out already.
        """
        if self._protocol:
            turned = self._ledger.entrance.check(address, self._protocol)
            if turned is not None:
                return turned
        source, now = self._ledger.sources.of(address), self._ledger.clock()
        visit = Visit(address, source, rename_onto, ends)
        victim: Visit | None = None
        full = self._full(visit, limits)
        if full is not None and self._of_source(full) and self._protocol:
            self._ledger.entrance.exceeded(address, self._protocol)
        if full is not None:
            if limits.make_room:
                victim = self._makes_room(full, visit.source, now)
            if victim is None:
                return full
        for bar in self._bars:
            barred = bar(visit.source, now)
            if barred is not None:
                return barred
        if victim is None:
            verdict = self._waiting.check(visit.source, limits.startups, now)
            if verdict.refused:
                return Refusal(self._rules.startups, f"{self.waiting} connections are logging in")
            victim = verdict.victim
        if victim is not None:
            victim.leave()
            if victim.end is not None:
                victim.end(self._rules.startups if full is None else full.rule)
        visit.leave = partial(self.leave, visit)
        self._open += 1
        self._sources[visit.source] += 1
        if self._rules.common:
            self._ledger.connections.take(visit.source)
        self._waiting.enter(visit, visit.source, now)
        visit.newcomers = self._ledger.newcomers
        visit.newcomers.entered()
        return visit

    async def wait(self, visit: Visit) -> Refusal | None:
        """Ask slower checks and rate limits, after `enter`; the connection still has to `leave`."""
        return await self._ledger.entrance.wait(visit.address, self._protocol) if self._protocol else None

    def _full(self, visit: Visit, limits: AdmissionLimits) -> Refusal | None:
        mine = self._sources[visit.source]
        if limits.per_source and mine >= limits.per_source and not self._exempt(visit.address, limits):
            return Refusal(self._rules.per_source, f"{visit.source} has {mine} connections")
        if limits.connections and self._open >= limits.connections:
            return Refusal(self._rules.connections, f"{self._open} connections are open")
        if self._rules.common:
            exempt = self._exempt(visit.address, limits)
            return self._ledger.connections.full(visit.source, exempt=exempt)
        return None

    def _of_source(self, full: Refusal) -> bool:
        return full.rule in (self._rules.per_source, PER_SOURCE)

    def _exempt(self, address: str, limits: AdmissionLimits) -> bool:
        return limits.exempt.match(address) is not None or self._ledger.proxies.may_send(address)

    def _makes_room(self, full: Refusal, source: str, now: float) -> Visit | None:
        own = self._of_source(full)
        count = self._sources[source] if own else self._open
        self._ledger.notices.reached(full.rule, source if own else "", f"{count} {self._rules.unit}")
        return self._waiting.oldest_of(source, now) if own else self._waiting.oldest(now)

    def proves(self, visit: Visit) -> None:
        """A connection began to log in: it no longer has to make room."""
        self._waiting.proves(visit)

    def settles(self, visit: Visit) -> None:
        """A connection has proved itself: it logged in, or sent a request."""
        self._waiting.leave(visit)

    def waits(self, visit: Visit) -> None:
        """A connection waits again, for another request."""
        if not visit.over:
            self._waiting.leave(visit)
            self._waiting.enter(visit, visit.source, self._ledger.clock())

    def leave(self, visit: Visit) -> None:
        """Count a connection out. Safe to call twice."""
        if visit.over:
            return
        visit.over = True
        self._waiting.leave(visit)
        self._open -= 1
        if self._rules.common:
            self._ledger.connections.give(visit.source)
        self._sources[visit.source] -= 1
        if not self._sources[visit.source]:
            del self._sources[visit.source]

    def relieved(self, visit: Visit, limits: AdmissionLimits) -> None:
        """After `leave`: say in the log that limits are no longer reached, at half of them."""
        notices = self._ledger.notices
        if self._sources[visit.source] < limits.per_source // 2:
            notices.over(self._rules.per_source, visit.source)
        if self._open < limits.connections // 2:
            notices.over(self._rules.connections, "")

    def worth_reporting(self, refusal: Refusal, now: float) -> Refusal | None:
        """The refusal with the count of those kept back, or None if one was reported just now.

        A flood must not become a flood of log lines.
        """
        last = self._reported.get(refusal.rule)
        if last is not None and now - last < REPORT_SECONDS:
            self._kept_back[refusal.rule] += 1
            self._ledger.untold[refusal.rule] += 1
            return None
        self._reported[refusal.rule] = now
        unreported = self._kept_back.pop(refusal.rule, 0)
        self._ledger.untold[refusal.rule] -= unreported
        return replace(refusal, unreported=unreported)
