# SPDX-License-Identifier: Apache-2.0
"""Sessions whose looks at storage are timed, where somebody counts: listings, and a share of `stat`.

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
"""Of so many `stat` one is timed."""

Looked = Callable[[str, str, float, int], object]
"""Told of a look: the operation, the kind of storage, seconds, and for how many it stands."""


_STAT: Final = Session.stat
"""Found at once: `super` takes half as long as all that is added here."""


class Watch:
    """Makes sessions of one server.

    Args:
        looked: told of looks that worked, or found that there is nothing.
    """

    __slots__ = ("left", "looked")

    def __init__(self, looked: Looked) -> None:
        self.looked = looked
        self.left = SHARE

    def session(self, context: Context, start_directory: VPath, folders: list[FolderUsage]) -> Session:
        """A session that is watched."""
        return WatchedSession(context, start_directory, folders, self)


class WatchedSession(Session):
    """A session whose looks are timed; see `Watch`."""

    __slots__ = ("_watch",)

    def __init__(
        self, context: Context, start_directory: VPath, folders: list[FolderUsage], watch: Watch
    ) -> None:
        super().__init__(context, start_directory, folders)
        self._watch = watch

    def stat(self, path: VPath, *, follow: bool = True) -> Coroutine[Any, Any, Entry]:
        """As `Session.stat`."""
        watch = self._watch
        if watch.left:
            watch.left -= 1
            return _STAT(self, path, follow=follow)
        watch.left = randbelow(2 * SHARE - 1)
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
        """As `Session.list`. Timed is the reading alone, not what the client takes in between."""
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
        self._watch.looked(operation, self._context.table.kind_of(path), seconds, weight)
