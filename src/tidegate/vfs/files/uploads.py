# SPDX-License-Identifier: Apache-2.0
"""The accounting side of one upload: what it has charged, and how that is settled when it ends.

Long, because each way in which an upload can end settles what its beginning charged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tidegate.abc import Backend, FileHandle, Key, Outcome
from tidegate.errors import Conflict, NotFound, QuotaExceeded, StorageFailed, TidegateError
from tidegate.model import Attrs, Entry
from tidegate.policy.quota import ChargeSet, require
from tidegate.vfs.files.in_order import inner_of
from tidegate.vfs.mounts import ResolvedPath
from tidegate.vfs.usage.live import AccountUsage
from tidegate.vfs.usage.reservations import PathState, PathTable, Reservation
from tidegate.vfs.usage.tracker import UsageTracker

if TYPE_CHECKING:
    from tidegate.vfs.files.pending import Pending


class UploadOwner(Protocol):
    """The session, as its uploads use it.

    Attributes:
        paths: what open uploads have charged, by path.
        tracker: live usage of the process.
        usage: live usage of the account.
        own: the session's uploads that are not published yet, by path.
    """

    paths: PathTable
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

    Life: constructed (holds the path's state), `opened`, written through `File`, `finish` once.

    Attributes:
        reservation: what is charged; shared by in-place writers of the path.
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
        judging: handles whose end waits for inspectors, or for what follows from their answer; nobody changes
            the size by path meanwhile.
        basis: the file that the content was copied from, to be changed and replaced; None if there is none.
        condemned: refused after it was written in place: nothing of it may stay, under no name.
        held: bytes that stay charged for the larger file that was replaced, until there is a verdict.
        turn: the path whose turn it has until it ends, being written in place; see `pending.take_turn`.
    """

    __slots__ = (
        "_context",
        "_failed",
        "_mount",
        "_outcome",
        "_state",
        "basis",
        "condemned",
        "exact",
        "forsaken",
        "handle",
        "held",
        "high",
        "inplace",
        "judging",
        "names",
        "new",
        "reservation",
        "sharers",
        "took",
        "turn",
        "unsure",
    )

    handle: FileHandle

    def __init__(self, context: UploadOwner, resolved: ResolvedPath, *, inplace: bool) -> None:
        self._context = context
        self._mount = resolved.mount
        self._failed: TidegateError | None = None
        self.inplace = inplace
        state: PathState = context.paths.hold(resolved.backend, resolved.key)
        self._state = state
        self.reservation = Reservation(state, 0)
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
        self.held = 0
        self.judging = 0
        self.turn: PathState | None = None
        self.basis: Entry | None = None

    @property
    def charges(self) -> ChargeSet:
        """The counters that are charged."""
        return self._mount.charges

    @property
    def state(self) -> PathState:
        """The path that is written, wherever it was renamed to."""
        return self.reservation.state if self.inplace else self._state

    @property
    def shared(self) -> bool:
        """True if several handles write the content."""
        return self.sharers > 1 or self.reservation.writers > 1

    @property
    def reserved(self) -> int:
        """Bytes charged that a listing does not show; several uploads may share a `reservation`."""
        reservation = self.reservation
        if self.inplace:
            return (reservation.charged if reservation.gone else 0) + self.held
        return reservation.charged if self.took else reservation.charged - reservation.floor

    @property
    def reserved_files(self) -> int:
        """Files charged that a listing does not show."""
        return 1 if not self.inplace and (self.new or self.took) else 0

    @property
    def moving(self) -> bool:
        """See `reservations.Reserving`."""
        reservation = self.reservation
        return self.inplace and bool(reservation.writing or reservation.resizing or reservation.suspect)

    def charge_new(self) -> None:
        """The file does not exist: charge one.

        Raises:
            QuotaExceeded: no file fits any more.
        """
        self._mount.charges.charge(0, 1)
        self.new = True

    def created(self) -> None:
        """A handle is open in place on a file that did not exist, at a path that nobody else holds.

        Charges one file. `ChargeSet.may_upload` was asked, and nobody can have come between.
        """
        self._mount.charges.credit(0, 1)
        self.new = True
        state, reservation = self._state, self.reservation
        state.known = True
        state.reservation = reservation
        reservation.writers, reservation.born = 1, True
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
        charges, state = self._mount.charges, self._state
        visible = self.state.learn(existed_size)
        if visible is not None and self.new:  # somebody created it since we looked
            charges.credit(0, -1)
            self.new = False
        elif visible is None and not self.new:  # somebody removed it since we looked
            self.charge_new()
        paid = visible or 0
        self.high = 0 if truncate else existed_size or 0
        if self.inplace:
            shared = self.state.reservation
            if shared is None:
                shared = self.state.reservation = Reservation(self._state, paid)
                shared.born = visible is None
            if shared.writers and (truncate or shared.resizing or shared.writing):
                shared.suspect = True  # what others have under way happens before or after
            if truncate and shared.charged and not shared.suspect:
                self.unsure = self.names > 1
                charges.credit(-shared.charged, 0)
                shared.charged = 0
                state.end_loan()
            shared.writers += 1
            self.reservation = shared
        elif state.borrower is None:
            # What the visible file pays for; of a partial that is taken up, that itself.
            self.reservation = Reservation(state, paid, paid)
            self.took = took and visible is not None
            if paid:
                state.borrower = self
        else:
            self.reservation = Reservation(state, 0)
        self._context.usage.uploads.add(self)

    def staged(self, handle: FileHandle, *, alone: bool = False) -> None:
        """The handle is open and its bytes lie beside the target until they are published.

        Args:
            handle: of the upload.
            alone: the session does not see it before that either (`vfs.api.OpenFlags.atomic`).
        """
        self.handle = handle
        if not alone:
            self._context.own.setdefault(self._state, self)

    def renamed(self, state: PathState) -> None:
        """It will be published elsewhere; the caller holds both paths and `handle` is told."""
        context, old = self._context, self._state
        self.leave()
        self._state = context.paths.hold(*state.at)
        if context.own.get(old) is self:
            del context.own[old]
            context.own[self._state] = self
        context.paths.let_go(old)

    def require_size(self, size: int) -> None:
        """See `ChargeSet.require_size`."""
        self._mount.charges.require_size(size)

    def resize(self, size: int) -> None:
        """The handle's file is about to get another size: charge what it grows.

        Raises:
            QuotaExceeded: it does not fit.
        """
        reservation, charges = self.reservation, self._mount.charges
        grows = size + reservation.loose - reservation.charged
        if grows > 0:
            self.unsure = self.unsure or self.names > 1
            require(charges.grow_limits, grows * self.names)
            charges.credit(grows * self.names, 0)
            reservation.charged += grows

    async def set_size(self, handle: FileHandle, size: int) -> None:
        """Have storage do what `resize` charged, and give back what the file shrinks.

        That is not given back before it is free: others would have the room at once.

        Raises:
            TidegateError: it did not, or that is not known.
        """
        reservation = self.reservation
        if reservation.writing or reservation.resizing or self.shared:
            self.inexact()  # which of them storage does last decides the size
        reservation.resizing += 1
        try:
            await handle.set_attrs(Attrs(size=size))
        except BaseException:  # also if cancelled
            self.inexact()
            raise
        finally:
            reservation.resizing -= 1
        self.high = size
        if self.exact and not reservation.suspect:
            self._shrunk(max(reservation.floor, size))
        else:
            self.inexact()

    async def judge(self, *, turn: bool = False) -> None:
        """Wait for changes of the size by path, and have none until `finish`: inspectors will read.

        Args:
            turn: wait until no other upload of the path is decided, too, and have none decided until then.
        """
        if turn:
            from tidegate.vfs.files.pending import take_turn  # few uploads wait for a verdict

            self.turn = await take_turn(self._context.paths, self)
        while True:
            state = self.state
            async with state.lock:
                if self.state is state:
                    self.judging += 1
                    if self.inplace:
                        self.reservation.judging += 1
                    return

    def _shrunk(self, size: int) -> None:
        """Give back what was charged beyond `size`."""
        reservation = self.reservation
        if size < reservation.charged:
            self.unsure = self.unsure or self.names > 1
            self._mount.charges.credit(size - reservation.charged, 0)
            reservation.charged = size
            if self.inplace:
                self.state.end_loan()

    def inexact(self) -> None:
        """Note that the charge may differ from the size: the end asks, and no scan is exact before."""
        self.exact = False
        if self.inplace:
            self.reservation.suspect = True

    def stand_alone(self) -> None:
        """See `Borrower`. Never refused: the visible file that goes gave back more, or was replaced."""
        reservation = self.reservation
        if reservation.charged > reservation.floor:
            self._mount.charges.credit(reservation.floor, 0)
        else:
            self._mount.charges.credit(self.high, 0)
            reservation.charged = self.high
        reservation.floor = 0
        if self.took:
            self.took = False
            self.new = False

    def leave(self) -> None:
        """It has nothing to do any more with what its name shows: charge it by itself.

        A finished file stays where it is, and stays charged; an unfinished upload that was taken goes along.
        """
        state, took = self._state, self.took
        if state.borrower is not self:
            return
        visible = state.visible or 0
        state.end_loan()
        if took:
            self._mount.charges.credit(-visible, 0)
            self.new = True
            state.visible = None

    def never_opened(self) -> None:
        """Opening failed: give everything back."""
        if self.new:
            self._mount.charges.credit(0, -1)
        self._context.paths.let_go(self._state)

    def finish_nowait(self, close: Callable[[Outcome], bool]) -> bool:
        """Close an exact upload with COMMIT, if that needs no waiting; False means it is still to be done.

        After True `finished` MUST be called in the same turn of the loop; the two are what `finish` is.

        Args:
            close: the handle's `ClosesAtOnce.close_nowait`. If it fails, `finish` settles that.
        """
        reservation, state = self.reservation, self.state
        if not self.inplace or reservation.suspect or reservation.gone or state.lock.locked():
            return False
        if self._failed is not None:  # the handle has ended
            return False
        try:
            if not close(Outcome.COMMIT):
                return False
        except TidegateError as error:
            self._failed = error
            return False
        return True

    def finished(self) -> None:
        """Settle what `finish_nowait` has closed."""
        state = self.state
        self.reservation.writers -= 1
        self._settled(state)
        self._end(state)

    def _settled(self, state: PathState) -> None:
        reservation = self.reservation
        if not reservation.writers and state.reservation is reservation:
            state.reservation = None
            state.known, state.visible = True, reservation.charged

    def _end(self, state: PathState) -> None:
        if self._state.borrower is self:
            self._state.borrower = None
        self._context.usage.uploads.discard(self)
        if self.unsure:
            self._context.tracker.doubt(self._context.usage)
        if self.turn is not None:
            from tidegate.vfs.files.pending import end_turn

            end_turn(self._context.paths, self.turn)
            self.turn = None
        self._context.paths.let_go(state)
        self._context.changed()

    async def finish(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool, pending: Pending | None = None
    ) -> None:
        """Close the handle and settle.

        Args:
            handle: it.
            outcome: of the upload, as far as this handle knows.
            exact: every write went through, so that sizes are known without asking.
            pending: what has the name is set aside, and `decided` follows if the upload is published.

        Raises:
            QuotaExceeded: what is visible changed meanwhile and the upload does not fit any more.
            TidegateError: the handle could not be closed well; accounts are settled all the same.
        """
        failure: TidegateError | None = None
        while True:
            state = self.state
            await state.lock.acquire()
            if self.state is state:
                break
            state.lock.release()  # renamed while we waited
        try:
            if self.inplace:
                failure = await self._finish_inplace(handle, outcome, exact=exact)
            else:
                failure = await self._leave(handle, outcome, exact=exact, pending=pending)
        finally:
            state.lock.release()
            waits = pending is not None and pending.published
            if not waits and (self.inplace or not self.sharers):
                self._end(state)
        if failure is not None:
            raise failure

    async def _leave(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool, pending: Pending | None
    ) -> TidegateError | None:
        """One handle ends; with the last one the upload does, as the worst of them ended."""
        failure: TidegateError | None = None
        self.judging = max(0, self.judging - 1)
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
        if self._context.own.get(self._state) is self:
            del self._context.own[self._state]
        ended = await self._finish_private(
            self.handle,
            Outcome.DROP if self.forsaken else self._outcome,
            exact=self.exact,
            pending=pending,
        )
        return failure or ended

    async def _is_outdated(self) -> bool:
        """True if the file that this was made of is another one now: to replace it would undo that."""
        if self.basis is None:
            return False
        backend, key = self._state.at
        try:
            now = await backend.stat(key)
        except TidegateError:
            return False  # nothing is there, or storage will say so itself
        return (now.size, now.mtime_ns) != (self.basis.size, self.basis.mtime_ns)

    async def _finish_private(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool, pending: Pending | None
    ) -> TidegateError | None:
        charges, reservation, state = self._mount.charges, self.reservation, self.state
        failure: TidegateError | None = None
        size = files = 0
        visible: int | None = None
        resumable = self._context.resumable
        if outcome is Outcome.COMMIT and await self._is_outdated():
            outcome, failure = Outcome.DROP, Conflict("others have changed the file meanwhile")
        if outcome is Outcome.COMMIT and not exact:
            try:
                self.high = (await handle.stat()).size
            except TidegateError as error:
                outcome, failure = Outcome.KEEP, error
        if outcome is Outcome.COMMIT:
            visible = state.learn(None)
            size = (self.high - state.freed(None)) - (reservation.charged - reservation.floor)
            files = (visible is None) - self.new
            try:
                charges.charge(max(0, size), max(0, files))  # what it gives back is free when it is published
            except QuotaExceeded as error:
                outcome, failure = Outcome.DROP, error
        if outcome is Outcome.COMMIT and pending is not None:
            try:
                if pending.place is not state:
                    raise Conflict("the file was renamed meanwhile")
                await pending.keep_old(inner_of(handle))
            except TidegateError as error:
                charges.credit(-max(0, size), -max(0, files))
                outcome, failure = Outcome.KEEP, error
        if state.borrower is self:  # settled: who cuts down what is visible meanwhile need not tell us
            state.borrower = None
        try:
            await handle.close(outcome)
        except TidegateError as error:
            failure = failure or error
            if outcome is Outcome.COMMIT:
                charges.credit(-max(0, size), -max(0, files))
                outcome = Outcome.KEEP
                if pending is not None:
                    await pending.failed(error)
                if resumable or isinstance(error, StorageFailed):
                    # It may be published all the same, or lie beside what hides it.
                    self._context.tracker.doubt(self._context.usage)
        if outcome is Outcome.COMMIT and pending is not None:
            charges.credit(0, min(0, files))
            self.held = max(0, -size)
            await self._appear(pending, visible)
        elif outcome is Outcome.COMMIT:
            charges.credit(min(0, size), min(0, files))
            state.becomes(self.high)
        elif resumable and state.reservation is None and not self.forsaken:
            # An unfinished upload that is kept and shown counts like a file: otherwise breaking uploads off
            # would be a way around the quota. One that a finished file of that name hides does not.
            visible, kept = state.learn(None), await self._left(state.learn(None))
            size = (kept or 0) - (visible or 0) - (reservation.charged - reservation.floor)
            charges.credit(size, (kept is not None) - (visible is not None) - self.new)
            state.becomes(kept)
        else:
            charges.credit(reservation.floor - reservation.charged, -self.new)
        return failure

    async def _appear(self, pending: Pending, old: int | None) -> None:
        """It has its name, and waits for a verdict as a file does that was written in place."""
        state = self._state
        pending.unsure = state.reservation is not None  # they go on writing what may be put back
        state.becomes(self.high)
        self.reservation = state.reservation = reservation = Reservation(state, self.high)
        reservation.writers = reservation.judging = self.judging = 1
        reservation.pending = self.inplace = True
        await pending.appeared(old)

    async def decided(self, pending: Pending, *, accepted: bool) -> None:
        """Settle an upload that has its name: what was there before goes, or comes back.

        Raises:
            TidegateError: it was refused, and what was there before is not back.
        """
        paths = self._context.paths
        while True:
            now = self.state
            async with paths.locked(pending.place.at, now.at):
                if self.state is not now:
                    continue  # renamed while we waited
                try:
                    await self._settle_verdict(pending, now, accepted=accepted)
                finally:
                    self.unsure = self.unsure or pending.unsure
                    self._end(now)
                return

    async def _settle_verdict(self, pending: Pending, now: PathState, *, accepted: bool) -> None:
        charges, reservation = self._mount.charges, self.reservation
        back = False
        try:
            if accepted:
                await pending.accept()
            else:
                back = await pending.refuse(now, reservation)
        except BaseException:
            pending.unsure = True
            raise
        finally:
            held, self.held = self.held, 0
            reservation.writers -= 1
            reservation.judging -= 1
            reservation.pending = False
            goes = reservation.gone or not accepted
            size = -held - (reservation.charged if goes and not reservation.writers else 0)
            files = -1 if goes and not reservation.gone else 0
            if back:
                size, files = size + (pending.old or 0), files + 1
            charges.credit(size, files)
            if accepted or reservation.gone:
                self._settled(now)
            else:
                now.becomes(None)
            if back:
                pending.place.becomes(pending.old or 0)

    async def _left(self, likely: int | None) -> int | None:
        """Size of what has the name now; `likely`, and a doubt, if storage cannot tell."""
        try:
            return await size_of(*self.state.at)
        except TidegateError:
            self._context.tracker.doubt(self._context.usage)
            return likely

    async def _finish_inplace(
        self, handle: FileHandle, outcome: Outcome, *, exact: bool
    ) -> TidegateError | None:
        charges, reservation, state = self._mount.charges, self.reservation, self.state
        failure = self._failed
        if failure is None:
            try:
                if self.condemned:
                    await handle.set_attrs(Attrs(size=0))  # it may have other names by now
                await handle.close(outcome)
                if self.condemned and not reservation.gone:
                    await _remove(*self.state.at, shared=reservation.writers > 1)
            except TidegateError as error:
                failure = error
        if failure is not None or outcome is not Outcome.COMMIT or not exact:
            reservation.suspect = True
        reservation.writers -= 1
        reservation.judging -= self.judging
        if reservation.gone:
            if not reservation.writers:
                charges.credit(-reservation.charged, 0)
            return failure
        if reservation.suspect:
            actual = await self._left(reservation.charged)
            self.unsure = self.unsure or (self.names > 1 and actual != reservation.charged)
            # What others have under way may still land, in a file without a name too: so long it stays paid.
            size = max(actual or 0, reservation.charged if reservation.writers else 0)
            charges.credit(size - reservation.charged, -1 if actual is None else 0)
            if size < reservation.charged:
                state.end_loan()
            reservation.charged = size
            reservation.suspect = reservation.writers > 0
            if actual is None:
                state.becomes(None)
        self._settled(state)
        return failure


async def _remove(backend: Backend, key: Key, *, shared: bool) -> None:
    """Remove a file that was emptied, if it is there; the backend may have done it.

    One that is not empty was put there by another server, or through another root, unless others write it.
    """
    with contextlib.suppress(NotFound):
        if shared or not (await backend.stat(key, follow=False)).size:
            await backend.remove(key)


async def size_of(backend: Backend, key: Key) -> int | None:
    """Size of the regular file at `key`, links not followed; None if there is none."""
    try:
        entry = await backend.stat(key, follow=False)
    except NotFound:
        return None
    return entry.size if entry.is_file else None
