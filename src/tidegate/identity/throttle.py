# SPDX-License-Identifier: Apache-2.0
"""Bounds guesses at any door: leaking buckets for names and addresses. Pure state, no clock.

Two rules share this place. Administrators and API keys: every attempt counts before it is checked; success
gives it back. Few people log in there, and they can wait. Users: only wrong guesses count, for a user from an
address and for the address, since many programs of one partner may come from one address at the same moment;
how many guesses are checked at once is bounded by `identity.hashing`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tidegate.model.sources import Sources

MAX_TRACKED: Final = 20_000
"""Names and addresses with recent attempts; the longest untouched is forgotten first."""


OF_THE_SERVER: Final = frozenset(("busy", "shutdown", "provider_unavailable"))
"""Reasons of refusals that say nothing about the credential."""


@dataclass(frozen=True, slots=True)
class LoginDelays:
    """Seconds that answers to logins wait, whoever asks.

    Attributes:
        success: of logins that are complete.
        failed: of passwords and codes that are refused.
    """

    success: float = 0.0
    failed: float = 0.0


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """Limits on guessing.

    Attributes:
        per_address: attempts in a burst from one source.
        per_name: attempts in a burst on one name from anywhere. Higher, because strangers can use it up
            and lock the owner of the name out.
        recovery_seconds: an empty allowance is whole again after this long, evenly.
    """

    per_address: int = 10
    per_name: int = 50
    recovery_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """The number of wrong guesses at users that is allowed; 0 is no limit.

    Attributes:
        per_user: wrong guesses in a burst at one user from one address.
        per_address: wrong guesses in a burst from one source.
        recovery_seconds: an empty allowance is whole again after this long, evenly.
    """

    per_user: int = 100
    per_address: int = 1000
    recovery_seconds: float = 300.0


CODES: Final = 5
"""Wrong one-time and recovery codes in a burst for one name, from wherever they come. Whoever may try one
knows the password; three of a million codes are right at any time."""
CODES_SECONDS: Final = 900.0
"""An empty allowance of `CODES` is whole again after this long, evenly: 480 tries a day."""


OFFERS: Final = 60
"""Challenges in a burst that one address gets for passkeys that browsers offer by themselves, one for each
look at the sign-in page. They are no attempts, since nobody may ever answer them; an answer is one."""


class _Levels:
    """Buckets that leak; the longest untouched is forgotten first."""

    def __init__(self, recovery_seconds: float, max_tracked: int) -> None:
        self._recovery_seconds = recovery_seconds
        self._max_tracked = max_tracked
        self._levels: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def wait(self, key: tuple[str, str], limit: int, now: float) -> float:
        """Seconds until one more fits, zero or less if it does now."""
        return (self._level(key, limit, now) + 1 - limit) * self._recovery_seconds / limit

    def add(self, key: tuple[str, str], limit: int, amount: int, now: float) -> None:
        level = self._level(key, limit, now) + amount
        if level > 0:
            self._levels[key] = (level, now)
            self._levels.move_to_end(key)
            if len(self._levels) > self._max_tracked:
                self._levels.popitem(last=False)
        else:
            self._levels.pop(key, None)

    def _level(self, key: tuple[str, str], limit: int, now: float) -> float:
        level, then = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - then) * limit / self._recovery_seconds)


class LoginThrottle:
    """The one throttle of a server. Times are seconds of any clock that does not go backwards.

    Args:
        limits: for administrators and API keys.
        guesses: for users.
        max_tracked: names and addresses, of each of the two.

    Attributes:
        sources: the rule on what is one address here.
    """

    def __init__(
        self,
        limits: ThrottleLimits | None = None,
        *,
        guesses: GuessLimits | None = None,
        sources: Sources | None = None,
        max_tracked: int = MAX_TRACKED,
    ) -> None:
        self.sources = sources or Sources()
        self._limits = limits or ThrottleLimits()
        self._guesses = guesses or GuessLimits()
        self._attempted = _Levels(self._limits.recovery_seconds, max_tracked)
        self._wrong = _Levels(self._guesses.recovery_seconds, max_tracked)
        self._codes = _Levels(CODES_SECONDS, max_tracked)
        self._offers = _Levels(self._limits.recovery_seconds, max_tracked)

    def __len__(self) -> int:
        return len(self._attempted)

    # -- users -------------------------------------------------------------------------------------------

    def guess_refused(self, name: str, ip: str, now: float) -> str:
        """The limit that forbids to look at another guess now, empty if none does."""
        for rule, key, limit in self._guess_keys(name, ip):
            if self._wrong.wait(key, limit, now) > 0:
                return rule
        return ""

    def guessed_wrong(self, name: str, ip: str, now: float) -> None:
        """Count a wrong guess."""
        for _, key, limit in self._guess_keys(name, ip):
            self._wrong.add(key, limit, 1, now)

    def _guess_keys(self, name: str, ip: str) -> list[tuple[str, tuple[str, str], int]]:
        host = self.sources.of(ip)
        keys = [
            ("identity.guesses_per_user", (host, name), self._guesses.per_user),
            ("identity.guesses_per_address", (host, ""), self._guesses.per_address),
        ]
        return [one for one in keys if one[2] > 0]

    # -- second factors ------------------------------------------------------------------------------------

    def codes_refused(self, name: str, now: float) -> bool:
        """True if no code of a name is looked at now."""
        return self._codes.wait(("code", name), CODES, now) > 0

    def code_tried(self, name: str, now: float) -> None:
        """Count a code before it is looked at."""
        self._codes.add(("code", name), CODES, 1, now)

    def code_forgiven(self, name: str, now: float) -> None:
        """Give back what `code_tried` took: the code was right, or could not be looked at."""
        self._codes.add(("code", name), CODES, -1, now)

    # -- administrators and API keys -----------------------------------------------------------------------

    def admit(self, name: str, ip: str, now: float) -> float:
        """Take one attempt from the allowances.

        Returns:
            0.0 if the attempt may go on, else the seconds after which one may; then nothing was taken.
        """
        keys = self._keys(name, ip)
        wait = max(self._attempted.wait(key, limit, now) for key, limit in keys)
        if wait > 0:
            return wait
        for key, limit in keys:
            self._attempted.add(key, limit, 1, now)
        return 0.0

    def succeeded(self, name: str, ip: str, now: float) -> None:
        """Give back the attempt that `admit` took."""
        for key, limit in self._keys(name, ip):
            self._attempted.add(key, limit, -1, now)

    def offer(self, ip: str, now: float) -> bool:
        """Take one of `OFFERS`; False if they are used up, or if no attempt from the address would go on."""
        key, limit = ("address", self.sources.of(ip)), self._limits.per_address
        if self._attempted.wait(key, limit, now) > 0 or self._offers.wait(key, OFFERS, now) > 0:
            return False
        self._offers.add(key, OFFERS, 1, now)
        return True

    def _keys(self, name: str, ip: str) -> tuple[tuple[tuple[str, str], int], ...]:
        return (
            (("name", name), self._limits.per_name),
            (("address", self.sources.of(ip)), self._limits.per_address),
        )
