# SPDX-License-Identifier: Apache-2.0
"""Requests to a bucket of S3: parameters that the record gives, digests of content, and reading answers.

What is sent carries a CRC-32 in ``x-amz-checksum-crc32``; a service that takes it compares it and repeats it
in its answer. Where the answer lacks it, the ETag is compared with the MD5, and ``Content-MD5`` is sent from
then on.
"""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from typing_extensions import Buffer

from tidegate.backends.objects import sums
from tidegate.backends.objects.bucket import StorageDenied, StorageMisconfigured, Stored
from tidegate.backends.objects.keys import checked
from tidegate.backends.objects.s3_client import Answer, Request, S3Client
from tidegate.backends.objects.s3_options import S3Options, customer_key
from tidegate.backends.objects.tries import Bounds, Failed
from tidegate.errors import NotFound, StorageFailed, TidegateError
from tidegate.model.secrets import open_secret

SEEN_SECONDS: Final = 30.0
"""Seconds for which an answer about the bucket proves that it is there."""
PART_SECONDS: Final = 600.0
"""Bound of a request that moves content, unless the options say otherwise."""
_UNEXPLAINED: Final = frozenset(("400", "403"))
"""Status of a HEAD that stands for many codes."""
_CHECKSUMS: Final = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


class S3Requests:
    """Requests to the bucket of a record. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        bounds: of requests.
        loader: of `s3_client.make_loader`.

    Attributes:
        of_source: parameters of requests that copy from an object.
        of_known: parameters of every request about the content of an object: the customer's key.
    """

    def __init__(self, options: S3Options, bounds: Bounds, loader: Any) -> None:
        self.options = options
        self._client = S3Client(options, bounds, loader)
        self._digest = options.checksum
        self._seen = float("-inf")
        self.of_known: Answer = {}
        if options.sse_customer_key:
            key = customer_key(open_secret("sse_customer_key", options.sse_customer_key))
            self.of_known = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        self.of_source: Answer = {f"CopySource{name}": value for name, value in self.of_known.items()}
        given = {
            "StorageClass": options.storage_class,
            "ACL": options.acl,
            "ServerSideEncryption": options.server_side_encryption,
            "SSEKMSKeyId": options.sse_kms_key_id,
        }
        self._of_new: Answer = {name: value for name, value in given.items() if value} | self.of_known

    async def open(self) -> None:
        """See `bucket.Bucket.open`."""
        await self._client.open()

    async def close(self) -> None:
        """See `bucket.Bucket.close`."""
        await self._client.close()

    @property
    def crc(self) -> bool:
        """False if the service is known not to take a CRC-32."""
        return self._digest != "MD5"

    def of_new(self, key: str) -> Answer:
        """Parameters of an object that is made: storage class, ACL, encryption, type by its name."""
        kind, encoding = mimetypes.guess_type(key, strict=False)
        return {"ContentType": "application/octet-stream" if encoding or not kind else kind, **self._of_new}

    def source(self, stored: Stored) -> Answer:
        """Parameters of requests that copy from this object and no other."""
        name = {"Bucket": self.options.bucket, "Key": checked(stored.key)}
        return {"CopySource": name, "CopySourceIfMatch": f'"{stored.etag}"', **self.of_source}

    async def attempt(self, operation: str, **params: Any) -> Answer:
        """Ask.

        Raises:
            Failed: with the error.
        """
        return await self._ask(Request(operation, params))

    async def call(self, operation: str, **params: Any) -> Answer:
        """Ask; raises the error itself."""
        try:
            return await self._ask(Request(operation, params))
        except Failed as failed:
            raise failed.error from None

    async def fetch(self, key: str, first: int, size: int, etag: str) -> Answer:
        """Bytes of an object, as ``Body`` of the answer.

        Raises:
            Failed: with the error.
        """
        params: Answer = {"Key": checked(key), "Range": f"bytes={first}-{first + size - 1}", **self.of_known}
        if etag:
            params["IfMatch"] = f'"{etag}"'
        seconds = self.options.download_part_max_time or PART_SECONDS
        return await self._ask(Request("get_object", params, most=size, seconds=seconds))

    async def send(
        self, operation: str, data: Buffer, crc32: str, **params: Any
    ) -> tuple[Answer, Mapping[str, str]]:
        """Send content; the answer, and digests that the service has confirmed.

        Args:
            crc32: of `data`; empty if it is to be computed.

        Raises:
            Failed: with the error.
            StorageFailed: what the service has got is something else.
        """
        size = memoryview(data).nbytes
        name = "crc32" if self.crc else "md5"
        made = crc32 if self.crc else ""
        made = made or await sums.digest(sums.crc32 if self.crc else sums.md5, data, size)
        params["ChecksumCRC32" if self.crc else "ContentMD5"] = sums.base64_of(made)
        seconds = self.options.upload_part_max_time or PART_SECONDS
        answer = await self._ask(Request(operation, params, body=data, seconds=seconds))
        confirmed = dict(sums_of(answer))
        if name == "crc32" and "crc32" not in confirmed:
            if "md5" not in confirmed:
                what = "confirms neither a CRC32 nor an MD5"
                raise StorageFailed(detail=f"{operation}: the service {what}: set checksum to MD5")
            name, made = "md5", await sums.digest(sums.md5, data, size)
            if size:  # nothing may be told of the marker of a directory by a service that tells it of content
                self._digest = self._digest or "MD5"
        if confirmed.get(name, made) != made:
            raise StorageFailed(detail=f"{operation}: the service got {name} {confirmed[name]}, not {made}")
        return answer, confirmed

    async def head(self, key: str) -> Stored:
        """See `bucket.Bucket.head`; the metadata holds `metadata.WRITE_ID` too."""
        request = Request("head_object", {"Key": checked(key), "ChecksumMode": "ENABLED", **self.of_known})
        try:
            answer = await self._ask(request)
        except Failed as failed:
            raise await self._explained(failed, key) from None
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        return Stored(
            key, answer["ContentLength"], time_of(answer), etag_of(answer), metadata, sums_of(answer)
        )

    async def _ask(self, request: Request) -> Answer:
        request.params.setdefault("Bucket", self.options.bucket)
        answer = await self._client.call(request)
        self._seen = asyncio.get_running_loop().time()
        return answer

    async def _explained(self, failed: Failed, key: str) -> TidegateError:
        """The error of a HEAD, whose answer has no body, after asking by a request whose answer has one."""
        if isinstance(failed.error, NotFound):
            if asyncio.get_running_loop().time() - self._seen <= SEEN_SECONDS:
                return failed.error
            try:
                await self.call("head_bucket")
            except StorageMisconfigured as missing:
                return missing
            except TidegateError:
                return failed.error
        elif failed.code in _UNEXPLAINED:
            try:
                await self.fetch(key, 0, 1, "")
            except Failed as better:
                if isinstance(better.error, (StorageDenied, StorageMisconfigured)):
                    return better.error
        return failed.error


def stated(answer: Answer, name: str) -> Any:
    """A part that every answer of S3 has.

    Raises:
        StorageMisconfigured: it is missing: something that is no S3 has answered.
    """
    try:
        return answer[name]
    except KeyError:
        raise StorageMisconfigured(detail=f"an answer without {name}: this is no S3") from None


def etag_of(answer: Answer) -> str:
    """The ETag of an answer, without quotes, which some services leave out."""
    return str(answer.get("ETag", "")).strip('"')


def time_of(answer: Answer) -> float:
    """Time of the object as the service states it, else that of the answer; seconds since 1970."""
    if (at := answer.get("LastModified")) is not None:
        return float(at.timestamp())
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return time.time()


def sums_of(answer: Answer) -> Mapping[str, str]:
    """Digests of the whole content that an answer states; see `Stored.sums`."""
    found: dict[str, str] = {}
    if answer.get("ChecksumType") != "COMPOSITE":
        for name in _CHECKSUMS:
            if made := sums.hex_of(answer.get(f"Checksum{name}", "")):
                found[name.lower()] = made
    encrypted = answer.get("SSECustomerAlgorithm") or str(answer.get("ServerSideEncryption")).startswith(
        "aws:"
    )
    if not encrypted and sums.is_md5(etag := etag_of(answer)):
        found["md5"] = etag
    return found
