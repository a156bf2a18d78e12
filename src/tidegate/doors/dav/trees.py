# SPDX-License-Identifier: Apache-2.0
"""Trees, copied and removed thing by thing through the session: each thing is judged and on record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from tidegate.errors import DirectoryNotEmpty, NotFound, TidegateError, Unsupported
from tidegate.model import Entry, VPath
from tidegate.vfs.api import Session

MAX_DEPTH: Final = 256
"""Directories within each other."""
MAX_FAILURES: Final = 100
"""Failures that are told; after so many nothing more is tried."""
ROUNDS: Final = 3
"""The most times that a directory is listed again because it was not empty after all in it was removed."""


class TooManyFailures(Exception):
    """A tree is given up."""


class Work:
    """A copy or removal that goes on; one of the session's transfers (`cluster.registry.LiveWork`).

    Attributes:
        operation_type: ``copy`` or ``remove``.
        virtual_path: what it is at.
        started: seconds since the epoch.
        size: bytes of the files that are done.
        files: their number.
        total_size: 0, what is in a directory is not known before; `total_files` likewise.
        failures: what could not be done, with whether it is a directory, and why.
    """

    def __init__(self, session: Session, operation_type: str) -> None:
        self.session = session
        self.operation_type = operation_type
        self.virtual_path = ""
        self.started = time.time()
        self.size = self.files = self.total_size = self.total_files = 0
        self.failures: list[tuple[VPath, bool, TidegateError]] = []
        self.kept: set[VPath] = set()

    def __enter__(self) -> Work:
        self.session.transfers.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.session.transfers.discard(self)

    def done(self, entry: Entry) -> None:
        """A file is done."""
        self.files += 1
        self.size += entry.size

    def failed(  # noqa: PLR0917
        self, intent: str, path: VPath, error: TidegateError, target: VPath | None, about: VPath, is_dir: bool
    ) -> None:
        """Put a failure on record. `about` is the path that the client is told.

        Raises:
            TooManyFailures: this was the last one that is borne.
        """
        self.session.failed(intent, path, error, target)
        self.failures.append((about, is_dir, error))
        self.kept.update(about.ancestors()[1:])
        if len(self.failures) >= MAX_FAILURES:
            raise TooManyFailures


# -- removing ----------------------------------------------------------------------------------------------


async def remove(work: Work, path: VPath, entry: Entry) -> None:
    """Remove a file, link or tree; what cannot be removed is among the failures of `work`."""
    if not entry.is_dir:
        await _remove_file(work, path, entry)
        return
    waiting: list[tuple[VPath, int]] = [(path, 0)]
    while waiting:
        here, rounds = waiting[-1]
        if rounds and here in work.kept:
            waiting.pop()  # what stays in it is a failure of its own
            continue
        work.virtual_path = here
        try:
            # First: who may not remove the directory, or a folder that is mounted, loses nothing in it.
            await work.session.rmdir(here)
        except DirectoryNotEmpty as error:
            if rounds >= ROUNDS or len(waiting) > MAX_DEPTH:
                work.failed("delete_dir", here, error, None, here, is_dir=True)
                waiting.pop()
                continue
            waiting[-1] = (here, rounds + 1)
            try:
                waiting += [(one, 0) for one in await _empty(work, here)]
            except TidegateError as problem:
                work.failed("list", here, problem, None, here, is_dir=True)
                waiting.pop()
            continue
        except NotFound:
            pass  # somebody else was quicker
        except TidegateError as error:
            work.failed("delete_dir", here, error, None, here, is_dir=True)
        waiting.pop()


async def _remove_file(work: Work, path: VPath, entry: Entry) -> None:
    work.virtual_path = path
    try:
        await work.session.remove(path)
    except NotFound:
        return  # somebody else was quicker
    except TidegateError as error:
        work.failed("delete_file", path, error, None, path, is_dir=False)
    else:
        work.done(entry)


async def _empty(work: Work, path: VPath) -> list[VPath]:
    """Remove the files of a directory; returns the directories in it."""
    below: list[VPath] = []
    files: list[Entry] = []
    async for batch in work.session.list(path):
        below += [path.child(entry.name) for entry in batch if entry.is_dir]
        files += [entry for entry in batch if not entry.is_dir]
    for entry in files:
        await _remove_file(work, path.child(entry.name), entry)
    return below


# -- copying -----------------------------------------------------------------------------------------------


async def copy(
    work: Work,
    source: VPath,
    target: VPath,
    *,
    leaves_out: Callable[[str], bool],
) -> None:
    """Copy a tree into a directory that is made for it. Links are copied as what they lead to, if files.

    Args:
        work: its session, and what fails.
        source: a directory.
        target: its new path, at which there is nothing.
        leaves_out: True for names that are not copied.
    """
    if not await _make(work, source, target):
        return
    waiting = [(source, target, 1)]
    while waiting:
        here, there, depth = waiting.pop()
        batches: Any = work.session.list(here)
        found: list[Entry] = []
        try:
            async for batch in batches:
                found += batch  # the tree may be changed while it is copied
        except TidegateError as error:
            work.failed("list", here, error, None, there, is_dir=True)
        for entry in found:
            if leaves_out(entry.name):
                continue
            inner, outer = here.child(entry.name), there.child(entry.name)
            if not entry.is_dir:
                await _copy_file(work, inner, outer, entry)
            elif depth >= MAX_DEPTH:
                deep = Unsupported(f"directories within each other, more than {MAX_DEPTH} of them")
                work.failed("copy", inner, deep, outer, outer, is_dir=True)
            elif await _make(work, inner, outer):
                waiting.append((inner, outer, depth + 1))


async def _make(work: Work, source: VPath, target: VPath) -> bool:
    work.virtual_path = source
    try:
        await work.session.mkdir(target)
    except TidegateError as error:
        work.failed("mkdir", target, error, None, target, is_dir=True)
        return False
    return True


async def _copy_file(work: Work, source: VPath, target: VPath, entry: Entry) -> None:
    work.virtual_path = source
    try:
        await work.session.copy(source, target, replace=True)
    except TidegateError as error:
        work.failed("copy", source, error, target, target, is_dir=False)
    else:
        work.done(entry)
