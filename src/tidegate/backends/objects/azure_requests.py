# SPDX-License-Identifier: Apache-2.0
"""Requests to a container of Azure Blob: what the record adds, digests of content, and reading answers."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from typing_extensions import Buffer

from tidegate.backends.objects import sums
from tidegate.backends.objects.azure_client import Answer, AzureClient, Request
from tidegate.backends.objects.azure_lists import FOLDER, Blobs, Blocks, blobs_of, blocks_of, sums_of, time_of
from tidegate.backends.objects.azure_names import (
    read_metadata,
    written_key,
    written_metadata,
    written_prefix,
)
from tidegate.backends.objects.azure_options import AzureOptions
from tidegate.backends.objects.bucket import Stored
from tidegate.backends.objects.tries import Bounds, Failed
from tidegate.errors import NotFound, StorageFailed

PART_SECONDS: Final = 600.0
"""Bound of a request that moves content, unless the options say otherwise."""
PAGE: Final = 1000
"""Names of one request that lists; the service gives up to 5,000."""
_META: Final = "x-ms-meta-"


@dataclass(frozen=True, slots=True)
class Got:
    """Content of an object.

    Attributes:
        stored: the object.
        data: the bytes.
        start: offset of the first.
    """

    stored: Stored
    data: bytes
    start: int


class AzureRequests:
    """Requests to the container of a record. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        bounds: of requests.
    """

    def __init__(self, options: AzureOptions, bounds: Bounds) -> None:
        self.options = options
        self.client = AzureClient(options, bounds)
        self.folders = False  # if blobs that stand for directories were seen here

    async def attempt(
        self,
        operation: str,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask.

        Raises:
            Failed: with the error.
        """
        return await self.client.call(
            Request(operation, method, written_key(key), query or {}, headers or {})
        )

    async def call(
        self,
        operation: str,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask; raises the error itself."""
        try:
            return await self.attempt(operation, method, key, query=query, headers=headers)
        except Failed as failed:
            raise failed.error from None

    def of_new(self, key: str, *, tier: bool = True) -> dict[str, str]:
        """Headers of a blob that is made: its type by its name, and the access tier."""
        kind, encoding = mimetypes.guess_type(key, strict=False)
        headers = {"x-ms-blob-content-type": "application/octet-stream" if encoding or not kind else kind}
        return headers | (self.tier() if tier else {})

    def tier(self) -> dict[str, str]:
        """The header of the access tier."""
        return {"x-ms-access-tier": self.options.access_tier} if self.options.access_tier else {}

    async def send(
        self,
        operation: str,
        key: str,
        data: Buffer,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        md5: bytes | None = None,
    ) -> Answer:
        """Send content with its MD5, which the service compares.

        Args:
            md5: of the content, if it is known.

        Raises:
            Failed: with the error.
            StorageFailed: what the service has got is something else.
        """
        made = (md5 or await digest(data)).hex()
        sent = {**(headers or {}), "Content-MD5": sums.base64_of(made)}
        seconds = self.options.upload_part_max_time or PART_SECONDS
        request = Request(operation, "PUT", written_key(key), query or {}, sent, data, seconds=seconds)
        answer = await self.client.call(request)
        got = sums_of(answer.headers.get("content-md5", "")).get("md5", made)
        if got != made:
            raise StorageFailed(detail=f"{operation}: the service got MD5 {got}, not {made}")
        return answer

    async def head(self, key: str) -> Stored:
        """See `bucket.Bucket.head`; the metadata holds the identifier of the write too."""
        answer = await self.call("GetBlobProperties", "HEAD", key)
        return self.stored(key, answer, int(answer.stated("content-length")))

    async def fetch(self, key: str, start: int, size: int, etag: str = "") -> Got:
        """Bytes of an object.

        Raises:
            Failed: with the error; code ``InvalidRange`` if there is none at `start`.
            StorageFailed: the answer has others than were asked for.
        """
        headers = {"x-ms-range": f"bytes={start}-{start + size - 1}", **if_match(etag)}
        seconds = self.options.download_part_max_time or PART_SECONDS
        request = Request("GetBlob", "GET", written_key(key), headers=headers, most=size, seconds=seconds)
        answer = await self.client.call(request)
        told, _, total = answer.headers.get("content-range", "").removeprefix("bytes ").partition("/")
        data = answer.body
        end = start + len(data)
        if not total.isdigit() or told != f"{start}-{end - 1}" or end != min(start + size, int(total)):
            raise StorageFailed(detail=f"GetBlob: {len(data)} bytes, {told}/{total}, for {start}+{size}")
        return Got(self.stored(key, answer, int(total)), data, start)

    def stored(self, key: str, answer: Answer, size: int) -> Stored:
        """The object that an answer describes.

        Raises:
            NotFound: it stands for a directory.
        """
        headers = answer.headers
        metadata = _metadata(headers)
        if metadata.get(FOLDER) == "true":
            self.folders = True
            raise NotFound
        md5 = headers.get("x-ms-blob-content-md5" if "content-range" in headers else "content-md5", "")
        return Stored(key, size, *stamp(answer), metadata, sums_of(md5))

    async def folder(self, key: str) -> Stored | None:
        """The blob `key`, if it stands for a directory."""
        try:
            answer = await self.call("GetBlobProperties", "HEAD", key)
        except NotFound:
            return None
        metadata = _metadata(answer.headers)
        return Stored(key, 0, *stamp(answer), metadata) if metadata.get(FOLDER) == "true" else None

    async def list(self, prefix: str, query: Mapping[str, str]) -> Blobs:
        """A page of a list."""
        query = {"restype": "container", "comp": "list", "include": "metadata", **query}
        if prefix:
            query["prefix"] = written_prefix(prefix)
        try:
            answer = await self.client.call(Request("ListBlobs", "GET", query=query))
        except Failed as failed:
            raise failed.error from None
        return await asyncio.to_thread(blobs_of, answer.body)

    async def blocks(self, key: str, which: str = "all") -> Blocks:
        """The blocks of a blob.

        Args:
            which: ``committed``, ``uncommitted`` or ``all``.

        Raises:
            NotFound: there is neither a blob nor a block.
        """
        query = {"comp": "blocklist", "blocklisttype": which}
        answer = await self.call("GetBlockList", "GET", key, query=query)
        return await asyncio.to_thread(blocks_of, answer.body)

    async def source(self, stored: Stored) -> dict[str, str]:
        """Headers of requests that copy from this object and no other."""
        named = await self.client.source(written_key(stored.key))
        return {**named, "x-ms-source-if-match": f'"{stored.etag}"'}


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    return read_metadata(
        {name.removeprefix(_META): value for name, value in headers.items() if name.startswith(_META)}
    )


def stamp(answer: Answer) -> tuple[float, str]:
    """The time at which the object was stored, and its ETag."""
    return time_of(answer.stated("last-modified")), answer.stated("etag").strip('"')


def if_match(etag: str) -> dict[str, str]:
    """The condition that an object is that one; none if `etag` is empty."""
    return {"If-Match": f'"{etag}"'} if etag else {}


def metadata_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Headers that say these metadata."""
    return written_metadata(metadata)


async def digest(data: Buffer) -> bytes:
    """The MD5 of content, without blocking the loop."""
    return await sums.digest(_md5, data, memoryview(data).nbytes)


def _md5(data: Buffer) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
