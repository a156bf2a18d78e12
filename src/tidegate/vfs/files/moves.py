# SPDX-License-Identifier: Apache-2.0
"""Renames, with outcomes as those of rename(2), between storages too.

Within one storage, and between two that the system can rename between, it is one rename(2), which keeps
everything. Where the system cannot (two file systems, a disk and a bucket), what is moved is copied, compared
and then removed (`tidegate.vfs.files.carry`). docs/adr/0019 has the outcomes and the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as replaced
from time import monotonic, time
from typing import Final

from tidegate.abc import RenamesAcross, TellsSteps
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    IsADirectory,
    NotADirectory,
    NotFound,
    OtherDevice,
)
from tidegate.model import Action, Entry, Intent, VPath
from tidegate.policy.folders import check_rename
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.attached import moved, require_unlocked
from tidegate.vfs.files.carry import carry
from tidegate.vfs.files.copy import stat_or_none
from tidegate.vfs.files.in_order import inner_of
from tidegate.vfs.files.links import check_moved_link, check_moved_tree, taking_turns
from tidegate.vfs.files.progress import Progress, showing
from tidegate.vfs.files.reach import check_place, reach
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath
from tidegate.vfs.usage.reservations import PathState
from tidegate.vfs.usage.scan import kept_partials, measure_tree

MAX_MOVED_FILES: Final = 1_000_000
"""Files of a directory that may be moved from one quota to another in one rename."""
_SEVERAL_NAMES: Final = "file has other names, which stay in the quota it is in"
"""Such a file is copied: else whoever changes its size through one name changes what another quota holds."""


async def rename(context: Context, source: VPath, target: VPath, *, replace: bool) -> None:
    """Rename a file, link or directory.

    Args:
        replace: as rename(2) does; otherwise an existing target is refused, unless the account's renames
            replace (`tidegate.policy.renames`).
    """
    started = monotonic()
    replace = replace or context.renames_replace
    if not context.gate.decide(Intent.RENAME_DIR, source, target=target).allowed:
        context.require(Intent.RENAME_FILE, source, target=target)
    _ask_folders(context, source, target, is_dir=False)
    origin = await reach(context, source, follow=False, charged=True)
    goal = await reach(context, target, follow=False, charged=True)
    way, end = context.place(source, origin), context.place(target, goal)
    likely = context.gate.decide(Intent.RENAME_DIR, way, target=end).allowed
    check_place(
        context, Intent.RENAME_DIR if likely else Intent.RENAME_FILE, source, origin, target=target, goal=goal
    )

    async def work(act: Act) -> None:
        async with (
            taking_turns(context, origin.backend, goal.backend) as end_turn,
            context.paths.locked(origin[1:], goal[1:]) as (here, there),
        ):
            upload, over = own.mine(context, origin), own.mine(context, goal)
            if upload is not None:
                entry = await own.look(upload)
            else:
                entry = await context.through(origin).stat(origin.key, follow=False)
            old = await stat_or_none(context, goal)
            if old is None and over is not None:
                old = await own.look(over)
            same = source == target or (origin.backend is goal.backend and origin.key == goal.key)
            intent = Intent.RENAME_DIR if entry.is_dir else Intent.RENAME_FILE
            replaces = old is not None and replace and not same
            context.require(intent, source, target=target, target_exists=replaces)
            check_place(context, intent, source, origin, target=target, goal=goal, target_exists=replaces)
            _ask_folders(context, source, target, is_dir=entry.is_dir)
            _fits_name(entry, old, replace=replace)
            if same:
                return  # rename(2): one name of a file onto itself is no change, and no mistake
            await require_unlocked(context, intent, source, origin, member=True, tree=entry.is_dir)
            over_dir = old is not None and old.is_dir
            await require_unlocked(context, intent, target, goal, member=old is None, tree=over_dir)
            if entry.is_link:
                await check_moved_link(context, origin, goal, source, target)
            elif entry.is_dir:
                await check_moved_tree(context, origin, goal, source, target)
            change = _Change(origin, goal, entry, old, here, there)
            if upload is not None:
                await _rename_upload(context, act, upload, change, target, replace=replace)
            else:
                if change.across and entry.is_dir and any(own.below(context, origin)):
                    raise Conflict("file is being written")
                try:
                    await _rename_charged(context, act, change, replace=replace)
                except OtherDevice:
                    # Copying may take hours, in which others rename too. A link that is put into what is
                    # copied meanwhile was not judged for its new place; where it leads is, when it is used.
                    await end_turn()
                    with context.limits(intent, target):
                        await carry(context, act, origin, goal, entry, old, source, target)
                if over is not None:
                    await own.forsake(context, goal, over)
            await moved(context, origin, goal)
        await context.operated(
            Action.RENAME, source, origin.location, started, target=target, target_path=goal.location
        )

    await settle(context, work)


def _ask_folders(context: Context, source: VPath, target: VPath, *, is_dir: bool) -> None:
    refusal = check_rename(context.table.folders, source, target, is_dir=is_dir)
    if refusal is not None:
        intent = Intent.RENAME_DIR if is_dir else Intent.RENAME_FILE
        raise context.refused(intent, source, refusal.error, refusal.step.rule)


@dataclass(frozen=True, slots=True)
class _Change:
    """A rename whose objects are known."""

    origin: ResolvedPath
    goal: ResolvedPath
    entry: Entry
    old: Entry | None
    here: PathState
    there: PathState

    @property
    def across(self) -> bool:
        """True if it leads from one storage to another."""
        return self.origin.backend is not self.goal.backend

    @property
    def crosses(self) -> bool:
        """True if the two storages are such that nothing can be renamed between them."""
        return self.origin.mount.spec.resource != self.goal.mount.spec.resource

    @property
    def moves(self) -> bool:
        """True if it leads from one quota to another."""
        return self.origin.mount.charges.owner != self.goal.mount.charges.owner


def _fits_name(entry: Entry, old: Entry | None, *, replace: bool) -> None:
    if old is None:
        return
    if not replace:
        raise AlreadyExists
    if old.is_dir and not entry.is_dir:
        raise IsADirectory
    if entry.is_dir and not old.is_dir:
        raise NotADirectory


async def _rename_charged(context: Context, act: Act, change: _Change, *, replace: bool) -> None:
    """Rename in one step of the storage, taking charges along.

    Raises:
        Conflict: somebody changes something in a directory that moves into another quota.
        OtherDevice: nothing happened, and the storage cannot do it in one step.
    """
    mounts = change.origin.mount, change.goal.mount
    context.shifted(*mounts)
    try:
        if change.entry.is_dir and change.moves:
            with context.paths.still(*change.origin[1:]):
                await _rename_now(context, act, change, replace=replace)
        else:
            await _rename_now(context, act, change, replace=replace)
    finally:
        context.shifted(*mounts)


async def _rename_now(context: Context, act: Act, change: _Change, *, replace: bool) -> None:
    entry, old, here, there = change.entry, change.old, change.here, change.there
    backend, from_key, to_key = change.origin.backend, change.origin.key, change.goal.key
    from_mount, to_mount = change.origin.mount, change.goal.mount
    size = files = 0
    if entry.is_file:
        size = here.learn(entry.size) or 0
        files = 1
    moves = change.moves
    if moves and entry.is_file and entry.nlink > 1:
        raise OtherDevice(_SEVERAL_NAMES)
    if change.crosses and not context.paths.written_below(backend, from_key) and here.reservation is None:
        raise OtherDevice  # before anything is counted: no storage can do it in one step
    # Who writes in place goes along, but not into another quota or storage.
    apart = moves or change.across
    if apart and (here.reservation is not None or context.paths.written_below(backend, from_key)):
        raise Conflict("file is being written")
    if moves and entry.is_dir:
        size, files, several = await measure_tree(backend, from_key, limit=MAX_MOVED_FILES)
        if several:
            raise OtherDevice(_SEVERAL_NAMES)
    visible: int | None = None
    if old is not None and old.is_file:
        visible = there.learn(old.size)
    parts: list[Entry] = []
    if old is not None and old.is_dir:  # unfinished uploads go along with the directory they are in
        parts = await kept_partials(context.through(change.goal), to_key)
    if moves or parts or visible is not None:
        await act.begin(from_mount, to_mount)
    if moves:
        with context.limits(Intent.RENAME_FILE, to_mount.virtual(to_key)):
            to_mount.charges.charge(size, files)
    act.commit()
    try:
        await _storage_rename(context, change, replace=replace)
    except BaseException as error:
        if moves:
            to_mount.charges.credit(-size, -files)
        if isinstance(error, OtherDevice):
            act.committed = False  # nothing happened; the long way can be broken off
        raise
    if (
        entry.nlink > 1
        and old is not None
        and old.nlink > 1
        and await stat_or_none(context, change.origin) is not None
    ):
        # rename(2) of one name of a file onto another name of it does nothing, and says that it did.
        if moves:
            to_mount.charges.credit(-size, -files)
        return
    if moves:
        from_mount.charges.credit(-size, -files)
    if visible is not None:
        to_mount.charges.credit(-there.freed(visible), -1)
    to_mount.charges.credit(-sum(part.size for part in parts), -len(parts))
    there.becomes(size if entry.is_file else None)
    if change.across:
        here.becomes(None)
        return
    context.paths.moved(here, there)
    here.becomes(None)
    if entry.is_dir:
        context.paths.moved_tree(backend, from_key, to_key)


async def _rename_upload(
    context: Context, act: Act, upload: Upload, change: _Change, target: VPath, *, replace: bool
) -> None:
    """Rename an upload of the session that is not published, and what others see under its name."""
    origin, goal, old, there = change.origin, change.goal, change.old, change.there
    if change.across or origin.mount.charges.owner != goal.mount.charges.owner:
        raise Conflict("file is being written")
    storage = own.sharing(context, goal)
    await act.begin(origin.mount, goal.mount)
    published = await stat_or_none(context, origin)
    if published is not None and not published.is_file:
        published = None  # somebody else's by now, and stays where it is
    if published is not None:
        try:
            await _rename_charged(context, act, replaced(change, entry=published), replace=replace)
        except NotFound:  # what was seen is the upload itself
            published = None
    act.commit()
    over = own.mine(context, goal)
    if over is not None:
        await own.forsake(context, goal, over)
    # As if it had been there since now: who may not overwrite does not replace what comes meanwhile.
    paths = (target, context.place(target, goal))
    keeps = old is None and not all(context.gate.decide(Intent.OVERWRITE, at).allowed for at in paths)
    there.learn(old.size if old is not None and old.is_file else None)
    with own.redirecting(upload):
        await storage.retarget(
            inner_of(upload.handle), goal.key, exclusive=published is None and (keeps or not replace)
        )
    upload.renamed(there)


async def _storage_rename(context: Context, change: _Change, *, replace: bool) -> None:
    backend, from_key, to_key = context.through(change.origin), change.origin.key, change.goal.key
    if not change.across and fulfils(backend, TellsSteps):
        entry = change.entry
        progress = Progress("rename", change.goal.mount.virtual(to_key), time())
        if entry.is_file:
            progress.total_size, progress.total_files = entry.size, 1
        with showing(context, progress, always=entry.is_dir):
            await backend.rename_telling(from_key, to_key, replace=replace, steps=progress)
    elif not change.across:
        await backend.rename(from_key, to_key, replace=replace)
    elif isinstance(backend, RenamesAcross):
        await backend.rename_across(from_key, context.through(change.goal), to_key, replace=replace)
    else:
        raise OtherDevice
