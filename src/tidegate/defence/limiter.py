# SPDX-License-Identifier: Apache-2.0
"""Rate limiters: token buckets that make a client wait for a moment, or refuse it. Pure state, no clock."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from tidegate.model.address_list import AddressList

MAX_WAIT_SECONDS: Final = 10.0
"""Nobody is made to wait longer than this, however slow the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """One limiter.

    Attributes:
        rule: its name in the configuration, for messages.
        average: connections or requests in a period.
        period_seconds: of `average`.
        burst: connections or requests that may come at once.
        per_source: True counts each source by itself, False all together.
        protocols: that it holds for.
        exempt: addresses that it does not hold for.
        marks: a refusal counts as a misdeed of the source.
        soft_limit: sources that remain when `hard_limit` is passed.
        hard_limit: sources that are kept.
    """

    rule: str
    average: int
    period_seconds: float = 1.0
    burst: int = 1
    per_source: bool = True
    protocols: frozenset[str] = frozenset({"SSH", "FTP", "DAV", "HTTP"})
    exempt: AddressList = field(default_factory=lambda: AddressList(()))
    marks: bool = False
    soft_limit: int = 100
    hard_limit: int = 150

    @property
    def rate(self) -> float:
        """Tokens in a second."""
        return self.average / self.period_seconds

    @property
    def allowed_wait(self) -> float:
        """Seconds that a client may be made to wait."""
        rate = self.rate
        wait = self.period_seconds / 2 if rate < 1 else 1 / (2 * int(rate))
        return min(wait, MAX_WAIT_SECONDS)


class Bucket:
    """One token bucket, full at first."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: int, now: float) -> None:
        self._tokens = float(burst)
        self._at = now

    def take(self, limits: RateLimits, now: float) -> float:
        """Take one token, if it is there soon enough.

        Returns:
            seconds until the token is there: more than `RateLimits.allowed_wait` means that none was taken.
        """
        tokens = self._held(limits, now)
        wait = max(0.0, (1 - tokens) / limits.rate)
        self._at = max(self._at, now)
        self._tokens = tokens - 1 if wait <= limits.allowed_wait else tokens
        return wait

    def peek(self, limits: RateLimits, now: float) -> float:
        """Seconds until the next token is there; takes none."""
        return max(0.0, (1 - self._held(limits, now)) / limits.rate)

    def _held(self, limits: RateLimits, now: float) -> float:
        passed = max(0.0, now - self._at)
        return min(float(limits.burst), self._tokens + passed * limits.rate)


class Limiter:
    """One limiter with its buckets."""

    def __init__(self, limits: RateLimits) -> None:
        self.limits = limits
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def applies(self, address: str, protocol: str) -> bool:
        """True if it holds for an address and a protocol."""
        return protocol in self.limits.protocols and self.limits.exempt.match(address) is None

    def peek(self, source: str, now: float) -> float:
        """Seconds that a source would have to wait; changes nothing."""
        bucket = self._buckets.get(source if self.limits.per_source else "")
        return 0.0 if bucket is None else bucket.peek(self.limits, now)

    def take(self, source: str, now: float) -> float:
        """Seconds that a source has to wait; see `Bucket.take`."""
        limits, key = self.limits, source if self.limits.per_source else ""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(limits.burst, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > limits.hard_limit:
            while len(self._buckets) > limits.soft_limit:
                self._buckets.popitem(last=False)
        return bucket.take(limits, now)
