# SPDX-License-Identifier: Apache-2.0
"""Errors of Google Cloud Storage, sorted: what may be tried again, and what each is to us.

Reasons are those of the JSON API reference, "HTTP status and error codes".
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from tidegate.backends.objects.bucket import ObjectChanged, StorageDenied, StorageMisconfigured
from tidegate.errors import InvalidPath, NotFound, StorageFailed, TidegateError

_AGAIN: Final = frozenset((408, 429, 500, 502, 503, 504))
"""Status after which the same request may succeed."""
_RATES: Final = frozenset(("rateLimitExceeded", "userRateLimitExceeded"))
"""Reasons of a 403 after which it may, too."""
_DAMAGED: Final = re.compile(r"doesn't match calculated|does not match the (?:MD5|CRC32C)", re.IGNORECASE)
"""A digest that does not fit: damage on the way."""
PERMISSIONS: Final[Mapping[str, str]] = {
    "objects.list": "storage.objects.list",
    "objects.get": "storage.objects.get",
    "objects.insert": "storage.objects.create",
    "objects.delete": "storage.objects.delete",
    "objects.patch": "storage.objects.update",
    "objects.rewrite": "storage.objects.get and storage.objects.create",
    "objects.compose": "storage.objects.get and storage.objects.create",
}
"""The permission that an operation needs; to replace an object storage.objects.delete as well."""
_NAMED: Final = re.compile(r"(?:have|Permission) '?((?:storage|serviceusage)\.[A-Za-z.]+)")
_QUERY: Final = re.compile(r"(?<=\w)\?[^\s\"']*")
_SKEW_SECONDS: Final = 300
"""A clock that is off by more makes tokens that the service does not take."""
_LONG: Final = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a failed request.

    Attributes:
        operation: its name in the API, for instance ``objects.get``.
        status: of HTTP.
        reason: the service's, may be empty.
        message: the service's.
        date: of the answer; None if it has none.
    """

    operation: str
    status: int
    reason: str
    message: str
    date: str | None


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.message)
        self.reply = reply


def reply_of(operation: str, status: int, body: bytes, date: str | None) -> Reply:
    """Read the body of an error: JSON, XML of answers with content, or plain text."""
    text = body.decode("utf-8", "replace")
    reason, message = "", text
    try:
        found: Any = json.loads(text)["error"]
        if isinstance(found, str):
            message = found
        else:
            message = str(found.get("message", ""))
            reason = str((found.get("errors") or [{}])[0].get("reason", "")) or str(found.get("status", ""))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        message = re.sub(r"<[^>]*>", " ", text)
    return Reply(operation, status, reason, " ".join(message.split())[:_LONG], date)


def may_try_again(error: BaseException) -> bool:
    """True if the same request may succeed a moment later."""
    if isinstance(error, Refused):
        reply = error.reply
        if reply.status in _AGAIN or reply.status > 504:
            return True
        return reply.reason in _RATES or (reply.status == 400 and bool(_DAMAGED.search(reply.message)))
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return False
    if isinstance(error, TidegateError):
        return type(error) is StorageFailed  # no token, for the moment
    return isinstance(error, aiohttp.ClientError | OSError)


def translate(error: BaseException, operation: str, bucket: str) -> TidegateError:
    """The error of ours; see the table of `bucket`."""
    if isinstance(error, TidegateError):
        return error
    if isinstance(error, Refused):
        return _answered(error.reply, bucket)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return StorageMisconfigured(detail=f"{operation}: TLS: {plain(error)}")
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return StorageMisconfigured(detail=f"{operation}: {type(error).__name__}: {plain(error)}")
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        return StorageFailed(detail=f"{operation}: no answer in time")
    return StorageFailed(detail=f"{operation}: {type(error).__name__}: {plain(error)}")


def _answered(reply: Reply, bucket: str) -> TidegateError:
    operation, message = reply.operation, reply.message
    if reply.status == 404:
        if operation == "objects.list" or "bucket does not exist" in message:
            return missing(operation, bucket)
        return NotFound()
    if reply.status == 412:
        return ObjectChanged()
    said = f"{operation}: {reply.reason or reply.status}{f': {message}' if message else ''}"
    if reply.status == 401:
        if (off := clock(reply.date)) is not None:
            return StorageMisconfigured(detail=f"{operation}: the clock of this host {off}")
        if "Anonymous caller" in message:
            return StorageDenied(detail=f"{said} ({_permission(reply)})")
        return StorageDenied(detail=f"{operation}: the credentials have expired, or are not valid: {message}")
    if reply.reason in {"userProjectMissing", "required"} and "project" in message:
        return StorageMisconfigured(detail=f"{said} (set user_project)")
    if reply.reason in {
        "accessNotConfigured",
        "SERVICE_DISABLED",
        "accountDisabled",
        "userProjectAccountProblem",
    }:
        return StorageMisconfigured(detail=f"{said} (the project is not set up for this)")
    if reply.status == 403:
        return StorageDenied(detail=f"{said} ({_permission(reply)})")
    if reply.status == 400 and "object name" in message.lower():
        return InvalidPath("invalid path: not a name that this storage takes")
    return StorageFailed(detail=said)


def missing(operation: str, bucket: str) -> StorageMisconfigured:
    """The error about a bucket that is not there."""
    return StorageMisconfigured(detail=f"{operation}: there is no bucket {bucket!r}")


def _permission(reply: Reply) -> str:
    if "scope" in reply.message.lower() or reply.reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
        return "the credentials lack the scope devstorage.read_write or devstorage.full_control"
    named = _NAMED.search(reply.message)
    needed = named[1].rstrip(".") if named else PERMISSIONS.get(reply.operation, reply.operation)
    return f"needs the permission {needed}"


def clock(date: str | None) -> str | None:
    """The end of a sentence about this host's clock, by the date of an answer; None if it is right."""
    try:
        off = time.time() - parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return None
    if abs(off) <= _SKEW_SECONDS:
        return None
    return f"is {abs(off):.0f} seconds {'ahead of' if off > 0 else 'behind'} the service's"


def plain(error: BaseException) -> str:
    """The text of an error, without the parameters of URLs."""
    return _QUERY.sub("", " ".join(str(error).split()))[:_LONG]
