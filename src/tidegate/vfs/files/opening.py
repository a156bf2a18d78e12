# SPDX-License-Identifier: Apache-2.0
"""Opening a file: what has to be allowed, what is charged, which handle the backend is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tidegate.abc import Key, OpenOptions, Publish, QuickHandle
from tidegate.errors import (
    Conflict,
    InvalidArgument,
    LinkMet,
    PeerLimit,
    QuotaExceeded,
    TidegateError,
)
from tidegate.model import Attrs, Intent, VPath
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.context import Context
from tidegate.vfs.files.attached import has_more
from tidegate.vfs.files.handle import File
from tidegate.vfs.files.open_reading import _FOR_READING, open_download
from tidegate.vfs.files.open_writing import open_upload
from tidegate.vfs.files.reach import MAX_TRIES
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath

_OpenNow = Callable[[Key, OpenOptions], QuickHandle | None]


async def open_file(context: Context, path: VPath, flags: OpenFlags, attrs: Attrs | None) -> File:
    """Open a file; see `vfs.api.Session.open`."""
    write = flags.write or flags.append
    if not write and not flags.read:
        raise InvalidArgument("open needs read or write")
    if not write and (flags.create or flags.truncate):
        raise InvalidArgument("create and truncate need write")
    if len(context.files) + context.opening >= context.options.max_open_files:
        raise PeerLimit(f"too many open files: {context.options.max_open_files}")
    context.opening += 1
    try:
        if not write:
            return await open_download(context, path)
        for _ in range(MAX_TRIES):
            try:
                return await open_upload(context, path, flags, attrs)
            except LinkMet:  # put there since the place was judged
                continue
        raise Conflict
    finally:
        context.opening -= 1


def open_nowait(
    context: Context, path: VPath, flags: OpenFlags, attrs: Attrs | None
) -> Callable[[], File] | None:
    """Open what is simple and needs no waiting; see `vfs.api.Session.begin_nowait`.

    It asks the same gate and the same meters as `open_file`, but never refuses: what is not allowed, or
    depends on what is there, or might wait, is left to `open_file`, which says so and records it. The storage
    vouches that no link was on the way, so the path that was judged is the place that is opened.
    """
    write = flags.write or flags.append
    if context.own or (write and (flags.read or flags.append or flags.atomic or not flags.create)):
        return None
    if not write and (not flags.read or flags.create or flags.truncate):
        return None
    if len(context.files) + context.opening >= context.options.max_open_files:
        return None
    table = context.table
    if table.has_points and (table.is_point(path) or table.holds_points(path)):
        return None
    resolved = table.known(path)
    if resolved is None or not resolved.key:
        return None
    if write and (context.locks.active or context.properties.active) and has_more(context, resolved):
        return None
    open_now: _OpenNow | None = getattr(resolved.backend, "open_nowait", None)
    if open_now is None:
        return None
    if write:
        return _create_nowait(context, path, resolved, open_now, attrs, truncate=flags.truncate)
    if context.inspections is not None and context.inspections.download:
        return None
    charges = resolved.mount.charges
    if not context.gate.decide(Intent.DOWNLOAD, path).allowed:
        return None
    try:
        charges.may_download()
        handle = open_now(resolved.key, _FOR_READING)
    except TidegateError:
        return None
    if handle is None:
        return None
    return partial(_reading, context, resolved, handle, path)


def _create_nowait(
    context: Context,
    path: VPath,
    resolved: ResolvedPath,
    open_now: _OpenNow,
    attrs: Attrs | None,
    *,
    truncate: bool,
) -> Callable[[], File] | None:
    mount, backend, key = resolved
    charges = mount.charges
    if (
        context.options.upload_mode is not Publish.INPLACE
        or mount.in_order
        or (
            context.inspections is not None
            and (context.inspections.upload or context.inspections.open_upload)
        )
    ):
        return None
    may_upload, may_overwrite = context.gate.may_create(path)
    if not may_upload or context.paths.in_use(backend, key):
        return None
    try:
        charges.may_upload(new=True, replaced=0)
    except QuotaExceeded:
        return None
    if not context.tracker.begin_nowait(context.usage, mount.usage):
        return None
    # An unfinished upload is seen as a file: it matters to who may not overwrite, or does not truncate.
    exclusive = not (truncate and may_overwrite)
    mode = attrs.mode if attrs is not None else None
    wanted = context.created
    if wanted is None or wanted.mode != mode or wanted.exclusive is not exclusive:
        uid, gid = context.owner
        wanted = context.created = OpenOptions(
            write=True,
            create=True,
            exclusive=exclusive,
            mode=mode,
            uid=uid,
            gid=gid,
            fsync=context.options.fsync,
        )
    try:
        handle = open_now(key, wanted)
    except TidegateError:
        return None
    if handle is None:
        return None
    return partial(_created, context, resolved, handle, path)


def _reading(context: Context, resolved: ResolvedPath, handle: QuickHandle, path: VPath) -> File:
    for count in resolved.mount.charges.fetches:
        count.add(1)
    return File(context, resolved, handle, path, readable=True, upload=None, append=False)


def _created(context: Context, resolved: ResolvedPath, handle: QuickHandle, path: VPath) -> File:
    upload = Upload(context, resolved, inplace=True)
    upload.created()
    return File(context, resolved, handle, path, readable=False, upload=upload, append=False)
