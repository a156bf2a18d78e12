# SPDX-License-Identifier: Apache-2.0
"""Replacing what is at a path by a tree: the old one goes when the new one is complete.

`replacing` has the new tree made under a hidden key beside the old one, by the ordinary operations of the
session, which judge, charge and record each thing for the path that it is made for (`vfs.staged`). `swap`
gives it that path in one step, where the storage has one. What is not in its place at the end is removed.

The account is marked meanwhile, so a crash in between is followed by a count (`vfs.acts`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from tidegate.abc import Key, NotExchanged, ReplacesTrees
from tidegate.contracts.inspection import Inspected
from tidegate.errors import AlreadyExists, Conflict, NotFound, StorageFailed, TidegateError
from tidegate.model import Entry, Intent, VPath
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils, identity_of
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.attached import moved, require_unlocked
from tidegate.vfs.files.copy import stat_or_none
from tidegate.vfs.files.moves import rename
from tidegate.vfs.files.reach import reach
from tidegate.vfs.files.tree import forget
from tidegate.vfs.mounts import ResolvedPath, listing
from tidegate.vfs.staged import STAGED, Staged, noted
from tidegate.vfs.usage.reservations import PathState, Reservation
from tidegate.vfs.usage.scan import kept_partials

MAX_SHOWN: Final = 100
"""Names that are tried for what was moved and could not take its place."""

log = logging.getLogger(__name__)


async def require_removable(context: Context, path: VPath, entry: Entry) -> None:
    """Judge the removal of one thing, and remove nothing; see `vfs.api.Session`."""
    intent = Intent.DELETE_DIR if entry.is_dir else Intent.DELETE_FILE
    context.require(intent, path, is_dir=entry.is_dir)
    if context.table.is_point(path) or context.table.holds_points(path):
        raise context.deny(intent, path, "permission: a folder is mounted there", "virtual_folders")
    resolved = await reach(context, path, intent, follow=False, charged=True)
    await require_unlocked(context, intent, path, resolved, member=True, tree=entry.is_dir)
    size = None if entry.is_dir else entry.size
    await context.inspect(Inspected.DELETE, intent, path, size=size, location=resolved.location)


class Replacement:
    """`vfs.api.Replacement`."""

    __slots__ = ("_context", "_goal", "_source", "_staged", "_storage", "_unsure")

    def __init__(
        self,
        context: Context,
        goal: ResolvedPath,
        storage: ReplacesTrees,
        staged: Staged,
        source: VPath | None,
    ) -> None:
        self._context = context
        self._goal = goal
        self._storage = storage
        self._staged = staged
        self._source = source
        self._unsure = False

    @property
    def _hidden(self) -> ResolvedPath:
        return self._goal._replace(key=self._staged.hidden)

    def _hold(self, hidden: Key) -> None:
        """Follow the old tree, which has another hidden key now."""
        before, self._staged.state = self._staged.state, hold(self._context, self._goal, hidden)
        let_go(self._context, before)

    async def swap(self) -> None:
        """Give the new tree the path, and paths at and below it the meaning of the old tree.

        Raises:
            Locked: a lock came up meanwhile.
            Conflict: somebody is writing something in the old tree.
            NotFound: the directory of both has another name by now.
            ProviderUnavailable: it is done, but what was done could not all be told.
        """
        await settle(self._context, self._swap)
        failure: TidegateError | None = None
        events, self._staged.events = self._staged.events, []
        for event in events:
            try:
                await self._context.tell(event)
            except TidegateError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _swap(self, act: Act) -> None:
        context, goal, staged = self._context, self._goal, self._staged
        made_at = staged.hidden
        async with context.paths.locked(goal[1:]) as (here,):
            await require_unlocked(context, Intent.DELETE_DIR, staged.path, goal, tree=True)
            if own.mine(context, goal) is not None:
                raise Conflict(own.BUSY)
            if made_at.rpartition("/")[0] != goal.key.rpartition("/")[0]:
                raise NotFound
            await act.begin(goal.mount)
            new = await context.through(goal).stat(made_at, follow=False)
            with context.paths.still(goal.backend, goal.key):  # an upload would end where nobody sees it
                act.commit()
                context.shifted(goal.mount)
                try:
                    hidden = await self._storage.exchange(made_at, goal.key)
                except NotExchanged:
                    raise
                except StorageFailed:
                    self._unsure = True
                    raise
                staged.swapped = True
                if hidden != made_at:
                    self._hold(hidden)
            there = context.paths.hold(goal.backend, hidden)
            try:
                context.paths.moved(here, there)  # who writes in place goes along, if it is a file
                here.becomes(new.size if new.is_file else None)
            finally:
                context.paths.let_go(there)
            context.shifted(goal.mount)
            await self._attach(self._goal._replace(key=made_at))

    async def _attach(self, made_at: ResolvedPath) -> None:
        """Locks in the old tree end with what they were on; properties of the new one go along with it."""
        context, goal = self._context, self._goal
        if context.locks.active:
            place = identity_of(goal.backend, goal.key)
            for lock in await context.locks.within(place):
                if lock.place != place:  # one on what is replaced stays (RFC 4918 section 7.6)
                    await context.locks.forget(lock.place)
        await moved(context, made_at, goal)

    async def end(self) -> None:
        """Put what was moved into a place, if that is still to be done, and remove what is beside it."""
        context, staged = self._context, self._staged
        try:
            if (
                self._source is not None
                and not staged.swapped
                and await stat_or_none(context, self._hidden) is not None
            ):
                await self._rescue()
            if self._source is None or staged.swapped:  # else it may be all that there is of what was moved
                await discard(context, self._hidden)
        except TidegateError as error:
            log.warning("%s: what was beside it could not be removed: %s", self._goal.location, error)
            context.tracker.doubt(context.usage)
        finally:
            hidden = staged.hidden
            let_go(context, staged.state)
            await self._storage.leave_beside(hidden)

    async def _rescue(self) -> None:
        """Give what was moved, and has left its old place, the new one, else that again, else one beside."""
        if not self._unsure:
            with suppress(TidegateError):
                await self.swap()
        if self._staged.swapped:
            return
        if self._unsure or not await self._put_back():
            await self._show()

    async def _put_back(self) -> bool:
        """Rename what was moved to the path that it had; False if that cannot be."""
        source = self._source
        assert source is not None
        before = STAGED.set(self._staged)
        try:
            await rename(self._context, self._staged.path, source, replace=False)
        except TidegateError:
            return False
        finally:
            STAGED.reset(before)
        return True

    async def _show(self) -> None:
        """Give what is hidden a name that is seen: it may be all that there is of what was moved."""
        context, goal, hidden = self._context, self._goal, self._staged.hidden
        folder, slash, _ = hidden.rpartition("/")
        for number in range(1, MAX_SHOWN):
            shown = f"{folder}{slash}{goal.key.rpartition('/')[2]} (moved {number})"
            with suppress(AlreadyExists):
                await context.through(goal).rename(hidden, shown, replace=False)
                log.warning("%s could not be replaced: see %r", goal.location, shown)
                return


@asynccontextmanager
async def replacing(context: Context, path: VPath, source: VPath | None) -> AsyncIterator[Replacement | None]:
    """Make a tree beside a path within, to take its place; see `vfs.api.Session.replacing`."""
    table = context.table
    goal = None
    if path != "/" and not table.is_point(path) and not table.holds_points(path):
        goal = await reach(context, path, follow=False, charged=True)
    storage = None if goal is None else context.through(goal)
    if goal is None or not goal.key or storage is None or not fulfils(storage, ReplacesTrees):
        yield None
        return
    await require_unlocked(context, Intent.DELETE_DIR, path, goal, member=True, tree=True)
    if context.paths.used_below(goal.backend, goal.key):
        raise Conflict(own.BUSY)
    hidden = await storage.beside(goal.key, moves=source is not None)
    staged = Staged(context, goal.mount, path, goal.key, hold(context, goal, hidden))
    made = Replacement(context, goal, storage, staged, source)
    usage = context.usage
    usage.acts += 1
    try:
        await context.begin(goal.mount)
        before = STAGED.set(staged)
        try:
            yield made
        finally:
            STAGED.reset(before)
    finally:
        # In a task of its own if it has to wait: the caller may be cancelled, what is hidden must not stay.
        await context.acts.run(_ended(context, made, goal))


def hold(context: Context, goal: ResolvedPath, hidden: Key) -> PathState:
    """Keep directories above where they are charged; renames within that take the state along."""
    state = context.paths.hold(goal.backend, noted(hidden))
    state.reservation = Reservation(state, 0)
    return state


def let_go(context: Context, state: PathState) -> None:
    """End a `hold`."""
    state.reservation = None
    context.paths.let_go(state)


async def _ended(context: Context, made: Replacement, goal: ResolvedPath) -> None:
    try:
        await made.end()
    finally:
        context.usage.acts -= 1
        context.shifted(goal.mount)
        context.changed()


async def discard(context: Context, top: ResolvedPath) -> None:
    """Remove a tree that nobody sees, and give back what it was charged.

    Raises:
        TidegateError: something stays.
    """
    entry = await stat_or_none(context, top)
    if entry is None:
        return
    if not entry.is_dir:
        await _discard_file(context, top, entry)
        return
    waiting = [(top, False)]
    while waiting:
        here, emptied = waiting.pop()
        if emptied:
            parts = await kept_partials(context.through(here), here.key)
            await context.through(here).rmdir(here.key)
            here.mount.charges.credit(-sum(part.size for part in parts), -len(parts))
            continue
        waiting.append((here, True))
        found: list[Entry] = []
        async with listing(context.through(here), here.key) as batches:
            async for batch in batches:
                found += batch
        for one in found:
            at = here._replace(key=f"{here.key}/{one.name}")
            if one.is_dir:
                waiting.append((at, False))
            else:
                await _discard_file(context, at, one)


async def _discard_file(context: Context, at: ResolvedPath, entry: Entry) -> None:
    async with context.paths.locked(at[1:]) as (state,):
        with suppress(NotFound):
            await context.through(at).remove(at.key)
            if entry.is_file:
                forget(at.mount, state, entry.size)
