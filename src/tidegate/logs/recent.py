# SPDX-License-Identifier: Apache-2.0
"""The last lines of this process in memory: for those who watch, and where there is no file to read."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

RECENT_BYTES: Final = 4 * 1024 * 1024
"""bytes of lines that are kept; older ones go"""


class RecentLines:
    """A bounded stream of lines; a place in it is the number of bytes that came before.

    Filled by the writing thread, in the pieces in which it writes, so that who logs pays nothing for it.

    Args:
        limit: bytes that are kept.

    Attributes:
        always: lines are kept though nobody watches.
    """

    def __init__(self, limit: int = RECENT_BYTES) -> None:
        self.always = False
        self._limit = limit
        self._watchers = 0
        self._pieces: deque[bytes] = deque()
        self._begin = self._end = 0
        self._lock = threading.Lock()

    def watch(self) -> None:
        """Keep lines until `unwatch` was called as often."""
        with self._lock:
            self._watchers += 1

    def unwatch(self) -> None:
        """Somebody stopped watching; without any other what is kept is forgotten."""
        with self._lock:
            self._watchers -= 1
            if not self._watchers and not self.always:
                self._pieces.clear()
                self._begin = self._end

    def add(self, lines: bytes) -> None:
        """Take whole lines."""
        with self._lock:
            if not self._watchers and not self.always:
                return
            self._pieces.append(lines)
            self._end += len(lines)
            while self._end - self._begin > self._limit and len(self._pieces) > 1:
                self._begin += len(self._pieces.popleft())

    @property
    def end(self) -> int:
        """The place behind the last line."""
        return self._end

    def since(self, place: int) -> tuple[int, bytes]:
        """Lines from a place on.

        Returns:
            The place where they begin, which is a later one if older lines are gone, and the lines.
        """
        with self._lock:
            at, found = self._end, []
            for piece in reversed(self._pieces):
                if at <= place:
                    break
                at -= len(piece)
                found.append(piece)
        lines = b"".join(reversed(found))
        return (place, lines[place - at :]) if at < place else (at, lines)
