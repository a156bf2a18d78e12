# SPDX-License-Identifier: Apache-2.0
"""Sends files: ``scp -f``.

What cannot be sent is answered with a warning, and the next one is tried. Links are followed, as scp.c does;
one that leads to a directory that is being sent already is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, Final

from tidegate.doors.common.command_line import Word
from tidegate.doors.scp import content, wire
from tidegate.doors.scp.place import Place, Refused
from tidegate.doors.scp.wildcards import expand
from tidegate.errors import Denied, IsADirectory, TidegateError, TooManyLinks, Unsupported
from tidegate.model import Entry, Kind, VPath
from tidegate.vfs.api import File, OpenFlags

MAX_DEPTH: Final = 256
"""Directories within each other."""

_READ: Final = OpenFlags(read=True)
_NOT_REGULAR: Final = "not a regular file"


class _Level:
    """A directory that is being sent.

    Attributes:
        path: of it, as it was reached.
        real: of it, without links.
        batches: what is left of its listing.
        entries: what is left of a batch.
    """

    __slots__ = ("batches", "entries", "path", "real")

    def __init__(self, path: VPath, real: VPath, batches: AsyncIterator[list[Entry]]) -> None:
        self.path = path
        self.real = real
        self.batches = batches
        self.entries: Iterator[Entry] = iter(())


class Source:
    """The sending side.

    Args:
        place: session, stream and options of the channel.

    Attributes:
        begun: True: the peer may answer at any time.
    """

    def __init__(self, place: Place) -> None:
        self.begun = True
        self._place = place
        self._stream = place.stream
        self._session = place.session
        self._preserve = place.options.preserve
        self._levels: list[_Level] = []

    async def run(self) -> None:
        """Send everything that was named.

        Raises:
            PeerGone: the channel is gone.
            TidegateError: the conversation cannot go on; the text is for the peer.
        """
        await self._agreed()
        for word in self._place.options.names:
            try:
                paths = await self._named(word)
            except TidegateError as error:
                self._place.errors += 1
                self._place.failed("download", str(word), error)
                self._stream.send(wire.failure_line(f"{word}: {error.text}"))
                continue
            for path in paths:
                await self._whole(path)
        self._stream.transport.flush()

    async def _named(self, word: Word) -> list[VPath]:
        """The paths that a word stands for."""
        if word.pattern:
            start = self._session.start_directory
            if found := await expand(self._session, self._place.pattern(word), start):
                return found
        return [self._place.path(word)]

    async def _agreed(self) -> bool:
        """Wait for the peer's answer; False if it does not want this.

        Raises:
            Refused: it wants nothing more.
        """
        answer = await self._stream.answer()
        if answer is None:
            return True
        self._place.errors += 1
        if answer.fatal:
            raise Refused(answer.text)
        return False

    async def _whole(self, path: VPath) -> None:
        """Send a file, or a directory with all in it."""
        try:
            await self._one(path, None)
            while self._levels:
                level = self._levels[-1]
                entry = next(level.entries, None)
                if entry is None and not await self._more(level):
                    await self._pop()
                    self._stream.send(wire.END)
                    await self._agreed()
                elif entry is not None:
                    await self._one(level.path.child(entry.name), entry)
        finally:
            while self._levels:
                await self._pop()

    async def _more(self, level: _Level) -> bool:
        """Fetch the next names of a directory; False at its end."""
        try:
            batch = await anext(level.batches, None)
        except TidegateError as error:
            self._place.warn("list", level.path, error)
            return False
        if batch is None:
            return False
        level.entries = iter(batch)
        return True

    async def _pop(self) -> None:
        level = self._levels.pop()
        self._place.closed()
        batches: Any = level.batches
        async with aclosing(batches):
            pass

    async def _one(self, path: VPath, listed: Entry | None) -> None:
        """Send one thing; a directory is entered.

        Args:
            path: of it.
            listed: as its directory lists it; None if it was named.
        """
        self._place.check_open()
        try:
            if listed is not None and listed.kind is Kind.FILE:
                await self._file(path)
                return
            try:
                entry = await self._session.stat(path)
            except Denied:
                if listed is not None:
                    raise
                # Without the right to look, a file may be fetched all the same.
                await self._file(path)
                return
            if entry.is_dir and self._place.options.recursive:
                await self._enter(path, entry, listed)
            elif not entry.is_file:
                raise IsADirectory(_NOT_REGULAR) if entry.is_dir else Unsupported(_NOT_REGULAR)
            else:
                await self._file(path)
        except _Failed as failed:
            self._place.warn(failed.intent, path, failed.error)
        except Refused:
            raise
        except TidegateError as error:
            self._stream.check()
            self._place.warn("download", path, error)

    # -- directories -----------------------------------------------------------------------------------

    async def _enter(self, path: VPath, entry: Entry, listed: Entry | None) -> None:
        if len(self._levels) >= MAX_DEPTH:
            raise Unsupported(f"directories within each other, more than {MAX_DEPTH} of them")
        real = path
        if listed is None or listed.is_link or self._levels[-1].real != self._levels[-1].path:
            real = await self._session.real_path(path)
        if any(level.real == real for level in self._levels):
            raise TooManyLinks
        self._place.hold()
        level = _Level(path, real, self._session.list(path))
        self._levels.append(level)
        try:
            # A refusal belongs before the directory, not into it.
            first = await anext(level.batches, None)
        except TidegateError as error:
            await self._pop()
            raise _Failed("list", error) from error
        level.entries = iter(first or ())
        if self._preserve:
            self._stream.send(wire.times_line(entry))
            if not await self._agreed():
                await self._pop()
                return
        name = path.name or self._session.principal.username
        self._stream.send(wire.directory_line(entry.mode, name))
        if not await self._agreed():
            await self._pop()

    # -- files -----------------------------------------------------------------------------------------

    async def _file(self, path: VPath) -> None:
        file = await self._place.opened(path, _READ)
        arrived = False
        try:
            arrived = await self._content(path, file)
        finally:
            if not arrived:
                await file.abort()
                self._place.closed()
        if arrived:
            await self._place.close(file)

    async def _content(self, path: VPath, file: File) -> bool:
        """Send an open file; True if the peer has all of it."""
        entry = await file.stat()
        if self._preserve:
            self._stream.send(wire.times_line(entry))
            if not await self._agreed():
                return False
        self._stream.send(wire.file_line(entry, entry.size, path.name))
        if not await self._agreed():
            return False
        if entry.size:
            failure = await content.send(self._stream, entry.size, file, self._place.pieces)
            if failure is not None:
                self._place.warn("download", path, failure)
                await self._agreed()
                return False
        self._stream.send(wire.OK)
        return await self._agreed()


class _Failed(TidegateError):
    """Something other than a download failed."""

    def __init__(self, intent: str, error: TidegateError) -> None:
        super().__init__(error.text)
        self.intent = intent
        self.error = error
