# SPDX-License-Identifier: Apache-2.0
"""Errors of Azure Blob, sorted: what may be tried again, and what each is to us.

Codes are those of the REST reference, "Common REST API error codes" and "Blob service error codes"; the
service names them in the header ``x-ms-error-code``, in answers to HEAD too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from xml.etree import ElementTree as ET

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceResponseError,
)

from tidegate.backends.objects.azure_options import AzureOptions, Place
from tidegate.backends.objects.bucket import ObjectChanged, StorageDenied, StorageMisconfigured
from tidegate.errors import InvalidPath, NotFound, StorageFailed, TidegateError

AGAIN: Final = frozenset(
    (
        "ServerBusy",
        "InternalError",
        "OperationTimedOut",
        "Md5Mismatch",
        "Crc64Mismatch",
        "TooManyRequests",
        "IncompleteBody",
    )
)
"""Codes after which the same request may succeed; digests that do not fit are damage on the way."""
EXISTS: Final = frozenset(("BlobAlreadyExists", "ResourceAlreadyExists"))
_NO_CONTAINER: Final = frozenset(("ContainerNotFound", "ContainerDisabled", "ContainerBeingDeleted"))
_LEASED: Final = frozenset(("LeaseIdMissing", "LeaseIdMismatchWithBlobOperation", "LeaseLost"))
_ARCHIVED: Final = frozenset(("BlobArchived", "BlobBeingRehydrated"))
_NAMES: Final = frozenset(("InvalidUri", "InvalidResourceName", "OutOfRangeInput"))
_OF_CONTAINER: Final = frozenset(("ListBlobs",))
_SKEW_SECONDS: Final = 900
"""The service refuses a request signed with a key whose time is off by more (REST reference, "Authorize with
Shared Key")."""

PERMISSIONS: Final[Mapping[str, str]] = {
    "ListBlobs": "list (l)",
    "GetBlob": "read (r)",
    "GetBlobProperties": "read (r)",
    "GetBlockList": "read (r)",
    "PutBlob": "write (w)",
    "PutBlock": "write (w)",
    "PutBlockList": "write (w)",
    "SetBlobMetadata": "write (w)",
    "DeleteBlob": "delete (d)",
    "CopyBlobFromURL": "read (r) and write (w)",
    "PutBlockFromURL": "read (r) and write (w)",
}
"""The permission that an operation needs; its letter in a shared access signature."""
ROLE: Final = "Storage Blob Data Contributor"
"""The built-in role that has all of them."""
_QUERY: Final = re.compile(r"(?<=\w)\?[^\s\"']*")
_LONG: Final = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a failed request.

    Attributes:
        operation: its name in the REST reference, without spaces.
        status: of HTTP.
        code: the service's, else the status.
        message: the service's, without the details that repeat what was signed.
        detail: those details; for looking at, never shown.
        headers: names in lower case.
    """

    operation: str
    status: int
    code: str
    message: str
    detail: str
    headers: Mapping[str, str]

    @property
    def may_try_again(self) -> bool:
        """True if the same request may succeed a moment later."""
        return self.code in AGAIN or self.status >= 500 or self.status in {408, 429}


def reply_of(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """The answer of these parts."""
    found: dict[str, str] = {}
    try:
        root = ET.fromstring(body.lstrip(b"\xef\xbb\xbf")) if body else None  # noqa: S314 - no entities
        found = {child.tag: child.text or "" for child in root} if root is not None else {}
    except ET.ParseError:
        pass
    code = headers.get("x-ms-error-code") or found.get("Code") or str(status)
    message = " ".join(found.get("Message", "").split("RequestId:")[0].split())[:_LONG]
    return Reply(operation, status, code, message, found.get("AuthenticationErrorDetail", ""), headers)


def passes(error: BaseException) -> bool:
    """True if the same request may succeed a moment later, after an error without an answer."""
    inner = getattr(error, "inner_exception", None) or error
    if isinstance(inner, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)):
        return False
    if isinstance(inner, (aiohttp.ClientError, OSError)):
        return True
    return isinstance(error, (ServiceRequestError, ServiceResponseError))


def unanswered(error: BaseException, operation: str) -> TidegateError:
    """The error of ours where no answer came."""
    inner = getattr(error, "inner_exception", None) or error
    if isinstance(error, ClientAuthenticationError):
        return StorageDenied(detail=f"{operation}: no credentials: {_plain(error)}")
    if isinstance(inner, aiohttp.ClientSSLError):
        return StorageMisconfigured(detail=f"{operation}: TLS: {_plain(inner)}")
    if isinstance(error, TimeoutError):
        return StorageFailed(detail=f"{operation}: no answer in time")
    if isinstance(error, (AzureError, aiohttp.ClientError, OSError, ValueError)):
        return StorageFailed(detail=f"{operation}: {type(inner).__name__}: {_plain(inner)}")
    return StorageFailed(detail=f"{operation}: {type(error).__name__}")


def answered(reply: Reply, options: AzureOptions, place: Place) -> TidegateError:
    """The error of ours for an answer; see the table of `bucket`."""
    code, operation = reply.code, reply.operation
    if code in _NO_CONTAINER or (code == "404" and operation in _OF_CONTAINER):
        return StorageMisconfigured(detail=f"{operation}: there is no container {place.container!r}")
    if code in _LEASED:
        return StorageFailed(detail=f"{operation}: another program holds a lease on the blob")
    if code in _ARCHIVED:
        return StorageFailed(detail=f"{operation}: the blob is in the archive tier: rehydrate it first")
    if code in _NAMES and reply.status == 400:
        return InvalidPath("invalid path: this storage does not take the name")
    if reply.status == 404:
        return NotFound()
    if reply.status == 412 or code in EXISTS:
        return ObjectChanged()
    if (off := _clock(reply)) is not None:
        return StorageMisconfigured(detail=f"{operation}: the clock of this host {off}")
    if reply.status in {401, 403}:
        return StorageDenied(detail=f"{operation}: {_denied(reply, options)}")
    return StorageFailed(detail=f"{operation}: {code}{f': {reply.message}' if reply.message else ''}")


def _denied(reply: Reply, options: AzureOptions) -> str:
    code = reply.code
    unsigned = code == "AuthenticationFailed" or (
        code == "AuthorizationFailure" and reply.message.startswith("Server failed to authenticate")
    )  # the latter of an emulator
    if unsigned and options.sas_url:
        if "time frame" in reply.detail or "time frame" in reply.message:
            return "sas_url is not valid at this time: it has expired, or begins later"
        return "the service does not take the signature of sas_url"
    if unsigned and options.account_key:
        return "account_key does not belong to the account"
    if code == "KeyBasedAuthenticationNotPermitted":
        return "the account does not allow keys: use a managed identity"
    if code in {"AuthorizationPermissionMismatch", "AuthorizationFailure", "UnauthorizedBlobOverwrite"} or (
        code in {"403", "InsufficientAccountPermissions", "AuthorizationServiceMismatch"}
        or code == "AuthorizationResourceTypeMismatch"
    ):
        needed = f"needs the permission {PERMISSIONS.get(reply.operation, reply.operation)}"
        if not options.sas_url and not options.account_key:
            needed += f", which the role {ROLE} has"
        said = f"{code}: {reply.message}" if reply.message else code
        firewall = "; or the network rules of the account shut this host out"
        return f"{said} ({needed}{firewall if code == 'AuthorizationFailure' else ''})"
    return f"{code}{f': {reply.message}' if reply.message else ''}"


def _clock(reply: Reply) -> str | None:
    """The end of a sentence about this host's clock; None if it is right or does not matter."""
    if reply.status != 403:
        return None
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
    off = time.time() - theirs
    if abs(off) <= _SKEW_SECONDS:
        return None
    return f"is {abs(off):.0f} seconds {'ahead of' if off > 0 else 'behind'} the service's"


def _plain(error: BaseException) -> str:
    """The text of an error, without the parameters of URLs, which may hold a signature."""
    return _QUERY.sub("", " ".join(str(error).split()))[:_LONG]
