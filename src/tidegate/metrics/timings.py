# SPDX-License-Identifier: Apache-2.0
"""Times and failures of calls to the world outside: requests to storage services, hooks."""

from __future__ import annotations

from typing import Final

from tidegate.metrics.histogram import Histogram
from tidegate.metrics.labels import MAX_VALUES, OTHER

_OTHERS: Final = (OTHER, OTHER)


class Timings:
    """Calls by two labels, such as the kind of storage and the operation.

    Attributes:
        seconds: the time that calls took.
        failed: calls that failed.
    """

    __slots__ = ("failed", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], Histogram] = {}
        self.failed: dict[tuple[str, str], int] = {}

    def observe(self, first: str, second: str, seconds: float, ok: bool) -> None:
        """Count one call."""
        key = first, second
        found = self.seconds.get(key)
        if found is None:
            if len(self.seconds) >= MAX_VALUES:
                key = _OTHERS
            found = self.seconds.setdefault(key, Histogram())
        found.observe(seconds)
        if not ok:
            self.failed[key] = self.failed.get(key, 0) + 1

    def count(self, first: str, second: str) -> int:
        """Calls so far."""
        found = self.seconds.get((first, second))
        return sum(found.counts) if found is not None else 0
