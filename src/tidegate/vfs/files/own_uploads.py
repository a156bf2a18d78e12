# SPDX-License-Identifier: Apache-2.0
"""A session's own uploads before they are published: to itself they are there, as if written in place.

With the upload modes ATOMIC and RESUMABLE others see a file when it is complete. The session that writes it
has to see it at once: file system clients look at, chmod, rename and reopen what they have just created.
`Context.own` holds those uploads by their path. Each operation of the session asks `find` or `mine` and, if
there is one, acts on the upload's handle; what others see changes when the upload is closed.

One upload has one path and one content, however many handles the session has on it: a second OPEN joins it.
It is published when the last handle that writes it is closed, and not at all if one of them failed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tidegate.abc import FileHandle, OpenOptions, SharesUploads
from tidegate.errors import Conflict, StorageFailed, TidegateError
from tidegate.model import Entry, Intent, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.files.in_order import inner_of
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath
from tidegate.vfs.usage.reservations import PathState

BUSY = "upload still in progress"


def mine(context: Context, resolved: ResolvedPath) -> Upload | None:
    """The session's own unpublished upload at a path that `Context.charged` found."""
    if not context.own:
        return None
    state = context.paths.find(resolved.backend, resolved.key)
    return None if state is None else context.own.get(state)


async def find(context: Context, path: VPath, *, follow: bool = True) -> tuple[ResolvedPath, Upload] | None:
    """The session's own unpublished upload that a path leads to, and where; judges nothing."""
    if not context.own:
        return None
    try:
        resolved = await context.charged(path, follow=follow)
    except TidegateError:
        return None  # the operation itself finds out and says why
    upload = mine(context, resolved)
    return None if upload is None else (resolved, upload)


def below(context: Context, resolved: ResolvedPath) -> Iterator[tuple[str, Upload]]:
    """The session's own unpublished uploads in a directory and below it: relative keys."""
    prefix = f"{resolved.key}/" if resolved.key else ""
    for state, upload in context.own.items():
        backend, key = state.at
        if backend is resolved.backend and key.startswith(prefix):
            yield key[len(prefix) :], upload


async def look(upload: Upload) -> Entry:
    """Attributes of an upload now; it has its one name already, to the session."""
    entry = await upload.handle.stat()
    return entry if entry.nlink else entry._replace(nlink=1)


async def entries(context: Context, resolved: ResolvedPath) -> dict[str, Entry]:
    """The session's own unpublished uploads in a directory, by name, for its listing."""
    found = {}
    for name, upload in list(below(context, resolved)):
        if "/" not in name:
            try:
                found[name] = (await look(upload))._replace(name=name)
            except TidegateError:
                continue  # it ended meanwhile
    return found


@asynccontextmanager
async def held(context: Context, upload: Upload) -> AsyncIterator[PathState]:
    """Keep an upload from ending within.

    Raises:
        Conflict: it has ended.
    """
    state = upload.state
    async with state.lock:
        if context.own.get(state) is not upload:
            raise Conflict
        yield state


def sharing(context: Context, resolved: ResolvedPath) -> SharesUploads:
    """The storage, if one upload can have several handles and be renamed there.

    Raises:
        Conflict: it cannot.
    """
    backend = context.through(resolved)
    if not isinstance(backend, SharesUploads):
        raise Conflict(BUSY)
    return backend


async def reopened(
    context: Context, resolved: ResolvedPath, upload: Upload, options: OpenOptions
) -> FileHandle:
    """Another handle on the content of an upload; the caller holds its path."""
    return await sharing(context, resolved).reopen(inner_of(upload.handle), options)


@contextmanager
def redirecting(upload: Upload) -> Iterator[None]:
    """Change what becomes of an upload; if storage cannot say whether it did, the end leaves a doubt."""
    try:
        yield
    except StorageFailed:
        upload.unsure = True
        raise


async def forsake(context: Context, resolved: ResolvedPath, upload: Upload) -> None:
    """The upload's name was removed or replaced: it will not be published. The caller holds its path."""
    with redirecting(upload):
        await sharing(context, resolved).forsake(inner_of(upload.handle))
    upload.leave()
    upload.forsaken = True
    context.own.pop(upload.state, None)


async def resize(context: Context, path: VPath, upload: Upload, size: int, *, joined: bool = False) -> None:
    """Truncate or extend an upload by path; it does not end before that is done.

    Args:
        joined: a handle of the caller writes it, and is inspected at its end.

    Raises:
        Conflict: it has ended, or is inspected.
    """
    async with held(context, upload):
        if upload.judging and not joined:
            raise Conflict("file is being inspected")
        with context.limits(Intent.OVERWRITE, path):
            upload.require_size(size)
            upload.resize(size)
        await upload.set_size(upload.handle, size)
