# SPDX-License-Identifier: Apache-2.0
"""Copying within the server: whole files (copy-file) and ranges between open files (copy-data)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic, time
from typing import Final

from tidegate.abc import Capability, FileHandle, OpenOptions, Outcome, Publish
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    InvalidArgument,
    IsADirectory,
    NotFound,
    QuotaExceeded,
    StorageFailed,
    TidegateError,
    Unsupported,
)
from tidegate.model import Action, Attrs, Entry, Intent, VPath
from tidegate.policy.quota import require
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.context import Context
from tidegate.vfs.files.attached import copied as copied_along
from tidegate.vfs.files.attached import require_unlocked
from tidegate.vfs.files.checksums import digest_range, new_blake3
from tidegate.vfs.files.handle import File
from tidegate.vfs.files.inspection import require_settled
from tidegate.vfs.files.progress import Progress, showing
from tidegate.vfs.files.reach import check_place, reach
from tidegate.vfs.mounts import ResolvedPath

CHUNK_BYTES: Final = 262_144
"""Bytes held while copying through the server."""
MOVE_DIGEST: Final = "blake3"
"""Compares a moved file with its original."""


async def copy_file(context: Context, source: VPath, target: VPath, *, replace: bool) -> None:
    """Copy one file; creates no directories."""
    started = monotonic()
    replaces = context.gate.decide(Intent.COPY, source, target=target, target_exists=True)
    if not (replace and replaces.allowed):
        context.require(Intent.COPY, source, target=target)  # before anything is touched
    table = context.table
    if table.is_point(source) or table.holds_points(source):
        raise IsADirectory
    if table.is_point(target) or table.holds_points(target):
        raise IsADirectory("target is a directory")
    # As an upload would, a copy goes through a link that is there; what must be new is never behind one.
    origin, goal = await reach(context, source), await reach(context, target, follow=replace, charged=True)
    check_place(context, Intent.COPY, source, origin, target=target, goal=goal)
    if source == target or (origin.backend is goal.backend and origin.key == goal.key):
        raise InvalidArgument("source and target are the same")

    async def work(act: Act) -> None:
        # Nobody may write the original in place meanwhile: its copy would be there without a verdict.
        ends = (goal[1:], origin[1:]) if context.copies_settled else (goal[1:],)
        async with context.paths.locked(*ends) as states:
            entry = await context.through(origin).stat(origin.key)
            if entry.is_dir:
                raise IsADirectory
            if not entry.is_file:
                raise Unsupported("only files are copied")
            for state in states[1:]:
                require_settled(context, state, entry)
            old = await stat_or_none(context, goal)
            if replace and old is not None and old.is_link and goal.mount.charges.grow:
                raise Conflict  # put there since we looked: what is counted is not what would be written
            exists = replace and old is not None
            context.require(Intent.COPY, source, target=target, target_exists=exists)
            check_place(context, Intent.COPY, source, origin, target=target, goal=goal, target_exists=exists)
            await require_unlocked(context, Intent.COPY, target, goal, follow=replace, member=old is None)
            await act.begin(goal.mount)
            with context.limits(Intent.COPY, target):
                progress = Progress("copy", target, time(), total_size=entry.size, total_files=1)
                with showing(context, progress, always=origin.backend is not goal.backend):
                    copied = await transfer(
                        context, act, origin, goal, entry, progress, replace=replace, asks=True
                    )
            await copied_along(context, origin, goal)
        await context.operated(
            Action.COPY,
            source,
            origin.location,
            started,
            target=target,
            target_path=goal.location,
            size=copied,
        )

    await settle(context, work)


async def stat_or_none(context: Context, resolved: ResolvedPath) -> Entry | None:
    """The entry that is there, links not followed; None for nothing."""
    try:
        return await context.through(resolved).stat(resolved.key, follow=False)
    except NotFound:
        return None


async def transfer(  # noqa: PLR0917  one copy has two ends
    context: Context,
    act: Act,
    origin: ResolvedPath,
    goal: ResolvedPath,
    entry: Entry,
    progress: Progress,
    *,
    replace: bool,
    asks: bool = False,
    moves: bool = False,
) -> int:
    """Copy one file's content and charge it; the caller holds the target's lock.

    The whole size is charged before the first byte moves, what turns out different afterwards. It is charged
    as growth and not as traffic. Cancellation ends it until the copy is complete; commits then.

    Args:
        asks: True if this uses up more, as a copy does and a move does not: then it begins only where
            an upload of the target and a download of the original might begin.
        progress: counts what is copied.
        moves: this is a move: the copy is compared with the original before it is visible, keeps what
            the original has besides its content, and may be larger than an upload.

    Returns:
        bytes copied.
    """
    charges, to_backend, to_key = goal.mount.charges, goal.backend, goal.key
    old = await stat_or_none(context, goal)
    if old is not None and not replace:
        raise AlreadyExists
    if old is not None and old.is_dir:
        raise IsADirectory("target is a directory")
    if not moves:
        charges.require_size(entry.size)
    state = context.paths.hold(to_backend, to_key)
    try:
        visible = state.learn(old.size) if old is not None and old.is_file else None
        replaced, files = state.freed(visible), 1 if visible is None else 0
        if asks:
            charges.may_upload(new=visible is None, replaced=replaced)
            origin.mount.charges.may_download()
        grows = max(0, entry.size - replaced)
        charges.charge(grows, files)
        try:
            same = not moves and origin.backend is to_backend
            read_back = moves and Capability.READ_WRITE not in to_backend.capabilities
            if same and Capability.SERVER_COPY in to_backend.capabilities:
                copied = await context.through(goal).copy(origin.key, to_key, replace=replace)
                act.commit()
                progress.size += copied
            else:
                copied, digest = await _stream(
                    context, act, origin, goal, entry, progress, replace=replace, moves=moves
                )
                if read_back:
                    await _compare_published(context, goal, copied, digest)
            if copied > entry.size:
                copied = await _cut_off(goal, entry.size, copied)
        except BaseException:
            charges.credit(-grows, -files)
            raise
        charges.credit(copied - replaced - grows, 0)
        state.becomes(copied)
        progress.files += 1
    finally:
        context.paths.let_go(state)
    return copied


async def _cut_off(goal: ResolvedPath, paid: int, copied: int) -> int:
    """Cut off what the original grew before storage copied it, if there is no room for that."""
    try:
        require(goal.mount.charges.grow_limits, copied - paid)
    except QuotaExceeded:
        await goal.backend.set_attrs(goal.key, Attrs(size=paid))
        return paid
    return copied


async def _stream(  # noqa: PLR0917
    context: Context,
    act: Act,
    origin: ResolvedPath,
    goal: ResolvedPath,
    entry: Entry,
    progress: Progress,
    *,
    replace: bool,
    moves: bool,
) -> tuple[int, bytes]:
    """Copy through bounded memory; the target appears complete or not at all.

    Returns:
        bytes copied, and of a move their digest by `MOVE_DIGEST`.
    """
    uid, gid = context.owner
    options = OpenOptions(
        read=moves and Capability.READ_WRITE in goal.backend.capabilities,
        write=True,
        create=True,
        exclusive=not replace,
        truncate=replace,
        publish=Publish.ATOMIC,
        mode=entry.mode,
        uid=uid,
        gid=gid,
        fsync=context.options.fsync,
    )
    reader = await context.through(origin).open_file(origin.key, OpenOptions(read=True))
    try:
        writer = await context.through(goal).open_file(goal.key, options)
        copied = 0
        digest = new_blake3() if moves else None
        try:
            while data := await reader.read(copied, CHUNK_BYTES):
                if copied + len(data) > entry.size:
                    data = data[: entry.size - copied]  # the original grows: copy what was charged
                    if not data:
                        break
                if digest is not None:
                    digest.update(memoryview(data))
                await writer.write(copied, data)
                copied += len(data)
                progress.size += len(data)
                await asyncio.sleep(0)  # storage that never waits would keep others from running
            if digest is not None:
                await _complete(
                    await context.through(origin).stat(origin.key, follow=False),
                    reader,
                    writer,
                    entry,
                    digest.digest(),
                    readable=options.read,
                )
        except BaseException:
            await _drop(writer.close(Outcome.DROP))
            raise
        act.commit()
        await writer.close(Outcome.COMMIT)
        return copied, b"" if digest is None else digest.digest()
    finally:
        await _drop(reader.close())


async def _complete(
    now: Entry, reader: FileHandle, writer: FileHandle, entry: Entry, wanted: bytes, *, readable: bool
) -> None:
    """Compare a copy that is not visible yet with its original, and give it what the original has.

    Args:
        now: what has the name of the original.
        wanted: the digest of what was read.
        readable: the writer can be read; else the copy is compared once it is published.

    Raises:
        Conflict: the original was changed meanwhile.
        StorageFailed: the copy differs.
    """
    for found in (await reader.stat(), now):
        if (found.size, found.mtime_ns) != (entry.size, entry.mtime_ns):
            raise Conflict("file was changed while it was moved")
    if readable:
        await _compare(writer, entry.size, wanted)
    for attrs in (
        Attrs(uid=entry.uid, gid=entry.gid),
        Attrs(mode=entry.mode & 0o777),
        Attrs(atime_ns=entry.atime_ns, mtime_ns=entry.mtime_ns),
    ):
        try:
            await writer.set_attrs(attrs)
        except (Denied, Unsupported):
            continue  # storage without it, or an owner that only root can give


async def _compare(copy: FileHandle, size: int, wanted: bytes) -> None:
    """Compare a copy by its digest, which storage that keeps digests knows without reading.

    Raises:
        StorageFailed: it differs.
    """
    if (await copy.stat()).size != size or await digest_range(copy, MOVE_DIGEST, 0, 0, 0) != [wanted]:
        raise StorageFailed("storage failure: the copy differs from the original")


async def _compare_published(context: Context, goal: ResolvedPath, size: int, wanted: bytes) -> None:
    """Compare a copy on storage that cannot read what is not published yet; one that differs is removed."""
    storage = context.through(goal)
    try:
        copy = await storage.open_file(goal.key, OpenOptions(read=True))
        try:
            await _compare(copy, size, wanted)
        finally:
            await _drop(copy.close())
    except TidegateError:
        await _drop(storage.remove(goal.key))
        raise


async def _drop(closing: Coroutine[None, None, None]) -> None:
    try:
        await closing
    except TidegateError:
        return


async def copy_range(source: File, offset: int, length: int, target: File, target_offset: int) -> int:
    """copy-data: bytes from one open file into another, charged as growth and not as traffic.

    Raises:
        InvalidArgument: the ranges lie in one file and overlap (as the draft demands).
    """
    if offset < 0 or length < 0 or target_offset < 0:
        raise InvalidArgument("negative offset or length")
    handle = source.handle
    if length == 0:
        length = max(0, (await handle.stat()).size - offset)
    if source.at == target.at and offset < target_offset + length and target_offset < offset + length:
        raise InvalidArgument("ranges of one file overlap")
    size = min(length, (handle.existed_size or 0) - offset)
    if size > 0 and await target.store_copy(handle, offset, size, target_offset):
        return size
    copied = 0
    while copied < length:
        data = await handle.read(offset + copied, min(CHUNK_BYTES, length - copied))
        if not data:
            break
        await target.store(target_offset + copied, memoryview(data), received=False)
        copied += len(data)
        await asyncio.sleep(0)  # as in `_stream`
    return copied
