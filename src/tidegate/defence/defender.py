# SPDX-License-Identifier: Apache-2.0
"""Scores of addresses, and bans when a score is too high. Pure state; times are Unix seconds.

A source is what all limits by address count as one client (`model.sources`). Prefixes can be configured anew
while bans run, and other servers that share bans may have others, so a ban holds for its network: it is found
by each length of prefix that a banned source has, of which there are one or two.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from tidegate.defence.deadlines import Deadlines
from tidegate.model.address import parse_address
from tidegate.model.address_list import parse_network
from tidegate.model.sources import source_of

MAX_BAN_SECONDS: Final = 30 * 86_400.0
"""A ban that grows with each try ends at most so long after the last try."""
MAX_MARKS: Final = 256
"""Marks of one source that are kept; a score above any threshold needs fewer of them."""
MAX_BANS: Final = 100_000
"""Sources that are banned at a time; the ban that ends first makes room."""


class Misdeed(enum.StrEnum):
    """Reasons for which an address is marked."""

    UNKNOWN_USER = "score_invalid"
    BAD_CREDENTIAL = "score_valid"
    LIMIT_EXCEEDED = "score_limit_exceeded"
    NO_AUTH = "score_no_auth"
    INFECTED = "score_infected"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenderLimits:
    """Limits by which an address is banned.

    Attributes:
        scores: points of each misdeed.
        threshold: points from which on an address is banned.
        observation_seconds: time for which a misdeed counts.
        ban_seconds: length of a ban.
        increment_seconds: added to a ban by each try while it runs.
        soft_limit: sources with scores that remain when `hard_limit` is passed.
        hard_limit: sources with scores that are kept.
    """

    scores: dict[Misdeed, int]
    threshold: int = 15
    observation_seconds: float = 1800.0
    ban_seconds: float = 1800.0
    increment_seconds: float = 900.0
    soft_limit: int = 100
    hard_limit: int = 150


@dataclass(frozen=True, slots=True)
class Host:
    """A source as it stands.

    Attributes:
        source: address or network.
        score: points that count now; 0 while it is banned.
        banned_until: Unix seconds; 0 if it is not banned.
        penalty: the offence for which it is refused until then, if that is no ban.
    """

    source: str
    score: int
    banned_until: float = 0.0
    penalty: str = ""


class Defender:
    """Marks sources and bans them."""

    def __init__(self, limits: DefenderLimits) -> None:
        self.limits = limits
        self._marks: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()
        self._bans = Deadlines()
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}  # of prefixes, by version of IP

    def mark(self, source: str, misdeed: Misdeed, now: float) -> float:
        """Count a misdeed.

        Returns:
            until when the source is banned by this; 0 if it is not. The first mark of a source bans nobody.
        """
        points = self.limits.scores.get(misdeed, 0)
        if points <= 0 or self.banned_until(source, now):
            return 0.0
        marks = self._marks.get(source)
        if marks is None:
            marks = self._marks[source] = deque(maxlen=MAX_MARKS)
        self._marks.move_to_end(source)
        self._prune(marks, now)
        marks.append((now, points))
        if len(marks) > 1 and sum(value for _, value in marks) >= self.limits.threshold:
            del self._marks[source]
            until = now + self.limits.ban_seconds
            self.ban(source, until)
            return until
        if len(self._marks) > self.limits.hard_limit:
            while len(self._marks) > self.limits.soft_limit:
                self._marks.popitem(last=False)
        return 0.0

    def ban(self, source: str, until: float) -> None:
        """Ban a source, or set another end."""
        if source not in self._bans:
            self._count(source, 1)
        self._bans.set(source, until)
        if len(self._bans) > MAX_BANS and (first := self._bans.earliest()) is not None:
            self._drop(first)

    def tried(self, source: str, now: float) -> float:
        """A source came; a ban that runs grows.

        Returns:
            until when it is banned; 0 if it is not.
        """
        until = self.banned_until(source, now)
        if not until:
            return 0.0
        longest = max(until, now + MAX_BAN_SECONDS)
        grown = min(until + self.limits.increment_seconds, longest)
        self._bans.set(source, grown)
        return grown

    def banned_until(self, source: str, now: float) -> float:
        """Until when a source is banned; 0 if it is not."""
        until = self._bans.get(source)
        if until and until <= now:
            self._drop(source)
            return 0.0
        return until

    def holding(self, address: str, now: float) -> list[str]:
        """Banned sources that hold an address, whatever prefixes they were banned by; usually one or none."""
        if not self._bans:
            return []
        parsed = parse_address(address)
        if parsed is None:
            return [address] if self.banned_until(address, now) else []
        lengths = self._lengths[parsed.version]
        sources = [source_of(address, length, length) for length in lengths]
        return [one for one in sources if self.banned_until(one, now)]

    def forgive(self, source: str) -> bool:
        """Forget score and ban of a source; False if there was nothing to forget."""
        ban, marks = self._drop(source), self._marks.pop(source, None)
        return ban or marks is not None

    def forget_scores(self) -> None:
        """Forget all scores; bans stay."""
        self._marks.clear()

    def host(self, source: str, now: float) -> Host | None:
        """A source as it stands, None if nothing is known of it."""
        until = self.banned_until(source, now)
        if until:
            return Host(source, 0, until)
        marks = self._marks.get(source)
        if marks is None:
            return None
        self._prune(marks, now)
        score = sum(value for _, value in marks)
        return Host(source, score) if score else None

    def hosts(self, now: float) -> list[Host]:
        """Every source that is banned or has a score, those that are banned first."""
        known = (self.host(source, now) for source in [*self._bans, *self._marks])
        return [host for host in known if host is not None]

    def bans(self) -> dict[str, float]:
        """Ends of all bans by source."""
        return dict(self._bans.items())

    def _drop(self, source: str) -> bool:
        dropped = self._bans.drop(source)
        if dropped:
            self._count(source, -1)
        return dropped

    def _count(self, source: str, by: int) -> None:
        network = parse_network(source)
        if network is None:
            return
        lengths = self._lengths[network.version]
        lengths[network.prefixlen] += by
        if not lengths[network.prefixlen]:
            del lengths[network.prefixlen]

    def _prune(self, marks: deque[tuple[float, int]], now: float) -> None:
        while marks and marks[0][0] <= now - self.limits.observation_seconds:
            marks.popleft()
