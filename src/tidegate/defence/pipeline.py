# SPDX-License-Identifier: Apache-2.0
"""The order of the decisions about a client: lists, bans, slower checks, rate limits.

Limits of connections stand between bans and slower checks, in `doors.common.admission`: they are counters of
the door, and bound how many slower checks are under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tidegate.contracts.admission import AdmissionCheck
from tidegate.defence.defender import Defender, DefenderLimits, Host, Misdeed
from tidegate.defence.limiter import Limiter, RateLimits
from tidegate.defence.lists import AddressLists
from tidegate.defence.penalties import Offence, Penalties, PenaltyLimits
from tidegate.model.address_list import AddressList
from tidegate.model.listed import ListEntry, ListKind, ListMode, prefix_of
from tidegate.model.refusal import Refusal
from tidegate.model.sources import SourcePrefixes, Sources

CHECK_SECONDS: Final = 5.0
"""Time that one check may take; without an answer by then the client may come."""

OFF: Final = DefenderLimits(scores={}, increment_seconds=0.0)
"""Limits of a defender that marks nobody."""

NO_PENALTIES: Final = PenaltyLimits(seconds={})
"""Limits of penalties that are off."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceOptions:
    """Options of the pipeline.

    Attributes:
        allow_listed_only: only addresses of the allow list may connect.
        allow_rule: the key that says so.
        defender: None marks nobody; bans made by hand and the list of those that never get in hold.
        limiters: in the order of the configuration.
        penalties: None penalises nobody.
        proxies: addresses of proxies; what they do by themselves is neither marked nor limited.
        prefixes: what is one source.
    """

    allow_listed_only: bool = False
    allow_rule: str = "common.allowlist_status"
    defender: DefenderLimits | None = None
    limiters: tuple[RateLimits, ...] = ()
    penalties: PenaltyLimits | None = None
    proxies: AddressList = field(default_factory=lambda: AddressList(()))
    prefixes: SourcePrefixes = field(default_factory=SourcePrefixes)


TELL_SECONDS: Final = 5.0
"""Refused requests by one rule are told at most this often; a flood must not become one of events."""
Turned = Callable[[str, str, Refusal], None]
"""Told of a refused request: address, protocol, why."""
Banned = Callable[[str, float, str], None]
"""Told of a new ban: source, until when (Unix seconds), by what."""


class Defence:
    """Answers every door. Synchronous parts are called from the event loop.

    Args:
        options: what is on; replaced by `reconfigure`.
        checks: asked in this order after lists and bans.
        sources: the rule of the server on what is a source; takes over the prefixes of `options`.
        banned: told of new bans.
        turned: told of refused requests, of each rule one in `TELL_SECONDS`.
        clock: Unix seconds.
        monotonic: seconds that do not go backwards, for rate limits.
        sleep: waits.

    Attributes:
        lists: the addresses; replaced as a whole when records change.
        file_lists: likewise, of files; None without any.
        checks: asked in this order; replaced as a whole.
        limiters: rate limiters, in the order of asking.
        refusals: number of refusals by each rule since the start; rules are those of the configuration.
    """

    def __init__(
        self,
        options: DefenceOptions,
        checks: Sequence[AdmissionCheck] = (),
        *,
        sources: Sources | None = None,
        banned: Banned | None = None,
        turned: Turned | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.options = options
        self.sources = sources or Sources()
        self.sources.prefixes = options.prefixes
        self.lists = AddressLists()
        self.file_lists: AddressLists | None = None
        self.checks = tuple(checks)
        self.refusals: Counter[str] = Counter()
        self.defender = Defender(options.defender or OFF)
        self.penalties = Penalties(options.penalties or NO_PENALTIES)
        self.limiters = [Limiter(one) for one in options.limiters]
        self._banned = banned
        self._turned = turned
        self._told: dict[str, tuple[float, int]] = {}
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep

    def reconfigure(self, options: DefenceOptions) -> None:
        """Take other options; scores, bans and full buckets stay where they can.

        With other prefixes scores, penalties and buckets, which are those of other sources, begin anew; bans
        hold for the networks that they were made for.
        """
        other = options.prefixes != self.sources.prefixes
        if other:
            self.sources.prefixes = options.prefixes
            self.defender.forget_scores()
            self.penalties = Penalties(options.penalties or NO_PENALTIES)
        self.defender.limits = options.defender or OFF
        self.penalties.limits = options.penalties or NO_PENALTIES
        if other or options.limiters != self.options.limiters:
            self.limiters = [Limiter(one) for one in options.limiters]
        self.options = options

    # -- asked by doors ------------------------------------------------------------------------------------

    def check(self, address: str, protocol: str) -> Refusal | None:
        """Refuse by lists and bans; a ban that runs grows by this."""
        now = self._clock()
        listed = self.judge(address, protocol, now)
        if listed is not None:
            self.refusals[listed.rule] += 1
            if listed.rule == BANNED:
                for source in self.defender.holding(address, now):
                    self.defender.tried(source, now)
        return listed

    def judge(self, address: str, protocol: str, now: float) -> Refusal | None:
        """The decision of `check` without its effect, for those who only want to know."""
        if self.options.allow_listed_only:
            entry = self.find(ListKind.ALLOW, address, protocol, now)
            if entry is None or entry.mode != ListMode.ALLOW:
                return Refusal(self.options.allow_rule, f"{address} is not on the allow list")
        entry = self.find(ListKind.DEFENDER, address, protocol, now)
        if entry is not None:
            if entry.mode == ListMode.ALLOW:
                return None
            where = f", from {entry.name}" if entry.name.startswith("/") else ""
            text = f"{address} is on the defender list as {entry.ipornet}{where}"
            return Refusal(LISTED, text, banned=True)
        for source in self.defender.holding(address, now):
            return Refusal(BANNED, f"{source} is banned", banned=True)
        return self._penalised(address, self.sources.of(address))

    def _penalised(self, address: str, source: str) -> Refusal | None:
        """Refuse a source that has a penalty."""
        if self.options.penalties is None or self.is_exempt(address):
            return None
        penalty = self.penalties.remaining(source, self._monotonic())
        if penalty is None:
            return None
        text = f"{source} is refused for {penalty.seconds:.0f} s more ({penalty.offence})"
        return Refusal(PENALISED, text, wait_seconds=penalty.seconds)

    def is_exempt(self, address: str) -> bool:
        """True if an address is never penalised: a proxy, or one of the list of exempt ones."""
        penalties = self.options.penalties
        return self.options.proxies.match(address) is not None or (
            penalties is not None and penalties.exempt.match(address) is not None
        )

    def find(self, kind: ListKind, address: str, protocol: str, now: float) -> ListEntry | None:
        """The entry of a list that counts for an address: the most specific one, stored or of a file."""
        stored = self.lists.find(kind, address, protocol, now)
        if self.file_lists is None:
            return stored
        filed = self.file_lists.find(kind, address, protocol, now)
        if stored is None or filed is None:
            return stored or filed
        return filed if prefix_of(filed) > prefix_of(stored) else stored

    async def wait(self, address: str, protocol: str) -> Refusal | None:
        """Ask the slower checks, then wait as long as rate limits ask for; refuse where that is too long."""
        refusal = await self._by_checks(address, protocol) if self.checks else None
        if refusal is None and self.limiters:
            refusal = await self._by_limiters(address, protocol)
        if refusal is not None:
            self.refusals[refusal.rule] += 1
        return refusal

    async def _by_checks(self, address: str, protocol: str) -> Refusal | None:
        if self.is_safe(address, protocol):
            return None
        for one in self.checks:
            refusal = await self._asked(one, address, protocol)
            if refusal is not None:
                return refusal
        return None

    def is_safe(self, address: str, protocol: str) -> bool:
        """True if an address is on the list of those that are never banned: no check is asked about it."""
        entry = self.find(ListKind.DEFENDER, address, protocol, self._clock())
        return entry is not None and entry.mode == ListMode.ALLOW

    async def _by_limiters(self, address: str, protocol: str) -> Refusal | None:
        if self.find(ListKind.RATE_SAFE, address, protocol, self._clock()) is not None:
            return None
        if self.options.proxies.match(address) is not None:
            return None
        source = self.sources.of(address)
        for limiter in self.limiters:
            if not limiter.applies(address, protocol):
                continue
            wait, allowed = limiter.take(source, self._monotonic()), limiter.limits.allowed_wait
            if wait > allowed:
                if limiter.limits.marks and limiter.limits.per_source:
                    self.mark(address, protocol, Misdeed.LIMIT_EXCEEDED)
                text = f"rate limit exceeded, wait {wait:.3f} s, at most {allowed:g} s are waited for"
                return Refusal(limiter.limits.rule, text, wait_seconds=wait)
            if wait > 0:
                await self._sleep(wait)
        return None

    async def _asked(self, check: AdmissionCheck, address: str, protocol: str) -> Refusal | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await check.check(address, protocol)
        except Exception as error:  # a fault of a check must not close the server
            log.warning("check %s of %s gave no answer: %r", type(check).__name__, address, error)
            return None

    def exceeded(self, address: str, protocol: str) -> None:
        """An address came to a limit of its own."""
        self.mark(address, protocol, Misdeed.LIMIT_EXCEEDED)

    def refused(self, address: str, protocol: str, refusal: Refusal) -> None:
        """A request was answered with a refusal: tell that, unless one by the same rule was told just now."""
        if self._turned is None:
            return
        now = self._monotonic()
        last, kept_back = self._told.get(refusal.rule, (-TELL_SECONDS, 0))
        if now - last < TELL_SECONDS:
            self._told[refusal.rule] = last, kept_back + 1
            return
        self._told[refusal.rule] = now, 0
        self._turned(address, protocol, replace(refusal, unreported=kept_back))

    @property
    def untold(self) -> dict[str, int]:
        """Refused requests by rule that have not been told of yet."""
        return {rule: kept_back for rule, (_, kept_back) in self._told.items() if kept_back}

    # -- for administrators ----------------------------------------------------------------------------------

    def hosts(self) -> list[Host]:
        """Sources that are banned, penalised or have a score; each once, by the gravest of these."""
        now = self._clock()
        active = self.penalties.active(self._monotonic())
        found = {one.source: Host(one.source, 0, now + one.seconds, one.offence.value) for one in active}
        for host in self.defender.hosts(now):
            if host.banned_until or host.source not in found:
                found[host.source] = host
        return list(found.values())

    def host(self, address: str) -> Host | None:
        """One of them, None if nothing is known of it."""
        source, now = self.sources.of(address), self._clock()
        for banned in self.defender.holding(address, now):
            return self.defender.host(banned, now)
        found = self.defender.host(source, now)
        penalty = self.penalties.remaining(source, self._monotonic())
        if penalty is None:
            return found
        score = 0 if found is None else found.score
        return Host(source, score, now + penalty.seconds, penalty.offence.value)

    # -- marks ---------------------------------------------------------------------------------------------

    def mark(self, address: str, protocol: str, misdeed: Misdeed) -> None:
        """Count a misdeed of an address, unless it is on a list."""
        if self.options.defender is None or not address or self.options.proxies.match(address) is not None:
            return
        now = self._clock()
        if self.find(ListKind.DEFENDER, address, protocol, now) is not None:
            return
        if self.defender.holding(address, now):
            return
        source = self.sources.of(address)
        until = self.defender.mark(source, misdeed, now)
        if until and self._banned is not None:
            self._banned(source, until, misdeed.value)

    def penalise(self, address: str, protocol: str, offence: Offence) -> None:
        """Charge an address for a connection that ended without a login, unless it is on a list or exempt."""
        if self.options.penalties is None or not address or self.is_exempt(address):
            return
        if self.find(ListKind.DEFENDER, address, protocol, self._clock()) is not None:
            return
        source = self.sources.of(address)
        seconds = self.penalties.charge(source, offence, self._monotonic())
        if seconds:
            log.info(
                "%s is refused for %.0f s: %s; list the address of a proxy or of many people in "
                "common.penalties.exempt",
                source,
                seconds,
                offence.value,
            )


LISTED: Final = "defender list"
"""The rule of entries that never get in."""
BANNED: Final = "common.defender"
"""The rule of bans."""
PENALISED: Final = "common.penalties"
"""The rule of penalties."""
