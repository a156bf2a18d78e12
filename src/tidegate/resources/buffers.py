# SPDX-License-Identifier: Apache-2.0
"""Bytes that connections make the server hold: bounded for each where they are held, and here in sum.

The sum is taken a few times a second, not at each packet: what one connection can add meanwhile is bounded
by its own limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from tidegate.resources.notices import Notices

RULE: Final = "limits.buffer_memory"

LOOK_SECONDS: Final = 0.25
"""Seconds between two sums."""

RELIEF: Final = 0.8
"""Share of the limit that is aimed at once it was reached."""

PATIENCE_SECONDS: Final = 60.0
"""A connection that has had to wait this long while the sum stayed above the limit is ended."""


class Holder(Protocol):
    """A connection that holds bytes."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes of its input and output that wait."""
        ...

    def hold(self, stop: bool) -> None:
        """Read nothing more from the peer, or go on."""
        ...

    def end(self, by: str) -> None:
        """End the connection."""
        ...


class Buffers:
    """The holders of one process.

    Args:
        limit: bytes; 0 is no limit.
        clock: seconds, monotonic.

    Attributes:
        total: bytes at the last look.
    """

    def __init__(self, notices: Notices, *, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.total = 0
        self._notices = notices
        self._clock = clock
        self._holders: dict[Holder, None] = {}
        self._held: dict[Holder, float] = {}

    def add(self, holder: Holder) -> None:
        """A connection begins."""
        self._holders[holder] = None

    def remove(self, holder: Holder) -> None:
        """A connection has ended; unknown is no error."""
        self._holders.pop(holder, None)
        self._held.pop(holder, None)

    def look(self) -> None:
        """Take the sum; above the limit the largest holders have to wait until it is well below."""
        if not self.limit:
            return
        sizes = {holder: holder.buffered_bytes for holder in self._holders}
        self.total = sum(sizes.values())
        if self.total <= self.limit:
            if self._held and self.total <= self.limit * RELIEF:
                self._release()
            return
        self._notices.reached(RULE, "", f"{self.total} bytes are buffered, {self.limit} are allowed")
        now, free = self._clock(), self.total - sum(sizes[holder] for holder in self._held)
        for holder in sorted(sizes, key=lambda holder: sizes[holder], reverse=True):
            if free <= self.limit * RELIEF:
                break
            if holder not in self._held:
                self._held[holder] = now
                holder.hold(True)
                free -= sizes[holder]
        stuck = [holder for holder, since in self._held.items() if now - since >= PATIENCE_SECONDS]
        if stuck:  # one at a time: the largest may be all that is needed
            max(stuck, key=lambda holder: sizes[holder]).end(RULE)

    def _release(self) -> None:
        held, self._held = self._held, {}
        for holder in held:
            holder.hold(False)
        self._notices.over(RULE, "")
