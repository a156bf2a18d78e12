# SPDX-License-Identifier: Apache-2.0
"""The surroundings of both sides of SCP: session, stream and options of a channel; failures are told here."""

from __future__ import annotations

from tidegate.doors.common.command_line import Word
from tidegate.doors.scp import wire
from tidegate.doors.scp.content import PIECES
from tidegate.doors.scp.options import Options
from tidegate.doors.scp.stream import Stream
from tidegate.errors import Conflict, PeerLimit, TidegateError
from tidegate.model import Attrs, VPath
from tidegate.resources.count import Share
from tidegate.vfs.api import File, OpenFlags, Session


def shown(text: str) -> str:
    """A path as messages show it."""
    return wire.printable(text)


def text_of(error: TidegateError) -> str:
    """An error as the peer is told it, with a capital letter as those of scp.c."""
    return error.text[:1].upper() + error.text[1:]


class Refused(TidegateError):
    """The peer ended the conversation and said why."""


class Place:
    """The surroundings of one side.

    Args:
        session: files of the account.
        stream: bytes of the channel.
        options: what the client asks for.
        handles: counts open handles against the limits of account and process; None counts nowhere.

    Attributes:
        errors: failures so far; with any the exit status is 1.
        refuse_opens: the server is shutting down.
        committing: a file is being closed, and perhaps published: that is not to be cancelled.
        pieces: reads or writes of one file that may be under way at the same time.
    """

    def __init__(self, session: Session, stream: Stream, options: Options, handles: Share | None) -> None:
        self.session = session
        self.stream = stream
        self.options = options
        self._handles = handles
        self._open = 0
        self.errors = 0
        self.refuse_opens = False
        self.committing = False
        self.pieces = PIECES if session.overlaps else 1

    # -- paths -----------------------------------------------------------------------------------------

    def path(self, word: Word) -> VPath:
        """The path that a word names; relative ones and ``~`` begin in the start directory.

        Raises:
            InvalidPath: it cannot be a path.
        """
        text, home = self._at_home(word, str(word))
        return VPath.parse(text or ".", home)

    def pattern(self, word: Word) -> str:
        """The pattern of a word, relative to the start directory if it began with ``~``."""
        return self._at_home(word, word.pattern)[0]

    def _at_home(self, word: Word, text: str) -> tuple[str, VPath]:
        start = self.session.start_directory
        if word.home:
            user, _, rest = text[1:].partition("/")
            if user in ("", self.session.principal.username):
                return rest, start
        return text, start

    # -- files -----------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Refuse to begin anything while the server is shutting down.

        Raises:
            Conflict: it is.
        """
        if self.refuse_opens:
            raise Conflict("server is shutting down")

    async def opened(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> File:
        """Open a file; `closed` is to be called after its end.

        Raises:
            TidegateError: as `Session.open`, or too many handles are open.
        """
        self.hold()
        try:
            return self.session.open_nowait(path, flags, attrs) or await self.session.open(path, flags, attrs)
        except BaseException:
            self.closed()
            raise

    def hold(self) -> None:
        """Count one more handle.

        Raises:
            PeerLimit: there is no room for it.
        """
        if self._handles is not None:
            if rule := self._handles.full():
                raise PeerLimit(f"too many open handles ({rule.rpartition('.')[2]})")
            self._open += 1
            self._handles.set(self._open)

    async def close(self, file: File) -> None:
        """Close a file that came or went whole, and count its handle no more.

        Raises:
            TidegateError: as `File.close`.
        """
        self.committing = True
        try:
            if not file.close_nowait():
                await file.close()
        finally:
            self.committing = False
            self.closed()

    def closed(self) -> None:
        """Count a handle no more."""
        if self._handles is not None:
            self._open -= 1
            self._handles.set(self._open)

    # -- failures --------------------------------------------------------------------------------------

    def warn(self, intent: str, path: VPath, error: TidegateError, name: str = "") -> None:
        """Tell the peer that one thing failed; the conversation goes on.

        Args:
            intent: what was wanted, for the record.
            path: of what.
            error: why.
            name: what the peer called it; the path by default.
        """
        self.errors += 1
        self.failed(intent, path, error)
        self.stream.send(wire.failure_line(f"{shown(name or path)}: {text_of(error)}"))

    def failed(self, intent: str, path: VPath | str, error: TidegateError) -> None:
        """Put a failure on record, unless that was done where it happened."""
        if not error.told:
            self.session.failed(intent, path, error)
