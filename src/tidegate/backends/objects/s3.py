# SPDX-License-Identifier: Apache-2.0
"""A bucket of Amazon S3, or of a store that speaks its protocol, as `bucket.Bucket`.

Writes under a condition carry an identifier in their metadata, so that after a lost answer it can be told if
the object that is there now is that of the first try.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from typing_extensions import Buffer

from tidegate.backends.objects.bucket import (
    Bucket,
    Content,
    Limits,
    ObjectChanged,
    Page,
    StorageDenied,
    Stored,
)
from tidegate.backends.objects.forwarding import ForwardsUploads, copied_before
from tidegate.backends.objects.keys import checked
from tidegate.backends.objects.markers import Markers
from tidegate.backends.objects.metadata import WRITE_ID, without_write_id
from tidegate.backends.objects.s3_client import Answer, make_loader
from tidegate.backends.objects.s3_options import S3Options, limits_of
from tidegate.backends.objects.s3_requests import (
    S3Requests,
    etag_of,
    stated,
    sums_of,
    time_of,
)
from tidegate.backends.objects.s3_uploads import S3Uploads
from tidegate.backends.objects.tries import Bounds, Failed, exists_instead
from tidegate.errors import NotFound, StorageFailed

BATCH: Final = 1000
"""Keys of one request that lists or removes."""


class S3Bucket(ForwardsUploads):
    """`Bucket` of one record.

    Args:
        options: of the record.
        bounds: of requests; by default `Bounds`.
        loader: of `s3_client.make_loader`; many buckets had better share one.
    """

    def __init__(self, options: S3Options, bounds: Bounds | None = None, loader: Any = None) -> None:
        self._requests = S3Requests(options, bounds or Bounds(), loader or make_loader())
        super().__init__(S3Uploads(self._requests))
        self._name = options.bucket

    @property
    def limits(self) -> Limits:
        """See `Bucket.limits`."""
        return limits_of(self._requests.options)

    def location(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self._name}/{key}"

    async def open(self) -> None:
        """See `Bucket.open`."""
        await self._requests.open()

    async def close(self) -> None:
        """See `Bucket.close`."""
        await self._requests.close()

    async def check(self, prefix: str) -> None:
        """See `Bucket.check`. Writes a small object under `prefix`, and removes it."""
        key = f"{prefix}.tidegate-check-{secrets.token_hex(8)}"
        await self._requests.call("list_objects_v2", Prefix=prefix, MaxKeys=1)
        stored = await self.put(key, b"tidegate", {})
        try:
            if await self.get(key, 0, 8, if_etag=stored.etag) != b"tidegate":
                raise StorageFailed(detail="GetObject: something else was read than was written")
            upload = await self.begin(key, {})
            await self.abort(upload)
        finally:
            await self.delete([key])

    async def head(self, key: str) -> Stored:
        """See `Bucket.head`."""
        return without_write_id(await self._requests.head(key))

    async def pages(
        self, prefix: str, *, delimited: bool, after: str = "", size: int = BATCH
    ) -> AsyncIterator[Page]:
        """See `Bucket.pages`."""
        params: Answer = {"Prefix": prefix, "MaxKeys": min(size, BATCH)}
        if delimited:
            params["Delimiter"] = "/"
        if after:
            params["StartAfter"] = after
        markers = Markers("ListObjectsV2")
        while True:
            answer = await self._requests.call("list_objects_v2", **params)
            found = [
                Stored(stated(entry, "Key"), stated(entry, "Size"), time_of(entry), etag_of(entry))
                for entry in answer.get("Contents", ())
            ]
            prefixes = [stated(entry, "Prefix") for entry in answer.get("CommonPrefixes", ())]
            if found or prefixes:
                yield Page(found, prefixes)
            token = markers.next(
                answer.get("NextContinuationToken", ""), more=bool(answer.get("IsTruncated"))
            )
            if not token:
                return
            params["ContinuationToken"] = token

    async def get(self, key: str, start: int, size: int, *, if_etag: str = "") -> Content:
        """See `Bucket.get`."""
        if size <= 0:
            return b""
        try:
            answer = await self._requests.fetch(key, start, size, if_etag)
        except Failed as failed:
            if failed.code == "InvalidRange":
                return b""
            raise failed.error from None
        data: Content = answer["Body"]
        told, _, total = answer.get("ContentRange", "").removeprefix("bytes ").partition("/")
        end = start + len(data)
        if told != f"{start}-{end - 1}" or (len(data) < size and total.isdigit() and end != int(total)):
            raise StorageFailed(detail=f"GetObject: {len(data)} bytes, {told}/{total}, for {start}+{size}")
        return data

    async def first(self, key: str, size: int) -> tuple[Stored, Content]:
        """See `Bucket.first`."""
        try:
            answer = await self._requests.fetch(key, 0, size, "")
        except Failed as failed:
            if failed.code == "InvalidRange":
                return await self.head(key), b""
            raise failed.error from None
        data: Content = answer["Body"]
        total = answer.get("ContentRange", "").rpartition("/")[2]
        if not total.isdigit() or len(data) != min(size, int(total)):
            raise StorageFailed(detail=f"GetObject: {len(data)} bytes of {total or 'unknown'}, for 0+{size}")
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        return without_write_id(Stored(key, int(total), time_of(answer), etag_of(answer), metadata)), data

    async def put(
        self,
        key: str,
        data: Buffer,
        metadata: Mapping[str, str],
        *,
        create: bool = False,
        if_etag: str = "",
        crc32: str = "",
    ) -> Stored:
        """See `Bucket.put`."""
        params: Answer = {"Key": checked(key), "Metadata": dict(metadata), **self._requests.of_new(key)}
        own = secrets.token_hex(8)
        if create or if_etag:
            params["Metadata"][WRITE_ID] = own
            params |= {"IfMatch": f'"{if_etag}"'} if if_etag else {"IfNoneMatch": "*"}
        try:
            answer, confirmed = await self._requests.send("put_object", data, crc32, **params)
        except Failed as failed:
            if isinstance(failed.error, NotFound) and if_etag:
                raise ObjectChanged(detail="the object is gone") from None
            if (create or if_etag) and failed.tries > 1 and isinstance(failed.error, ObjectChanged):
                found = await self._requests.head(key)
                if (found.metadata or {}).get(WRITE_ID) == own:
                    return without_write_id(found)
            raise exists_instead(failed.error) if create else failed.error from None
        size = memoryview(data).nbytes
        return Stored(key, size, time_of(answer), etag_of(answer), dict(metadata), confirmed)

    async def delete(self, keys: Sequence[str]) -> None:
        """See `Bucket.delete`."""
        if len(keys) == 1:
            await self._requests.call("delete_object", Key=checked(keys[0]))
            return
        for first in range(0, len(keys), BATCH):
            batch = [{"Key": checked(key)} for key in keys[first : first + BATCH]]
            answer = await self._requests.call("delete_objects", Delete={"Objects": batch, "Quiet": True})
            errors = [error for error in answer.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
            if errors:
                said = f"DeleteObjects: {len(errors)} of {len(batch)} keys: {errors[0].get('Code')}"
                if errors[0].get("Code") == "AccessDenied":
                    raise StorageDenied(detail=f"{said} (needs the permission s3:DeleteObject)")
                raise StorageFailed(detail=said)

    async def copy(
        self,
        source: Stored,
        key: str,
        metadata: Mapping[str, str] | None = None,
        *,
        create: bool = False,
    ) -> Stored:
        """See `Bucket.copy`. With `create` an equal object after a lost answer counts as ours."""
        params: Answer = {"Key": checked(key), **self._requests.source(source), **self._requests.of_new(key)}
        if metadata is not None:
            params |= {"Metadata": dict(metadata), "MetadataDirective": "REPLACE"}
        if create:
            params["IfNoneMatch"] = "*"
        try:
            answer = await self._requests.attempt("copy_object", **params)
        except Failed as failed:
            if not create or not isinstance(failed.error, ObjectChanged):
                raise failed.error from None
            return await self._copied(source, key, failed)
        result = answer.get("CopyObjectResult", {})
        kept = metadata if metadata is not None else source.metadata
        return Stored(key, source.size, time_of(result), etag_of(result), kept, sums_of(result))

    async def _copied(self, source: Stored, key: str, failed: Failed) -> Stored:
        """The target if a lost try has made it; else which of the two conditions was not met is found out."""
        same = (source.size, source.etag)
        return await copied_before(self.head, key, failed, lambda found: (found.size, found.etag) == same)


def _proof(bucket: S3Bucket) -> Bucket:
    """The type checker's word that the contract is kept."""
    return bucket
