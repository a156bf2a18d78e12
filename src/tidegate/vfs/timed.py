# SPDX-License-Identifier: Apache-2.0
"""Sessions that time what has no event, for metrics: listings, and a share of `stat`.

A `stat` of a local file takes some 30 microseconds. Reading the clock twice and counting would be 2 %
of it, so one in `SHARE` is timed, chosen at random, and stands for so many.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from secrets import randbelow
from time import monotonic
from typing import Any, Final

from tidegate.errors import CallerError
from tidegate.model import Entry, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.session import Session
from tidegate.vfs.usage.tracker import FolderUsage

SHARE: Final = 64
"""One `stat` of so many is timed."""

OnTimed = Callable[[str, str, float, int], object]
"""Arguments: operation, kind of storage, seconds, and the number of calls that it stands for."""


_STAT: Final = Session.stat
"""Bound once: `super()` costs half as much as all that is added here."""


class TimedSessions:
    """Makes sessions of one server.

    Args:
        on_timed: called with each timed call that succeeded, or found that there is nothing.
    """

    __slots__ = ("left", "on_timed")

    def __init__(self, on_timed: OnTimed) -> None:
        self.on_timed = on_timed
        self.left = SHARE

    def session(self, context: Context, start_directory: VPath, folders: list[FolderUsage]) -> Session:
        """A session that is timed."""
        return TimedSession(context, start_directory, folders, self)


class TimedSession(Session):
    """A session whose listings and `stat` are timed; see `TimedSessions`."""

    __slots__ = ("_timing",)

    def __init__(
        self, context: Context, start_directory: VPath, folders: list[FolderUsage], timing: TimedSessions
    ) -> None:
        super().__init__(context, start_directory, folders)
        self._timing = timing

    def stat(self, path: VPath, *, follow: bool = True) -> Coroutine[Any, Any, Entry]:
        """As `Session.stat`."""
        timing = self._timing
        if timing.left:
            timing.left -= 1
            return _STAT(self, path, follow=follow)
        timing.left = randbelow(2 * SHARE - 1)
        return self._timed(_STAT(self, path, follow=follow), path)

    async def _timed(self, looking: Coroutine[Any, Any, Entry], path: VPath) -> Entry:
        began, answered = monotonic(), False
        try:
            entry = await looking
            answered = True
            return entry
        except CallerError:
            answered = True
            raise
        finally:
            if answered:
                self._tell("stat", path, monotonic() - began, SHARE)

    async def list(self, path: VPath) -> AsyncIterator[list[Entry]]:
        """As `Session.list`. The time of the client between batches is left out."""
        batches = super().list(path)
        took, began = 0.0, monotonic()
        try:
            async for batch in batches:
                took += monotonic() - began
                yield batch
                began = monotonic()
            self._tell("list", path, took + monotonic() - began, 1)
        except CallerError:
            self._tell("list", path, took + monotonic() - began, 1)
            raise
        finally:
            await batches.aclose()  # type: ignore[attr-defined]  # a generator

    def _tell(self, operation: str, path: VPath, seconds: float, weight: int) -> None:
        self._timing.on_timed(operation, self._context.table.kind_of(path), seconds, weight)
