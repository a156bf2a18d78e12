# SPDX-License-Identifier: Apache-2.0
"""The one table from errors to status codes of WebDAV (RFC 9110 section 15, RFC 4918 section 11)."""

from __future__ import annotations

from typing import Final

from tidegate import errors as e

CODES: Final[dict[type[e.TidegateError], int]] = {
    e.NotFound: 404,
    e.AlreadyExists: 412,
    e.NotADirectory: 409,
    e.IsADirectory: 405,
    e.DirectoryNotEmpty: 409,
    e.Denied: 403,
    e.QuotaExceeded: 507,
    e.TooLarge: 413,
    e.Unsupported: 403,
    e.OtherDevice: 502,
    e.InvalidArgument: 400,
    e.InvalidPath: 400,
    e.InvalidHandle: 409,
    e.TooManyLinks: 508,
    e.Conflict: 409,
    e.Locked: 423,
    e.LinkMet: 409,
    e.Outdated: 409,
    e.ProtocolViolation: 400,
    e.PeerLimit: 503,
    e.PeerGone: 400,
    e.LoginRefused: 401,
    e.ConfigError: 500,
    e.BadRecord: 500,
    e.BadRecords: 500,
    e.RefusedKey: 500,
    e.UnknownFolder: 500,
    e.ProviderError: 500,
    e.ProviderUnavailable: 503,
    e.StorageFull: 507,
    e.StorageReadOnly: 403,
    e.StorageFailed: 500,
    e.OutsideFailed: 502,
    e.OutsideBusy: 503,
}
"""Error class to status code; a test holds every leaf class of `tidegate.errors` against it."""

CONDITIONS: Final[dict[type[e.TidegateError], str]] = {
    e.Locked: "lock-token-submitted",
    e.QuotaExceeded: "quota-not-exceeded",
    e.StorageFull: "sufficient-disk-space",
}
"""Error class to the condition that RFC 4331 section 6 or RFC 4918 section 16 names."""


def code_of(error: e.TidegateError) -> int:
    """The status code of an error, by its class or the nearest class above it that has a row."""
    for cls in type(error).__mro__:
        code = CODES.get(cls)
        if code is not None:
            return code
    return 500


def condition_of(error: e.TidegateError) -> str:
    """The local name of the condition in ``DAV:`` that an error stands for; empty for none."""
    return next((CONDITIONS[cls] for cls in type(error).__mro__ if cls in CONDITIONS), "")


def text_of(error: e.TidegateError) -> str:
    """The text that the client gets; of operators' errors and refused logins the fixed text of the class."""
    if isinstance(error, (e.OperatorError, e.LoginRefused)):
        return type(error).default_text
    return error.text
