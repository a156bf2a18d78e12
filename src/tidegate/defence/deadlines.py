# SPDX-License-Identifier: Apache-2.0
"""Sources with an end each, of which the one that ends first is found without looking at all. Pure state."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

SLACK: Final = 64
"""Outdated entries of the heap, besides as many as there are sources, from which on it is made anew."""


class Deadlines:
    """A time for each source. Setting, dropping and finding the earliest take logarithmic time on average."""

    __slots__ = ("_heap", "_until")

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, source: str) -> bool:
        return source in self._until

    def __iter__(self) -> Iterator[str]:
        return iter(self._until)

    def get(self, source: str) -> float:
        """The time of a source; 0 if it has none."""
        return self._until.get(source, 0.0)

    def set(self, source: str, until: float) -> None:
        """Give a source a time, or another one."""
        self._until[source] = until
        heapq.heappush(self._heap, (until, source))
        if len(self._heap) > 2 * len(self._until) + SLACK:
            self._heap = [(when, one) for one, when in self._until.items()]
            heapq.heapify(self._heap)

    def drop(self, source: str) -> bool:
        """Forget a source; False if it had no time."""
        return self._until.pop(source, None) is not None

    def earliest(self) -> str | None:
        """The source whose time ends first, None if there is none."""
        heap = self._heap
        while heap and self._until.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][1] if heap else None

    def expire(self, now: float, most: int = 64) -> list[str]:
        """Forget sources whose time is over, so many at a time; returns them."""
        gone: list[str] = []
        while len(gone) < most and (first := self.earliest()) is not None and self._until[first] <= now:
            del self._until[first]
            gone.append(first)
        return gone

    def items(self) -> list[tuple[str, float]]:
        """Every source with its time."""
        return list(self._until.items())
