# SPDX-License-Identifier: Apache-2.0
"""A bucket of Google Cloud Storage as `bucket.Bucket`, over its JSON API.

Writes under a condition carry an identifier in their metadata, so that after a lost answer it can be told if
the object that is there now is that of the first try.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from typing_extensions import Buffer

from tidegate.backends.objects.bucket import Bucket, Limits, ObjectChanged, Page, Stored
from tidegate.backends.objects.forwarding import ForwardsUploads, copied_before
from tidegate.backends.objects.gcs_client import Request
from tidegate.backends.objects.gcs_options import LIMITS, GcsOptions
from tidegate.backends.objects.gcs_requests import FIELDS, HIDDEN, GcsRequests, listed, named, stored_of
from tidegate.backends.objects.gcs_times import for_service
from tidegate.backends.objects.gcs_uploads import GcsUploads
from tidegate.backends.objects.markers import Markers
from tidegate.backends.objects.metadata import WRITE_ID, without_write_id
from tidegate.backends.objects.tries import Bounds, Failed, exists_instead
from tidegate.errors import StorageFailed

BATCH: Final = 1000
"""Keys of one request that lists."""
REMOVALS: Final = 32
"""Requests of one `GcsBucket.delete` at the same time."""
READS: Final = 3
"""Tries to read what an object is and how it begins while others replace it."""


class GcsBucket(ForwardsUploads):
    """`Bucket` of one record.

    Args:
        options: of the record.
        bounds: of requests; by default `Bounds`.
    """

    def __init__(self, options: GcsOptions, bounds: Bounds | None = None) -> None:
        self._requests = GcsRequests(options, bounds or Bounds())
        super().__init__(GcsUploads(self._requests))
        self._options = options

    @property
    def limits(self) -> Limits:
        """See `Bucket.limits`."""
        return LIMITS

    def location(self, key: str) -> str:
        """``gs://bucket/key``."""
        return f"gs://{self._options.bucket}/{key}"

    async def open(self) -> None:
        """See `Bucket.open`."""
        await self._requests.open()

    async def close(self) -> None:
        """See `Bucket.close`."""
        await self._requests.close()

    async def check(self, prefix: str) -> None:
        """See `Bucket.check`. Writes a small object under `prefix`, changes its metadata, and removes it."""
        key = f"{prefix}.tidegate-check-{secrets.token_hex(8)}"
        listing = self._requests.listing({"prefix": prefix, "maxResults": 1, "fields": "kind"})
        await self._requests.call(listing)
        stored = await self.put(key, b"tidegate", {})
        try:
            if await self.get(key, 0, 8, if_etag=stored.etag) != b"tidegate":
                raise StorageFailed(detail="objects.get: something else was read than was written")
            await self.copy(stored, key, {"mtime": "0"})
            upload = await self.begin(key, {})
            await self.abort(upload)
        finally:
            await self.delete([key])

    async def head(self, key: str) -> Stored:
        """See `Bucket.head`."""
        return without_write_id(await self._requests.head(named(key)))

    async def pages(
        self, prefix: str, *, delimited: bool, after: str = "", size: int = BATCH
    ) -> AsyncIterator[Page]:
        """See `Bucket.pages`. The metadata come with the listing."""
        query: dict[str, str | int | None] = {
            "prefix": prefix,
            "delimiter": "/" if delimited else "",
            "startOffset": after,
            "maxResults": min(size, BATCH),
            "fields": f"nextPageToken,prefixes,items({FIELDS})",
        }
        last = ""
        markers = Markers("objects.list")
        while True:
            found = (await self._requests.call(self._requests.listing(query))).found
            entries = [stored_of(entry) for entry in listed(found, "items")]
            objects = [without_write_id(one) for one in entries if one.key > after and not _hidden(one.key)]
            prefixes = [
                one
                for one in map(str, listed(found, "prefixes"))
                if one > max(after, last) and not _hidden(one)
            ]
            last = max(last, *prefixes, "")
            if objects or prefixes:
                yield Page(objects, prefixes)
            marker = str(found.get("nextPageToken") or "")
            token = markers.next(marker, more=bool(marker))
            if not token:
                return
            query["pageToken"] = token

    async def get(self, key: str, start: int, size: int, *, if_etag: str = "") -> bytes:
        """See `Bucket.get`."""
        if size <= 0:
            return b""
        try:
            data, _, _ = await self._requests.fetch(named(key), start, size, if_etag)
        except Failed as failed:
            raise failed.error from None
        return data

    async def first(self, key: str, size: int) -> tuple[Stored, bytes]:
        """See `Bucket.first`. Two requests at the same time: content comes without metadata."""
        key = named(key)
        for _ in range(READS):
            asked = (self.head(key), self._requests.fetch(key, 0, size, ""))
            found, content = await asyncio.gather(*asked, return_exceptions=True)
            if isinstance(found, BaseException):
                raise found
            if isinstance(content, Failed):
                raise content.error
            if isinstance(content, BaseException):
                raise content
            data, generation, total = content
            if (generation, total) == (found.etag, found.size) or (total < 0 and not found.size):
                return found, data
        raise ObjectChanged

    async def put(
        self,
        key: str,
        data: Buffer,
        metadata: Mapping[str, str],
        *,
        create: bool = False,
        if_etag: str = "",
        crc32: str = "",  # noqa: ARG002
    ) -> Stored:
        """See `Bucket.put`."""
        identifier = secrets.token_hex(16)
        wanted = {**metadata, WRITE_ID: identifier} if create or if_etag else metadata
        match = "0" if create else if_etag
        options = self._options
        try:
            stored, _ = await self._requests.insert(
                named(key), data, wanted, match=match, storage_class=options.storage_class, acl=options.acl
            )
        except Failed as failed:
            if match and failed.tries > 1 and isinstance(failed.error, ObjectChanged):
                found = await self._requests.head(key)
                if (found.metadata or {}).get(WRITE_ID) == identifier:
                    return without_write_id(found)
            raise exists_instead(failed.error) if create else failed.error from None
        return replace(stored, metadata=dict(metadata))

    async def delete(self, keys: Sequence[str]) -> None:
        """See `Bucket.delete`. One request for each."""
        waiting = iter([named(key) for key in keys])

        async def work() -> None:
            for key in waiting:
                await self._requests.remove(key)

        tasks = [asyncio.ensure_future(work()) for _ in range(min(REMOVALS, len(keys)))]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def copy(
        self,
        source: Stored,
        key: str,
        metadata: Mapping[str, str] | None = None,
        *,
        create: bool = False,
    ) -> Stored:
        """See `Bucket.copy`. An object onto itself keeps its content and generation: only metadata change."""
        named(source.key)
        if named(key) == source.key and metadata is not None and not create:
            old = source.metadata if source.metadata is not None else (await self.head(key)).metadata or {}
            if old.keys() <= metadata.keys():
                return await self._patch(source, metadata)
        body: dict[str, Any] = {}
        kept = metadata
        if metadata is None and self._options.storage_class:  # a description replaces all of the source's
            kept = source.metadata if source.metadata is not None else (await self.head(source.key)).metadata
        if kept is not None:
            body = self._requests.resource(key, kept, self._options.storage_class)
        try:
            stored, _ = await self._requests.rewrite(source, key, body, create=create, acl=self._options.acl)
        except Failed as failed:
            if not create or not isinstance(failed.error, ObjectChanged):
                raise failed.error from None
            return await self._copied(source, key, failed)
        return without_write_id(stored)

    async def _patch(self, source: Stored, metadata: Mapping[str, str]) -> Stored:
        """Metadata that replace those of an object, which have no further names."""
        query = {"ifGenerationMatch": source.etag, "fields": FIELDS}
        request = Request(
            "objects.patch",
            "PATCH",
            self._requests.path(source.key),
            query,
            {"metadata": for_service(metadata)},
        )
        found = (await self._requests.call(request)).found
        return replace(stored_of({"size": source.size, **found}), metadata=dict(metadata))

    async def _copied(self, source: Stored, key: str, failed: Failed) -> Stored:
        """The target if a lost try has made it; else which of the two conditions was not met is found out."""
        same = source.size, source.sums.get("crc32c")
        return await copied_before(
            self.head, key, failed, lambda found: (found.size, found.sums.get("crc32c", "")) == same
        )


def _hidden(key: str) -> bool:
    return key.startswith(HIDDEN)


def _proof(bucket: GcsBucket) -> Bucket:
    """The type checker's word that the contract is kept."""
    return bucket
