# SPDX-License-Identifier: Apache-2.0
"""``tidegate-copy`` and ``tidegate-remove``: files and whole trees, without a byte through the client.

Everything goes through the session, thing by thing (`doors.common.trees`), so permissions, patterns, quotas
and events are those of an SFTP client that did the same. What fails has a line on standard error and the rest
goes on.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

from tidegate.doors.common import trees
from tidegate.doors.common.command_line import Word
from tidegate.doors.common.trees import TreeWork
from tidegate.doors.ssh.command import Call
from tidegate.doors.ssh.file_commands import apart, make_parents, path_of, usage
from tidegate.errors import InvalidArgument, InvalidPath, TidegateError, Unsupported
from tidegate.model import VPath

MAX_LINES: Final = 100
"""Failures that have a line of their own on standard error."""

REPORT_SECONDS: Final = 10.0
"""Time between two lines of the log about a command that goes on."""

log = logging.getLogger(__name__)


class _Progress(TreeWork):
    """A command that goes on.

    Attributes:
        failures: what could not be done.
    """

    def __init__(self, call: Call, operation_type: str) -> None:
        super().__init__(call.session, operation_type)
        self._call = call
        self.failures = 0
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
        """Put a failure on record, and on standard error."""
        await super().failed(intent, path, error, target, about=about, is_dir=is_dir)
        self.failures += 1
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
    source, target = words.names
    with _Progress(call, "copy") as progress:
        await _copy(call, progress, source, target)
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
        if target_word.endswith("/") or (source != target and await trees.is_directory(session, target)):
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
        await trees.copy(progress, source, target)
    else:
        await trees.copy_file(progress, source, target, entry.size)


# -- removing --------------------------------------------------------------------------------------------


async def remove(call: Call) -> int:
    """Remove each file, link or directory that is named; a directory with all in it."""
    try:
        words = apart(call.invocation.arguments, "rf", least=1)
    except InvalidArgument as error:
        return await usage(call, error)
    with _Progress(call, "remove") as progress:
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
            await trees.remove(progress, path, entry)
    return await progress.ended()
