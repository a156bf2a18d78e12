# SPDX-License-Identifier: Apache-2.0
"""Opening files to write them: what can be judged before anything is touched, then charging and opening.

Long, because each step works with what the one before it found out, and all of them are about one file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tidegate.abc import Backend, Capability, FileHandle, Key, OpenOptions, Outcome, Publish
from tidegate.contracts.inspection import Inspected
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    IsADirectory,
    NotFound,
    PeerGone,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Intent, VPath
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.context import Context
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.arriving import Passing
from tidegate.vfs.files.attached import made, require_unlocked
from tidegate.vfs.files.handle import ONE_WAY, File
from tidegate.vfs.files.in_order import InOrder
from tidegate.vfs.files.inspection import Early, flags_of_open, passing, reads_back
from tidegate.vfs.files.open_reading import inspect_download, refuse_mount_point
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import Mount, ResolvedPath

FILL_BYTES: Final = 1024 * 1024
"""Bytes of an old file that are copied at a time."""


async def _join(
    context: Context, path: VPath, flags: OpenFlags, resolved: ResolvedPath, upload: Upload
) -> File:
    """A second handle that writes a file the session is uploading already."""
    if flags.create and flags.exclusive:
        context.require(Intent.UPLOAD, path)
        raise AlreadyExists
    if resolved.mount.in_order:
        raise Conflict("this storage takes one writer of a file at a time")
    paths = dict.fromkeys((path, context.place(path, resolved)))
    for place in paths:
        context.require(Intent.OVERWRITE, place)
    await require_unlocked(context, Intent.OVERWRITE, path, resolved)
    flags, withheld = _readable(context, flags, *paths)
    charges = resolved.mount.charges
    with context.limits(Intent.OVERWRITE, path):
        charges.may_upload(new=False, replaced=0)
    wanted = OpenOptions(read=flags.read, write=True, append=flags.append)

    async def work(act: Act) -> File:
        async with own.held(context, upload):
            act.commit()
            handle = await own.reopened(context, resolved, upload, wanted)
            if isinstance(upload.handle, Passing):
                upload.handle.spoil()  # it is not told what another handle writes
            upload.sharers += 1
            if upload.reservation.writing or upload.reservation.resizing:
                upload.inexact()  # an append that is under way lands behind what we write
        file = File(
            context,
            resolved,
            handle,
            path,
            readable=flags.read,
            upload=upload,
            append=flags.append,
            joined=True,
        )
        file.withheld = withheld
        try:
            if flags.truncate:
                await own.resize(context, path, upload, 0, joined=True)
            if act.abandoned:
                raise PeerGone
        except BaseException:
            await file.abort()
            raise
        return file

    file = await settle(context, work)
    if flags.read:
        for count in charges.fetches:
            count.add(1)
    return file


async def open_upload(context: Context, path: VPath, flags: OpenFlags, attrs: Attrs | None) -> File:
    """A file that is written, and perhaps read; see `vfs.api.Session.open`."""
    may_replace = context.gate.decide(Intent.OVERWRITE, path).allowed
    if not may_replace:
        context.require(Intent.UPLOAD, path)  # neither: refused before anything is touched
    refuse_mount_point(context, path)
    if context.own and not flags.atomic:
        found = await own.find(context, path, follow=not flags.exclusive)
        if found is not None:
            return await _join(context, path, flags, *found)
    checked = await checked_upload(context, path, flags, may_replace=may_replace)
    if checked.flags.read and checked.entry is not None and not checked.flags.truncate:
        await inspect_download(context, path, checked.resolved)
    mount, entry = checked.resolved.mount, checked.entry
    intent = Intent.UPLOAD if entry is None else Intent.OVERWRITE
    await require_unlocked(context, intent, path, checked.resolved, follow=True, member=entry is None)
    if entry is None:
        await made(context, checked.resolved)
    old = entry.size if entry is not None and entry.is_file else 0
    with context.limits(intent, path):
        mount.charges.may_upload(new=entry is None, replaced=old if checked.flags.truncate else 0)
        if entry is not None and not checked.flags.truncate:
            mount.charges.require_size(old + 1)
    await inspect_opening(context, path, checked)
    wanted = options_of(context, checked, attrs)
    file = await settle(context, lambda act: begin_upload(context, act, path, checked, wanted))
    if checked.flags.read:
        for count in mount.charges.fetches:
            count.add(1)
    return file


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that may be written, by everything that is known before it is opened.

    Attributes:
        resolved: where it is, links followed.
        entry: what has the name now, itself if it is a link.
        flags: what is left of those that were asked for.
        withheld: the place where `download` is not granted, if it was asked for.
        may_replace: what is there may be replaced.
        one_way: reading was asked for, and this storage cannot do both; see `File.one_way`.
    """

    resolved: ResolvedPath
    entry: Entry | None
    flags: OpenFlags
    withheld: VPath | None
    may_replace: bool
    one_way: bool

    @property
    def fresh(self) -> bool:
        """True if nothing of the content that is there stays."""
        return self.entry is None or self.flags.truncate or self.flags.exclusive


async def checked_upload(context: Context, path: VPath, flags: OpenFlags, *, may_replace: bool) -> Checked:
    """Judge the opening of a file that is written, and find out what is there.

    Raises:
        TidegateError: it may not be opened.
    """
    resolved, entry = await context.survey(path)
    _check_place(context, path, resolved)
    _check_entry(context, path, flags, entry)
    behind = entry
    if entry is not None and entry.is_link:
        # A link counts as a new file; what it points to is replaced all the same.
        if flags.exclusive:
            raise AlreadyExists  # of a name that is taken, wherever it leads
        resolved = await context.charged(path, follow=True)
        _check_place(context, path, resolved)
        behind = await _look(context.through(resolved), resolved.key, follow=True)
        if behind is not None:
            if behind.is_dir:
                raise IsADirectory
            context.require(Intent.OVERWRITE, path)
    new = behind is None or (flags.create and flags.exclusive)
    there = context.place(path, resolved)
    if there != path and not context.gate.uniform:
        context.require(Intent.UPLOAD if new else Intent.OVERWRITE, there)
        may_replace = may_replace and context.gate.decide(Intent.OVERWRITE, there).allowed
    flags, withheld = _readable(context, flags, path, there)
    flags, one_way = _capable(resolved.backend, flags, entry)
    return Checked(resolved, entry, flags, withheld, may_replace, one_way)


async def inspect_opening(context: Context, path: VPath, checked: Checked) -> None:
    """Ask inspectors about a file that is about to be written.

    Raises:
        TidegateError: it may not be.
    """
    if context.inspections is None or not context.inspections.open_upload:
        return
    entry = checked.entry
    await context.inspect(
        Inspected.OPEN_UPLOAD,
        Intent.UPLOAD if entry is None else Intent.OVERWRITE,
        path,
        size=entry.size if entry is not None and entry.is_file else 0,
        location=checked.resolved.location,
        open_flags=flags_of_open(context.peer.protocol, checked.flags, new=entry is None),
    )


def options_of(context: Context, checked: Checked, attrs: Attrs | None) -> OpenOptions:
    """The options by which storage is asked to open the file."""
    flags, (mount, backend, _) = checked.flags, checked.resolved
    uid, gid = context.owner
    # Nothing was there: who may not overwrite must not replace what comes before this upload ends either.
    exclusive = flags.exclusive or (checked.entry is None and not checked.may_replace)
    return OpenOptions(
        read=flags.read or reads_back(context, backend),
        write=True,
        create=flags.create,
        exclusive=flags.create and exclusive,
        truncate=flags.truncate,
        append=_appends(mount, flags, fresh=checked.fresh),
        publish=_publish(backend, _mode(context, checked)),
        mode=attrs.mode if attrs is not None else None,
        uid=uid,
        gid=gid,
        fsync=context.options.fsync,
        replaces=flags.replaces,
    )


async def begin_upload(
    context: Context,
    act: Act,
    path: VPath,
    checked: Checked,
    wanted: OpenOptions,
    *,
    wrapped: Callable[[FileHandle], FileHandle] | None = None,
) -> File:
    """Charge and open, with nobody at the path in between.

    Args:
        context: of the session.
        act: of the opening.
        path: what the client calls it.
        checked: what `checked_upload` found.
        wanted: options for the storage.
        wrapped: puts another handle around the storage's; inspectors are asked at the end then, not before.
    """
    resolved, flags = checked.resolved, checked.flags
    mount, backend, key = resolved
    await act.begin(mount)
    await context.paths.may_change((backend, key))
    inplace = wanted.publish is Publish.INPLACE or not checked.fresh
    upload = Upload(context, resolved, inplace=inplace)
    handle: FileHandle | None = None
    before: FileHandle | None = None
    passed: Passing | None = None
    try:
        with context.limits(Intent.UPLOAD, path):
            if checked.entry is None:
                upload.charge_new()
            async with upload.state.lock:  # nobody removes or renames it between opening and taking over
                act.commit()
                handle = await context.opening_through(resolved).open_file(key, wanted)
                fresh = checked.fresh
                if not fresh and not handle.staged and _stays(context, resolved):
                    before, handle, fresh = handle, None, True
                    upload.basis = await before.stat()
                    wanted = replace(wanted, truncate=True, publish=Publish.ATOMIC)
                    handle = await context.opening_through(resolved).open_file(key, wanted)
                start = 0 if fresh else handle.existed_size or 0
                if wrapped is not None:
                    handle = wrapped(handle)
                elif mount.in_order or not flags.append:  # who appends does not know where bytes go
                    passed = passing(context, resolved, handle, start)
                if passed is not None:
                    handle = passed
                if mount.in_order:
                    handle = InOrder(handle, start, append=flags.append, room=context.options.early)
                # Only the backend knows if an unfinished upload was taken up, which stays beside it.
                upload.inplace = not handle.staged
                if upload.inplace and mount.charges.grow and handle.existed_size is not None:
                    upload.names = max(1, (await handle.stat()).nlink)
                # What is left of an upload is emptied by both.
                empty = wanted.truncate or wanted.exclusive
                upload.opened(handle.existed_size, truncate=empty, took=handle.took)
                if not upload.inplace:
                    upload.staged(handle, alone=checked.flags.atomic)
    except BaseException:
        upload.never_opened()
        if handle is not None:
            await _drop(handle)
        if before is not None:
            await _leave(before)
        raise
    early = None if passed is None else Early(context, passed, path)
    file = File(
        context,
        resolved,
        handle,
        path,
        readable=flags.read,
        upload=upload,
        append=flags.append,
        early=early,
    )
    file.withheld = checked.withheld
    file.one_way = checked.one_way
    if before is not None:
        await _fill(file, before)
    if act.abandoned:
        await file.abort()
        raise PeerGone
    return file


def _stays(context: Context, resolved: ResolvedPath) -> bool:
    """True if a file that is changed inside stays until inspectors have agreed to what it will be."""
    capabilities = resolved.backend.capabilities
    return (
        context.inspects_uploads
        and context.publish is not Publish.INPLACE
        and not resolved.mount.in_order
        and Capability.RANDOM_WRITE in capabilities
        and reads_back(context, resolved.backend)
    )


async def _fill(file: File, before: FileHandle) -> None:
    """Give an upload the content of the file that it will replace, and close that; or abort the upload."""
    try:
        at = 0
        while piece := await before.read(at, FILL_BYTES):
            await file.store(at, memoryview(piece), received=False)
            at += len(piece)
            await asyncio.sleep(0)
    except BaseException:
        await file.abort()
        raise
    finally:
        await _leave(before)


async def _leave(handle: FileHandle) -> None:
    """Close what was opened in place and not changed."""
    with contextlib.suppress(TidegateError):
        await handle.close(Outcome.KEEP)


async def _look(backend: Backend, key: Key, *, follow: bool = False) -> Entry | None:
    try:
        return await backend.stat(key, follow=follow)
    except NotFound:
        return None


def _check_entry(context: Context, path: VPath, flags: OpenFlags, entry: Entry | None) -> None:
    """Permissions again, now that the object is known."""
    if entry is None or entry.is_link:
        context.require(Intent.UPLOAD, path)
        if entry is None and not flags.create:
            raise NotFound
        return
    if entry.is_dir:
        raise AlreadyExists if flags.create and flags.exclusive else IsADirectory
    # With exclusive nothing is overwritten: the backend refuses, or only takes an unfinished upload's place.
    context.require(Intent.UPLOAD if flags.create and flags.exclusive else Intent.OVERWRITE, path)


def _check_place(context: Context, path: VPath, resolved: ResolvedPath) -> None:
    """Refuse a place that may be neither written nor replaced, before anything is told of it."""
    place = context.place(path, resolved)
    if context.gate.uniform or place == path:
        return
    if not context.gate.decide(Intent.OVERWRITE, place).allowed:
        context.require(Intent.UPLOAD, place)


def _readable(context: Context, flags: OpenFlags, *paths: VPath) -> tuple[OpenFlags, VPath | None]:
    """The flags that are left for a file that is written, and the place where `download` is not granted.

    Many libraries open what they upload for reading too and never read: that is no reason to refuse them.
    """
    if flags.read:
        for place in paths:
            if not context.gate.decide(Intent.DOWNLOAD, place).allowed:
                return replace(flags, read=False), place
    return flags, None


def _capable(backend: Backend, flags: OpenFlags, entry: Entry | None) -> tuple[OpenFlags, bool]:
    """The flags that the storage can do, and True if that is all but reading.

    Of a file that begins empty nothing but what was written could be read; git opens all its files like that
    and never does.

    Raises:
        Unsupported: it cannot go on with a file, or not for reading and writing.
    """
    capabilities = backend.capabilities
    one_way = flags.read and Capability.READ_WRITE not in capabilities
    if one_way and entry is not None and not flags.truncate:
        raise Unsupported(ONE_WAY)
    if (
        entry is not None
        and not flags.truncate
        and not capabilities & (Capability.RANDOM_WRITE | Capability.APPEND | Capability.PARTIALS)
    ):
        raise Unsupported("this storage cannot continue a file")
    return (replace(flags, read=False) if one_way else flags), one_way


def _appends(mount: Mount, flags: OpenFlags, *, fresh: bool) -> bool:
    """True if the storage is asked to go on at the end; what takes writes in order can do nothing else."""
    if not mount.in_order:
        return flags.append
    backend = mount.backend
    return not fresh and backend is not None and Capability.APPEND in backend.capabilities


def _mode(context: Context, checked: Checked) -> Publish:
    """The upload mode, or the one that was asked for."""
    if checked.flags.atomic:
        return Publish.ATOMIC
    return context.publish if checked.entry is not None else context.publish_new


def _publish(backend: Backend, mode: Publish) -> Publish:
    """The publish mode that the storage can do: an upload that cannot be kept is still replaced at once."""
    if mode is Publish.RESUMABLE and Capability.PARTIALS not in backend.capabilities:
        return Publish.ATOMIC
    return mode


async def _drop(handle: FileHandle) -> None:
    try:
        await handle.close(Outcome.DROP)
    except TidegateError:
        return
