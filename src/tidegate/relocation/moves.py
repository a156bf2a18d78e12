# SPDX-License-Identifier: Apache-2.0
"""The moves of a server: started, continued, taken back, and told.

Until the switch the old storage counts, whatever happens: an error, a stop or a crash releases the account,
and what was copied waits for the next run. The switch is one change of the record. After it the old content
stays until it is removed on request; taking the move back until then is a move in the other direction, which
copies what changed since.

Long, because each way in which a move begins, ends or goes on is told here in one order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from tidegate.accounts.actor import Actor
from tidegate.accounts.administration import Administration
from tidegate.accounts.storage_changes import MoveKind, place_of, spec_of
from tidegate.errors import BadRecord, Conflict, NotFound, StorageFailed, TidegateError
from tidegate.model import Account, Folder
from tidegate.relocation.attached import copy_properties, forget_properties, relocate_locks
from tidegate.relocation.copying import Copier, Route
from tidegate.relocation.ledger import Ledger
from tidegate.relocation.notes import MAX_ERROR_CHARS, MoveNote, Notes
from tidegate.relocation.progress import Phase, Progress
from tidegate.relocation.survey import first_name, require_all, survey
from tidegate.relocation.verifying import remove_copies, remove_old, verify
from tidegate.vfs.factory import VfsSessions

HOLD_SECONDS: Final = 150.0
"""Time that sessions get to end once the account is held; other servers notice a hold within a minute."""
POLL_SECONDS: Final = (0.02, 1.0)
"""Time between the first two looks whether they have ended, and the longest one; it doubles each time."""
AGAIN_SECONDS: Final = 60.0
"""A first pass that took longer is followed by another one before the account is held."""
LINE_SECONDS: Final = 10.0
"""Time between two lines of the log about a move."""
MAX_RUNNING: Final = 4
"""Moves that run at the same time."""
ENDED_KEPT: Final = 1000
"""Moves whose outcome is remembered without a note, the latest ones."""

State = Literal["running", "done", "failed", "interrupted"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The wish for a move.

    Attributes:
        document: ``filesystem``, and ``home_dir`` or ``mapped_path`` where that changes.
        dry_run: look only.
        leaves_out: what the target cannot hold stays.
        verifies_again: take every digest once more while nobody works.
    """

    document: dict[str, Any]
    dry_run: bool = False
    leaves_out: bool = False
    verifies_again: bool = False


class Move:
    """One move that runs or ran, as it is told.

    Attributes:
        note: what is kept of it.
        progress: amount that is done.
        source: location of the old storage, for operators; target of the new one.
        dry_run: it only looks.
        error: the reason why it failed; empty if it did not.
        task: the work while it runs.
        id: of this run, for whoever lists or ends it.
        by: who started it; None if nobody did since this server runs.
    """

    def __init__(self, note: MoveNote, *, dry_run: bool = False) -> None:
        self.note = note
        self.progress = Progress(note.phase)
        self.source = self.target = ""
        self.dry_run = dry_run
        self.error = note.error
        self.task: asyncio.Task[None] | None = None
        self.id = f"MOVE_{secrets.token_hex(8)}"
        self.by: Actor | None = None

    def stop(self, by: str) -> None:
        """End it as soon as nobody is held by it; what was copied waits for the next run."""
        if self.task is not None:
            log.warning("%s, stopped by %s", self, by)
            self.task.cancel()

    @property
    def state(self) -> State:
        """Its state."""
        if self.task is not None:
            return "running"
        if self.error:
            return "failed"
        return "done" if self.note.ended_ms else "interrupted"

    def __str__(self) -> str:
        return f"move of {self.note.kind} {self.note.name}: {self.progress}"


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
        self._elsewhere = elsewhere
        self._running: dict[tuple[MoveKind, str], Move] = {}
        self._ended: dict[tuple[MoveKind, str], Move] = {}

    # -- told ------------------------------------------------------------------------------------------------

    async def all(self) -> list[Move]:
        """Every move that runs, ran lately, or has a note; by kind and name."""
        found = {(note.kind, note.name): Move(note) for note in await asyncio.to_thread(self._notes.all)}
        found |= self._ended
        found |= self._running
        return [found[key] for key in sorted(found)]

    def running(self) -> list[Move]:
        """Every move that runs, the oldest first."""
        return list(self._running.values())

    async def find(self, kind: MoveKind, name: str) -> Move:
        """The move of a record that runs, else the last one.

        Raises:
            NotFound: none is known.
        """
        move = self._running.get((kind, name)) or self._ended.get((kind, name))
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
        self._require_room(kind, name)
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
        await self._locate(move, record)
        return self._launch(move, self._forward(move, record, by, fresh=fresh), by)

    async def undo(self, kind: MoveKind, name: str, *, by: Actor) -> Move:
        """Take a move back: remove the copies, or, after the switch, move in the other direction.

        Without a note a hold that is left is released.

        Raises:
            Denied: they may not.
            NotFound: no move is known, and nobody is held.
            Conflict: one runs and does not stop, or the record was put on the new storage by hand.
        """
        record = await self._record(kind, name, by)
        name = record.username if isinstance(record, Account) else record.name
        await self._stop((kind, name))
        changes = self._administration().storage
        note = await self._note(kind, name, by)
        if note is None or note.phase is Phase.REMOVED:
            held = await changes.held(await changes.users_of(kind, name))
            if not held:
                raise NotFound(f"no move of {kind} {name} is known here")
            await changes.release(held, by=by)
            here = place_of(record)
            move = Move(MoveNote(kind, name, here, here, Phase.REMOVED, ended_ms=_now_ms()))
            self._ended[kind, name] = move
            return move
        if note.phase is Phase.SWITCHED:
            if place_of(record) != note.after:
                raise Conflict(f"{kind} {name} is on other storage by now than its move left it on")
            back = replace(
                note, before=note.after, after=note.before, swapped=not note.swapped, phase=Phase.COPYING,
                started_ms=_now_ms(), ended_ms=0, error="", leaves_out=False,
            )  # fmt: skip
            move = Move(back)
            await self._locate(move, record)
            return self._launch(move, self._forward(move, record, by, fresh=False), by)
        move = Move(note)
        await self._locate(move, record)
        if note.swapped:  # taking it back was broken off, and goes on
            return self._launch(move, self._forward(move, record, by, fresh=False), by)
        if place_of(record) == note.after:
            raise Conflict(
                f"{kind} {name} was put on {move.target}: put the record back on {move.source} first"
            )
        return self._launch(move, self._withdraw(move, record, by), by)

    async def remove_old(self, kind: MoveKind, name: str, *, by: Actor) -> Move:
        """Remove the old content of a move whose record names the new storage.

        Raises:
            Denied: they may not.
            NotFound: no move is known.
            Conflict: it has not switched.
        """
        record = await self._record(kind, name, by)
        name = record.username if isinstance(record, Account) else record.name
        self._require_room(kind, name)
        note = await self._note(kind, name, by)
        if note is None:
            raise NotFound(f"no move of {kind} {name} is known here")
        if note.phase is not Phase.SWITCHED or place_of(record) != note.after:
            raise Conflict(f"the move of {kind} {name} is not finished: its old content is what counts")
        move = Move(note)
        await self._locate(move, record)
        return self._launch(move, self._clean(move, record), by)

    async def recover(self, *, by: Actor) -> None:
        """After a start: release whoever a crash left held. Until the switch the old storage counts."""
        for note in await asyncio.to_thread(self._notes.all):
            if not note.held and note.phase in (Phase.SWITCHED, Phase.CHECKING, Phase.COPYING):
                continue
            try:
                await self._recover(note, by)
            except (TidegateError, OSError) as error:
                what = f"{note.kind} {note.name}"
                log.error("the move of %s was broken off, and cannot be settled now: %s", what, error)

    async def close(self) -> None:
        """Stop what runs; accounts are released, and what was copied waits for the next run."""
        for key in list(self._running):
            with contextlib.suppress(Conflict):
                await self._stop(key)

    # -- the work --------------------------------------------------------------------------------------------

    async def _forward(self, move: Move, record: Account | Folder, by: Actor, *, fresh: bool) -> None:
        note, progress = move.note, move.progress
        progress.begin(Phase.CHECKING)
        # Opening a directory of this host would make it.
        opens = not move.dry_run or not move.target.startswith("/") or await _is_there(move.target)
        async with self._ends(move, record, opens_target=opens) as route:
            if fresh and opens and (name := await first_name(route.target)):
                raise Conflict(f"{move.target} is not empty: it holds {name}")
            await survey(route.source, route.target, progress)
            progress.total_files, progress.total_size = progress.files, progress.size
            if not note.leaves_out:
                require_all(progress)
            if move.dry_run:
                return
            await self._write(note, Phase.COPYING)
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
        await self._write(note, note.phase)
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
            await self._write(note, Phase.HOLDING)
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
            await self._write(note, Phase.SWITCHING)
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
                switched = place_of(await self._record(note.kind, note.name, by)) == note.after
            await changes.release(await changes.held(note.held), by=by)
            note.held = []
            if switched:
                move.progress.phase = Phase.SWITCHED
            await self._write(note, Phase.SWITCHED if switched else Phase.COPYING)
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

    async def _withdraw(self, move: Move, record: Account | Folder, by: Actor) -> None:
        """Remove the copies of a move that has not switched, and forget it."""
        note = move.note
        move.progress.begin(Phase.REMOVING)
        await self._released(move, by, switched=False)
        async with self._ends(move, record) as route:
            ledger = Ledger(self._notes.ledger(note.kind, note.name), swapped=note.swapped)
            await ledger.open()
            try:
                await remove_copies(route, ledger, move.progress)
                await forget_properties(self._sessions.properties, route.target, "")
            finally:
                await ledger.close()
        await self._forget(move)

    async def _clean(self, move: Move, record: Account | Folder) -> None:
        """Remove the old content of a move that has switched, and forget it."""
        note = move.note
        move.progress.begin(Phase.REMOVING)
        async with self._ends(move, record) as route:
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

    async def _recover(self, note: MoveNote, by: Actor) -> None:
        changes = self._administration().storage
        record = await self._record(note.kind, note.name, by)
        switched = note.phase is Phase.SWITCHED or (
            note.phase is Phase.SWITCHING and place_of(record) == note.after
        )
        if switched and note.held and self._sessions.locks.active:  # several servers share them
            with contextlib.suppress(TidegateError):  # nobody stays held for that
                async with self._ends(Move(note), record) as route:
                    await relocate_locks(self._sessions.locks, route, note.held)
        await changes.release(await changes.held(note.held), by=by)
        note.held = []
        await self._write(note, Phase.SWITCHED if switched else Phase.COPYING)
        log.warning(
            "the move of %s %s was broken off %s; nobody is held any more", note.kind, note.name,
            "after the switch" if switched else "before the switch: run it again, or undo it",
        )  # fmt: skip

    # -- parts -----------------------------------------------------------------------------------------------

    async def _note(self, kind: MoveKind, name: str, by: Actor) -> MoveNote | None:
        """The note of a record, None if there is none; a switch that nobody saw the end of is settled."""
        note = await asyncio.to_thread(self._notes.read, kind, name)
        if note is not None and note.phase is Phase.SWITCHING:
            await self._recover(note, by)
        return note

    async def _record(self, kind: MoveKind, name: str, by: Actor) -> Account | Folder:
        administration = self._administration()
        administration.storage.require(kind, by)
        if kind == "user":
            return await administration.users.get(name)
        return await administration.folders.get(name)

    async def _locate(self, move: Move, record: Account | Folder) -> None:
        """Find out where both ends are, and that they are not one.

        Raises:
            BadRecord: they are.
        """
        ends = []
        for place in (move.note.before, move.note.after):
            backend = await self._sessions.describe(spec_of(record, place))
            ends.append(backend.location(""))
        move.source, move.target = ends
        one, other = (end.rstrip("/") + "/" for end in ends)
        both_here = one.startswith("/") and other.startswith("/")
        if one.startswith(other) or other.startswith(one) or (both_here and await _overlap(*ends)):
            raise BadRecord("filesystem", f"{move.target} is, holds or lies in the storage it moves from")

    @contextlib.asynccontextmanager
    async def _ends(
        self, move: Move, record: Account | Folder, *, opens_target: bool = True
    ) -> AsyncIterator[Route]:
        account = record if isinstance(record, Account) else None
        uid, gid = (account.uid or None, account.gid or None) if account is not None else (None, None)
        target = spec_of(record, move.note.after)
        async with contextlib.AsyncExitStack() as stack:
            source = await stack.enter_async_context(
                self._sessions.storage(spec_of(record, move.note.before))
            )
            if opens_target:
                end = await stack.enter_async_context(self._sessions.storage(target))
            else:
                end = await self._sessions.describe(target)
            yield Route(source, end, uid, gid)

    async def _write(self, note: MoveNote, phase: Phase) -> None:
        note.phase = phase
        try:
            await asyncio.to_thread(self._notes.write, note)
        except OSError as error:
            raise StorageFailed(f"the move cannot be noted: {error.strerror}") from error

    def _require_room(self, kind: MoveKind, name: str) -> None:
        if (kind, name) in self._running:
            raise Conflict(f"a move of {kind} {name} is in progress")
        if len(self._running) >= MAX_RUNNING:
            raise Conflict(f"{MAX_RUNNING} moves run already")

    def _launch(self, move: Move, work: Coroutine[Any, Any, None], by: Actor) -> Move:
        key = (move.note.kind, move.note.name)
        try:
            self._require_room(*key)
        except Conflict:
            work.close()
            raise
        self._running[key] = move
        move.by = by
        move.error, move.note.ended_ms = "", 0
        move.task = asyncio.create_task(self._guard(move, work), name=str(move))
        return move

    async def _guard(self, move: Move, work: Awaitable[None]) -> None:
        telling = asyncio.create_task(_tell(move), name="progress of a move")
        error = "stopped"
        try:
            await work
            error = ""
        except asyncio.CancelledError:
            log.warning("%s, stopped", move)
        except (TidegateError, OSError, sqlite3.Error) as failure:
            error = str(failure) or type(failure).__name__
            log.error("%s, failed: %s", move, error)
        except Exception as failure:
            error = type(failure).__name__
            log.exception("%s, ended in an error of the program", move)
        finally:
            telling.cancel()
            key = (move.note.kind, move.note.name)
            move.error = move.note.error = error[:MAX_ERROR_CHARS]
            move.note.ended_ms = _now_ms()
            move.task = None
            del self._running[key]
            self._ended.pop(key, None)
            self._ended[key] = move
            if len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
            if not move.dry_run and move.note.phase not in (Phase.CHECKING, Phase.REMOVED):
                with contextlib.suppress(TidegateError):
                    await asyncio.shield(asyncio.ensure_future(self._write(move.note, move.note.phase)))

    async def _stop(self, key: tuple[MoveKind, str]) -> None:
        """Stop a move that runs, and wait until nobody is held by it."""
        move = self._running.get(key)
        if move is not None and move.task is not None:
            task = move.task
            task.cancel()
            await asyncio.wait((task,), timeout=HOLD_SECONDS)
            if not task.done():
                raise Conflict(f"the move of {key[0]} {key[1]} does not stop")


async def _tell(move: Move) -> None:
    while True:
        await asyncio.sleep(LINE_SECONDS)
        log.info("%s", str(move))


async def _overlap(one: str, other: str) -> bool:
    """True if of two directories of this host one is or lies in the other, by whatever links or mounts."""

    def chain(directory: str) -> list[tuple[int, int] | None]:
        real = Path(directory).resolve()
        found: list[tuple[int, int] | None] = []
        for path in (real, *real.parents):
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_dev, status.st_ino))
        return found

    def nested() -> bool:
        first, second = chain(one), chain(other)
        return any(end[0] is not None and end[0] in way for end, way in ((first, second), (second, first)))

    return await asyncio.to_thread(nested)


async def _is_there(directory: str) -> bool:
    return await asyncio.to_thread(Path(directory).is_dir)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
