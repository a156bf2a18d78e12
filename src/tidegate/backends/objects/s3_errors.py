# SPDX-License-Identifier: Apache-2.0
"""Errors of S3, sorted: what may be tried again, what needs new credentials, and what each is to us.

Codes are those of the S3 API reference, "Error responses". HEAD requests have no body and so no code but
that of HTTP; `S3Bucket` asks again by another request where it matters.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore import exceptions as b

from tidegate.backends.objects.bucket import ObjectChanged, StorageDenied, StorageMisconfigured
from tidegate.errors import InvalidPath, NotFound, StorageFailed, TidegateError

AGAIN: Final = frozenset(
    (
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "IncompleteBody",
        "ConditionalRequestConflict",
    )
)
"""Codes after which the same request may succeed; digests that do not fit are damage on the way."""
_PASSING: Final = (
    b.HTTPClientError,
    b.ConnectionError,
    b.IncompleteReadError,
    b.CredentialRetrievalError,
    OSError,
)
EXPIRED: Final = frozenset(("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"))
"""Codes of temporary credentials that are over."""
_UNKNOWN_KEY: Final = frozenset(("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"))
_REGION: Final = frozenset(
    ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")
)
_OF_BUCKET: Final = frozenset(("HeadBucket", "ListObjectsV2", "ListMultipartUploads", "DeleteObjects"))
"""Operations that name no key: a 404 without a code is of the bucket, or of something that is no S3."""
_SKEW_SECONDS: Final = 900
"""The service refuses a request whose time is off by more (S3 API reference: RequestTimeTooSkewed)."""

PERMISSIONS: Final[Mapping[str, str]] = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
    "AssumeRole": "sts:AssumeRole",
    "AssumeRoleWithWebIdentity": "sts:AssumeRoleWithWebIdentity",
}
"""The permission that an operation needs."""
_NAMED: Final = re.compile(r"perform: ([a-z0-9-]+:[A-Za-z]+)")
_QUERY: Final = re.compile(r"(?<=\w)\?[^\s\"']*")
_LONG: Final = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a failed request.

    Attributes:
        operation: its name in the API.
        code: the service's, else the status of HTTP.
        message: the service's.
        status: of HTTP; 0 without an answer.
        headers: names in lower case.
    """

    operation: str
    code: str
    message: str
    status: int
    headers: Mapping[str, str]


def reply_of(error: b.ClientError) -> Reply:
    """The answer that an error of the library holds."""
    response: Mapping[str, Any] = error.response
    said: Mapping[str, Any] = response.get("Error", {})
    meta: Mapping[str, Any] = response.get("ResponseMetadata", {})
    headers = {**meta.get("HTTPHeaders", {})}
    if region := said.get("Region"):
        headers.setdefault("x-amz-bucket-region", str(region))
    status = int(meta.get("HTTPStatusCode", 0))
    message = " ".join(str(said.get("Message", "")).split())[:_LONG]
    return Reply(error.operation_name, str(said.get("Code", status)), message, status, headers)


def may_try_again(error: BaseException) -> bool:
    """True if the same request may succeed a moment later."""
    if isinstance(error, b.ClientError):
        reply = reply_of(error)
        return reply.code in AGAIN or reply.status >= 500 or reply.status == 429
    if isinstance(error, b.SSLError):
        return False
    passing = (
        b.HTTPClientError,
        b.ConnectionError,
        b.IncompleteReadError,
        b.CredentialRetrievalError,
        OSError,
    )
    return isinstance(error, passing)


def has_expired(error: BaseException) -> bool:
    """True if new credentials may help."""
    return isinstance(error, b.ClientError) and reply_of(error).code in EXPIRED


def translate(error: BaseException, operation: str, bucket: str, region: str) -> TidegateError:
    """The error of ours for one of the client library; see the table of `bucket`."""
    if isinstance(error, TidegateError):
        return error
    if isinstance(error, b.ClientError):
        return _answered(reply_of(error), bucket, region)
    if isinstance(error, (b.NoCredentialsError, b.PartialCredentialsError, b.CredentialRetrievalError)):
        return StorageDenied(detail=f"no credentials: {_plain(error)}")
    if isinstance(error, b.SSLError):
        return StorageMisconfigured(detail=f"{operation}: TLS: {_plain(error)}")
    if isinstance(error, (b.ParamValidationError, b.NoRegionError, b.InvalidRegionError)):
        return StorageMisconfigured(detail=f"{operation}: {_plain(error)}")
    if isinstance(error, TimeoutError):
        return StorageFailed(detail=f"{operation}: no answer in time")
    return StorageFailed(detail=f"{operation}: {type(error).__name__}: {_plain(error)}")


def _answered(reply: Reply, bucket: str, region: str) -> TidegateError:
    code, operation = reply.code, reply.operation
    if code in {"NoSuchKey", "NoSuchUpload"} or (code == "404" and operation not in _OF_BUCKET):
        return NotFound()
    if code in {"NoSuchBucket", "404"}:
        return StorageMisconfigured(detail=f"{operation}: there is no bucket {bucket!r}")
    if reply.status == 412:
        return ObjectChanged()
    if code == "KeyTooLongError":
        return InvalidPath("path too long for this storage")
    if code in _REGION:
        right = reply.headers.get("x-amz-bucket-region")
        where = f"is in region {right}" if right else "is in another region"
        return StorageMisconfigured(
            detail=f"{operation}: bucket {bucket!r} {where}, not in {region}: set region"
        )
    if (off := _clock(reply)) is not None:
        return StorageMisconfigured(detail=f"{operation}: the clock of this host {off}")
    said = f"{operation}: {code}{f': {reply.message}' if reply.message else ''}"
    if code in _UNKNOWN_KEY:
        return StorageDenied(detail=f"{operation}: the service does not know the access key")
    if code == "SignatureDoesNotMatch":
        return StorageDenied(detail=f"{operation}: the secret does not belong to the access key")
    if code in EXPIRED:
        return StorageDenied(detail=f"{operation}: the credentials have expired")
    if code in {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem"} or (
        reply.status == 403
    ):
        return StorageDenied(detail=f"{said} ({_permission(reply)})")
    return StorageFailed(detail=said)


def _permission(reply: Reply) -> str:
    named = _NAMED.search(reply.message)
    needed = named[1] if named else PERMISSIONS.get(reply.operation, reply.operation)
    return f"needs the permission {needed}"


def _clock(reply: Reply) -> str | None:
    """The end of a sentence about this host's clock; None if it is right or does not matter."""
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        theirs = time.time()
    off = time.time() - theirs
    if reply.code != "RequestTimeTooSkewed" and (reply.status != 403 or abs(off) <= _SKEW_SECONDS):
        return None
    if abs(off) <= 1:
        return "differs too much from the service's"
    return f"is {abs(off):.0f} seconds {'ahead of' if off > 0 else 'behind'} the service's"


def _plain(error: BaseException) -> str:
    """The text of an error, without the parameters of URLs, which may hold parts of a signature."""
    return _QUERY.sub("", " ".join(str(error).split()))[:_LONG]
