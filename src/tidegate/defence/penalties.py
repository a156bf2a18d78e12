# SPDX-License-Identifier: Apache-2.0
"""Penalties of sources, with the meaning of OpenSSH's PerSourcePenalties. Pure state.

Each connection that ends without a login adds seconds to its source, by what it did. Once they reach a
minimum the source is refused until they have passed. A login that succeeds adds nothing and erases nothing:
it may have come by the same NAT.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, Literal

from tidegate.defence.deadlines import Deadlines
from tidegate.model.address_list import AddressList


class Offence(enum.StrEnum):
    """Ends of connections that cost a penalty, by their names in the configuration, mildest first."""

    NO_AUTH = "noauth"
    GRACE = "grace_exceeded"
    AUTH_FAIL = "authfail"
    INVALID_USER = "invaliduser"
    CRASH = "crash"


SEVERITY: Final = {offence: number for number, offence in enumerate(Offence)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PenaltyLimits:
    """Lengths and limits.

    Attributes:
        seconds: of each offence; 0 costs nothing.
        least: seconds that have to come together before a source is refused.
        most: seconds that a source is refused for at most, from the last offence on.
        sources4: IPv4 addresses that are kept.
        sources6: IPv6 networks that are kept.
        overflow: with as many kept, ``permissive`` forgets the one that ends first, ``deny-all`` refuses all
            others until one has ended.
        exempt: addresses that are never penalised.
    """

    seconds: dict[Offence, float]
    least: float = 15.0
    most: float = 600.0
    sources4: int = 65_536
    sources6: int = 65_536
    overflow: Literal["permissive", "deny-all"] = "permissive"
    exempt: AddressList = field(default_factory=lambda: AddressList(()))


@dataclass(frozen=True, slots=True)
class Penalty:
    """A source that is refused now.

    Attributes:
        source: address or network.
        seconds: that are left.
        offence: its last one.
    """

    source: str
    seconds: float
    offence: Offence


class _Table:
    """The sources of one version of IP."""

    __slots__ = ("ends", "enforced")

    def __init__(self) -> None:
        self.ends = Deadlines()
        self.enforced: dict[str, Offence] = {}

    def expire(self, now: float) -> None:
        for source in self.ends.expire(now):
            self.enforced.pop(source, None)

    def drop(self, source: str) -> bool:
        self.enforced.pop(source, None)
        return self.ends.drop(source)


class Penalties:
    """The penalties of one server. Times are seconds of any clock that does not go backwards."""

    def __init__(self, limits: PenaltyLimits) -> None:
        self.limits = limits
        self._four, self._six = _Table(), _Table()

    def __len__(self) -> int:
        return len(self._four.ends) + len(self._six.ends)

    def charge(self, source: str, offence: Offence, now: float) -> float:
        """Add the penalty of an offence.

        Returns:
            seconds for which the source is refused, if it is from this offence on; else 0.
        """
        limits, seconds = self.limits, self.limits.seconds.get(offence, 0.0)
        if seconds <= 0:
            return 0.0
        table, most = self._of(source)
        table.expire(now)
        if source not in table.ends and len(table.ends) >= most:
            first = table.ends.earliest()
            if first is None or limits.overflow == "deny-all":
                return 0.0
            table.drop(first)
        end = min(max(table.ends.get(source), now) + seconds, now + limits.most)
        table.ends.set(source, end)
        before = source in table.enforced
        if before or end - now >= limits.least:
            table.enforced[source] = offence
        return 0.0 if before or source not in table.enforced else end - now

    def remaining(self, source: str, now: float) -> Penalty | None:
        """The penalty that refuses a source now; None if none does."""
        table, most = self._of(source)
        offence = table.enforced.get(source)
        left = table.ends.get(source) - now
        if offence is not None and left > 0:
            return Penalty(source, left, offence)
        if self.limits.overflow == "deny-all" and len(table.ends) >= most and source not in table.ends:
            table.expire(now)
            first = table.ends.earliest()
            if first is not None and len(table.ends) >= most:
                return Penalty(
                    source, table.ends.get(first) - now, table.enforced.get(first, Offence.NO_AUTH)
                )
        return None

    def forgive(self, source: str) -> bool:
        """Forget the penalty of a source; False if there was none that counts."""
        enforced = source in self._of(source)[0].enforced
        return self._of(source)[0].drop(source) and enforced

    def active(self, now: float) -> list[Penalty]:
        """Sources that are refused now."""
        return [
            Penalty(source, left, offence)
            for table in (self._four, self._six)
            for source, offence in table.enforced.items()
            if (left := table.ends.get(source) - now) > 0
        ]

    def _of(self, source: str) -> tuple[_Table, int]:
        if ":" in source:
            return self._six, self.limits.sources6
        return self._four, self.limits.sources4
