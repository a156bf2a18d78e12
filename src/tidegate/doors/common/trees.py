# SPDX-License-Identifier: Apache-2.0
"""Trees, copied and removed thing by thing through a session: each thing is judged and on record.

Links are not followed: one to a file is copied as its content, one to a directory is a failure, and removing
removes the link. What fails is told to `TreeWork.failed`, and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Final, Self

from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    NotADirectory,
    NotFound,
    TidegateError,
    Unsupported,
)
from tidegate.model import Entry, VPath
from tidegate.vfs.api import Session

MAX_DEPTH: Final = 256
"""Directories within each other."""
ROUNDS: Final = 3
"""The most times that a directory is listed again because it was not empty after all in it was removed."""


class TreeWork:
    """A copy or removal that goes on; one of the session's transfers (`cluster.registry.LiveWork`).

    Attributes:
        session: the files.
        operation_type: ``copy`` or ``remove``.
        virtual_path: what it is at.
        started: seconds since the epoch.
        size: bytes of the files that are done.
        files: their number.
        total_size: 0, what is in a directory is not known before; `total_files` likewise.
        kept: directories with something in them that could not be done.
    """

    def __init__(self, session: Session, operation_type: str) -> None:
        self.session = session
        self.operation_type = operation_type
        self.virtual_path = ""
        self.started = time.time()
        self.size = self.files = self.total_size = self.total_files = 0
        self.kept: set[VPath] = set()

    def __enter__(self) -> Self:
        self.session.transfers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.session.transfers.discard(self)

    def at(self, path: VPath) -> None:
        """Something else is begun."""
        self.virtual_path = path

    def done(self, size: int) -> None:
        """A file is done."""
        self.files += 1
        self.size += size

    async def failed(
        self,
        intent: str,
        path: VPath,
        error: TidegateError,
        target: VPath | None = None,
        *,
        about: VPath | None = None,
        is_dir: bool = False,
    ) -> None:
        """Put a failure on record.

        Args:
            intent: of the record.
            path: to which something was to be done.
            error: the reason.
            target: of a copy.
            about: what is not there, or still is, because of it; None for `target`, without one `path`.
            is_dir: that is a directory.
        """
        del is_dir
        self.session.failed(intent, path, error, target)
        self.kept.update((about or target or path).ancestors()[1:])


# -- removing ------------------------------------------------------------------------------------------------


async def remove(work: TreeWork, path: VPath, entry: Entry) -> None:
    """Remove a file, link or tree; what stays in a directory for want of permission keeps those above it."""
    if not entry.is_dir:
        await _remove_file(work, path, entry)
        return
    waiting: list[tuple[VPath, int]] = [(path, 0)]
    while waiting:
        here, rounds = waiting[-1]
        if rounds and here in work.kept:
            waiting.pop()  # what stays in it is a failure of its own
            continue
        work.at(here)
        try:
            try:
                # First: who may not remove the directory, or a folder that is mounted, loses nothing in it.
                await work.session.rmdir(here)
            except DirectoryNotEmpty:
                if rounds >= ROUNDS:
                    raise
                if len(waiting) > MAX_DEPTH:
                    raise _too_deep() from None
                waiting[-1] = (here, rounds + 1)
                waiting += [(one, 0) for one in await _empty(work, here)]
                continue
        except NotFound:
            pass  # somebody else was quicker
        except TidegateError as error:
            await work.failed("delete_dir", here, error, is_dir=True)
        waiting.pop()


async def _remove_file(work: TreeWork, path: VPath, entry: Entry) -> None:
    work.at(path)
    try:
        await work.session.remove(path)
    except NotFound:
        return  # somebody else was quicker
    except TidegateError as error:
        await work.failed("delete_file", path, error)
    else:
        work.done(entry.size)


async def _empty(work: TreeWork, path: VPath) -> list[VPath]:
    """Remove the files of a directory; returns the directories in it."""
    below: list[VPath] = []
    files: list[Entry] = []
    async for batch in work.session.list(path):
        below += [path.child(entry.name) for entry in batch if entry.is_dir]
        files += [entry for entry in batch if not entry.is_dir]
    for entry in files:
        await _remove_file(work, path.child(entry.name), entry)
    return below


async def require_removable(work: TreeWork, path: VPath, entry: Entry) -> None:
    """Judge the removal of a file, link or tree, and remove nothing; refusals are failures of `work`."""
    await _judge(work, path, entry)
    waiting = [_Level(work.session, path, path)] if entry.is_dir else []
    try:
        while waiting:
            level = waiting[-1]
            found = await _next(work, level)
            if found is None:
                await waiting.pop().close()
                continue
            here = level.path.child(found.name)
            await _judge(work, here, found)
            if not found.is_dir:
                continue
            if len(waiting) >= MAX_DEPTH:
                await work.failed("delete_dir", here, _too_deep(), is_dir=True)
            else:
                waiting.append(_Level(work.session, here, here))
    finally:
        for level in waiting:
            await level.close()


async def _judge(work: TreeWork, path: VPath, entry: Entry) -> None:
    try:
        await work.session.require_removable(path, entry)
    except TidegateError as error:
        await work.failed("delete_dir" if entry.is_dir else "delete_file", path, error, is_dir=entry.is_dir)


# -- copying -------------------------------------------------------------------------------------------------


class _Level:
    """A directory that is walked through."""

    def __init__(self, session: Session, path: VPath, target: VPath) -> None:
        self.path = path
        self.target = target
        self.batches: AsyncIterator[list[Entry]] = session.list(path)
        self.entries: Iterator[Entry] = iter(())

    async def next(self) -> Entry | None:
        """The next entry; None at the end."""
        while (entry := next(self.entries, None)) is None:
            batch = await anext(self.batches, None)
            if batch is None:
                return None
            self.entries = iter(batch)
        return entry

    async def close(self) -> None:
        """End the listing."""
        batches: Any = self.batches
        async with aclosing(batches):
            pass


async def _next(work: TreeWork, level: _Level) -> Entry | None:
    """The next entry of a directory; None at its end, and where it cannot be listed any further."""
    try:
        return await level.next()
    except TidegateError as error:
        await work.failed("list", level.path, error, about=level.target, is_dir=True)
        return None


async def copy(
    work: TreeWork, source: VPath, target: VPath, leaves_out: Callable[[str], bool] = lambda _: False
) -> None:
    """Copy a tree; a directory that is there already is gone on in, and files in it are replaced.

    Args:
        work: its session, and what fails.
        source: a directory.
        target: its new path.
        leaves_out: True for names that are not copied.
    """
    levels: list[_Level] = []
    try:
        await _enter(work, levels, source, target)
        while levels:
            level = levels[-1]
            entry = await _next(work, level)
            if entry is None:
                await levels.pop().close()
                continue
            if leaves_out(entry.name):
                continue
            here, there = level.path.child(entry.name), level.target.child(entry.name)
            if entry.is_dir:
                await _enter(work, levels, here, there)
            else:
                await copy_file(work, here, there, entry.size)
    finally:
        for level in levels:
            await level.close()


async def _enter(work: TreeWork, levels: list[_Level], source: VPath, target: VPath) -> None:
    """Make a directory and go on in it, unless that cannot be."""
    work.at(source)
    try:
        if len(levels) >= MAX_DEPTH:
            raise _too_deep()
        try:
            await work.session.mkdir(target)
        except (AlreadyExists, Denied):
            # What is there is gone on in; who may make no directories may still copy into one.
            if not await is_directory(work.session, target):
                raise
    except AlreadyExists:
        await work.failed("mkdir", target, NotADirectory(), is_dir=True)
    except TidegateError as error:
        await work.failed("mkdir", target, error, is_dir=True)
    else:
        levels.append(_Level(work.session, source, target))


async def copy_file(work: TreeWork, source: VPath, target: VPath, size: int) -> None:
    """Copy one file, over one that is there."""
    work.at(source)
    try:
        await work.session.copy(source, target, replace=True)
    except TidegateError as error:
        await work.failed("copy", source, error, target)
    else:
        work.done(size)


async def is_directory(session: Session, path: VPath) -> bool:
    """True if a directory is there that may be seen."""
    try:
        return (await session.stat(path)).is_dir
    except TidegateError:
        return False


def _too_deep() -> Unsupported:
    return Unsupported(f"directories within each other, more than {MAX_DEPTH} of them")
