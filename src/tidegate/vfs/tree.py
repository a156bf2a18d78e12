# SPDX-License-Identifier: Apache-2.0
"""Acts on names: remove, mkdir, rmdir, rename, links.

Every act asks the gate before it looks at the storage, and again once it knows what the object is. Usage
is settled under the lock of the places concerned, so that overlapping acts of several sessions add up, and
together with the act itself (`tidegate.vfs.acts`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tidegate.abc import Backend, Capability, Publish
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    IsADirectory,
    NotADirectory,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Intent, VPath
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.context import Context
from tidegate.vfs.copy import stat_or_none, transfer
from tidegate.vfs.extents import Place
from tidegate.vfs.links import absolute, judge_moved_link, judge_moved_tree, taking_turns, text_to_store
from tidegate.vfs.mounts import Mount, Spot
from tidegate.vfs.reach import acting, judge, reach
from tidegate.vfs.scan import measure

MAX_MOVED_FILES: Final = 1_000_000
"""Files of a directory that may be moved from one quota to another in one rename."""


async def remove(context: Context, path: VPath) -> None:
    """Remove a file or link."""
    started = monotonic()
    if path == "/" or context.table.is_point(path):
        context.require(Intent.DELETE_FILE, path)
        raise IsADirectory
    spot = await reach(context, path, Intent.DELETE_FILE, follow=False, charged=True)
    mount, backend, key = spot.mount, context.through(spot), spot.key

    async def work(act: Act) -> None:
        async with context.places.locked((spot.backend, key)) as (place,):
            entry = await backend.stat(key, follow=False)
            if entry.is_dir:
                raise IsADirectory
            if entry.is_file:
                await act.begin(mount)
            act.commit()
            await backend.remove(key)
            if entry.is_file:
                _forget(mount, place, entry.size)
        context.operated("Remove", path, mount.host_path(key), started)

    await settle(context, work)


def _forget(mount: Mount, place: Place, size: int) -> None:
    """A visible file went away."""
    visible = place.learn(size)
    if visible is not None:  # None: an upload that is going on was seen, which its own end settles
        mount.meter.credit(-visible, -1)
    place.becomes(None)


async def mkdir(context: Context, path: VPath, attrs: Attrs | None) -> None:
    """Create one directory."""
    started = monotonic()
    context.require(Intent.MKDIR, path)
    if context.table.is_point(path):
        raise context.deny(Intent.MKDIR, path, "permission: a folder is mounted there", "virtual_folders")
    if path == "/" or context.table.holds_points(path):
        raise AlreadyExists
    spot = await reach(context, path, Intent.MKDIR, follow=False)
    mount, key = spot.mount, spot.key
    uid, gid = context.owner

    async def work(act: Act) -> None:
        async with _new_name(context, act, spot):
            mode = attrs.mode if attrs is not None else None
            await context.through(spot).mkdir(key, mode=mode, uid=uid, gid=gid)
        context.operated("Mkdir", path, mount.host_path(key), started)

    await settle(context, work)


async def _unfinished(context: Context, spot: Spot, place: Place) -> Entry | None:
    """The kept unfinished upload that a new name will hide, if it counts in the quota."""
    if context.options.upload_mode is not Publish.RESUMABLE:
        return None
    entry = await stat_or_none(context, spot)
    if entry is None or not entry.is_file or place.learn(entry.size) is None:
        return None
    return entry


@asynccontextmanager
async def _new_name(context: Context, act: Act, spot: Spot) -> AsyncIterator[None]:
    """Commit, and settle what a name that comes into being within hides."""
    if context.options.upload_mode is not Publish.RESUMABLE:
        act.commit()
        yield
        return
    async with context.places.locked(spot[1:]) as (place,):
        hidden = await _unfinished(context, spot, place)
        if hidden is not None:
            await act.begin(spot.mount)
        act.commit()
        yield
        if hidden is not None:
            spot.mount.meter.credit(-(place.learn(hidden.size) or 0), -1)
            place.becomes(None)


async def rmdir(context: Context, path: VPath) -> None:
    """Remove an empty directory."""
    started = monotonic()
    context.require(Intent.DELETE_DIR, path)
    if context.table.is_point(path):
        raise context.deny(
            Intent.DELETE_DIR, path, "permission: a folder is mounted there", "virtual_folders"
        )
    if context.table.holds_points(path):
        raise Unsupported("a folder is mounted inside")
    spot = await reach(context, path, Intent.DELETE_DIR, follow=False)
    mount, key = spot.mount, spot.key
    await context.through(spot).rmdir(key)
    context.operated("Rmdir", path, mount.host_path(key), started)


async def rename(context: Context, source: VPath, target: VPath, *, replace: bool) -> None:
    """Rename within one storage root, or move a file between two of the same kind."""
    started = monotonic()
    if not context.gate.decide(Intent.RENAME_DIR, source, target=target).allowed:
        context.require(Intent.RENAME_FILE, source, target=target)
    table = context.table
    if table.is_point(source) or table.is_point(target):
        raise context.deny(
            Intent.RENAME_DIR, source, "permission: a folder is mounted there", "virtual_folders"
        )
    origin = await reach(context, source, follow=False, charged=True)
    goal = await reach(context, target, follow=False, charged=True)
    way, end = context.place(source, origin), context.place(target, goal)
    likely = context.gate.decide(Intent.RENAME_DIR, way, target=end).allowed
    judge(
        context, Intent.RENAME_DIR if likely else Intent.RENAME_FILE, source, origin, target=target, goal=goal
    )

    async def work(act: Act) -> None:
        async with (
            taking_turns(context, origin.backend),
            context.places.locked(origin[1:], goal[1:]) as (here, there),
        ):
            entry = await context.through(origin).stat(origin.key, follow=False)
            old = await stat_or_none(context, goal)
            intent = Intent.RENAME_DIR if entry.is_dir else Intent.RENAME_FILE
            replaces = old is not None and replace
            context.require(intent, source, target=target, target_exists=replaces)
            judge(context, intent, source, origin, target=target, goal=goal, target_exists=replaces)
            if source == target or (origin.backend is goal.backend and origin.key == goal.key):
                raise Unsupported("source and target are the same")
            if target.is_within(source) or source.is_within(target):
                raise Unsupported("source and target lie within each other")
            if table.holds_points(source) or table.holds_points(target):
                raise Unsupported("a folder is mounted inside")
            _fits_name(entry, old, replace=replace)
            if entry.is_link:
                await judge_moved_link(context, origin, goal, source, target)
            elif entry.is_dir:
                await judge_moved_tree(context, origin, goal, source, target)
            if origin.backend is goal.backend:
                change = _Change(origin, goal, entry, old, here, there)
                await _rename_charged(context, act, change, replace=replace)
            elif origin.mount.spec.resource != goal.mount.spec.resource:
                raise context.deny(intent, source, "permission: rename between storages", "storage")
            else:
                change = _Change(origin, goal, entry, old, here, there)
                await _move(context, act, target, change, replace=replace)
        context.operated(
            "Rename", source, origin.host_path, started, target=target, target_path=goal.host_path
        )

    await settle(context, work)


@dataclass(frozen=True, slots=True)
class _Change:
    """A rename whose objects are known."""

    origin: Spot
    goal: Spot
    entry: Entry
    old: Entry | None
    here: Place
    there: Place


def _fits_name(entry: Entry, old: Entry | None, *, replace: bool) -> None:
    if old is None:
        return
    if not replace:
        raise AlreadyExists
    if old.is_dir:
        raise Unsupported("target is a directory")
    if entry.is_dir:
        raise NotADirectory


async def _rename_charged(context: Context, act: Act, change: _Change, *, replace: bool) -> None:
    """Rename on one backend, taking charges along."""
    entry, old, here, there = change.entry, change.old, change.here, change.there
    backend, from_key, to_key = change.origin.backend, change.origin.key, change.goal.key
    from_mount, to_mount = change.origin.mount, change.goal.mount
    size = files = 0
    if entry.is_file:
        size = here.learn(entry.size) or 0
        files = 1
    moves = from_mount.meter.owner != to_mount.meter.owner
    if moves and here.extent is not None:
        raise Conflict("file is being written")
    if moves and entry.is_dir:
        size, files = await measure(backend, from_key, limit=MAX_MOVED_FILES)
    replaced: int | None = None
    if old is not None and old.is_file:
        replaced = there.learn(old.size)
    if moves or replaced is not None:
        await act.begin(from_mount, to_mount)
    if moves:
        with context.limits(Intent.RENAME_FILE, to_mount.virtual(to_key)):
            to_mount.meter.charge(size, files)
    act.commit()
    try:
        await context.through(change.origin).rename(from_key, to_key, replace=replace)
    except BaseException:
        if moves:
            to_mount.meter.credit(-size, -files)
        raise
    if (
        entry.nlink > 1
        and old is not None
        and old.nlink > 1
        and await stat_or_none(context, change.origin) is not None
    ):
        # rename(2) of one name of a file onto another name of it does nothing, and says that it did.
        if moves:
            to_mount.meter.credit(-size, -files)
        return
    if moves:
        from_mount.meter.credit(-size, -files)
    if replaced is not None:  # asked again: somebody may have gone on writing to it
        to_mount.meter.credit(-(there.learn(replaced) or 0), -1)
    there.becomes(size if entry.is_file else None)
    context.places.moved(here, there)
    here.becomes(None)
    if entry.is_dir:
        context.places.moved_tree(backend, from_key, to_key)


async def _move(context: Context, act: Act, target: VPath, change: _Change, *, replace: bool) -> None:
    """Move one file between two roots of one kind of storage: copy, then remove the original."""
    origin, goal, entry, here = change.origin, change.goal, change.entry, change.here
    if not entry.is_file:
        raise Unsupported("only files move between storages")
    if here.extent is not None:
        raise Conflict("file is being written")
    await act.begin(origin.mount, goal.mount)
    with context.limits(Intent.RENAME_FILE, target):
        await transfer(context, act, origin, goal, entry, replace=replace)
    await context.through(origin).remove(origin.key)
    _forget(origin.mount, here, entry.size)


async def symlink(context: Context, text: str, link: VPath) -> None:
    """Create a link; its text is checked as the path it means."""
    started = monotonic()
    points = VPath.parse(text, base=link.parent)
    context.require(Intent.SYMLINK, points, target=link)
    if context.table.is_point(link) or context.table.is_point(points):
        raise Unsupported("links do not cross folders")
    spot = await reach(context, link, follow=False)
    judge(context, Intent.SYMLINK, points, await context.table.at(points), target=link, goal=spot)
    mount, backend, key = spot
    other, _, other_key = await context.table.at(points)
    if other is not mount:
        raise Unsupported("links do not cross folders")
    _needs(backend, Capability.LINKS, "links")
    if context.table.holds_points(link):
        raise AlreadyExists

    async def work(act: Act) -> None:
        async with taking_turns(context, backend):
            content = await text_to_store(context, spot, text, points, link)
            async with _new_name(context, act, spot):
                await context.through(spot).symlink(content, key)
        context.operated(
            "Symlink",
            points,
            other.host_path(other_key),
            started,
            target=link,
            target_path=mount.host_path(key),
        )

    await settle(context, work)


async def readlink(context: Context, path: VPath) -> str:
    """The text of a link as a virtual path."""
    context.require(Intent.READLINK, path)
    _needs((await context.table.at(path)).backend, Capability.LINKS, "links")
    spot, text = await acting(
        context,
        path,
        lambda place: context.require(Intent.READLINK, place),
        lambda backend, key: backend.readlink(key),
        follow=False,
    )
    return absolute(spot.mount, text)


async def hardlink(context: Context, source: VPath, target: VPath) -> None:
    """Give a file a second name; each name counts in the quota, as a scan counts them."""
    started = monotonic()
    context.require(Intent.HARDLINK, source, target=target)
    table = context.table
    origin = await reach(context, source, follow=False, charged=True)
    goal = await reach(context, target, follow=False, charged=True)
    judge(context, Intent.HARDLINK, source, origin, target=target, goal=goal)
    mount, backend, key = origin
    to_mount, to_backend, to_key = goal
    if to_backend is not backend or mount.meter.owner != to_mount.meter.owner:
        raise Unsupported("links do not cross folders")
    _needs(backend, Capability.HARDLINKS, "hard links")
    if table.is_point(target) or table.holds_points(target):
        raise AlreadyExists

    async def work(act: Act) -> None:
        async with context.places.locked((backend, key), (backend, to_key)) as (here, there):
            entry = await context.through(origin).stat(key, follow=False)
            if entry.is_dir:
                raise IsADirectory
            if not entry.is_file:
                raise Unsupported("only files have hard links")
            if here.extent is not None and mount.meter.grow:
                # its growth is charged for the names it had when opened
                raise Conflict("file is being written")
            size = here.learn(entry.size) or 0
            hidden = await _unfinished(context, Spot(to_mount, to_backend, to_key), there)
            await act.begin(to_mount)
            with context.limits(Intent.HARDLINK, source):
                to_mount.meter.charge(size, 1)
            act.commit()
            try:
                await context.through(origin).hardlink(key, to_key)
            except BaseException:
                to_mount.meter.credit(-size, -1)
                raise
            if hidden is not None:
                to_mount.meter.credit(-(there.learn(hidden.size) or 0), -1)
            there.becomes(size)
        context.operated(
            "Link",
            source,
            mount.host_path(key),
            started,
            target=target,
            target_path=to_mount.host_path(to_key),
        )

    await settle(context, work)


def _needs(backend: Backend, capability: Capability, what: str) -> None:
    if capability not in backend.capabilities:
        raise Unsupported(f"this storage has no {what}")
