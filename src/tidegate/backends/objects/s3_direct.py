# SPDX-License-Identifier: Apache-2.0
"""Frequent requests to S3 without the client library's layers, which take 1 ms of CPU for each.

Where the service is and how it wants requests signed is not decided here: the first request of each operation
goes by the library, and is looked at when it is sent. What this does not know (a parameter, a proxy, a
redirection, another way of signing) is left to the library as well. Errors are the library's.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import responses
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from botocore import exceptions as b
from typing_extensions import Buffer

from tidegate.backends.objects import s3_lists, wire
from tidegate.backends.objects.s3_signing import UNSIGNED, Signer, encoded_key, encoded_query
from tidegate.backends.objects.sums import THREAD_BYTES

Answer = dict[str, Any]

LIST: Final = "list_objects_v2"
METHODS: Final = {
    "put_object": "PUT",
    "upload_part": "PUT",
    "get_object": "GET",
    "head_object": "HEAD",
    "delete_object": "DELETE",
    LIST: "GET",
}
"""The operations."""
_HEADERS: Final = {
    "ACL": "x-amz-acl",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ChecksumMode": "x-amz-checksum-mode",
    "ContentMD5": "content-md5",
    "ContentType": "content-type",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "Range": "range",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
}
_QUERY: Final = {
    "ContinuationToken": "continuation-token",
    "Delimiter": "delimiter",
    "MaxKeys": "max-keys",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "UploadId": "uploadId",
}
_ELSEWHERE: Final = frozenset(("Bucket", "Key", "Metadata"))
_ANSWERED: Final = {
    "content-range": "ContentRange",
    "etag": "ETag",
    "x-amz-checksum-crc32": "ChecksumCRC32",
    "x-amz-checksum-crc32c": "ChecksumCRC32C",
    "x-amz-checksum-crc64nvme": "ChecksumCRC64NVME",
    "x-amz-checksum-sha1": "ChecksumSHA1",
    "x-amz-checksum-sha256": "ChecksumSHA256",
    "x-amz-checksum-type": "ChecksumType",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
}
_META: Final = "x-amz-meta-"
_SIGNED: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/[0-9]{8}/([^/]+)/s3/aws4_request,")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_NO_CONTENT: Final = hashlib.sha256(b"").hexdigest()

ASKED: Final[ContextVar[tuple[Direct, str, str] | None]] = ContextVar("ASKED", default=None)
"""The request that the library is about to send: who wants to know of it, operation and key."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A request of an operation, as the library sent it.

    Attributes:
        base: URL before the key.
        origin: the server.
        host: for the header of that name.
        path: of `base`.
        agent: ``User-Agent``.
        unsigned: the content is not part of the signature.
    """

    base: str
    origin: wire.Origin
    host: str
    path: str
    agent: str
    unsigned: bool
    signer: Signer


class Direct:
    """Requests with the credentials of one client of the library, over connections of their own.

    Args:
        credentials: of the client, with ``get_frozen_credentials``.
        connections: for a URL; None if the library has to ask, through a proxy.
    """

    def __init__(self, credentials: Any, connections: Callable[[str], wire.Connections | None]) -> None:
        self._credentials = credentials
        self._connections = connections
        self._known: dict[str, _Known] = {}

    def learn(self, operation: str, key: str, url: str, headers: Mapping[str, str | bytes]) -> None:
        """Take note of a request that the library sends."""
        told = {name.lower(): _text(value) for name, value in headers.items()}
        signed = _SIGNED.match(told.get("authorization", ""))
        digest = told.get("x-amz-content-sha256", "")
        whole, end = url.partition("?")[0], encoded_key(key)
        named = whole.endswith(f"/{end}") if key else bool(urlsplit(whole).path)
        if signed is None or not named or not (digest == UNSIGNED or len(digest) == 64):
            return
        base = whole.removesuffix(end)
        parts = urlsplit(base)
        tls = parts.scheme == "https"
        unsigned, agent = digest == UNSIGNED, told.get("user-agent", "")
        origin = wire.Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls)
        host = parts.netloc.rpartition("@")[2]
        self._known[operation] = _Known(base, origin, host, parts.path, agent, unsigned, Signer(signed[1]))

    async def send(self, operation: str, params: Answer, body: Buffer | None, most: int) -> Answer | None:
        """The answer as the library gives it, with a ``Body`` that was read; None: the library has to ask.

        Args:
            operation: of `METHODS`; any other is left to the library.
            params: as of the library, without the body.
            body: content.
            most: bytes of the answer's content, 0 for none.

        Raises:
            botocore.exceptions.ClientError: the service refuses.
            botocore.exceptions.BotoCoreError: no answer, or none that is whole.
        """
        known = self._known.get(operation)
        headers = None if known is None else _headers(params)
        if known is None or headers is None:
            return None
        connections = self._connections(known.base)
        if connections is None:
            return None
        method, path = METHODS[operation], encoded_key(params.get("Key", ""))
        asked = {_QUERY[name]: str(params[name]) for name in _QUERY if name in params}
        query = encoded_query(asked | s3_lists.FIXED if operation == LIST else asked)
        headers["host"] = known.host
        keys = await self._credentials.get_frozen_credentials()
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        payload = UNSIGNED if known.unsigned else await _digest(body)
        known.signer.sign(
            method, f"{known.path}{path}", query, headers, payload, (keys.access_key, keys.secret_key)
        )
        headers["accept-encoding"] = "identity"
        headers["user-agent"] = known.agent
        target = f"{known.path}{path}{'?' if query else ''}{query}"
        short = s3_lists.LIST_BYTES if operation == LIST else wire.SHORT_BYTES
        request = wire.Request(method, target, headers, body, most, short)
        try:
            answer = await connections.send(known.origin, request)
        except ssl.SSLError as error:
            raise b.SSLError(endpoint_url=known.base, error=error) from None
        except TimeoutError as error:
            raise b.ReadTimeoutError(endpoint_url=known.base, error=error) from None
        except OSError as error:
            raise b.EndpointConnectionError(endpoint_url=known.base, error=error) from None
        except wire.BrokenResponse as error:
            raise b.HTTPClientError(error=error) from None
        return _answer(operation, answer, most)


def _headers(params: Answer) -> dict[str, str] | None:
    """Headers of a request; None if a parameter is not known here, or is no plain text."""
    headers: dict[str, str] = {}
    for name, value in params.items():
        if name in _HEADERS:
            headers[_HEADERS[name]] = value
        elif name not in _QUERY and name not in _ELSEWHERE:
            return None
    for name, value in params.get("Metadata", {}).items():
        headers[f"{_META}{name.lower()}"] = value
    plain = all(_PRINTABLE.fullmatch(f"{name}{value}") for name, value in headers.items())
    return headers if plain else None


async def _digest(body: Buffer | None) -> str:
    if body is None:
        return _NO_CONTENT
    size = memoryview(body).nbytes

    def digest() -> str:
        return hashlib.sha256(body).hexdigest()

    return await asyncio.to_thread(digest) if size > THREAD_BYTES else digest()


def _answer(operation: str, found: wire.Response, most: int) -> Answer | None:
    """The answer in the library's form; None for a redirection, and a list that only the library can read."""
    headers, status = found.headers, found.status
    if 300 <= status < 400:
        return None
    meta = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    if status >= 300:
        name = "".join(part.title() for part in operation.split("_"))
        said = _error(status, bytes(found.body))
        raise b.ClientError({"Error": said, "ResponseMetadata": meta}, name)
    if operation == LIST:
        page = s3_lists.objects_of(bytes(found.body))
        return None if page is None else {"ResponseMetadata": meta, **page}
    answer: Answer = {"ResponseMetadata": meta, "Metadata": {}}
    for name, value in headers.items():
        if name in _ANSWERED:
            answer[_ANSWERED[name]] = value
        elif name.startswith(_META):
            answer["Metadata"][name.removeprefix(_META)] = value
    try:
        if "last-modified" in headers:
            answer["LastModified"] = parsedate_to_datetime(headers["last-modified"])
        if "content-length" in headers:
            answer["ContentLength"] = int(headers["content-length"])
    except ValueError as error:
        raise b.HTTPClientError(error=f"an answer that is none: {error}") from None
    if most:
        if "ContentLength" not in answer:
            raise b.HTTPClientError(error="content without an announced length")
        answer["Body"] = found.body
    return answer


def _error(status: int, body: bytes) -> dict[str, str]:
    """The service's words; the status of HTTP where there are none."""
    said = {"Code": str(status), "Message": responses.get(status, "")}
    try:
        root = ET.fromstring(body) if body else None  # noqa: S314 - expat has bounds of its own
    except (ET.ParseError, ValueError):
        return said
    for child in root if root is not None else ():
        said[child.tag.rpartition("}")[2]] = child.text or ""
    return said


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


__all__ = ["ASKED", "METHODS", "Direct"]
