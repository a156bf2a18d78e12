# SPDX-License-Identifier: Apache-2.0
"""The moves of a server: started, continued, taken back, and told.

Until the switch the old storage counts, whatever happens: an error, a stop or a crash releases the account,
and what was copied waits for the next run. The switch is one change of the record. After it the old content
stays until it is removed on request; taking the move back until then is a move in the other direction, which
copies what changed since.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from tidegate.accounts.actor import Actor
from tidegate.accounts.administration import Administration
from tidegate.accounts.storage_changes import MoveKind, place_of
from tidegate.errors import Conflict, NotFound, TidegateError
from tidegate.model import Account
from tidegate.relocation.ends import locate
from tidegate.relocation.move import Move, Wish
from tidegate.relocation.notes import MoveNote, Notes
from tidegate.relocation.progress import Phase
from tidegate.relocation.running import RunningMoves, now_ms
from tidegate.relocation.work import MoveWork
from tidegate.vfs.factory import VfsSessions

log = logging.getLogger(__name__)


class Moves:
    """The moves of one server.

    Args:
        directory: where moves are noted; made when it is needed.
        sessions: where storage comes from, and who is held.
        administration: changes records; asked for each time, for a reload replaces it.
        elsewhere: sessions of an account on any server, those of this one included.
    """

    def __init__(
        self,
        directory: Path,
        sessions: VfsSessions,
        administration: Callable[[], Administration],
        elsewhere: Callable[[str], Awaitable[int]],
    ) -> None:
        self._notes = Notes(directory)
        self._sessions = sessions
        self._administration = administration
        self._work = MoveWork(self._notes, sessions, administration, elsewhere)
        self._moves = RunningMoves(self._work.write)

    # -- told ------------------------------------------------------------------------------------------------

    async def all(self) -> list[Move]:
        """Every move that runs, ran lately, or has a note; by kind and name."""
        found = {(note.kind, note.name): Move(note) for note in await asyncio.to_thread(self._notes.all)}
        found |= self._moves.ended
        found |= self._moves.running
        return [found[key] for key in sorted(found)]

    def running(self) -> list[Move]:
        """Every move that runs, the oldest first."""
        return list(self._moves.running.values())

    async def find(self, kind: MoveKind, name: str) -> Move:
        """The move of a record that runs, else the last one.

        Raises:
            NotFound: none is known.
        """
        move = self._moves.running.get((kind, name)) or self._moves.ended.get((kind, name))
        if move is None:
            note = await asyncio.to_thread(self._notes.read, kind, name)
            if note is None:
                raise NotFound(f"no move of {kind} {name} is known here")
            move = Move(note)
        return move

    # -- started ---------------------------------------------------------------------------------------------

    async def start(self, kind: MoveKind, name: str, wish: Wish, *, by: Actor) -> Move:
        """Start a move, or continue the one to the same storage that was broken off.

        Raises:
            BadRecord, InvalidArgument: the wish is wrong; names what.
            Denied: they may not.
            NotFound: there is no such record.
            Conflict: a move of it runs, another one is not finished, or the target is in use.
        """
        changes = self._administration().storage
        record, after = await changes.wanted(kind, name, wish.document, by=by)
        name = record.username if isinstance(record, Account) else record.name
        self._moves.require_room(kind, name)
        before = place_of(record)
        note = await self._note(kind, name, by)
        if note is not None and note.phase not in (Phase.SWITCHED, Phase.REMOVED):
            if (note.before, note.after) != (before, after):
                raise Conflict(f"another move of {kind} {name} is not finished: run it again, or undo it")
        elif note is not None and not wish.dry_run:
            raise Conflict(
                f"the content of {kind} {name} from before its last move is still there: remove it "
                "(--remove-old), or undo that move, first"
            )
        fresh = note is None or note.phase in (Phase.SWITCHED, Phase.REMOVED)
        if note is None or wish.dry_run:
            note = MoveNote(kind, name, before, after)
        note.leaves_out, note.verifies_again = wish.leaves_out, wish.verifies_again
        move = Move(note, dry_run=wish.dry_run)
        await locate(self._sessions, move, record)
        return self._moves.launch(move, self._work.forward(move, record, by, fresh=fresh), by)

    async def undo(self, kind: MoveKind, name: str, *, by: Actor) -> Move:
        """Take a move back: remove the copies, or, after the switch, move in the other direction.

        Without a note a hold that is left is released.

        Raises:
            Denied: they may not.
            NotFound: no move is known, and nobody is held.
            Conflict: one runs and does not stop, or the record was put on the new storage by hand.
        """
        record = await self._work.record(kind, name, by)
        name = record.username if isinstance(record, Account) else record.name
        await self._moves.stop((kind, name))
        changes = self._administration().storage
        note = await self._note(kind, name, by)
        if note is None or note.phase is Phase.REMOVED:
            held = await changes.held(await changes.users_of(kind, name))
            if not held:
                raise NotFound(f"no move of {kind} {name} is known here")
            await changes.release(held, by=by)
            here = place_of(record)
            move = Move(MoveNote(kind, name, here, here, Phase.REMOVED, ended_ms=now_ms()))
            self._moves.ended[kind, name] = move
            return move
        if note.phase is Phase.SWITCHED:
            if place_of(record) != note.after:
                raise Conflict(f"{kind} {name} is on other storage by now than its move left it on")
            back = replace(
                note, before=note.after, after=note.before, swapped=not note.swapped, phase=Phase.COPYING,
                started_ms=now_ms(), ended_ms=0, error="", leaves_out=False,
            )  # fmt: skip
            move = Move(back)
            await locate(self._sessions, move, record)
            return self._moves.launch(move, self._work.forward(move, record, by, fresh=False), by)
        move = Move(note)
        await locate(self._sessions, move, record)
        if note.swapped:  # taking it back was broken off, and goes on
            return self._moves.launch(move, self._work.forward(move, record, by, fresh=False), by)
        if place_of(record) == note.after:
            raise Conflict(
                f"{kind} {name} was put on {move.target}: put the record back on {move.source} first"
            )
        return self._moves.launch(move, self._work.withdraw(move, record, by), by)

    async def remove_old(self, kind: MoveKind, name: str, *, by: Actor) -> Move:
        """Remove the old content of a move whose record names the new storage.

        Raises:
            Denied: they may not.
            NotFound: no move is known.
            Conflict: it has not switched.
        """
        record = await self._work.record(kind, name, by)
        name = record.username if isinstance(record, Account) else record.name
        self._moves.require_room(kind, name)
        note = await self._note(kind, name, by)
        if note is None:
            raise NotFound(f"no move of {kind} {name} is known here")
        if note.phase is not Phase.SWITCHED or place_of(record) != note.after:
            raise Conflict(f"the move of {kind} {name} is not finished: its old content is what counts")
        move = Move(note)
        await locate(self._sessions, move, record)
        return self._moves.launch(move, self._work.clean(move, record), by)

    async def recover(self, *, by: Actor) -> None:
        """After a start: release whoever a crash left held. Until the switch the old storage counts."""
        for note in await asyncio.to_thread(self._notes.all):
            if not note.held and note.phase in (Phase.SWITCHED, Phase.CHECKING, Phase.COPYING):
                continue
            try:
                await self._work.recover(note, by)
            except (TidegateError, OSError) as error:
                what = f"{note.kind} {note.name}"
                log.error("the move of %s was broken off, and cannot be settled now: %s", what, error)

    async def close(self) -> None:
        """Stop what runs; accounts are released, and what was copied waits for the next run."""
        for key in list(self._moves.running):
            with contextlib.suppress(Conflict):
                await self._moves.stop(key)

    # -- parts -----------------------------------------------------------------------------------------------

    async def _note(self, kind: MoveKind, name: str, by: Actor) -> MoveNote | None:
        """The note of a record, None if there is none; a switch that nobody saw the end of is settled."""
        note = await asyncio.to_thread(self._notes.read, kind, name)
        if note is not None and note.phase is Phase.SWITCHING:
            await self._work.recover(note, by)
        return note
