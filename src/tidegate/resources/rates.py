# SPDX-License-Identifier: Apache-2.0
"""Budgets of events over time: a full allowance at first, regained evenly."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tidegate.resources.notices import Notices

MAX_TRACKED: Final = 20_000
"""Keys with recent events; the longest untouched is forgotten first."""

WINDOW_SECONDS: Final = 60.0
"""An allowance that is used up is whole again after this time."""


class Budget:
    """The allowance of one holder.

    Args:
        amount: events in a burst, and in each `WINDOW_SECONDS`; 0 is no limit.
    """

    __slots__ = ("_amount", "_at", "_used")

    def __init__(self, amount: int) -> None:
        self._amount = amount
        self._used = 0.0
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take one event; False if nothing is left."""
        if not self._amount:
            return True
        self._used = max(0.0, self._used - (now - self._at) * self._amount / WINDOW_SECONDS)
        self._at = now
        if self._used + 1 > self._amount:
            return False
        self._used += 1
        return True

    def spent(self, now: float) -> bool:
        """True if `take` would refuse."""
        if not self._amount:
            return False
        used = max(0.0, self._used - (now - self._at) * self._amount / WINDOW_SECONDS)
        return used + 1 > self._amount


class Budgets:
    """One `Budget` for each key, and the log line when one is used up.

    Args:
        rule: name of the limit.
        unit: plural word for log lines.
        amount: of each budget.
    """

    def __init__(self, notices: Notices, *, rule: str, unit: str, amount: int) -> None:
        self.rule = rule
        self.unit = unit
        self.amount = amount
        self._notices = notices
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def __len__(self) -> int:
        return len(self._budgets)

    def take(self, key: str, now: float) -> bool:
        """Take one event of `key`; False if its budget is used up."""
        if not self.amount:
            return True
        budget = self._budgets.get(key)
        if budget is None:
            budget = self._budgets[key] = Budget(self.amount)
            if len(self._budgets) > MAX_TRACKED:
                forgotten, _ = self._budgets.popitem(last=False)
                self._notices.over(self.rule, forgotten)
        else:
            self._budgets.move_to_end(key)
        if budget.take(now):
            if self._notices.is_reached(self.rule, key):
                self._notices.over(self.rule, key)
            return True
        self._tell(key)
        return False

    def spent(self, key: str, now: float) -> bool:
        """True, and logged, if the budget of `key` is used up; takes nothing."""
        budget = self._budgets.get(key)
        if budget is None or not budget.spent(now):
            return False
        self._tell(key)
        return True

    def _tell(self, key: str) -> None:
        self._notices.reached(self.rule, key, f"more than {self.amount} {self.unit} a minute")
