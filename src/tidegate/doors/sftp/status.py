# SPDX-License-Identifier: Apache-2.0
"""The one table from errors to SFTP status codes.

Codes follow what clients of version 3 expect of OpenSSH and of the field's other gateway: a missing path is
NO_SUCH_FILE (rclone's mkdir depends on it), a refusal PERMISSION_DENIED, a backend that cannot is
OP_UNSUPPORTED, everything else FAILURE.
"""

from __future__ import annotations

from typing import Final

from tidegate import errors as e
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import replies

CODES: Final[dict[type[e.TidegateError], int]] = {
    e.NotFound: c.NO_SUCH_FILE,
    e.AlreadyExists: c.FAILURE,
    e.NotADirectory: c.FAILURE,
    e.IsADirectory: c.FAILURE,
    e.DirectoryNotEmpty: c.FAILURE,
    e.Denied: c.PERMISSION_DENIED,
    e.QuotaExceeded: c.FAILURE,
    e.TooLarge: c.FAILURE,
    e.Unsupported: c.OP_UNSUPPORTED,
    e.OtherDevice: c.FAILURE,
    e.InvalidArgument: c.FAILURE,
    e.InvalidPath: c.FAILURE,
    e.InvalidHandle: c.FAILURE,
    # OpenSSH's server answers ELOOP so, and clients then show a broken link instead of giving up.
    e.TooManyLinks: c.NO_SUCH_FILE,
    e.Conflict: c.FAILURE,
    e.LinkMet: c.FAILURE,
    # Version 3 has no word for it; the text says who holds the lock.
    e.Locked: c.FAILURE,
    e.Outdated: c.FAILURE,
    e.ProtocolViolation: c.BAD_MESSAGE,
    e.PeerLimit: c.FAILURE,
    # CONNECTION_LOST (7) must not be sent by a server (section 7).
    e.PeerGone: c.FAILURE,
    e.LoginRefused: c.PERMISSION_DENIED,
    e.ConfigError: c.FAILURE,
    e.BadRecord: c.FAILURE,
    e.BadRecords: c.FAILURE,
    e.RefusedKey: c.FAILURE,
    e.UnknownFolder: c.FAILURE,
    e.ProviderError: c.FAILURE,
    e.ProviderUnavailable: c.FAILURE,
    e.StorageFull: c.FAILURE,
    e.StorageReadOnly: c.FAILURE,
    e.StorageFailed: c.FAILURE,
    e.OutsideFailed: c.FAILURE,
    e.OutsideBusy: c.FAILURE,
}
"""Error class to status code; a test holds every leaf class of `tidegate.errors` against it."""

NOT_FOUND_TEXT: Final = "No such file or directory"
"""A missing path, in the words of the system: programs on top of paramiko look for its beginning."""

INTERNAL_TEXT: Final = "internal error"
"""Said to a client about an exception that nobody foresaw."""


def writes_to_directory() -> e.Unsupported:
    """The error for a directory that was to be written as a file; SFTP clients know it as unsupported."""
    error = e.Unsupported(e.IsADirectory.default_text)
    error.__cause__ = e.IsADirectory()
    return error


def code_of(error: e.TidegateError) -> int:
    """The status code of an error, by its class or the nearest class above it that has a row."""
    for cls in type(error).__mro__:
        code = CODES.get(cls)
        if code is not None:
            return code
    return c.FAILURE


def text_of(error: e.TidegateError) -> str:
    """The text that the client gets.

    The texts of the operator's errors name files and settings of the host, and a login is never explained;
    for those the fixed text of the class is sent instead.
    """
    if isinstance(error, (e.OperatorError, e.LoginRefused)):
        return type(error).default_text
    if type(error) is e.NotFound and error.text == e.NotFound.default_text:
        return NOT_FOUND_TEXT
    return error.text


def reply(request_id: int, error: e.TidegateError) -> bytes:
    """The STATUS packet for an error."""
    return replies.status(request_id, code_of(error), text_of(error))


def internal(request_id: int) -> bytes:
    """The STATUS packet for an unforeseen exception, which the caller has logged."""
    return replies.status(request_id, c.FAILURE, INTERNAL_TEXT)
