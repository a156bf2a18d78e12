# SPDX-License-Identifier: Apache-2.0
"""The work of moves: copy, hold, compare, switch, release, remove.

Until the switch the old storage counts, whatever happens: an error, a stop or a crash releases the account,
and what was copied waits for the next run. The switch is one change of the record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.administration import Administration
from tidegate.accounts.storage_changes import MoveKind, place_of
from tidegate.errors import Conflict, StorageFailed, TidegateError
from tidegate.model import Account, Folder
from tidegate.relocation.attached import copy_properties, forget_properties, relocate_locks
from tidegate.relocation.copying import Copier, Route
from tidegate.relocation.ends import is_there, open_ends
from tidegate.relocation.ledger import Ledger
from tidegate.relocation.move import Move
from tidegate.relocation.notes import MoveNote, Notes
from tidegate.relocation.progress import Phase
from tidegate.relocation.survey import first_name, require_all, survey
from tidegate.relocation.verifying import remove_copies, remove_old, verify
from tidegate.vfs.factory import VfsSessions

HOLD_SECONDS: Final = 150.0
"""Time that sessions get to end once the account is held; other servers notice a hold within a minute."""
POLL_SECONDS: Final = (0.02, 1.0)
"""Time between the first two looks whether they have ended, and the longest one; it doubles each time."""
AGAIN_SECONDS: Final = 60.0
"""A first pass that took longer is followed by another one before the account is held."""

log = logging.getLogger(__name__)


class MoveWork:
    """Carries moves out; see `tidegate.relocation.moves.Moves` for the arguments."""

    def __init__(
        self,
        notes: Notes,
        sessions: VfsSessions,
        administration: Callable[[], Administration],
        elsewhere: Callable[[str], Awaitable[int]],
    ) -> None:
        self._notes = notes
        self._sessions = sessions
        self._administration = administration
        self._elsewhere = elsewhere

    async def forward(self, move: Move, record: Account | Folder, by: Actor, *, fresh: bool) -> None:
        """Copy, hold, compare and switch; `fresh` says that nothing was copied before."""
        note, progress = move.note, move.progress
        progress.begin(Phase.CHECKING)
        # Opening a directory of this host would make it.
        opens = not move.dry_run or not move.target.startswith("/") or await is_there(move.target)
        async with open_ends(self._sessions, move, record, opens_target=opens) as route:
            if fresh and opens and (name := await first_name(route.target)):
                raise Conflict(f"{move.target} is not empty: it holds {name}")
            await survey(route.source, route.target, progress)
            progress.total_files, progress.total_size = progress.files, progress.size
            if not note.leaves_out:
                require_all(progress)
            if move.dry_run:
                return
            await self.write(note, Phase.COPYING)
            ledger = Ledger(self._notes.ledger(note.kind, note.name), swapped=note.swapped)
            await ledger.open()
            try:
                began = time.monotonic()
                await self._pass(move, route, ledger, Phase.COPYING, final=False)
                if time.monotonic() - began > AGAIN_SECONDS:
                    await self._pass(move, route, ledger, Phase.COPYING, final=False)
                await self._held(move, route, ledger, by)
            finally:
                await ledger.close()
        log.info("%s, now at %s; the old content is still at %s", move, move.target, move.source)

    async def _pass(self, move: Move, route: Route, ledger: Ledger, phase: Phase, *, final: bool) -> None:
        note = move.note
        move.progress.begin(phase)
        note.number += 1
        await self.write(note, note.phase)
        copier = Copier(route, ledger, move.progress, note.number, final=final, leaves_out=note.leaves_out)
        outcomes = await copier.run()
        log.info("%s, %d copied, %d left to the next pass", move, outcomes.copied, outcomes.unsettled)

    async def _held(self, move: Move, route: Route, ledger: Ledger, by: Actor) -> None:
        """Hold who works, copy the differences, compare, switch; what fails before that releases."""
        note, changes = move.note, self._administration().storage
        used = (note.kind, note.name)
        note.hold = f"the files of {note.kind} {note.name} move to {move.target}"
        self._sessions.holds.hold(used)
        switched = False
        try:
            move.progress.begin(Phase.HOLDING)
            note.held = await changes.users_of(note.kind, note.name)
            await self.write(note, Phase.HOLDING)
            await changes.hold(note.held, note.hold, by=by)
            await self._quiet(note, by)
            await self._pass(move, route, ledger, Phase.DIFFERENCES, final=True)
            try:
                await self._verify(move, route, ledger)
            except StorageFailed as error:  # somebody removed or changed a copy: it is made again, once
                log.warning("%s, %s; what is missing or differs is copied again", move, error)
                await self._pass(move, route, ledger, Phase.DIFFERENCES, final=True)
                await self._verify(move, route, ledger)
            await copy_properties(self._sessions.properties, route)
            move.progress.phase = Phase.SWITCHING
            await self.write(note, Phase.SWITCHING)
            hold = note.hold if note.kind == "user" else ""
            await changes.switch(note.kind, note.name, note.before, note.after, hold=hold, by=by)
            switched = True
            await relocate_locks(self._sessions.locks, route, note.held)
        finally:
            await asyncio.shield(asyncio.ensure_future(self._released(move, by, switched=switched)))
        if move.progress.count_left_out or move.progress.partials:
            await self._count_again(note)

    async def _verify(self, move: Move, route: Route, ledger: Ledger) -> None:
        note = move.note
        move.progress.begin(Phase.VERIFYING)
        await verify(
            route, ledger, move.progress, note.number, again=note.verifies_again, strict=not note.swapped
        )

    async def _released(self, move: Move, by: Actor, *, switched: bool) -> None:
        """Let people in again, and note how far the move is."""
        note, changes = move.note, self._administration().storage
        try:
            if not switched and note.phase is Phase.SWITCHING:
                # The record may have been changed all the same: the answer was lost, or not awaited.
                switched = place_of(await self.record(note.kind, note.name, by)) == note.after
            await changes.release(await changes.held(note.held), by=by)
            note.held = []
            if switched:
                move.progress.phase = Phase.SWITCHED
            await self.write(note, Phase.SWITCHED if switched else Phase.COPYING)
        finally:
            self._sessions.holds.release((note.kind, note.name))

    async def _quiet(self, note: MoveNote, by: Actor) -> None:
        """Wait until no session uses the record's storage.

        Raises:
            Conflict: some did not end.
        """
        pause, longest = POLL_SECONDS
        deadline = time.monotonic() + HOLD_SECONDS
        changes = self._administration().storage
        while True:
            busy = self._sessions.holds.count((note.kind, note.name))
            for name in note.held:
                busy += await self._elsewhere(name)
            if not busy:
                return
            if time.monotonic() > deadline:
                raise Conflict(f"{busy} sessions that use {note.kind} {note.name} did not end")
            for name in note.held:
                changes.disconnect(name, by=by)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def withdraw(self, move: Move, record: Account | Folder, by: Actor) -> None:
        """Remove the copies of a move that has not switched, and forget it."""
        note = move.note
        move.progress.begin(Phase.REMOVING)
        await self._released(move, by, switched=False)
        async with open_ends(self._sessions, move, record) as route:
            ledger = Ledger(self._notes.ledger(note.kind, note.name), swapped=note.swapped)
            await ledger.open()
            try:
                await remove_copies(route, ledger, move.progress)
                await forget_properties(self._sessions.properties, route.target, "")
            finally:
                await ledger.close()
        await self._forget(move)

    async def clean(self, move: Move, record: Account | Folder) -> None:
        """Remove the old content of a move that has switched, and forget it."""
        note = move.note
        move.progress.begin(Phase.REMOVING)
        async with open_ends(self._sessions, move, record) as route:
            ledger = Ledger(self._notes.ledger(note.kind, note.name), swapped=note.swapped)
            await ledger.open()
            try:
                properties = self._sessions.properties
                await remove_old(route, ledger, move.progress, properties)
                if not await first_name(route.source):
                    await forget_properties(properties, route.source, "")
            finally:
                await ledger.close()
        await self._forget(move)

    async def _forget(self, move: Move) -> None:
        await asyncio.to_thread(self._notes.remove, move.note.kind, move.note.name)
        move.note.phase = move.progress.phase = Phase.REMOVED

    async def _count_again(self, note: MoveNote) -> None:
        """Have the files counted: those that stayed behind are not charged any more."""
        scans = self._sessions.scans
        start = scans.start_user if note.kind == "user" else scans.start_folder
        with contextlib.suppress(TidegateError):
            await start(note.name)

    async def recover(self, note: MoveNote, by: Actor) -> None:
        """Settle a move that was broken off: nobody stays held, and its note says on which side it is."""
        changes = self._administration().storage
        record = await self.record(note.kind, note.name, by)
        switched = note.phase is Phase.SWITCHED or (
            note.phase is Phase.SWITCHING and place_of(record) == note.after
        )
        if switched and note.held and self._sessions.locks.active:  # several servers share them
            with contextlib.suppress(TidegateError):  # nobody stays held for that
                async with open_ends(self._sessions, Move(note), record) as route:
                    await relocate_locks(self._sessions.locks, route, note.held)
        await changes.release(await changes.held(note.held), by=by)
        note.held = []
        await self.write(note, Phase.SWITCHED if switched else Phase.COPYING)
        log.warning(
            "the move of %s %s was broken off %s; nobody is held any more", note.kind, note.name,
            "after the switch" if switched else "before the switch: run it again, or undo it",
        )  # fmt: skip

    async def record(self, kind: MoveKind, name: str, by: Actor) -> Account | Folder:
        """A record whose storage they may change.

        Raises:
            NotFound: there is none.
            Denied: they may not.
        """
        administration = self._administration()
        administration.storage.require(kind, by)
        if kind == "user":
            return await administration.users.get(name)
        return await administration.folders.get(name)

    async def write(self, note: MoveNote, phase: Phase) -> None:
        """Keep a note, in this phase from now on.

        Raises:
            StorageFailed: it cannot be kept.
        """
        note.phase = phase
        try:
            await asyncio.to_thread(self._notes.write, note)
        except OSError as error:
            raise StorageFailed(f"the move cannot be noted: {error.strerror}") from error
