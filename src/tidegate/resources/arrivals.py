# SPDX-License-Identifier: Apache-2.0
"""Peers that are connected and have proved nothing yet: who may come, and who has to go for it.

Below `start` everybody may come. From there on the longest silent peer makes room for each newcomer; if none
has been silent long enough, newcomers are refused at random, with a probability that grows from `rate` at
`start` to certainty at `full` (as OpenSSH's MaxStartups), so that a flood cannot refuse everybody else. From
`start` on a source that holds more than its share makes room among its own peers.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

GRACE_SECONDS: Final = 1.0
"""A peer this young does not make room for others: its first bytes may still be on their way."""

LOOK: Final = 64
"""The number of the oldest peers that are looked at to find one that never sent anything."""


class Silent(Protocol):
    """A peer that waits to prove itself."""

    @property
    def spoke(self) -> bool:
        """True once it sent anything that made sense."""
        ...


T = TypeVar("T", bound=Silent)


@dataclass(frozen=True, slots=True)
class StartupLimits:
    """Limits on peers that have not logged in.

    Attributes:
        start: peers up to which everybody may come; 0 is no limit at all.
        rate: percent of newcomers refused at `start` while nobody can make room.
        full: peers from which on every newcomer is refused while nobody can make room.
        per_source: peers of one source, from `start` on; 0 is no limit.
    """

    start: int = 500
    rate: int = 30
    full: int = 2000
    per_source: int = 50

    @classmethod
    def parse(cls, text: str, per_source: int) -> StartupLimits:
        """From ``start:rate:full``, or one number, which refuses everybody from there on.

        Raises:
            ValueError: the text is none of these; says what was expected.
        """
        parts = text.split(":")
        if len(parts) not in {1, 3} or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"expected start:rate:full such as 500:30:2000, or one number, got {text!r}")
        numbers = [int(part) for part in parts]
        if len(numbers) == 1:
            return cls(numbers[0], 100, numbers[0], per_source)
        start, rate, full = numbers
        if not 1 <= rate <= 100 or full < start or not start:
            raise ValueError(f"expected 1 to 100 percent and start not above full, got {text!r}")
        return cls(start, rate, full, per_source)

    def probability(self, waiting: int) -> float:
        """Probability that a newcomer is refused while `waiting` peers are unproven."""
        if not self.start or waiting < self.start:
            return 0.0
        if waiting >= self.full:
            return 1.0
        rate = self.rate / 100
        return rate + (1 - rate) * (waiting - self.start) / (self.full - self.start)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T]):
    """The decision about a new connection.

    Attributes:
        refused: it may not come.
        victim: who has to go, so that it may.
    """

    refused: bool = False
    victim: T | None = None


class Arrivals(Generic[T]):
    """The unproven peers of one door, oldest first.

    Args:
        chance: a number from 0 to below 1, for the random refusal.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._waiting: dict[T, tuple[str, float]] = {}
        self._by_source: dict[str, dict[T, float]] = {}
        self._proving: dict[T, str] = {}
        self._proving_of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._proving)

    def check(self, source: str, limits: StartupLimits, now: float) -> Verdict[T]:
        """Decide about a newcomer; nothing is counted yet. A victim is to be ended, then `leave` called."""
        waiting = len(self)
        if not limits.start or waiting < limits.start:
            return Verdict()
        mine = len(self._by_source.get(source, ())) + self._proving_of[source]
        if limits.per_source and mine >= limits.per_source:
            victim = self.oldest_of(source, now)
            return Verdict(refused=victim is None, victim=victim)
        victim = self.oldest(now) or self._crowding(limits.per_source)
        if victim is not None:
            return Verdict(victim=victim)
        return Verdict(refused=self._chance() < limits.probability(waiting))

    def _crowding(self, per_source: int) -> T | None:
        """The oldest peer, however young, of the source that holds most, if that is more than its share."""
        if not per_source or not self._by_source:
            return None
        most = max(self._by_source.values(), key=len)
        return next(iter(most)) if len(most) > per_source else None

    def oldest(self, now: float) -> T | None:
        """The longest waiting silent peer, None if none is silent long enough."""
        return self._oldest(((peer, since) for peer, (_, since) in self._waiting.items()), now)

    def oldest_of(self, source: str, now: float) -> T | None:
        """The longest waiting silent peer of a source, None if none is silent long enough."""
        mine = self._by_source.get(source)
        return None if mine is None else self._oldest(mine.items(), now)

    @staticmethod
    def _oldest(peers: Iterable[tuple[T, float]], now: float) -> T | None:
        found: T | None = None
        for peer, since in islice(peers, LOOK):
            if now - since < GRACE_SECONDS:
                break
            if not peer.spoke:
                return peer
            if found is None:
                found = peer
        return found

    def enter(self, peer: T, source: str, now: float) -> None:
        """A peer came."""
        self._waiting[peer] = (source, now)
        self._by_source.setdefault(source, {})[peer] = now

    def proves(self, peer: T) -> None:
        """A peer is proving itself now: it is still unproven, but no longer has to make room."""
        entry = self._waiting.pop(peer, None)
        if entry is not None:
            self._forget(peer, entry[0])
            self._proving[peer] = entry[0]
            self._proving_of[entry[0]] += 1

    def leave(self, peer: T) -> None:
        """A peer has proved itself, or is gone; unknown is no error."""
        source = self._proving.pop(peer, None)
        if source is not None:
            self._proving_of[source] -= 1
            if not self._proving_of[source]:
                del self._proving_of[source]
            return
        entry = self._waiting.pop(peer, None)
        if entry is not None:
            self._forget(peer, entry[0])

    def _forget(self, peer: T, source: str) -> None:
        mine = self._by_source[source]
        del mine[peer]
        if not mine:
            del self._by_source[source]
