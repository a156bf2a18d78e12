# SPDX-License-Identifier: Apache-2.0
"""What open uploads have charged, path by path, so that overlapping acts on one path add up exactly.

Two uploads may write one path, a third session may remove or rename it meanwhile. A `Place` exists for a
path while somebody writes it or changes it; it serialises publishing, removing and renaming there, and
knows how many bytes the books hold for the visible file.

* In-place writers of one path share an `Extent`: bytes are charged once, however many handles write them.
* An unpublished upload has an `Extent` of its own that starts at the size of the visible file: bytes up to
  there are paid for by the file that will go, only growth beyond is charged. When it is published the
  difference to what is visible *then* is settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.abc import Backend, Key


class Extent:
    """Bytes charged for content that is being written.

    Attributes:
        charged: content up to this size is paid for.
        floor: what was paid before this extent began (0 for a shared one: it owns what it charged).
        writers: handles that share it.
        gone: the path was removed or replaced under the writers; nothing of it is visible any more.
        suspect: something went wrong; what is charged has to be compared with the file.
    """

    __slots__ = ("charged", "floor", "gone", "suspect", "writers")

    def __init__(self, charged: int, floor: int = 0) -> None:
        self.charged = charged
        self.floor = floor
        self.writers = 0
        self.gone = False
        self.suspect = False


class Place:
    """One path of one backend while it is being changed.

    Attributes:
        extent: shared by in-place writers, None if there are none.
        version: grows whenever the visible file changes by other means than a shared extent.
    """

    __slots__ = ("extent", "lock", "users", "version")

    def __init__(self) -> None:
        self.extent: Extent | None = None
        self.lock = asyncio.Lock()
        self.users = 0
        self.version = 0

    def abandon(self) -> None:
        """The visible file went away or was replaced, and whoever did it has settled its size.

        In-place writers go on writing what nobody sees; they settle what they charge from now on.
        """
        if self.extent is not None:
            self.extent.gone = True
            self.extent.floor = self.extent.charged
            self.extent = None


class Places:
    """Every place in use, over all sessions of the process."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, Key], Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def hold(self, backend: Backend, key: Key) -> Place:
        """The place of a path, until `let_go`."""
        at = (id(backend), key)
        place = self._places.get(at)
        if place is None:
            place = self._places[at] = Place()
        place.users += 1
        return place

    def let_go(self, backend: Backend, key: Key) -> None:
        """End one `hold`."""
        at = (id(backend), key)
        place = self._places[at]
        place.users -= 1
        if not place.users:
            del self._places[at]

    @asynccontextmanager
    async def locked(self, *paths: tuple[Backend, Key]) -> AsyncIterator[list[Place]]:
        """Hold and lock some paths; always taken in one order, so two renames never wait for each other."""
        held = [(self.hold(backend, key), backend, key) for backend, key in paths]
        ordered = sorted({id(place): place for place, _, _ in held}.items())
        taken: list[Place] = []
        try:
            for _, place in ordered:
                await place.lock.acquire()
                taken.append(place)
            yield [place for place, _, _ in held]
        finally:
            for place in taken:
                place.lock.release()
            for _, backend, key in held:
                self.let_go(backend, key)
