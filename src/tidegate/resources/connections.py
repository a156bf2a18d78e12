# SPDX-License-Identifier: Apache-2.0
"""Open connections of all doors together, and of each source."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tidegate.model.refusal import Refusal

TOTAL: Final = "common.max_total_connections"
PER_SOURCE: Final = "common.max_per_host_connections"


class Connections:
    """Counts connections of the doors that share the limits of `common`.

    Attributes:
        most: connections at a time; 0 is no limit.
        most_each: those of one source; 0 is no limit.
        used: those that are open.
    """

    __slots__ = ("_each", "most", "most_each", "used")

    def __init__(self) -> None:
        self.most = self.most_each = self.used = 0
        self._each: Counter[str] = Counter()

    def of(self, source: str) -> int:
        """Open connections of a source."""
        return self._each[source]

    def full(self, source: str, *, exempt: bool = False) -> Refusal | None:
        """The limit that leaves no room for another connection of a source; None if there is room.

        Args:
            source: see `model.sources`.
            exempt: the limit of one source does not hold.
        """
        mine = self._each[source]
        if self.most_each and mine >= self.most_each and not exempt:
            return Refusal(PER_SOURCE, f"{source} has {mine} connections, {self.most_each} are allowed")
        if self.most and self.used >= self.most:
            return Refusal(TOTAL, f"{self.used} connections are open, {self.most} are allowed")
        return None

    def take(self, source: str) -> None:
        """Count a connection in, room or not."""
        self.used += 1
        self._each[source] += 1

    def give(self, source: str) -> None:
        """Count one out."""
        self.used -= 1
        self._each[source] -= 1
        if not self._each[source]:
            del self._each[source]
