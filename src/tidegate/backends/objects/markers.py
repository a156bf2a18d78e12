# SPDX-License-Identifier: Apache-2.0
"""The markers by which a service hands out a list page by page."""

from __future__ import annotations

from tidegate.errors import StorageFailed


class Markers:
    """The markers of one list, each of which has to lead on.

    One that comes again would give the same pages for ever, and to end there would tell a part for the whole.
    Memory is bounded: beside the last one, the one of a number that doubles is remembered, so that a circle
    of any length is noticed (R. P. Brent, 1980).

    Args:
        operation: for the error.
    """

    __slots__ = ("_count", "_kept", "_last", "_operation", "_turn")

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._last = self._kept = ""
        self._count = 0
        self._turn = 1

    def next(self, marker: str, *, more: bool) -> str:
        """The marker to go on with; empty at the end.

        Args:
            marker: as the service says; may be empty.
            more: the service says that the list goes on.

        Raises:
            StorageFailed: it goes on without a marker, or with one that was there already.
        """
        if not more:
            return ""
        if not marker:
            raise StorageFailed(detail=f"{self._operation}: the list goes on, and no marker says where")
        if marker in {self._last, self._kept}:
            raise StorageFailed(detail=f"{self._operation}: the marker of the next page was there already")
        self._last = marker
        self._count += 1
        if self._count == self._turn:
            self._kept, self._turn = marker, 2 * self._turn
        return marker
