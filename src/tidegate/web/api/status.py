# SPDX-License-Identifier: Apache-2.0
"""The one table from errors to HTTP status codes."""

from __future__ import annotations

from typing import Final

from tidegate import errors

CODES: Final[dict[type[errors.TidegateError], int]] = {
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.NotADirectory: 400,
    errors.IsADirectory: 400,
    errors.DirectoryNotEmpty: 409,
    errors.Denied: 403,
    errors.QuotaExceeded: 413,
    errors.TooLarge: 413,
    errors.Unsupported: 501,
    errors.InvalidArgument: 400,
    errors.InvalidPath: 400,
    errors.InvalidHandle: 400,
    errors.TooManyLinks: 400,
    errors.Conflict: 409,
    errors.LinkMet: 409,
    errors.Locked: 423,
    errors.Outdated: 412,
    errors.OtherDevice: 409,
    errors.ProtocolViolation: 400,
    errors.PeerLimit: 429,
    errors.PeerGone: 400,
    errors.LoginRefused: 401,
    errors.BadRecord: 400,
    errors.BadRecords: 400,
    errors.RefusedKey: 400,
    errors.UnknownFolder: 400,
    errors.ConfigError: 500,
    errors.ProviderUnavailable: 503,
    errors.ProviderError: 500,
    errors.StorageFull: 507,
    errors.StorageReadOnly: 500,
    errors.StorageFailed: 500,
    errors.OutsideFailed: 500,
    errors.OutsideBusy: 503,
}
"""Every leaf of the error tree; a subclass that is not listed answers as its nearest listed parent."""

MESSAGES: Final[dict[int, str]] = {
    400: "Bad request",
    401: "Authentication required",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Request too large",
    415: "Unsupported media type",
    423: "Locked",
    429: "Too many requests",
    500: "Internal error",
    501: "Not implemented",
    503: "Unavailable",
    507: "Insufficient storage",
}
"""`message` of an error answer; `error` says what exactly."""


def code_of(error: errors.TidegateError) -> int:
    """The status code that answers an error."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return 500
