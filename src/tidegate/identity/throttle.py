# SPDX-License-Identifier: Apache-2.0
"""How often somebody may guess: a leaking bucket for each name and each address. Pure state, no clock."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tidegate.model.address_list import host_of

MAX_TRACKED: Final = 20_000
"""Names and addresses with recent attempts; the longest untouched is forgotten first."""


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """How much guessing is borne.

    Attributes:
        per_address: attempts in a burst from one address (IPv6: from one /64).
        per_name: attempts in a burst on one name from anywhere. Higher, because strangers can use it up
            and lock the owner of the name out.
        recovery_seconds: an empty allowance is whole again after this long, evenly.
    """

    per_address: int = 10
    per_name: int = 50
    recovery_seconds: float = 300.0


class LoginThrottle:
    """Counts attempts before they are checked, so that parallel ones cannot slip by; success gives back.

    Times are seconds of any clock that does not go backwards, given by the caller.
    """

    def __init__(self, limits: ThrottleLimits | None = None, *, max_tracked: int = MAX_TRACKED) -> None:
        self._limits = limits or ThrottleLimits()
        self._max_tracked = max_tracked
        self._levels: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def admit(self, name: str, ip: str, now: float) -> float:
        """Take one attempt from the allowances.

        Returns:
            0.0 if the attempt may go on, else the seconds after which one may; then nothing was taken.
        """
        keys = self._keys(name, ip)
        levels = [(key, limit, self._level(key, limit, now)) for key, limit in keys]
        wait = max((level + 1 - limit) * self._limits.recovery_seconds / limit for _, limit, level in levels)
        if wait > 0:
            return wait
        for key, _, level in levels:
            self._store(key, level + 1, now)
        return 0.0

    def succeeded(self, name: str, ip: str, now: float) -> None:
        """Give back the attempt that `admit` took."""
        for key, limit in self._keys(name, ip):
            level = self._level(key, limit, now) - 1
            if level > 0:
                self._store(key, level, now)
            else:
                self._levels.pop(key, None)

    def _keys(self, name: str, ip: str) -> tuple[tuple[tuple[str, str], int], ...]:
        return (
            (("name", name), self._limits.per_name),
            (("address", host_of(ip)), self._limits.per_address),
        )

    def _level(self, key: tuple[str, str], limit: int, now: float) -> float:
        level, then = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - then) * limit / self._limits.recovery_seconds)

    def _store(self, key: tuple[str, str], level: float, now: float) -> None:
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._max_tracked:
            self._levels.popitem(last=False)
