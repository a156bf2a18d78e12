# SPDX-License-Identifier: Apache-2.0
"""Opening files to read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.abc import FileHandle, OpenOptions
from tidegate.contracts.inspection import Inspected
from tidegate.errors import (
    IsADirectory,
    NotFound,
    QuotaExceeded,
)
from tidegate.model import Intent, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.handle import File
from tidegate.vfs.files.reach import acting
from tidegate.vfs.mounts import ResolvedPath

_FOR_READING: Final = OpenOptions(read=True)


async def open_download(context: Context, path: VPath) -> File:
    """A file that is read; see `vfs.api.Session.open`."""
    context.require(Intent.DOWNLOAD, path)
    refuse_mount_point(context, path)
    mount = (await context.table.at(path)).mount
    try:
        mount.charges.may_download()
    except QuotaExceeded as error:
        context.over(Intent.DOWNLOAD, path, error)
        raise
    resolved, handle = await _reading(context, path, lambda place: context.require(Intent.DOWNLOAD, place))
    if context.inspections is not None and context.inspections.download:
        try:
            await context.inspect(
                Inspected.DOWNLOAD, Intent.DOWNLOAD, path,
                size=(await handle.stat()).size, location=resolved.location, read=handle.read,
            )  # fmt: skip
        except BaseException:
            await handle.close()
            raise
    for count in mount.charges.fetches:
        count.add(1)
    return File(context, resolved, handle, path, readable=True, upload=None, append=False)


async def inspect_download(context: Context, path: VPath, resolved: ResolvedPath) -> None:
    """Ask about a file that is about to be opened for reading and writing, if it is there.

    Raises:
        Denied: it may not be read.
    """
    if context.inspections is None or not context.inspections.download:
        return
    try:
        content = await context.opening_through(resolved).open_file(resolved.key, _FOR_READING)
    except NotFound:
        return
    try:
        await context.inspect(
            Inspected.DOWNLOAD, Intent.DOWNLOAD, path,
            size=(await content.stat()).size, location=resolved.location, read=content.read,
        )  # fmt: skip
    finally:
        await content.close()


async def open_to_read(context: Context, path: VPath, check: Callable[[VPath], object]) -> FileHandle:
    """The backend's handle for reading what a path leads to; `check` as in `reach.acting`."""
    return (await _reading(context, path, check))[1]


async def _reading(
    context: Context, path: VPath, check: Callable[[VPath], object]
) -> tuple[ResolvedPath, FileHandle]:
    found = await own.find(context, path) if context.own else None
    if found is None:
        return await acting(context, path, check, lambda backend, key: backend.open_file(key, _FOR_READING))
    resolved, upload = found
    there = context.place(path, resolved)
    if there != path:
        check(there)
    async with own.held(context, upload):
        return resolved, await own.reopened(context, resolved, upload, _FOR_READING)


def refuse_mount_point(context: Context, path: VPath) -> None:
    """A mount point, and a directory that leads to one, is no file."""
    table = context.table
    if path == "/" or (table.has_points and (table.is_point(path) or table.holds_points(path))):
        raise IsADirectory
