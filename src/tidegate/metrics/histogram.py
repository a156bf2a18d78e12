# SPDX-License-Identifier: Apache-2.0
"""Histograms in plain slots: an observation costs one search in a tuple and three assignments."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of times that somebody waits for."""
LAG_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds of delays of the event loop."""


Example = tuple[str, float, float]
"""One observation by which a figure can be followed to a connection: its id, the value, Unix seconds.

A tuple, because each event makes one: a frozen dataclass takes twenty times as long.
"""


class Histogram:
    """Counts of observations by size.

    Args:
        bounds: upper bounds of the buckets, growing; what is above the last is counted too.

    Attributes:
        counts: observations of each bucket alone, one more than there are bounds.
        total: sum of all values.
        examples: the last observation of each bucket that came with a connection.
    """

    __slots__ = ("bounds", "counts", "examples", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.examples: dict[int, Example] = {}

    def stand_for(self, value: float, number: int) -> None:
        """Count one observation for so many."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += number
        self.total += value * number

    def observe(self, value: float, connection_id: str = "", at: float = 0.0) -> None:
        """Count one observation.

        Args:
            value: of it; a negative one, of a clock that was set back, counts as 0.
            connection_id: of the connection that it was made on; empty for none.
            at: seconds since the epoch; 0 for now.
        """
        value = max(value, 0.0)
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if connection_id:
            self.examples[bucket] = connection_id, value, at or time.time()
