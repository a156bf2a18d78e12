# SPDX-License-Identifier: Apache-2.0
"""Every step of the decision about an address, as the pipeline would take it now. Changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from tidegate.contracts.admission import AdmissionCheck
from tidegate.defence.penalties import Penalty
from tidegate.model.listed import ListEntry, ListKind, ListMode
from tidegate.model.proxies import NO_PROXIES, ProxyOptions

if TYPE_CHECKING:
    from tidegate.defence.limiter import Limiter
    from tidegate.defence.pipeline import Defence

CHECK_SECONDS: Final = 5.0
"""Time that one check may take to answer, as at a connection."""

UNPROVEN: Final = ("SSH", "FTP")
"""Protocols whose connections before the login are limited together; those of HTTP wait for a request."""

Outcome = Literal["passes", "refuses", "not asked", "not known"]


@dataclass(frozen=True, slots=True)
class ConnectStep:
    """One rule.

    Attributes:
        rule: as the configuration names it.
        outcome: ``not asked`` where a list spares the address, ``not known`` without a running server.
        why: one sentence.
    """

    rule: str
    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenConnections:
    """The open connections of a running server.

    Attributes:
        used: of all; `most` of them are allowed, 0 is no limit.
        mine: of the source; `most_each` of them are allowed, 0 is no limit.
    """

    used: int
    most: int
    mine: int
    most_each: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenConnections:
    """The connections of SSH and FTP that have not logged in, at a running server.

    Attributes:
        waiting: those there are.
        start: up to so many everybody may come; 0 is no limit.
        full: from so many on nobody may come while none of them can make room.
        chance: probability that a new one is refused now while none of them can make room.
    """

    waiting: int
    start: int
    full: int
    chance: float


@dataclass(frozen=True, slots=True)
class ConnectAnswer:
    """The decision about an address.

    Attributes:
        address: of the client.
        protocol: ``SSH``, ``FTP``, ``DAV`` or ``HTTP``.
        source: that limits by address count it as.
        steps: in the order of asking; those behind a refusal too.
    """

    address: str
    protocol: str
    source: str
    steps: tuple[ConnectStep, ...] = field(default=())

    @property
    def refusing(self) -> ConnectStep | None:
        """The step that decides; None if the address may come."""
        return next((step for step in self.steps if step.outcome == "refuses"), None)

    def to_document(self) -> dict[str, Any]:
        """The answer for JSON."""
        refusing = self.refusing
        return {
            "ip": self.address,
            "protocol": self.protocol,
            "source": self.source,
            "allowed": refusing is None,
            "rule": "" if refusing is None else refusing.rule,
            "steps": [{"rule": one.rule, "outcome": one.outcome, "why": one.why} for one in self.steps],
        }


def render_text(document: dict[str, Any]) -> str:
    """The lines of an answer's document for a terminal."""
    verdict = "MAY CONNECT" if document["allowed"] else "REFUSED"
    by = f" by {document['rule']}" if document["rule"] else ""
    lines = [f"{verdict} {document['ip']} {document['protocol']}{by}"]
    width = max((len(step["rule"]) for step in document["steps"]), default=0)
    lines += [f"  {step['rule']:<{width}}  {step['outcome']:<9}  {step['why']}" for step in document["steps"]]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines) + "\n"


async def explain(
    defence: Defence,
    address: str,
    protocol: str,
    *,
    now: float,
    monotonic: float,
    proxies: ProxyOptions = NO_PROXIES,
    connections: OpenConnections | None = None,
    unproven: UnprovenConnections | None = None,
    running: bool = True,
) -> ConnectAnswer:
    """Ask every rule about an address.

    Args:
        defence: what doors ask.
        address: of the client, of a proxy itself if it comes without a header.
        protocol: ``SSH``, ``FTP``, ``DAV`` or ``HTTP``.
        now: Unix seconds.
        monotonic: the clock of penalties and rate limits.
        proxies: whose PROXY header is read.
        connections: those that are open; None where there is no running server.
        unproven: those that have not logged in; None where there is no running server.
        running: False where penalties, scores and rate limits are those of another process.
    """
    source = defence.sources.of(address)
    entry = defence.find(ListKind.DEFENDER, address, protocol, now)
    safe = entry is not None and entry.mode == ListMode.ALLOW
    steps = [
        _header(proxies, address),
        _allow_list(defence, address, protocol, now),
        _defender_list(entry),
        _source(defence, address, source),
        _ban(defence, address, source, now, safe=safe),
        _penalty(defence, address, source, monotonic, safe=safe, running=running),
        _connections(connections, defence, address),
        *([_startups(unproven)] if protocol in UNPROVEN else []),
    ]
    steps += [await _check(check, address, protocol, safe=safe) for check in defence.checks]
    friend = defence.find(ListKind.RATE_SAFE, address, protocol, now)
    if friend is not None:
        steps.append(ConnectStep("rate-limit safe list", "passes", _entry(friend)))
    spared = friend is not None or defence.options.proxies.match(address) is not None
    steps += [
        _limiter(limiter, address, source, protocol, monotonic, spared=spared, running=running)
        for limiter in defence.limiters
    ]
    return ConnectAnswer(address, protocol, source, tuple(steps))


def _defender_list(entry: ListEntry | None) -> ConnectStep:
    if entry is None:
        return ConnectStep("defender list", "passes", "not on it")
    outcome: Outcome = "passes" if entry.mode == ListMode.ALLOW else "refuses"
    return ConnectStep("defender list", outcome, _entry(entry))


def _header(proxies: ProxyOptions, address: str) -> ConnectStep:
    rule = "common.proxy_protocol"
    if not proxies.mode:
        return ConnectStep(rule, "passes", "no PROXY header is read")
    if proxies.may_send(address):
        return ConnectStep(
            rule, "passes", "this is a proxy: the client that its PROXY header names is asked about"
        )
    if proxies.direct(address):
        return ConnectStep(rule, "passes", "no PROXY header is read from this address")
    why = "directly it may not connect, only by the proxies of common.proxy_allowed"
    return ConnectStep(rule, "not asked", why)


def _allow_list(defence: Defence, address: str, protocol: str, now: float) -> ConnectStep:
    rule = defence.options.allow_rule
    if not defence.options.allow_listed_only:
        rule = "common.allowlist_status"
        return ConnectStep(rule, "passes", "the allow list is off")
    entry = defence.find(ListKind.ALLOW, address, protocol, now)
    if entry is None or entry.mode != ListMode.ALLOW:
        return ConnectStep(rule, "refuses", "not on the allow list, and only those on it may connect")
    return ConnectStep(rule, "passes", _entry(entry))


def _entry(entry: ListEntry) -> str:
    kind = "denied" if entry.mode == ListMode.DENY else "allowed"
    return f"{kind} by the entry {entry.ipornet}{f': {entry.description}' if entry.description else ''}"


def _time(until: float) -> str:
    latest = datetime.max.replace(tzinfo=UTC).timestamp()
    return (
        "for good" if until > latest else f"until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def _source(defence: Defence, address: str, source: str) -> ConnectStep:
    """The network that limits by address count as one client."""
    prefixes = defence.sources.prefixes
    six = ":" in address
    rule = "common.source_prefix6" if six else "common.source_prefix4"
    length = prefixes.ipv6 if six else prefixes.ipv4
    return ConnectStep(rule, "passes", f"counted as {source} by what follows (/{length} is one source)")


def _ban(defence: Defence, address: str, source: str, now: float, *, safe: bool) -> ConnectStep:
    if safe:
        return ConnectStep("common.defender", "not asked", "the defender list spares the address")
    for banned in defence.defender.holding(address, now):
        until = defence.defender.banned_until(banned, now)
        return ConnectStep("common.defender", "refuses", f"{banned} is banned {_time(until)}")
    host = defence.defender.host(source, now)
    limits = defence.options.defender
    if limits is None:
        return ConnectStep("common.defender", "passes", "not banned; the defender is off")
    score = 0 if host is None else host.score
    return ConnectStep("common.defender", "passes", f"not banned; score {score} of {limits.threshold}")


def _penalty(
    defence: Defence, address: str, source: str, monotonic: float, *, safe: bool, running: bool
) -> ConnectStep:
    rule = "common.penalties"
    if defence.options.penalties is None:
        return ConnectStep(rule, "passes", "penalties are off")
    if safe or defence.is_exempt(address):
        return ConnectStep(rule, "not asked", "the address is exempt")
    if not running:
        return ConnectStep(rule, "not known", "a running server knows: name it with --url")
    penalty: Penalty | None = defence.penalties.remaining(source, monotonic)
    if penalty is None:
        return ConnectStep(rule, "passes", "no penalty")
    return ConnectStep(rule, "refuses", f"{penalty.seconds:.0f} s more ({penalty.offence})")


def _connections(now: OpenConnections | None, defence: Defence, address: str) -> ConnectStep:
    rule = "limits of connections"
    if now is None:
        return ConnectStep(rule, "not known", "a running server knows: name it with --url")
    exempt = defence.options.proxies.match(address) is not None
    most, each = now.most or "no limit", "no limit" if exempt or not now.most_each else now.most_each
    why = f"{now.mine} of this source ({each}), {now.used} of all ({most})"
    full = (now.most and now.used >= now.most) or (now.most_each and now.mine >= now.most_each and not exempt)
    return ConnectStep(rule, "refuses" if full else "passes", why)


def _startups(now: UnprovenConnections | None) -> ConnectStep:
    rule = "sftpd.max_startups"
    if now is None:
        return ConnectStep(rule, "not known", "a running server knows: name it with --url")
    if not now.start:
        return ConnectStep(rule, "passes", f"{now.waiting} have not logged in (no limit)")
    why = f"{now.waiting} have not logged in; from {now.start} on one that is silent makes room"
    if now.chance:
        share = f"{now.chance:.0%} of new ones are refused at random"
        why = f"{why}; while none is, {share}, and all from {now.full} on"
    return ConnectStep(rule, "passes", why)


async def _check(check: AdmissionCheck, address: str, protocol: str, *, safe: bool) -> ConnectStep:
    rule = f"check {getattr(check, 'name', type(check).__name__)}"
    if safe:
        return ConnectStep(rule, "not asked", "the defender list spares the address")
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            refusal = await check.check(address, protocol)
    except Exception as error:  # as at a connection: a fault of a check refuses nobody
        return ConnectStep(rule, "passes", f"it gave no answer: {type(error).__name__}: {error}")
    if refusal is not None:
        return ConnectStep(rule, "refuses", f"{refusal.rule}: {refusal.text}")
    describe = getattr(check, "describe", None)
    return ConnectStep(rule, "passes", describe(address) if describe is not None else "no objection")


def _limiter(
    limiter: Limiter,
    address: str,
    source: str,
    protocol: str,
    monotonic: float,
    *,
    spared: bool,
    running: bool,
) -> ConnectStep:
    rule, limits = limiter.limits.rule, limiter.limits
    if spared or not limiter.applies(address, protocol):
        why = "the address is spared" if spared else f"not for {protocol}, or not for this address"
        return ConnectStep(rule, "not asked", why)
    whom = "this source" if limits.per_source else "all together"
    rate = f"{limits.average} in {limits.period_seconds:g} s, {limits.burst} at once, of {whom}"
    if not running:
        return ConnectStep(rule, "not known", f"{rate}; a running server knows: name it with --url")
    wait = limiter.peek(source, monotonic)
    if wait > limits.allowed_wait:
        return ConnectStep(rule, "refuses", f"{rate}; the next one in {wait:.3f} s")
    return ConnectStep(rule, "passes", f"{rate}; {f'waits {wait:.3f} s' if wait > 0 else 'there is room'}")
