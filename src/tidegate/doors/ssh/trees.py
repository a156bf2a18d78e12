# SPDX-License-Identifier: Apache-2.0
"""``tidegate-copy`` and ``tidegate-remove``: files and whole trees, without a byte through the client.

Everything goes through the session, thing by thing, so permissions, patterns, quotas and events are those of
an SFTP client that did the same. What fails has a line on standard error and the rest goes on. Links are not
followed: one to a file is copied as its content, one to a directory is told as an error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from time import monotonic
from typing import Any, Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.ssh.command import Call
from tidegate.doors.ssh.file_commands import apart, make_parents, path_of, usage
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidPath,
    NotADirectory,
    NotFound,
    TidegateError,
    Unsupported,
)
from tidegate.model import Entry, VPath
from tidegate.vfs.api import Session

MAX_DEPTH: Final = 256
"""Directories within each other."""

MAX_LINES: Final = 100
"""Failures that have a line of their own on standard error."""

REPORT_SECONDS: Final = 10.0
"""Time between two lines of the log about a command that goes on."""

ROUNDS: Final = 3
"""The most times that a directory is listed again because it was not empty after all in it was removed."""

log = logging.getLogger(__name__)


class _Progress:
    """A command that goes on; one of the session's transfers (`cluster.registry.LiveWork`).

    Attributes:
        operation_type: ``copy`` or ``remove``.
        virtual_path: what it is at.
        started: seconds since the epoch.
        size: bytes of the files that are done.
        files: their number.
        total_size: 0, what is in a directory is not known before; `total_files` likewise.
        failures: what could not be done.
        kept: directories with something in them that could not be done.
    """

    def __init__(self, call: Call, operation_type: str) -> None:
        self._call = call
        self.operation_type = operation_type
        self.virtual_path = ""
        self.started = time.time()
        self.size = 0
        self.files = 0
        self.total_size = 0
        self.total_files = 0
        self.failures = 0
        self.kept: set[VPath] = set()
        self._reported = monotonic()

    def at(self, path: VPath) -> None:
        """Something else is begun."""
        self.virtual_path = path
        now = monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            log.info(
                "%s: %s: %d files, %d bytes so far, at %s",
                self._call.session.peer.connection_id,
                self._call.invocation.name,
                self.files,
                self.size,
                path,
            )

    def done(self, size: int) -> None:
        """A file is done."""
        self.files += 1
        self.size += size

    async def failed(
        self, intent: str, path: VPath, error: TidegateError, target: VPath | None = None
    ) -> None:
        """Put a failure on record, and on standard error."""
        if not error.told:
            self._call.session.failed(intent, path, error, target)
        self.failures += 1
        self.kept.update(path.ancestors()[1:])
        if self.failures <= MAX_LINES:
            await self._call.output.error(f"{self._call.invocation.name}: {path}: {error.text}")

    async def unusable(self, intent: str, word: Word, error: InvalidPath) -> None:
        """Put an argument that cannot be a path on record, and on standard error."""
        self._call.session.failed(intent, str(word), error)
        self.failures += 1
        if self.failures <= MAX_LINES:
            await self._call.output.error(f"{self._call.invocation.name}: {word}: {error.text}")

    async def ended(self) -> int:
        """Say how it went; returns the exit status."""
        if self.failures > MAX_LINES:
            more = self.failures - MAX_LINES
            await self._call.output.error(f"{self._call.invocation.name}: and {more} failures more")
        if not self.failures:
            await self._call.output.write(b"OK\n")
        return 1 if self.failures else 0


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


# -- copying ---------------------------------------------------------------------------------------------


async def copy(call: Call) -> int:
    """Copy a file, or a directory with all in it.

    ``SOURCE TARGET``: a target that is a directory gets the source's name in it; directories above a target
    are made. Files that are there are replaced, if the account may.
    """
    try:
        words = apart(call.invocation.arguments, "r", least=2, most=2)
    except InvalidArgument as error:
        return await usage(call, error)
    progress = _Progress(call, "copy")
    call.session.transfers.add(progress)
    source, target = words.names
    try:
        await _copy(call, progress, source, target)
    finally:
        call.session.transfers.discard(progress)
    return await progress.ended()


async def _copy(call: Call, progress: _Progress, source_word: Word, target_word: Word) -> None:
    session = call.session
    word = source_word
    try:
        source = path_of(call, word)
        word = target_word
        target = path_of(call, word)
    except InvalidPath as error:
        await progress.unusable("copy", word, error)
        return
    try:
        entry = await session.stat(source)
        if target_word.endswith("/") or (source != target and await _is_directory(session, target)):
            target = target.child(source.name) if source.name else target
        if source == target:
            raise InvalidArgument("source and target are the same")
        if entry.is_dir and target.is_within(source):
            raise Unsupported("a directory cannot be copied into itself")
        await make_parents(call, target.parent)
    except TidegateError as error:
        await progress.failed("copy", source, error, target)
        return
    if entry.is_dir:
        await _copy_tree(session, progress, source, target)
    else:
        await _copy_file(session, progress, source, target, entry.size)


async def _is_directory(session: Session, path: VPath) -> bool:
    try:
        return (await session.stat(path)).is_dir
    except TidegateError:
        return False


async def _copy_file(session: Session, progress: _Progress, source: VPath, target: VPath, size: int) -> None:
    progress.at(source)
    try:
        await session.copy(source, target, replace=True)
    except TidegateError as error:
        await progress.failed("copy", source, error, target)
    else:
        progress.done(size)


async def _copy_tree(session: Session, progress: _Progress, source: VPath, target: VPath) -> None:
    levels: list[_Level] = []
    try:
        if await _enter(session, progress, levels, source, target):
            while levels:
                level = levels[-1]
                try:
                    entry = await level.next()
                except TidegateError as error:
                    await progress.failed("list", level.path, error)
                    entry = None
                if entry is None:
                    await levels.pop().close()
                    continue
                here, there = level.path.child(entry.name), level.target.child(entry.name)
                if entry.is_dir:
                    await _enter(session, progress, levels, here, there)
                else:
                    await _copy_file(session, progress, here, there, entry.size)
    finally:
        for level in levels:
            await level.close()


async def _enter(
    session: Session, progress: _Progress, levels: list[_Level], source: VPath, target: VPath
) -> bool:
    """Make a directory and go on in it; False if it is left out."""
    progress.at(source)
    try:
        if len(levels) >= MAX_DEPTH:
            raise Unsupported(f"directories within each other, more than {MAX_DEPTH} of them")
        try:
            await session.mkdir(target)
        except (AlreadyExists, Denied):
            # What is there is gone on in; who may make no directories may still copy into one.
            if not await _is_directory(session, target):
                raise
    except AlreadyExists:
        await progress.failed("mkdir", target, NotADirectory())
        return False
    except TidegateError as error:
        await progress.failed("mkdir", target, error)
        return False
    levels.append(_Level(session, source, target))
    return True


# -- removing --------------------------------------------------------------------------------------------


async def remove(call: Call) -> int:
    """Remove each file, link or directory that is named; a directory with all in it."""
    try:
        words = apart(call.invocation.arguments, "rf", least=1)
    except InvalidArgument as error:
        return await usage(call, error)
    progress = _Progress(call, "remove")
    call.session.transfers.add(progress)
    try:
        for word in words.names:
            try:
                path = path_of(call, word)
            except InvalidPath as error:
                await progress.unusable("delete_file", word, error)
                continue
            try:
                entry = await call.session.stat(path, follow=False)
            except TidegateError as error:
                await progress.failed("delete_file", path, error)
                continue
            if entry.is_dir:
                await _remove_tree(call.session, progress, path)
            else:
                await _remove_file(call.session, progress, path, entry.size)
    finally:
        call.session.transfers.discard(progress)
    return await progress.ended()


async def _remove_file(session: Session, progress: _Progress, path: VPath, size: int) -> None:
    progress.at(path)
    try:
        await session.remove(path)
    except NotFound:
        return  # somebody else was quicker
    except TidegateError as error:
        await progress.failed("delete_file", path, error)
    else:
        progress.done(size)


async def _remove_tree(session: Session, progress: _Progress, top: VPath) -> None:
    """Remove a directory; what stays in it for want of permission keeps those above it."""
    waiting: list[tuple[VPath, int]] = [(top, 0)]
    while waiting:
        path, rounds = waiting[-1]
        if rounds and path in progress.kept:
            waiting.pop()  # each thing that stays has its line
            continue
        progress.at(path)
        try:
            try:
                # First: who may not remove the directory, or a folder that is mounted, loses nothing in it.
                await session.rmdir(path)
            except DirectoryNotEmpty:
                if rounds >= ROUNDS:
                    raise
                if len(waiting) > MAX_DEPTH:
                    raise Unsupported(f"directories within each other, more than {MAX_DEPTH}") from None
                waiting[-1] = (path, rounds + 1)
                waiting += [(one, 0) for one in await _empty(session, progress, path)]
                continue
        except NotFound:
            pass  # somebody else was quicker
        except TidegateError as error:
            await progress.failed("delete_dir", path, error)
        waiting.pop()


async def _empty(session: Session, progress: _Progress, path: VPath) -> list[VPath]:
    """Remove the files of a directory; returns the directories in it."""
    below: list[VPath] = []
    files: list[Entry] = []
    async for batch in session.list(path):
        below += [path.child(entry.name) for entry in batch if entry.is_dir]
        files += [entry for entry in batch if not entry.is_dir]
    for entry in files:
        await _remove_file(session, progress, path.child(entry.name), entry.size)
    return below
