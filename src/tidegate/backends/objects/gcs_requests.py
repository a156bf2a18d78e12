# SPDX-License-Identifier: Apache-2.0
"""Requests to a bucket of Google Cloud Storage: descriptions of objects, digests, conditions, answers.

The ETag of our port is the generation: it changes with the content, not with the metadata. What is sent
carries its CRC-32C, which the service compares, and the answer is compared with it.
"""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import google_crc32c
from typing_extensions import Buffer

from tidegate.backends.objects import sums
from tidegate.backends.objects.bucket import ObjectChanged, StorageMisconfigured, Stored
from tidegate.backends.objects.gcs_body import Related
from tidegate.backends.objects.gcs_client import Answer, GcsClient, Request
from tidegate.backends.objects.gcs_options import GcsOptions
from tidegate.backends.objects.gcs_times import for_port, for_service
from tidegate.backends.objects.keys import checked
from tidegate.backends.objects.tries import Bounds, Failed
from tidegate.errors import InvalidPath, NotFound, StorageFailed, TidegateError

SEEN_SECONDS: Final = 30.0
"""Seconds for which an answer about the bucket proves that it is there."""
PART_SECONDS: Final = 600.0
"""Bound of a request that moves content, unless the options say otherwise."""
REWRITES: Final = 20
"""Answers to one rewrite, one after the other, that tell of no progress."""
HIDDEN: Final = ".tidegate-uploads/"
"""Begins the keys of parts of uploads, which no listing shows."""
FIELDS: Final = "name,size,updated,generation,md5Hash,crc32c,metadata"
"""The fields asked of each object."""


class GcsRequests:
    """Requests to the bucket of a record. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        bounds: of requests.
    """

    def __init__(self, options: GcsOptions, bounds: Bounds) -> None:
        self.options = options
        self._client = GcsClient(options, bounds)
        self._bucket = f"/storage/v1/b/{quote(options.bucket, safe='')}"
        self._seen = float("-inf")

    async def open(self) -> None:
        """See `bucket.Bucket.open`."""
        await self._client.open()

    async def close(self) -> None:
        """See `bucket.Bucket.close`."""
        await self._client.close()

    # -- asking ------------------------------------------------------------------------------------------

    async def attempt(self, request: Request) -> Answer:
        """Ask.

        Raises:
            Failed: with the error.
        """
        try:
            answer = await self._client.call(request)
        except Failed as failed:
            if isinstance(failed.error, NotFound):
                raise Failed(await self._missing(request), failed.code, failed.tries) from None
            raise
        self._seen = asyncio.get_running_loop().time()
        return answer

    async def call(self, request: Request) -> Answer:
        """Ask; raises the error itself."""
        try:
            return await self.attempt(request)
        except Failed as failed:
            raise failed.error from None

    async def _missing(self, request: Request) -> TidegateError:
        """The error of a 404, which may be about the object or about the bucket."""
        if asyncio.get_running_loop().time() - self._seen > SEEN_SECONDS:
            try:
                await self._client.call(self.listing({"maxResults": 1, "fields": "kind"}))
            except Failed as failed:
                if isinstance(failed.error, StorageMisconfigured):
                    return failed.error
            else:
                self._seen = asyncio.get_running_loop().time()
        return (
            StorageFailed(detail=f"{request.operation}: 404")
            if request.operation == "objects.insert"
            else NotFound()
        )

    # -- requests ----------------------------------------------------------------------------------------

    def path(self, key: str) -> str:
        """Path of an object."""
        return f"{self._bucket}/o/{quote(checked(key), safe='')}"

    def listing(self, query: Mapping[str, str | int | None]) -> Request:
        """A request for a page of a listing."""
        return Request("objects.list", "GET", f"{self._bucket}/o", query)

    def of_object(
        self, operation: str, method: str, key: str, query: Mapping[str, str | int | None]
    ) -> Request:
        """A request about an object."""
        return Request(operation, method, self.path(key), query)

    def resource(self, key: str, metadata: Mapping[str, str], storage_class: str) -> dict[str, Any]:
        """Description of an object that is made: metadata, storage class, type by its name."""
        kind, encoding = mimetypes.guess_type(key, strict=False)
        found: dict[str, Any] = {"name": key, "metadata": for_service(metadata)}
        found["contentType"] = "application/octet-stream" if encoding or not kind else kind
        if storage_class:
            found["storageClass"] = storage_class
        return found

    async def insert(
        self,
        key: str,
        data: Buffer,
        metadata: Mapping[str, str],
        *,
        match: str,
        storage_class: str,
        acl: str,
    ) -> tuple[Stored, int]:
        """Store an object whose content both sides have compared; and how many tries it took.

        `match` is the generation of the object that it replaces, ``0`` for none; empty replaces any.

        Raises:
            Failed: with the error.
            StorageFailed: what the service has got is something else.
        """
        made = await sums.digest(crc32c, data, memoryview(data).nbytes)
        resource = {**self.resource(checked(key), metadata, storage_class), "crc32c": sums.base64_of(made)}
        query = {"uploadType": "multipart", "fields": FIELDS, "predefinedAcl": acl}
        query |= {"ifGenerationMatch": match} if match else {}
        request = Request(
            "objects.insert",
            "POST",
            f"/upload{self._bucket}/o",
            query,
            Related(resource, data),
            seconds=self.options.upload_part_max_time or PART_SECONDS,
        )
        answer = await self.attempt(request)
        stored = stored_of(answer.found)
        if stored.sums.get("crc32c") != made:
            got = stored.sums.get("crc32c", "nothing that it tells")
            raise StorageFailed(detail=f"objects.insert: the service got CRC32C {got}, not {made}")
        return stored, answer.tries

    async def head(self, key: str) -> Stored:
        """See `bucket.Bucket.head`; the metadata holds `metadata.WRITE_ID` too."""
        answer = await self.call(self.of_object("objects.get", "GET", key, {"fields": FIELDS}))
        return stored_of(answer.found)

    async def fetch(self, key: str, first: int, size: int, etag: str) -> tuple[bytes, str, int]:
        """Bytes of an object, its generation, and its size; no bytes and -1 at or past its end.

        Raises:
            Failed: with the error.
            ObjectChanged: with `etag`: the object is another one now.
        """
        query = {"alt": "media", "ifGenerationMatch": etag}
        seconds = self.options.download_part_max_time or PART_SECONDS
        where = f"bytes={first}-{first + size - 1}"
        request = Request(
            "objects.get", "GET", self.path(key), query, headers={"Range": where}, most=size, seconds=seconds
        )
        try:
            answer = await self.attempt(request)
        except Failed as failed:
            if failed.code == "416":
                return b"", "", -1
            raise
        data, generation = answer.data, answer.headers.get("X-Goog-Generation", "")
        if etag and generation != etag:
            raise ObjectChanged
        told, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        end = first + len(data)
        if told != f"{first}-{end - 1}" or not total.isdigit() or (len(data) < size and end != int(total)):
            raise StorageFailed(detail=f"objects.get: {len(data)} bytes, {told}/{total}, for {first}+{size}")
        return data, generation, int(total)

    async def rewrite(
        self, source: Stored, key: str, body: Mapping[str, Any], *, create: bool, acl: str
    ) -> tuple[Stored, int]:
        """Copy an object of any size within the service; and how many tries it took.

        Raises:
            Failed: with the error.
            StorageFailed: the copy is something else.
        """
        path = f"{self.path(source.key)}/rewriteTo/b/{quote(self.options.bucket, safe='')}"
        path += f"/o/{quote(checked(key), safe='')}"
        query: dict[str, str | int | None] = {
            "ifSourceGenerationMatch": source.etag,
            "destinationPredefinedAcl": acl,
        }
        query |= {"ifGenerationMatch": "0"} if create else {}
        tries, idle, copied = 1, 0, -1
        while True:
            request = Request("objects.rewrite", "POST", path, query, body or None, seconds=PART_SECONDS)
            answer = await self.attempt(request)
            tries = max(tries, answer.tries)
            if "resource" in answer.found:
                break
            now = int(str(stated(answer.found, "totalBytesRewritten")))
            idle, copied = (0, now) if now > copied else (idle + 1, copied)
            if idle >= REWRITES:
                raise StorageFailed(detail=f"objects.rewrite: no progress at {now} bytes")
            query["rewriteToken"] = str(stated(answer.found, "rewriteToken"))
        stored = stored_of(answer.found["resource"])
        if "crc32c" in source.sums and stored.sums.get("crc32c") != source.sums["crc32c"]:
            raise StorageFailed(detail="objects.rewrite: the copy has another CRC32C than the original")
        return stored, tries

    async def remove(self, key: str, generation: str = "") -> None:
        """Remove an object; missing is no error.

        Args:
            generation: of a part: the bucket keeps no older version of it then.
        """
        try:
            await self.call(self.of_object("objects.delete", "DELETE", key, {"generation": generation}))
        except NotFound:
            return


def named(key: str) -> str:
    """The key of an object that may have it.

    Raises:
        InvalidPath: it cannot be a key (Cloud Storage, "Object naming"), or belongs to parts of uploads.
    """
    if "\r" in key or "\n" in key or key.startswith(".well-known/acme-challenge/"):
        raise InvalidPath("invalid path: not a name that this storage takes")
    if key.startswith(HIDDEN):
        raise InvalidPath("invalid path: the name is reserved")
    return checked(key)


def crc32c(data: Buffer) -> str:
    """CRC-32C (Castagnoli)."""
    return f"{google_crc32c.value(data if isinstance(data, bytes) else bytes(data)):08x}"


def stated(found: Mapping[str, Any], name: str) -> Any:
    """A part that every answer of the service has.

    Raises:
        StorageMisconfigured: it is missing: something else has answered.
    """
    try:
        return found[name]
    except KeyError:
        raise StorageMisconfigured(detail=f"an answer without {name}: this is no Cloud Storage") from None


def listed(found: Mapping[str, Any], name: str) -> list[Any]:
    """A list of an answer, which is left out if it is empty.

    Raises:
        StorageMisconfigured: it is something else.
    """
    entries = found.get(name, [])
    if not isinstance(entries, list):
        raise _foreign(name)
    return entries


def _foreign(name: str) -> StorageMisconfigured:
    return StorageMisconfigured(detail=f"an answer with another {name}: this is no Cloud Storage")


def stored_of(found: Any) -> Stored:
    """The object that an answer describes.

    Raises:
        StorageMisconfigured: it describes none.
    """
    if not isinstance(found, dict) or not isinstance(found.get("metadata") or {}, dict):
        raise _foreign("object")
    digests = {"md5": found.get("md5Hash", ""), "crc32c": found.get("crc32c", "")}
    metadata = {str(name).lower(): str(value) for name, value in (found.get("metadata") or {}).items()}
    known = {name: made for name, text in digests.items() if (made := sums.hex_of(str(text)))}
    generation = str(stated(found, "generation"))
    try:
        size = int(stated(found, "size"))
    except (ValueError, TypeError):
        raise _foreign("size") from None
    return Stored(str(stated(found, "name")), size, _time_of(found), generation, for_port(metadata), known)


def _time_of(found: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(found["updated"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return time.time()
