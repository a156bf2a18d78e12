# SPDX-License-Identifier: Apache-2.0
"""Answers of another SFTP server as errors of `tidegate.errors`."""

from __future__ import annotations

from typing import Final

import asyncssh

from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    StorageFailed,
    StorageFull,
    TidegateError,
    TooManyLinks,
    Unsupported,
)

REASON_LETTERS: Final = 200
"""Of what another server says, in the detail of an error."""
_CALLERS: Final[tuple[tuple[type[Exception], type[TidegateError]], ...]] = (
    (asyncssh.SFTPNoSuchFile, NotFound),
    (asyncssh.SFTPNoSuchPath, NotFound),
    (asyncssh.SFTPFileAlreadyExists, AlreadyExists),
    (asyncssh.SFTPDirNotEmpty, DirectoryNotEmpty),
    (asyncssh.SFTPNotADirectory, NotADirectory),
    (asyncssh.SFTPFileIsADirectory, IsADirectory),
    (asyncssh.SFTPInvalidFilename, InvalidPath),
    (asyncssh.SFTPLinkLoop, TooManyLinks),
    (asyncssh.SFTPOpUnsupported, Unsupported),
)
_DENIED: Final = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect, asyncssh.SFTPCannotDelete)
_FULL: Final = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_FULL_WORDS: Final = ("no space left", "disk quota exceeded", "space limit")
"""In what servers say with "failure", which is all that version 3 has for it: systems, and gateways."""
_LOST: Final = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.SFTPBadMessage)


class Lost(Exception):
    """The connection ended before the answer came.

    Attributes:
        what: the reason, for operators.
        sent: False if the request was not sent.
    """

    def __init__(self, what: str, *, sent: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.sent = sent


def is_failure(error: TidegateError) -> bool:
    """True if version 3 of the protocol had no code of its own for what went wrong: who asked finds out."""
    return type(error.__cause__) is asyncssh.SFTPFailure


def lost(error: Exception) -> Lost | None:
    """The error as the end of a connection; None if it is an answer."""
    if isinstance(error, asyncssh.SFTPNoConnection):
        return Lost("connection closed", sent=False)
    if isinstance(error, _LOST) or not isinstance(error, asyncssh.SFTPError):
        return Lost(said(error) or type(error).__name__)
    return None


def said(error: Exception) -> str:
    """The words of a server, bounded and printable."""
    text = getattr(error, "reason", "") or str(error)
    return "".join(letter for letter in text[:REASON_LETTERS] if letter.isprintable())


def translated(error: Exception, place: str) -> TidegateError:
    """The error for an answer of the server at a place."""
    for kind, ours in _CALLERS:
        if isinstance(error, kind):
            return ours()
    if isinstance(error, _DENIED):
        return Denied(rule=f"sftp://{place}")
    words = said(error).lower() if type(error) is asyncssh.SFTPFailure else ""
    if isinstance(error, _FULL) or any(text in words for text in _FULL_WORDS):
        return StorageFull(detail=f"sftp://{place}: {said(error)}")
    return StorageFailed(detail=f"sftp://{place}: {said(error)}")
