# SPDX-License-Identifier: Apache-2.0
"""The accounting side of one upload: what it has charged, and how that is settled when it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from tidegate.abc import Backend, FileHandle, Key, Outcome
from tidegate.errors import Conflict, NotFound, QuotaExceeded, StorageFailed, TidegateError
from tidegate.model import Attrs
from tidegate.policy.quota import ChargeSet, require
from tidegate.vfs.mounts import ResolvedPath
from tidegate.vfs.usage.live import AccountUsage
from tidegate.vfs.usage.reservations import PathState, PathTable, Reservation
from tidegate.vfs.usage.tracker import UsageTracker


class UploadOwner(Protocol):
    """The session, as its uploads use it.

    Attributes:
        places: what open uploads have charged, by path.
        tracker: live usage of the process.
        usage: live usage of the account.
        own: the session's uploads that are not published yet, by place.
    """

    places: PathTable
    tracker: UsageTracker
    usage: AccountUsage
    own: dict[PathState, Upload]

    @property
    def resumable(self) -> bool:
        """True if an upload that breaks off is kept for resuming."""
        ...

    def changed(self) -> None:
        """Usage changed."""
        ...


class Upload:
    """One handle that writes.

    Life: constructed (holds the place), `opened`, written through `File`, `finish` once.

    Attributes:
        extent: what is charged; shared by in-place writers of the path.
        high: end of what this handle wrote or found.
        new: a file was charged for it.
        inplace: bytes are visible as they are written.
        handle: what publishes an upload that is not in place; its other handles share the content.
        sharers: handles of the session that write it.
        forsaken: its name was removed or replaced; it will not be published.
        exact: sizes are known without asking.
        took: an unfinished upload is continued or begun anew; nobody else sees it meanwhile.
        names: hard links of a file that is written in place. Each name counts, so growth is charged for all
            of them; what shrinks is given back once, because some may have gone or are not charged here.
        unsure: the size of a file of several names changed, or storage cannot say what becomes of the upload:
            the end leaves a doubt.
        condemned: refused after it was written in place: nothing of it may stay, under no name.
    """

    __slots__ = (
        "_context",
        "_failed",
        "_mount",
        "_outcome",
        "_place",
        "condemned",
        "exact",
        "extent",
        "forsaken",
        "handle",
        "high",
        "inplace",
        "names",
        "new",
        "sharers",
        "took",
        "unsure",
    )

    handle: FileHandle

    def __init__(self, context: UploadOwner, resolved: ResolvedPath, *, inplace: bool) -> None:
        self._context = context
        self._mount = resolved.mount
        self._failed: TidegateError | None = None
        self.inplace = inplace
        place: PathState = context.places.hold(resolved.backend, resolved.key)
        self._place = place
        self.extent = Reservation(place, 0)
        self.high = 0
        self.names = 1
        self.new = False
        self.sharers = 1
        self.forsaken = False
        self.exact = True
        self._outcome = Outcome.COMMIT
        self.took = False
        self.unsure = False
        self.condemned = False

    @property
    def meter(self) -> ChargeSet:
        """The counters that are charged."""
        return self._mount.meter

    @property
    def place(self) -> PathState:
        """The path that is written, wherever it was renamed to."""
        return self.extent.place if self.inplace else self._place

    @property
    def shared(self) -> bool:
        """True if several handles write the content."""
        return self.sharers > 1 or self.extent.writers > 1

    @property
    def reserved(self) -> int:
        """Bytes charged that a listing does not show; several uploads may share the `extent` they are in."""
        extent = self.extent
        if self.inplace:
            return extent.charged if extent.gone else 0
        return extent.charged if self.took else extent.charged - extent.floor

    @property
    def reserved_files(self) -> int:
        """Files charged that a listing does not show."""
        return 1 if not self.inplace and (self.new or self.took) else 0

    @property
    def moving(self) -> bool:
        """See `reservations.Reserving`."""
        extent = self.extent
        return self.inplace and bool(extent.writing or extent.resizing or extent.suspect)

    def charge_new(self) -> None:
        """The file does not exist: charge one.

        Raises:
            QuotaExceeded: no file fits any more.
        """
        self._mount.meter.charge(0, 1)
        self.new = True

    def created(self) -> None:
        """A handle is open in place on a file that did not exist, at a place that nobody else holds.

        Charges one file. `ChargeSet.may_upload` was asked, and nobody can have come between.
        """
        self._mount.meter.credit(0, 1)
        self.new = True
        place, extent = self._place, self.extent
        place.known = True
        place.extent = extent
        extent.writers = 1
        self._context.usage.uploads.add(self)

    def opened(self, existed_size: int | None, *, truncate: bool, took: bool = False) -> None:
        """The handle is open: take over what is charged already.

        Args:
            existed_size: as in `FileHandle`.
            truncate: it starts empty.
            took: what existed is an unfinished upload.

        Raises:
            QuotaExceeded: the file was removed meanwhile, and a new one does not fit.
        """
        meter, place = self._mount.meter, self._place
        visible = self.place.learn(existed_size)
        if visible is not None and self.new:  # somebody created it since we looked
            meter.credit(0, -1)
            self.new = False
        elif visible is None and not self.new:  # somebody removed it since we looked
            self.charge_new()
        paid = visible or 0
        self.high = 0 if truncate else existed_size or 0
        if self.inplace:
            shared = self.place.extent
            if shared is None:
                shared = self.place.extent = Reservation(self._place, paid)
            if shared.writers and (truncate or shared.resizing or shared.writing):
                shared.suspect = True  # what others have under way happens before or after
            if truncate and shared.charged and not shared.suspect:
                self.unsure = self.names > 1
                meter.credit(-shared.charged, 0)
                shared.charged = 0
                place.end_loan()
            shared.writers += 1
            self.extent = shared
        elif place.borrower is None:
            # What the visible file pays for; of a partial that is taken up, that itself.
            self.extent = Reservation(place, paid, paid)
            self.took = took and visible is not None
            if paid:
                place.borrower = self
        else:
            self.extent = Reservation(place, 0)
        self._context.usage.uploads.add(self)

    def staged(self, handle: FileHandle) -> None:
        """The handle is open and its bytes lie beside the target until they are published."""
        self.handle = handle
        self._context.own.setdefault(self._place, self)

    def renamed(self, place: PathState) -> None:
        """It will be published elsewhere; the caller holds both places and `handle` is told."""
        context, old = self._context, self._place
        self.leave()
        self._place = context.places.hold(*place.at)
        if context.own.pop(old, None) is self:
            context.own[self._place] = self
        context.places.let_go(old)

    def require_size(self, size: int) -> None:
        """See `ChargeSet.require_size`."""
        self._mount.meter.require_size(size)

    def resize(self, size: int) -> None:
        """The handle's file is about to get another size: charge what it grows.

        Raises:
            QuotaExceeded: it does not fit.
        """
        extent, meter = self.extent, self._mount.meter
        grows = size + extent.loose - extent.charged
        if grows > 0:
            self.unsure = self.unsure or self.names > 1
            require(meter.grow_limits, grows * self.names)
            meter.credit(grows * self.names, 0)
            extent.charged += grows

    async def set_size(self, handle: FileHandle, size: int) -> None:
        """Have storage do what `resize` charged, and give back what the file shrinks.

        That is not given back before it is free: others would have the room at once.

        Raises:
            TidegateError: it did not, or that is not known.
        """
        extent = self.extent
        if extent.writing or extent.resizing or self.shared:
            self.inexact()  # which of them storage does last decides the size
        extent.resizing += 1
        try:
            await handle.set_attrs(Attrs(size=size))
        except BaseException:  # also if cancelled
            self.inexact()
            raise
        finally:
            extent.resizing -= 1
        self.high = size
        if self.exact and not extent.suspect:
            self._shrunk(max(extent.floor, size))
        else:
            self.inexact()

    def _shrunk(self, size: int) -> None:
        """Give back what was charged beyond `size`."""
        extent = self.extent
        if size < extent.charged:
            self.unsure = self.unsure or self.names > 1
            self._mount.meter.credit(size - extent.charged, 0)
            extent.charged = size
            if self.inplace:
                self.place.end_loan()

    def inexact(self) -> None:
        """Note that the charge may differ from the size: the end asks, and no scan is exact before."""
        self.exact = False
        if self.inplace:
            self.extent.suspect = True

    def stand_alone(self) -> None:
        """See `Borrower`. Never refused: the visible file that goes gave back more, or was replaced."""
        extent = self.extent
        if extent.charged > extent.floor:
            self._mount.meter.credit(extent.floor, 0)
        else:
            self._mount.meter.credit(self.high, 0)
            extent.charged = self.high
        extent.floor = 0
        if self.took:
            self.took = False
            self.new = False

    def leave(self) -> None:
        """It has nothing to do any more with what its name shows: charge it by itself.

        A finished file stays where it is, and stays charged; an unfinished upload that was taken goes along.
        """
        place, took = self._place, self.took
        if place.borrower is not self:
            return
        visible = place.visible or 0
        place.end_loan()
        if took:
            self._mount.meter.credit(-visible, 0)
            self.new = True
            place.visible = None

    def never_opened(self) -> None:
        """Opening failed: give everything back."""
        if self.new:
            self._mount.meter.credit(0, -1)
        self._context.places.let_go(self._place)

    def finish_nowait(self, close: Callable[[Outcome], bool]) -> bool:
        """`finish` an exact upload with COMMIT, if that needs no waiting; False means it is still to be done.

        Args:
            close: the handle's `ClosesAtOnce.close_nowait`. If it fails, `finish` settles that.
        """
        extent, place = self.extent, self.place
        if not self.inplace or extent.suspect or extent.gone or place.lock.locked():
            return False
        if self._failed is not None:  # the handle has ended
            return False
        try:
            if not close(Outcome.COMMIT):
                return False
        except TidegateError as error:
            self._failed = error
            return False
        extent.writers -= 1
        self._settled(place)
        self._end(place)
        return True

    def _settled(self, place: PathState) -> None:
        extent = self.extent
        if not extent.writers and place.extent is extent:
            place.extent = None
            place.known, place.visible = True, extent.charged

    def _end(self, place: PathState) -> None:
        if self._place.borrower is self:
            self._place.borrower = None
        self._context.usage.uploads.discard(self)
        if self.unsure:
            self._context.tracker.doubt(self._context.usage)
        self._context.places.let_go(place)
        self._context.changed()

    async def finish(self, handle: FileHandle, outcome: Outcome, *, exact: bool) -> None:
        """Close the handle and settle.

        Args:
            exact: every write went through, so that sizes are known without asking.

        Raises:
            QuotaExceeded: what is visible changed meanwhile and the upload does not fit any more.
            TidegateError: the handle could not be closed well; accounts are settled all the same.
        """
        failure: TidegateError | None = None
        while True:
            place = self.place
            await place.lock.acquire()
            if self.place is place:
                break
            place.lock.release()  # renamed while we waited
        try:
            if self.inplace:
                failure = await self._finish_inplace(handle, outcome, exact=exact)
            else:
                failure = await self._leave(handle, outcome, exact=exact)
        finally:
            place.lock.release()
            if self.inplace or not self.sharers:
                self._end(place)
        if failure is not None:
            raise failure

    async def _leave(self, handle: FileHandle, outcome: Outcome, *, exact: bool) -> TidegateError | None:
        """One handle ends; with the last one the upload does, as the worst of them ended."""
        failure: TidegateError | None = None
        self.sharers -= 1
        self.exact = self.exact and exact
        if handle is not self.handle:
            try:
                await handle.close(outcome)
            except TidegateError as error:
                outcome, failure = Outcome.KEEP, error
        lost = self._outcome is not Outcome.COMMIT
        if not lost or outcome is Outcome.DROP:
            self._outcome = outcome
        if lost and outcome is Outcome.COMMIT and not self.forsaken:
            failure = failure or Conflict("another handle of this upload has failed")
        if self.sharers:
            return failure
        if self._context.own.get(self._place) is self:
            del self._context.own[self._place]
        ended = await self._finish_private(
            self.handle, Outcome.DROP if self.forsaken else self._outcome, exact=self.exact
        )
        return failure or ended

    async def _finish_private(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool
    ) -> TidegateError | None:
        meter, extent, place = self._mount.meter, self.extent, self.place
        failure: TidegateError | None = None
        size = files = 0
        visible: int | None = None
        resumable = self._context.resumable
        if outcome is Outcome.COMMIT and not exact:
            try:
                self.high = (await handle.stat()).size
            except TidegateError as error:
                outcome, failure = Outcome.KEEP, error
        if outcome is Outcome.COMMIT:
            visible = place.learn(None)
            size = (self.high - place.freed(None)) - (extent.charged - extent.floor)
            files = (visible is None) - self.new
            try:
                meter.charge(max(0, size), max(0, files))  # what it gives back is free when it is published
            except QuotaExceeded as error:
                outcome, failure = Outcome.DROP, error
        if place.borrower is self:  # settled: who cuts down what is visible meanwhile need not tell us
            place.borrower = None
        try:
            await handle.close(outcome)
        except TidegateError as error:
            failure = failure or error
            if outcome is Outcome.COMMIT:
                meter.credit(-max(0, size), -max(0, files))
                outcome = Outcome.KEEP
                if resumable or isinstance(error, StorageFailed):
                    # It may be published all the same, or lie beside what hides it.
                    self._context.tracker.doubt(self._context.usage)
        if outcome is Outcome.COMMIT:
            meter.credit(min(0, size), min(0, files))
            place.becomes(self.high)
        elif resumable and place.extent is None and not self.forsaken:
            # An unfinished upload that is kept and shown counts like a file: otherwise breaking uploads off
            # would be a way around the quota. One that a finished file of that name hides does not.
            visible, kept = place.learn(None), await self._left(place.learn(None))
            size = (kept or 0) - (visible or 0) - (extent.charged - extent.floor)
            meter.credit(size, (kept is not None) - (visible is not None) - self.new)
            place.becomes(kept)
        else:
            meter.credit(extent.floor - extent.charged, -self.new)
        return failure

    async def _left(self, likely: int | None) -> int | None:
        """Size of what has the name now; `likely`, and a doubt, if storage cannot tell."""
        try:
            return await size_of(*self.place.at)
        except TidegateError:
            self._context.tracker.doubt(self._context.usage)
            return likely

    async def _finish_inplace(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool
    ) -> TidegateError | None:
        meter, extent, place = self._mount.meter, self.extent, self.place
        failure = self._failed
        if failure is None:
            try:
                if self.condemned:
                    await handle.set_attrs(Attrs(size=0))  # it may have other names by now
                await handle.close(outcome)
                if self.condemned and not extent.gone:
                    await _remove(*self.place.at)
            except TidegateError as error:
                failure = error
        if failure is not None or outcome is not Outcome.COMMIT or not exact:
            extent.suspect = True
        extent.writers -= 1
        if extent.gone:
            if not extent.writers:
                meter.credit(-extent.charged, 0)
            return failure
        if extent.suspect:
            actual = await self._left(extent.charged)
            self.unsure = self.unsure or (self.names > 1 and actual != extent.charged)
            # What others have under way may still land, in a file without a name too: so long it stays paid.
            size = max(actual or 0, extent.charged if extent.writers else 0)
            meter.credit(size - extent.charged, -1 if actual is None else 0)
            if size < extent.charged:
                place.end_loan()
            extent.charged = size
            extent.suspect = extent.writers > 0
            if actual is None:
                place.becomes(None)
        self._settled(place)
        return failure


async def _remove(backend: Backend, key: Key) -> None:
    """Remove a file, if it is there: the backend dropped what has the name that it was opened by."""
    with contextlib.suppress(NotFound):
        await backend.remove(key)


async def size_of(backend: Backend, key: Key) -> int | None:
    """Size of the regular file at `key`, links not followed; None if there is none."""
    try:
        entry = await backend.stat(key, follow=False)
    except NotFound:
        return None
    return entry.size if entry.is_file else None
