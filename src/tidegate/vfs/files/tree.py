# SPDX-License-Identifier: Apache-2.0
"""Acts on names: remove, mkdir, rmdir, links; renames are `tidegate.vfs.files.moves`.

Every act asks the gate before it looks at the storage, and again once it knows what the object is. Usage
is settled under the lock of the paths concerned, so that overlapping acts of several sessions add up, and
together with the act itself (`tidegate.vfs.acts`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from tidegate.abc import Backend, Capability, ExpiresPartials, KnowsPlaces, Publish
from tidegate.contracts.inspection import Inspected
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    DirectoryNotEmpty,
    InvalidArgument,
    IsADirectory,
    OtherDevice,
    TidegateError,
    Unsupported,
)
from tidegate.model import Action, Attrs, Entry, Intent, VPath
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.context import Context
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.attached import made, removed, require_unlocked
from tidegate.vfs.files.copy import stat_or_none
from tidegate.vfs.files.links import absolute, taking_turns, text_to_store
from tidegate.vfs.files.reach import acting, check_place, reach
from tidegate.vfs.mounts import Mount, ResolvedPath
from tidegate.vfs.usage.reservations import PathState
from tidegate.vfs.usage.scan import kept_partials


async def remove(context: Context, path: VPath) -> None:
    """Remove a file or link."""
    started = monotonic()
    if path == "/" or context.table.is_point(path):
        context.require(Intent.DELETE_FILE, path)
        raise IsADirectory
    resolved = await reach(context, path, Intent.DELETE_FILE, follow=False, charged=True)
    mount, backend, key = resolved.mount, context.through(resolved), resolved.key

    async def work(act: Act) -> None:
        async with context.paths.locked((resolved.backend, key)) as (state,):
            await require_unlocked(context, Intent.DELETE_FILE, path, resolved, member=True)
            upload = own.mine(context, resolved)
            if upload is not None:
                await own.forsake(context, resolved, upload)
            entry = await (
                backend.stat(key, follow=False) if upload is None else stat_or_none(context, resolved)
            )
            if entry is not None:  # else there was nothing but an upload of the session's own
                if entry.is_dir:
                    raise IsADirectory
                await context.inspect(
                    Inspected.DELETE, Intent.DELETE_FILE, path, size=entry.size, location=mount.location(key)
                )
                if entry.is_file:
                    await act.begin(mount)
                act.commit()
                await backend.remove(key)
                if entry.is_file:
                    forget(mount, state, entry.size)
            await removed(context, resolved)
        size = entry.size if entry is not None else -1
        await context.operated(Action.REMOVE, path, mount.location(key), started, size=size)

    await settle(context, work)


def forget(mount: Mount, state: PathState, size: int) -> None:
    """Give back what a visible file was charged that went away; the caller holds its path."""
    visible = state.learn(size)
    if visible is not None:  # None: an upload that is going on was seen, which its own end settles
        mount.charges.credit(-state.freed(size), -1)
    state.becomes(None)


async def mkdir(context: Context, path: VPath, attrs: Attrs | None) -> None:
    """Create one directory."""
    started = monotonic()
    context.require(Intent.MKDIR, path)
    if context.table.is_point(path):
        raise context.deny(Intent.MKDIR, path, "permission: a folder is mounted there", "virtual_folders")
    if path == "/" or context.table.holds_points(path):
        raise AlreadyExists
    resolved = await reach(context, path, Intent.MKDIR, follow=False, charged=True)
    if own.mine(context, resolved) is not None:
        raise AlreadyExists
    mount, key = resolved.mount, resolved.key
    uid, gid = context.owner

    async def work(act: Act) -> None:
        await require_unlocked(context, Intent.MKDIR, path, resolved, member=True)
        if context.properties.active and await stat_or_none(context, resolved) is None:
            await made(context, resolved)  # what is there already keeps its properties: this will fail
        async with _new_name(context, act, resolved):
            mode = attrs.mode if attrs is not None else None
            await context.through(resolved).mkdir(key, mode=mode, uid=uid, gid=gid)
        await context.operated(Action.MKDIR, path, mount.location(key), started)

    await settle(context, work)


async def _unfinished(context: Context, resolved: ResolvedPath, state: PathState) -> Entry | None:
    """The kept unfinished upload that a new name will hide, if it counts in the quota."""
    if context.options.upload_mode is not Publish.RESUMABLE:
        return None
    entry = await stat_or_none(context, resolved)
    if entry is None or not entry.is_file or state.learn(entry.size) is None:
        return None
    return entry


@asynccontextmanager
async def _new_name(context: Context, act: Act, resolved: ResolvedPath) -> AsyncIterator[None]:
    """Commit, and settle what a name that comes into being within hides.

    Who holds the path for another act (a copy that has looked what is there) is waited for.
    """
    async with context.paths.locked(resolved[1:]) as (state,):
        hidden = await _unfinished(context, resolved, state)
        if hidden is not None:
            await act.begin(resolved.mount)
        act.commit()
        yield
        if hidden is not None:
            resolved.mount.charges.credit(-state.freed(hidden.size), -1)
            state.becomes(None)


async def rmdir(context: Context, path: VPath) -> None:
    """Remove an empty directory."""
    started = monotonic()
    context.require(Intent.DELETE_DIR, path)
    if context.table.is_point(path):
        raise context.deny(
            Intent.DELETE_DIR, path, "permission: a folder is mounted there", "virtual_folders"
        )
    if context.table.holds_points(path):
        raise DirectoryNotEmpty("a folder is mounted inside")
    resolved = await reach(context, path, Intent.DELETE_DIR, follow=False, charged=True)
    if any(own.below(context, resolved)):
        raise DirectoryNotEmpty
    mount, backend, key = resolved.mount, context.through(resolved), resolved.key

    async def work(act: Act) -> None:
        # To users a directory is empty that holds unfinished uploads only; they go along with it.
        async with context.paths.locked((resolved.backend, key)):
            await require_unlocked(context, Intent.DELETE_DIR, path, resolved, member=True, tree=True)
            await context.inspect(Inspected.DELETE, Intent.DELETE_DIR, path, location=mount.location(key))
            parts = await kept_partials(backend, key)
            if parts:
                await act.begin(mount)
            act.commit()
            await backend.rmdir(key)
            mount.charges.credit(-sum(part.size for part in parts), -len(parts))
            await removed(context, resolved)
        await context.operated(Action.RMDIR, path, mount.location(key), started)

    await settle(context, work)


async def expire(context: Context, resolved: ResolvedPath) -> None:
    """Remove unfinished uploads of a directory that are too old, and give back what they were charged."""
    mount, backend, key = resolved.mount, context.through(resolved), resolved.key
    if not isinstance(backend, ExpiresPartials):
        return

    async def work(act: Act) -> None:
        await act.begin(mount)
        async with context.paths.locked((resolved.backend, key)):
            act.commit()
            gone = await backend.expire_partials(key)
            mount.charges.credit(-sum(part.size for part in gone), -len(gone))

    await settle(context, work)


async def symlink(context: Context, text: str, link: VPath) -> None:
    """Create a link; its text is checked as the path it means."""
    started = monotonic()
    points = VPath.parse(text, base=link.parent)
    context.require(Intent.SYMLINK, points, target=link)
    if context.table.is_point(link) or context.table.is_point(points):
        raise OtherDevice("links do not cross folders")
    resolved = await reach(context, link, follow=False, charged=True)
    if own.mine(context, resolved) is not None:
        raise AlreadyExists
    check_place(context, Intent.SYMLINK, points, await context.table.at(points), target=link, goal=resolved)
    mount, backend, key = resolved
    other, _, other_key = await context.table.at(points)
    if other is not mount:
        raise OtherDevice("links do not cross folders")
    _needs(backend, Capability.LINKS, "links")
    if context.table.holds_points(link):
        raise AlreadyExists

    async def work(act: Act) -> None:
        async with taking_turns(context, backend):
            content = await text_to_store(context, resolved, text, points, link)
            await require_unlocked(context, Intent.SYMLINK, link, resolved, member=True)
            async with _new_name(context, act, resolved):
                await context.through(resolved).symlink(content, key)
        await context.operated(
            Action.SYMLINK,
            points,
            other.location(other_key),
            started,
            target=link,
            target_path=mount.location(key),
        )

    await settle(context, work)


async def readlink(context: Context, path: VPath) -> str:
    """The text of a link as a virtual path."""
    context.require(Intent.READLINK, path)
    if context.own and await own.find(context, path, follow=False) is not None:
        raise InvalidArgument("invalid argument: not a link")
    _needs((await context.table.at(path)).backend, Capability.LINKS, "links")
    resolved, text = await acting(
        context,
        path,
        lambda at: context.require(Intent.READLINK, at),
        lambda backend, key: backend.readlink(key),
        follow=False,
    )
    return absolute(resolved.mount, text)


async def real_path(context: Context, path: VPath) -> VPath:
    """The path without links on the way, existing or not, where all of both may be seen; else as it is.

    Nothing is told of what may not be listed: for that the answer is the path, as for what does not exist.
    """
    mount, backend, key = await context.table.at(path)
    if not key or not isinstance(backend, KnowsPlaces):
        return path
    try:
        real_key = await backend.place_of(key, follow=True)
    except TidegateError:  # a loop, a way out, something missing on the way
        return path
    real = path if real_key == key else mount.virtual(real_key)
    if real == path:
        return path
    steps = {*path.ancestors()[:-1], *real.ancestors()[:-1]}
    decide = context.gate.decide
    seen = all(decide(Intent.STAT, step, is_dir=kind).allowed for step in steps for kind in (True, False))
    return real if seen else path


async def hardlink(context: Context, source: VPath, target: VPath) -> None:
    """Give a file a second name; each name counts in the quota, as a scan counts them."""
    started = monotonic()
    context.require(Intent.HARDLINK, source, target=target)
    table = context.table
    origin = await reach(context, source, follow=False, charged=True)
    goal = await reach(context, target, follow=False, charged=True)
    check_place(context, Intent.HARDLINK, source, origin, target=target, goal=goal)
    mount, backend, key = origin
    to_mount, to_backend, to_key = goal
    if to_backend is not backend or mount.charges.owner != to_mount.charges.owner:
        raise OtherDevice("links do not cross folders")
    _needs(backend, Capability.HARDLINKS, "hard links")
    if table.is_point(target) or table.holds_points(target):
        raise AlreadyExists

    async def work(act: Act) -> None:
        async with context.paths.locked((backend, key), (backend, to_key)) as (here, there):
            entry = await context.through(origin).stat(key, follow=False)
            if entry.is_dir:
                raise IsADirectory
            if not entry.is_file:
                raise Unsupported("only files have hard links")
            await require_unlocked(context, Intent.HARDLINK, target, goal, member=True)
            if here.reservation is not None and mount.charges.grow:
                # its growth is charged for the names it had when opened
                raise Conflict("file is being written")
            size = here.learn(entry.size) or 0
            hidden = await _unfinished(context, ResolvedPath(to_mount, to_backend, to_key), there)
            await act.begin(to_mount)
            with context.limits(Intent.HARDLINK, source):
                to_mount.charges.charge(size, 1)
            act.commit()
            try:
                await context.through(origin).hardlink(key, to_key)
            except BaseException:
                to_mount.charges.credit(-size, -1)
                raise
            if hidden is not None:
                to_mount.charges.credit(-there.freed(hidden.size), -1)
            there.becomes(size)
        await context.operated(
            Action.LINK,
            source,
            mount.location(key),
            started,
            target=target,
            target_path=to_mount.location(to_key),
        )

    await settle(context, work)


def _needs(backend: Backend, capability: Capability, what: str) -> None:
    if capability not in backend.capabilities:
        raise Unsupported(f"this storage has no {what}")
