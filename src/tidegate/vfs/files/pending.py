# SPDX-License-Identifier: Apache-2.0
"""Uploads that have their name while somebody decides who wants to see them there; docs/adr/0090.

What had the name before is set aside, hidden (`tidegate.abc.SetsAside`). A refusal puts it back; so does the
start after a crash. Uploads of one path are decided one after the other: what one of them sets aside is never
a file that is refused later.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from tidegate.abc import Backend, Key, SetsAside
from tidegate.errors import AlreadyExists, Conflict, NotFound, TidegateError
from tidegate.model import Attrs
from tidegate.vfs.usage.reservations import PathState, PathTable, Reservation

log = logging.getLogger(__name__)


class SettingAside(Backend, SetsAside, Protocol):
    """Storage with both contracts."""


class Taking(Protocol):
    """An upload, as it is decided about."""

    @property
    def state(self) -> PathState:
        """The path that it has; a rename leads it elsewhere."""
        ...


class Pending:
    """A place in the line of uploads of one path that wait for a verdict; made by `pending`.

    Life: `keep_old` and `appeared` while the upload is published, with its path locked; `accept` or `refuse`
    with the paths locked; `close` in any case.

    Attributes:
        place: the path; held until `close`, so that a file can be put back there.
        old: bytes that were charged for what had the name; None for none.
        published: the upload has its name.
        unsure: what is charged may differ from what is there.
    """

    __slots__ = ("_hidden", "_known", "_paths", "_storage", "old", "place", "published", "unsure")

    def __init__(self, paths: PathTable, place: PathState, storage: SettingAside) -> None:
        self._paths = paths
        self._storage = storage
        self._hidden = ""
        self._known = False
        self.place = place
        self.old: int | None = None
        self.published = False
        self.unsure = False

    def _at(self) -> tuple[Key, Key]:
        """The hidden key and the key of the place, wherever its directory is by now."""
        key = self.place.at[1]
        folder, slash, _ = key.rpartition("/")
        return f"{folder}{slash}{self._hidden}", key

    async def keep_old(self) -> None:
        """Set aside what has the name, unless it is an upload that is not decided: that does not come back.

        Raises:
            Conflict: somebody changes it in place.
            TidegateError: it cannot be kept; nothing happened.
        """
        writing = self.place.reservation
        if writing is not None:
            if writing.born:
                return
            raise Conflict("file is being written")
        hidden = await self._storage.set_aside(self.place.at[1])
        self._hidden = "" if hidden is None else hidden.rpartition("/")[2]

    async def appeared(self, old: int | None) -> None:
        """The upload has the name; `old` is what was charged for the file before it."""
        self.old, self.published = old, True
        self.unsure = self.unsure or (self._hidden != "") != (old is not None)
        with suppress(TidegateError):  # `refuse` tries again
            await self._see_successor()

    async def failed(self, error: TidegateError) -> None:
        """It is not known if the upload has the name: give that to the old file, which has it most likely.

        If somebody else was faster, it has not, and what has the name is theirs.
        """
        if isinstance(error, AlreadyExists | Conflict):
            await self.accept()
        elif self._hidden:
            try:
                await self._see_successor()
                await self._storage.put_back(*self._at())
            except TidegateError as problem:
                log.warning("%s: %s", self._storage.location(self.place.at[1]), problem)

    async def accept(self) -> None:
        """Remove what was set aside."""
        if self._hidden:
            await self._storage.drop_aside(self._at()[0])

    async def refuse(self, now: PathState, reservation: Reservation) -> bool:
        """Remove the upload, which is at `now`, and put back what was there before.

        Who has removed or replaced the upload meanwhile has removed or replaced a file that is gone, too.

        Returns:
            whether something was put back.

        Raises:
            TidegateError: the old file is not at its name; the next start puts it back.
        """
        if reservation.gone:
            await self.accept()
            return False
        await self._empty_other_names(now.at[1])
        if now is not self.place or not self._hidden:
            with suppress(NotFound):
                await self._storage.remove(now.at[1])
        if not self._hidden:
            return False
        try:
            if not self._known and now is self.place:
                await self._see_successor()
            back = await self._storage.put_back(*self._at())
        except TidegateError:
            if now is self.place:
                with suppress(TidegateError):  # nobody is to see what was refused
                    await self._storage.remove(now.at[1])
            raise
        self.unsure = self.unsure or not back
        return back

    async def _see_successor(self) -> None:
        if self._hidden:
            await self._storage.replaced(*self._at())
            self._known = True

    async def _empty_other_names(self, key: Key) -> None:
        """Leave nothing of a refused file, under no name."""
        with suppress(NotFound):
            entry = await self._storage.stat(key, follow=False)
            if entry.is_file and entry.nlink > 1:
                await self._storage.set_attrs(key, Attrs(size=0), follow=False)

    def close(self) -> None:
        """Let the next upload of the path come."""
        assert self.place.turn is not None
        self.place.turn.release()
        self._paths.let_go(self.place)


async def pending(paths: PathTable, upload: Taking, storage: SettingAside) -> Pending:
    """Wait until no other upload of the same path waits for a verdict."""
    while True:
        place = upload.state
        paths.hold(*place.at)
        if place.turn is None:
            place.turn = asyncio.Lock()
        try:
            await place.turn.acquire()
        except BaseException:
            paths.let_go(place)
            raise
        if upload.state is place:
            return Pending(paths, place, storage)
        place.turn.release()  # the session has renamed it meanwhile
        paths.let_go(place)
