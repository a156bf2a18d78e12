# SPDX-License-Identifier: Apache-2.0
"""Receives files: ``scp -t``.

A file that fails is answered with a warning, and the next one is taken; what breaks the protocol ends the
channel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tidegate.doors.scp import content, wire
from tidegate.doors.scp.place import Place, Refused, shown, text_of
from tidegate.errors import (
    AlreadyExists,
    Denied,
    IsADirectory,
    NotADirectory,
    NotFound,
    ProtocolViolation,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, VPath
from tidegate.vfs.api import File, OpenFlags

MAX_DEPTH: Final = 256
"""Directories within each other."""

_WRITE: Final = OpenFlags(write=True, create=True, truncate=True)


@dataclass(slots=True)
class _Level:
    """A directory that is being received.

    Attributes:
        path: of it.
        attrs: to be set at its end.
    """

    path: VPath
    attrs: Attrs


class Sink:
    """The receiving side.

    Args:
        place: session, stream and options of the channel.

    Attributes:
        begun: True once the sender was told to begin.
    """

    def __init__(self, place: Place) -> None:
        self.begun = False
        self._place = place
        self._stream = place.stream
        self._session = place.session
        self._preserve = place.options.preserve
        self._levels: list[_Level] = []
        self._times: wire.TimesRecord | None = None
        self._target = VPath("/")
        self._is_directory: bool | None = None
        self._word = ""
        self._tried = self._target

    async def run(self) -> None:
        """Receive until the sender has nothing more.

        Raises:
            PeerGone: the channel is gone.
            TidegateError: the conversation cannot go on; the text is for the peer.
        """
        place = self._place
        words = place.options.names
        if len(words) != 1:
            raise ProtocolViolation("ambiguous target")
        self._word = words[0]
        self._target = place.path(words[0])
        self._is_directory = await self._looks(self._target)
        if place.options.directory and self._is_directory is False:
            place.failed("upload", self._target, NotADirectory())
            raise NotADirectory(f"{shown(self._word)}: {text_of(NotADirectory())}")
        self.begun = True
        self._ok()
        while True:
            line = await self._stream.line()
            if line is None:
                return
            record = wire.parse(line)
            if isinstance(record, wire.FileRecord):
                await self._file(record)
            elif isinstance(record, wire.DirectoryRecord):
                await self._directory(record)
            elif isinstance(record, wire.TimesRecord):
                self._times = record
                self._ok()
            elif isinstance(record, wire.EndRecord):
                if not self._levels:
                    self._ok()
                    self._stream.transport.flush()
                    return
                await self._end()
            else:
                place.errors += 1
                if record.fatal:
                    return

    def _ok(self) -> None:
        self._stream.send(wire.OK)

    async def _looks(self, path: VPath) -> bool | None:
        """True if a path is a directory, False if it is not, None if that may not be seen."""
        if path == "/":
            return True
        try:
            return (await self._session.stat(path)).is_dir
        except (NotFound, NotADirectory):
            return False
        except TidegateError:
            return None

    def _attrs(self, mode: int) -> Attrs:
        """Attributes of what comes next, from its record and the times before it."""
        times, self._times = self._times, None
        attrs = Attrs(mode=mode if self._preserve else None)
        if times is None or times.mtime_ns is None:
            return attrs
        return Attrs(mode=attrs.mode, mtime_ns=times.mtime_ns, atime_ns=times.atime_ns)

    # -- files -----------------------------------------------------------------------------------------

    async def _file(self, record: wire.FileRecord) -> None:
        attrs = self._attrs(record.mode)
        self._place.check_open()
        try:
            file = await self._open(record)
        except TidegateError as error:
            self._place.warn("upload", self._tried, error)
            return
        whole, file.announced = False, record.size
        try:
            self._ok()
            failure = await content.receive(self._stream, record.size, file, self._place.pieces)
            answer = await self._stream.answer()
            if answer is not None:
                self._place.errors += 1
                failure = failure or TidegateError("the sender could not read all of it")
            if failure is None:
                failure = await self._attributes(file, attrs)
            whole = failure is None
        finally:
            if not whole:
                await file.abort()
                self._place.closed()
        if failure is None:
            try:
                await self._place.close(file)
            except TidegateError as error:
                failure = error
        if failure is None:
            self._ok()
        else:
            self._place.warn("upload", file.path, failure)
        if answer is not None and answer.fatal:
            raise Refused(answer.text)

    def _path(self, name: str) -> VPath:
        if self._levels:
            return self._levels[-1].path.child(name)
        return self._target.child(name) if self._is_directory else self._target

    async def _open(self, record: wire.FileRecord) -> File:
        path = self._tried = self._path(record.name)
        if not self._levels and not self._is_directory and self._word.endswith("/"):
            if self._is_directory is False:
                raise IsADirectory  # such a name is a directory's, and there is none
            path = self._target.child(record.name)
        try:
            return await self._opened(path, record.mode)
        except (Denied, IsADirectory):
            # Where the account may not look, what is named may be a directory that it may write into.
            if self._levels or self._is_directory is not None:
                raise
            file = await self._opened(self._target.child(record.name), record.mode)
            self._is_directory = True
            return file

    async def _opened(self, path: VPath, mode: int) -> File:
        self._tried = path
        return await self._place.opened(path, _WRITE, Attrs(mode=mode & 0o777))

    async def _attributes(self, file: File, attrs: Attrs) -> TidegateError | None:
        """Set what the records said; returns why that failed."""
        try:
            for part in _parts(attrs):
                await _lenient(file.set_attrs, part)
        except TidegateError as error:
            return error
        return None

    # -- directories -----------------------------------------------------------------------------------

    async def _directory(self, record: wire.DirectoryRecord) -> None:
        place = self._place
        attrs = self._attrs(record.mode)
        if not place.options.recursive:
            raise ProtocolViolation("received directory without -r")
        place.check_open()
        path = self._path(record.name)
        unseen = not self._levels and self._is_directory is None
        if unseen:
            path = self._target.child(record.name)
        try:
            if len(self._levels) >= MAX_DEPTH:
                raise Unsupported(f"directories within each other, more than {MAX_DEPTH} of them")
            try:
                made = await self._make(path, record.mode)
            except (NotFound, NotADirectory):
                if not unseen:
                    raise
                path = self._target  # it was no directory: the name of one to be made
                made = await self._make(path, record.mode)
            else:
                self._is_directory = self._is_directory or unseen
        except TidegateError as error:
            place.warn("mkdir", path, error)
            return
        if made and record.mode & 0o700 != 0o700:
            attrs = Attrs(mode=record.mode, mtime_ns=attrs.mtime_ns, atime_ns=attrs.atime_ns)
        self._levels.append(_Level(path, attrs))
        self._ok()

    async def _make(self, path: VPath, mode: int) -> bool:
        """Make a directory; False if there is one."""
        found = await self._looks(path)
        if found:
            return False
        try:
            # Its own rights come at its end: they may be to read only.
            await self._session.mkdir(path, Attrs(mode=(mode & 0o777) | 0o700))
        except AlreadyExists:
            if found is None:
                return False
            raise NotADirectory from None
        return True

    async def _end(self) -> None:
        level = self._levels.pop()
        failure: TidegateError | None = None

        async def set_attrs(attrs: Attrs) -> None:
            await self._session.set_attrs(level.path, attrs)

        for part in _parts(level.attrs):
            try:
                await _lenient(set_attrs, part)
            except TidegateError as error:
                failure = failure or error
        if failure is None:
            self._ok()
        else:
            self._place.warn("chtimes", level.path, failure)


def _parts(attrs: Attrs) -> list[Attrs]:
    """Mode and times apart: an account may be allowed to set the one and not the other."""
    parts = []
    if attrs.mode is not None:
        parts.append(Attrs(mode=attrs.mode))
    if attrs.mtime_ns is not None:
        parts.append(Attrs(mtime_ns=attrs.mtime_ns, atime_ns=attrs.atime_ns))
    return parts


async def _lenient(set_attrs: Callable[[Attrs], Awaitable[None]], attrs: Attrs) -> None:
    """Set attributes as far as account and storage allow: a file that came whole does not fail for them."""
    try:
        await set_attrs(attrs)
    except (Denied, Unsupported):
        return
