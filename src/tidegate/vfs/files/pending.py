# SPDX-License-Identifier: Apache-2.0
"""Uploads that have their name while somebody decides who wants to see them there; docs/adr/0090.

What had the name before is set aside, hidden (`tidegate.abc.SetsAside`). A refusal puts it back; so does the
start after a crash. Uploads of one path are decided one after the other, those that are written in place too:
what one of them sets aside is never a file that is refused later.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from tidegate.abc import Backend, FileHandle, Key, SetsAside
from tidegate.errors import AlreadyExists, Conflict, NotFound, TidegateError
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

    __slots__ = (
        *("_hidden", "_known", "_old", "_paths", "_replaced", "_storage"),
        *("old", "place", "published", "unsure"),
    )

    def __init__(self, paths: PathTable, place: PathState, storage: SettingAside) -> None:
        self._paths = paths
        self._storage = storage
        self._hidden = ""
        self._known = self._old = False
        self._replaced: Reservation | None = None
        self.place = place
        self.old: int | None = None
        self.published = False
        self.unsure = False

    def _at(self) -> tuple[Key, Key]:
        """The hidden key and the key of the place, wherever its directory is by now."""
        key = self.place.at[1]
        folder, slash, _ = key.rpartition("/")
        return f"{folder}{slash}{self._hidden}", key

    async def keep_old(self, upload: FileHandle) -> None:
        """Set aside what has the name, unless it is an upload that is not decided: that does not come back.

        Args:
            upload: the storage's handle that is about to be published.

        Raises:
            Conflict: somebody changes it in place, or another root leads to it, and it waits for a verdict.
            TidegateError: it cannot be kept; nothing happened.
        """
        writing = self._replaced = self.place.reservation
        if writing is not None and not writing.born:
            raise Conflict("file is being written")
        hidden, self._old = await self._storage.set_aside(self.place.at[1], upload, keep=writing is None)
        self._hidden = hidden.rpartition("/")[2]

    async def appeared(self, old: int | None) -> None:
        """The upload has the name; `old` is what was charged for the file before it."""
        self.old, self.published = old, True
        self.unsure = self.unsure or self._old != (old is not None)
        with suppress(TidegateError):  # `refuse` tries again
            await self._see_successor()

    async def failed(self, error: TidegateError) -> None:
        """It is not known if the upload has the name: have that as it was, which it is most likely.

        If somebody else was faster, it has not, and what has the name is theirs.
        """
        if isinstance(error, AlreadyExists | Conflict):
            await self.accept()
        elif self._hidden:
            with suppress(TidegateError):  # nothing may be there
                await self._see_successor()
            await self._undo()

    async def _undo(self) -> None:
        try:
            await self._storage.put_back(*self._at())
        except TidegateError as problem:
            log.warning("%s: %s", self._storage.location(self.place.at[1]), problem)
        finally:
            self._hidden = ""

    async def accept(self) -> None:
        """Remove what was set aside."""
        if self._hidden:
            hidden, self._hidden = self._at()[0], ""
            await self._storage.drop_aside(hidden)

    async def refuse(self, now: PathState, reservation: Reservation) -> bool:
        """Remove the upload, which is at `now`, and put back what was there before.

        Who has removed or replaced the upload meanwhile has removed or replaced a file that is gone, too.
        What another server has published in its place stays.

        Returns:
            whether a file was put back.

        Raises:
            TidegateError: the old file is not at its name; the next start puts it back.
        """
        if reservation.gone:
            await self.accept()
            return False
        if self._replaced is not None:
            self._replaced.lost = True
        failure: TidegateError | None = None
        if now is not self.place:
            try:
                await self._storage.withdraw(self._at()[0], now.at[1])
            except TidegateError as error:
                failure = error
        back = await self._put_back(now)
        if failure is not None:
            raise failure
        return back

    async def _put_back(self, now: PathState) -> bool:
        if now is not self.place and not self._old:
            await self.accept()
            return False
        try:
            if not self._known and now is self.place:
                with suppress(NotFound):  # it has not the name any more
                    await self._see_successor()
            back = await self._storage.put_back(*self._at())
        except TidegateError:
            with suppress(TidegateError):  # nobody is to see what was refused
                await self._storage.withdraw(self._at()[0], now.at[1], last=True)
            raise
        finally:
            self._hidden = ""
        self.unsure = self.unsure or not back
        return back and self._old

    async def _see_successor(self) -> None:
        await self._storage.replaced(*self._at())
        self._known = True

    async def close(self) -> None:
        """Let the next upload of the path come; what an error of the server itself cut off is undone."""
        try:
            if self._hidden:
                await self._undo()
        finally:
            end_turn(self._paths, self.place)


async def pending(paths: PathTable, upload: Taking, storage: SettingAside) -> Pending:
    """Wait until no other upload of the same path waits for a verdict."""
    return Pending(paths, await take_turn(paths, upload), storage)


async def take_turn(paths: PathTable, upload: Taking) -> PathState:
    """Wait until no other upload of the same path is decided; returns the path, for `end_turn`."""
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
            return place
        end_turn(paths, place)  # the session has renamed it meanwhile


def end_turn(paths: PathTable, place: PathState) -> None:
    """Let the next upload of a path be decided."""
    assert place.turn is not None
    place.turn.release()
    paths.let_go(place)
