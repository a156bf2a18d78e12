# SPDX-License-Identifier: Apache-2.0
"""The one table from errors to FTP reply codes (RFC 959 section 4.2.1).

4xx says that the same command may succeed later, 5xx that it will not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from tidegate import errors as e
from tidegate.doors.ftp.wire import replies
from tidegate.vfs.api import Exchange

CODES: Final[dict[type[e.TidegateError], int]] = {
    e.NotFound: 550,
    e.AlreadyExists: 550,
    e.NotADirectory: 550,
    e.IsADirectory: 550,
    e.DirectoryNotEmpty: 550,
    e.Denied: 550,
    e.QuotaExceeded: 552,
    e.TooLarge: 552,
    e.Unsupported: 550,
    e.OtherDevice: 550,
    e.InvalidArgument: 501,
    e.InvalidPath: 553,
    e.InvalidHandle: 451,
    e.TooManyLinks: 550,
    e.Conflict: 450,
    e.LinkMet: 450,
    e.Locked: 450,
    e.Outdated: 450,
    e.ProtocolViolation: 501,
    e.PeerLimit: 450,
    e.PeerGone: 426,
    e.LoginRefused: 530,
    e.ConfigError: 451,
    e.BadRecord: 451,
    e.BadRecords: 451,
    e.RefusedKey: 451,
    e.UnknownFolder: 451,
    e.ProviderError: 451,
    e.ProviderUnavailable: 451,
    e.StorageFull: 452,
    e.StorageReadOnly: 550,
    e.StorageFailed: 451,
    e.OutsideFailed: 451,
    e.OutsideBusy: 451,
}
"""Error class to reply code; a test holds every leaf class of `tidegate.errors` against it."""

INTERNAL_TEXT: Final = "internal error"
"""Said to a client about an exception that nobody foresaw."""


def code_of(error: e.TidegateError) -> int:
    """The reply code of an error, by its class or the nearest class above it that has a row."""
    for cls in type(error).__mro__:
        code = CODES.get(cls)
        if code is not None:
            return code
    return 451


_WELL: Final = {"MKD": 257, "XMKD": 257, "MFMT": 213, "MFF": 213, "MDTM": 213, "SITE MKDIR": 257}
_SITE_200: Final = frozenset(("SITE CHMOD", "SITE UTIME", "SITE SYMLINK"))
_TRANSFERS: Final = frozenset(("STOR", "STOU", "APPE", "RETR", "LIST", "NLST", "MLSD", "ABOR"))


def exchange(word: str, argument: str) -> Exchange:
    """A command, for the events of what it does: ``STOR``, ``SITE CHMOD``."""
    command = f"SITE {argument.split(maxsplit=1)[0].upper()[:16]}" if word == "SITE" and argument else word
    well = 226 if word in _TRANSFERS else _WELL.get(command, 200 if command in _SITE_200 else 250)
    return Exchange(command, _codes(well))


@cache
def _codes(well: int) -> Callable[[e.TidegateError | None], int]:
    """The codes of a command whose reply is `well` if all goes well; there are few such."""
    return lambda error: well if error is None else code_of(error)


def text_of(error: e.TidegateError) -> str:
    """The text that the client gets; of operators' errors and refused logins the fixed text of the class."""
    if isinstance(error, (e.OperatorError, e.LoginRefused)):
        return type(error).default_text
    return error.text


def reply(error: e.TidegateError, about: str = "") -> bytes:
    """The reply to a command that failed; `about` is the name that it was about."""
    text = text_of(error)
    return replies.reply(code_of(error), f"{about}: {text}" if about else text)


def internal() -> bytes:
    """The reply for an unforeseen exception, which the caller has logged."""
    return replies.reply(451, INTERNAL_TEXT)
