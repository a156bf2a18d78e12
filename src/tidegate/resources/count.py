# SPDX-License-Identifier: Apache-2.0
"""Units of one resource in use: in the process, and for each account or source."""

from __future__ import annotations

from typing import Final

from tidegate.resources.notices import Notices

RELIEF: Final = 0.9
"""A limit counts as no longer reached once use is down to this share of it."""


class Count:
    """The amount of a resource in use.

    Args:
        rule: name of the limit of the process.
        rule_each: name of the limit by key.
        unit: plural word for log lines, for instance ``open handles``.
        most: limit of the process; 0 is none.
        most_each: limit of one key; 0 is none.

    Attributes:
        used: units in use in the process.
    """

    __slots__ = ("_each", "_notices", "_reached", "most", "most_each", "rule", "rule_each", "unit", "used")

    def __init__(
        self, notices: Notices, *, rule: str, rule_each: str, unit: str, most: int, most_each: int
    ) -> None:
        self._notices = notices
        self.rule = rule
        self.rule_each = rule_each
        self.unit = unit
        self.most = most
        self.most_each = most_each
        self.used = 0
        self._each: dict[str, int] = {}
        self._reached: set[str] = set()

    def full(self, key: str) -> str:
        """The name of the limit that leaves no room for another unit of `key`, which is logged; or empty."""
        mine = self._each.get(key, 0)
        if self.most_each and mine >= self.most_each:
            self._reached.add(key)
            self._notices.reached(self.rule_each, key, f"{mine} {self.unit}, {self.most_each} are allowed")
            return self.rule_each
        if self.most and self.used >= self.most:
            self._reached.add("")
            self._notices.reached(self.rule, "", f"{self.used} {self.unit}, {self.most} are allowed")
            return self.rule
        return ""

    def take(self, key: str, amount: int = 1) -> None:
        """Count units of `key` in, room or not."""
        self._each[key] = self._each.get(key, 0) + amount
        self.used += amount

    def give(self, key: str, amount: int = 1) -> None:
        """Give units of `key` back."""
        self.used -= amount
        left = self._each[key] - amount
        if left > 0:
            self._each[key] = left
        else:
            del self._each[key]
        if self._reached:
            self._relieve(key, max(left, 0))

    def _relieve(self, key: str, mine: int) -> None:
        if key in self._reached and mine <= self.most_each * RELIEF:
            self._reached.discard(key)
            self._notices.over(self.rule_each, key)
        if "" in self._reached and self.used <= self.most * RELIEF:
            self._reached.discard("")
            self._notices.over(self.rule, "")

    def of(self, key: str) -> int:
        """Units that `key` holds."""
        return self._each.get(key, 0)


class Share:
    """The part of a `Count` that one holder (a channel) has for one key.

    Attributes:
        held: units that are counted now.
    """

    __slots__ = ("_count", "_key", "held")

    def __init__(self, count: Count, key: str) -> None:
        self._count = count
        self._key = key
        self.held = 0

    def full(self) -> str:
        """As `Count.full`."""
        return self._count.full(self._key)

    def set(self, held: int) -> None:
        """The holder has so many units now."""
        more = held - self.held
        if more:
            self.held = held
            if more > 0:
                self._count.take(self._key, more)
            else:
                self._count.give(self._key, -more)
