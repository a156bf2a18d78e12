# SPDX-License-Identifier: Apache-2.0
"""The accounting side of one upload: what it has charged, and how that is settled when it ends."""

from __future__ import annotations

from tidegate.abc import Backend, FileHandle, Key, Outcome, Publish
from tidegate.errors import NotFound, QuotaExceeded, TidegateError
from tidegate.vfs.context import Context
from tidegate.vfs.extents import Extent, Place
from tidegate.vfs.gauges import require
from tidegate.vfs.mounts import Spot


class Upload:
    """One handle that writes.

    Life: constructed (holds the place), `opened`, written through `File`, `finish` once.

    Attributes:
        extent: what is charged; shared by in-place writers of the path.
        high: end of what this handle wrote or found.
        new: a file was charged for it.
        inplace: bytes are visible as they are written.
    """

    __slots__ = (
        "_backend",
        "_context",
        "_existed",
        "_key",
        "_mount",
        "_version",
        "extent",
        "high",
        "inplace",
        "new",
        "place",
    )

    def __init__(self, context: Context, spot: Spot, *, inplace: bool) -> None:
        self._context = context
        self._mount, self._backend, self._key = spot
        self.inplace = inplace
        self.place: Place = context.places.hold(spot.backend, spot.key)
        self.extent = Extent(0)
        self.high = 0
        self.new = False
        self._existed = False
        self._version = self.place.version

    @property
    def reserved(self) -> int:
        """Bytes charged that a listing does not show yet."""
        return 0 if self.inplace else self.extent.charged - self.extent.floor

    @property
    def reserved_files(self) -> int:
        """Files charged that a listing does not show yet."""
        return 0 if self.inplace or not self.new else 1

    def charge_new(self) -> None:
        """The file does not exist: charge one.

        Raises:
            QuotaExceeded: no file fits any more.
        """
        self._mount.meter.charge(0, 1)
        self.new = True

    def opened(self, existed_size: int | None, *, truncate: bool) -> None:
        """The handle is open: take over what is charged already.

        Args:
            existed_size: as in `FileHandle`.
            truncate: it starts empty.

        Raises:
            QuotaExceeded: the file was removed meanwhile, and a new one does not fit.
        """
        meter = self._mount.meter
        self._existed = existed_size is not None
        if self._existed and self.new:  # somebody created it since we looked
            meter.credit(0, -1)
            self.new = False
        elif not self._existed and not self.new:  # somebody removed it since we looked
            self.charge_new()
        size = existed_size or 0
        self.high = 0 if truncate else size
        if self.inplace:
            shared = self.place.extent
            if shared is None:
                shared = self.place.extent = Extent(size if self._existed else 0)
            if truncate and shared.charged:
                meter.credit(-shared.charged, 0)
                shared.charged = 0
            shared.writers += 1
            self.extent = shared
        else:
            floor = size if self._existed else 0
            self.extent = Extent(floor, floor)
        self._context.book.uploads.add(self)

    def resize(self, size: int) -> None:
        """The handle's file is about to get another size.

        Raises:
            QuotaExceeded: it grows and does not fit.
        """
        extent, meter = self.extent, self._mount.meter
        charged = size if self.inplace else max(extent.floor, size)
        if charged > extent.charged:
            require(meter.grow_limits, charged - extent.charged)
        meter.credit(charged - extent.charged, 0)
        extent.charged = charged
        self.high = size

    def never_opened(self) -> None:
        """Opening failed: give everything back."""
        if self.new:
            self._mount.meter.credit(0, -1)
        self._context.places.let_go(self._backend, self._key)

    async def finish(self, handle: FileHandle, outcome: Outcome, *, exact: bool) -> None:
        """Close the handle and settle.

        Args:
            exact: every write went through, so that sizes are known without asking.

        Raises:
            QuotaExceeded: what is visible changed meanwhile and the upload does not fit any more.
            TidegateError: the handle could not be closed well; accounts are settled all the same.
        """
        places, backend, key = self._context.places, self._backend, self._key
        failure: TidegateError | None = None
        try:
            async with places.locked((backend, key)):
                if self.inplace:
                    failure = await self._finish_inplace(handle, outcome, exact=exact)
                else:
                    failure = await self._finish_private(handle, outcome, exact=exact)
        finally:
            self._context.book.uploads.discard(self)
            places.let_go(backend, key)
            self._context.changed()
        if failure is not None:
            raise failure

    async def _visible(self) -> int | None:
        """Size of the file that the path shows now, None for none."""
        shared = self.place.extent
        if shared is not None:
            return shared.charged
        if self.place.version == self._version:
            return self.extent.floor if self._existed else None
        return await size_of(self._backend, self._key)

    async def _finish_private(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool
    ) -> TidegateError | None:
        meter, extent, place = self._mount.meter, self.extent, self.place
        failure: TidegateError | None = None
        size = files = 0
        if outcome is Outcome.COMMIT:
            if not exact:
                self.high = (await handle.stat()).size
            visible = await self._visible()
            size = (self.high - (visible or 0)) - (extent.charged - extent.floor)
            files = (visible is None) - self.new
            try:
                meter.charge(size, files)
            except QuotaExceeded as error:
                outcome, failure = Outcome.DROP, error
        try:
            await handle.close(outcome)
        except TidegateError as error:
            failure = failure or error
            if outcome is Outcome.COMMIT:
                meter.credit(-size, -files)
                outcome = Outcome.KEEP
        if outcome is Outcome.COMMIT:
            place.version += 1
            place.abandon()
        elif self._keeps_partial(outcome):
            kept = await size_of(self._backend, self._key)
            meter.credit((kept or 0) - extent.charged, (kept is not None) - 1)
            place.version += 1
        else:
            meter.credit(extent.floor - extent.charged, -self.new)
        return failure

    def _keeps_partial(self, outcome: Outcome) -> bool:
        """Whether what arrived may now stand for the path (`Publish.RESUMABLE`).

        An unfinished upload that is kept counts in the quota like a file: otherwise breaking uploads off
        would be a way around it. One that no path shows, because a finished file is there, does not.
        """
        return (
            self._context.options.upload_mode is Publish.RESUMABLE
            and outcome is Outcome.KEEP
            and self.place.extent is None
            and self.place.version == self._version
        )

    async def _finish_inplace(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool
    ) -> TidegateError | None:
        meter, extent, place = self._mount.meter, self.extent, self.place
        failure: TidegateError | None = None
        try:
            await handle.close(outcome)
        except TidegateError as error:
            failure = error
        if failure is not None or outcome is not Outcome.COMMIT or not exact:
            extent.suspect = True
        extent.writers -= 1
        if extent.gone:
            if not extent.writers:
                meter.credit(extent.floor - extent.charged, 0)
            return failure
        if extent.suspect:
            actual = await size_of(self._backend, self._key)
            meter.credit((actual or 0) - extent.charged, -1 if actual is None else 0)
            extent.charged = actual or 0
            extent.suspect = False
            if actual is None:
                place.abandon()
        place.version += 1
        if not extent.writers and place.extent is extent:
            place.extent = None
        return failure


async def size_of(backend: Backend, key: Key) -> int | None:
    """Size of the regular file at `key`, None if there is none."""
    try:
        entry = await backend.stat(key)
    except NotFound:
        return None
    return entry.size if entry.is_file else None
