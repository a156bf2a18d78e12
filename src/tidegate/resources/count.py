# SPDX-License-Identifier: Apache-2.0
"""Units of one resource in use: in the process, and for each account or source."""

from __future__ import annotations

from typing import Final

from tidegate.resources.notices import Notices

RELIEF: Final = 0.9
"""A limit counts as no longer reached once use is down to this share of it."""


class Count:
    """How much of a resource is in use.

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

    def take(self, key: str) -> str:
        """Take one unit for `key`; the empty text, or the name of the limit that refused."""
        mine = self._each.get(key, 0)
        if self.most_each and mine >= self.most_each:
            self._reached.add(key)
            self._notices.reached(self.rule_each, key, f"{mine} {self.unit}, of {self.most_each} allowed")
            return self.rule_each
        if self.most and self.used >= self.most:
            self._reached.add("")
            self._notices.reached(self.rule, "", f"{self.used} {self.unit} of {self.most} allowed")
            return self.rule
        self._each[key] = mine + 1
        self.used += 1
        return ""

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
    """What one holder (a channel, a connection) takes of a `Count` for one key.

    Attributes:
        held: units taken and not given back.
    """

    __slots__ = ("_count", "_key", "held")

    def __init__(self, count: Count, key: str) -> None:
        self._count = count
        self._key = key
        self.held = 0

    def take(self) -> str:
        """As `Count.take`."""
        refused = self._count.take(self._key)
        if not refused:
            self.held += 1
        return refused

    def give(self) -> None:
        """Give one unit back."""
        if self.held:
            self.held -= 1
            self._count.give(self._key)

    def give_all(self) -> None:
        """Give everything back; harmless when nothing is held."""
        if self.held:
            held, self.held = self.held, 0
            self._count.give(self._key, held)
