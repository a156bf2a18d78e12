# SPDX-License-Identifier: Apache-2.0
"""A container of Azure Blob Storage as `bucket.Bucket`.

Blobs without content whose metadata says ``hdi_isfolder``, which other programs put in place of directories,
are directories here too. One that nothing is in is found once a list or a question about it has shown one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from typing_extensions import Buffer

from tidegate.backends.objects.azure_blocks import AzureBlocks
from tidegate.backends.objects.azure_client import Request
from tidegate.backends.objects.azure_lists import FOLDER
from tidegate.backends.objects.azure_options import LIMITS, AzureOptions
from tidegate.backends.objects.azure_requests import PAGE, AzureRequests, if_match, metadata_of, stamp
from tidegate.backends.objects.bucket import (
    Bucket,
    Limits,
    ObjectChanged,
    Page,
    StorageMisconfigured,
    Stored,
)
from tidegate.backends.objects.forwarding import ForwardsUploads, copied_before
from tidegate.backends.objects.markers import Markers
from tidegate.backends.objects.metadata import WRITE_ID, without_write_id
from tidegate.backends.objects.tries import Bounds, Failed, exists_instead
from tidegate.errors import NotFound, StorageFailed, TidegateError

DELETES: Final = 32
"""Blobs that are removed at the same time."""


class AzureBucket(ForwardsUploads):
    """`Bucket` of one record.

    Args:
        options: of the record.
        bounds: of requests; by default `Bounds`.
    """

    def __init__(self, options: AzureOptions, bounds: Bounds | None = None) -> None:
        self._requests = AzureRequests(options, bounds or Bounds())
        super().__init__(AzureBlocks(self._requests))
        self._place = f"azblob://{options.place().name}/"

    @property
    def limits(self) -> Limits:
        """See `Bucket.limits`."""
        return LIMITS

    def location(self, key: str) -> str:
        """``azblob://account/container/key``."""
        return f"{self._place}{key}"

    async def open(self) -> None:
        """See `Bucket.open`."""
        await self._requests.client.open()

    async def close(self) -> None:
        """See `Bucket.close`."""
        await self._requests.client.close()

    async def check(self, prefix: str) -> None:
        """See `Bucket.check`. Writes a small blob under `prefix`, and removes it."""
        key = f"{prefix}.tidegate-check-{secrets.token_hex(8)}"
        await self._requests.list(prefix, {"maxresults": "1"})
        await self._refuse_hierarchy()
        stored = await self._put(key, b"tidegate", {}, {}, tier=False)  # what is archived cannot be read
        try:
            if await self.get(key, 0, 8, if_etag=stored.etag) != b"tidegate":
                raise StorageFailed(detail="GetBlob: something else was read than was written")
            upload = await self.begin(key, {})
            await self.abort(upload)
        finally:
            await self.delete([key])

    async def _refuse_hierarchy(self) -> None:
        """An account with a hierarchical namespace has directories of its own, which blobs would hide."""
        query = {"restype": "account", "comp": "properties"}
        with suppress(Failed):  # not everybody may ask
            answer = await self._requests.client.call(Request("GetAccountInformation", "GET", query=query))
            if answer.headers.get("x-ms-is-hns-enabled", "").lower() == "true":
                raise StorageMisconfigured(
                    detail="the account has a hierarchical namespace (Data Lake Storage): not supported"
                )

    async def head(self, key: str) -> Stored:
        """See `Bucket.head`."""
        return without_write_id(await self._requests.head(key))

    async def pages(
        self, prefix: str, *, delimited: bool, after: str = "", size: int = PAGE
    ) -> AsyncIterator[Page]:
        """See `Bucket.pages`. Objects come with their metadata."""
        query = {"maxresults": str(min(size, PAGE))}
        if delimited:
            query["delimiter"] = "/"
        told: set[str] = set()
        first = not after and prefix.endswith("/")
        markers = Markers("ListBlobs")
        while True:
            page = await self._requests.list(prefix, query)
            objects: list[Stored] = []
            if first and self._requests.folders and not any(one.key == prefix for one in page.objects):
                marker = await self._folder(prefix)
                objects += [marker] if marker is not None else []
            first = False
            prefixes = [one for one in page.prefixes if one > after and one not in told]
            for stored in page.objects:
                if stored.key <= after:
                    continue
                if (stored.metadata or {}).get(FOLDER) != "true":
                    objects.append(without_write_id(stored))
                    continue
                self._requests.folders = True
                folder = f"{stored.key}/"
                if folder not in told and folder not in prefixes:
                    told.add(folder)
                    if delimited:
                        prefixes.append(folder)
                    else:
                        objects.append(_marker(stored))
            if objects or prefixes:
                yield Page(objects, prefixes)
            following = markers.next(page.marker, more=bool(page.marker))
            if not following:
                return
            query["marker"] = following
            last = max([one.key for one in page.objects[-1:]] + page.prefixes[-1:], default="")
            told = {folder for folder in told if folder > last}

    async def _folder(self, key: str) -> Stored | None:
        """The blob that other programs put in place of the directory `key`, as its marker."""
        name = key.rstrip("/")
        stored = await self._requests.folder(name)
        return None if stored is None else _marker(stored)

    async def get(self, key: str, start: int, size: int, *, if_etag: str = "") -> bytes:
        """See `Bucket.get`."""
        if size <= 0:
            return b""
        try:
            return (await self._requests.fetch(key, start, size, if_etag)).data
        except Failed as failed:
            if failed.code == "InvalidRange":
                return b""
            raise failed.error from None

    async def first(self, key: str, size: int) -> tuple[Stored, bytes]:
        """See `Bucket.first`."""
        try:
            got = await self._requests.fetch(key, 0, size)
        except Failed as failed:
            if failed.code == "InvalidRange":
                return await self.head(key), b""
            raise failed.error from None
        return without_write_id(got.stored), got.data

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
        if not create and not if_etag:
            return await self._put(key, data, metadata, {})
        own = secrets.token_hex(8)
        condition = {"If-None-Match": "*"} if create else if_match(if_etag)
        try:
            stored = await self._put_once(key, data, {**metadata, WRITE_ID: own}, condition)
        except Failed as failed:
            if failed.tries > 1 and isinstance(failed.error, ObjectChanged):
                found = await self._requests.head(key)
                if (found.metadata or {}).get(WRITE_ID) == own:
                    return without_write_id(found)
            if create:
                raise exists_instead(failed.error) from None
            if isinstance(failed.error, NotFound):
                raise ObjectChanged(detail="the object is gone") from None
            raise failed.error from None
        return without_write_id(stored)

    async def _put(
        self,
        key: str,
        data: Buffer,
        metadata: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        tier: bool = True,
    ) -> Stored:
        try:
            return await self._put_once(key, data, metadata, headers, tier=tier)
        except Failed as failed:
            raise failed.error from None

    async def _put_once(
        self,
        key: str,
        data: Buffer,
        metadata: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        tier: bool = True,
    ) -> Stored:
        of_new = self._requests.of_new(key, tier=tier)
        headers = {"x-ms-blob-type": "BlockBlob", **of_new, **metadata_of(metadata), **headers}
        answer = await self._requests.send("PutBlob", key, data, headers=headers)
        sums = self._requests.stored(key, answer, 0).sums
        return Stored(key, memoryview(data).nbytes, *stamp(answer), dict(metadata), sums)

    async def delete(self, keys: Sequence[str]) -> None:
        """See `Bucket.delete`. A blob with snapshots is not removed: they would go with it."""
        waiting = iter(keys)

        async def work() -> None:
            for key in waiting:
                with suppress(NotFound):
                    await self._requests.call("DeleteBlob", "DELETE", key)
                if key.endswith("/") and self._requests.folders and await self._folder(key) is not None:
                    with suppress(NotFound):
                        await self._requests.call("DeleteBlob", "DELETE", key.rstrip("/"))

        tasks = [asyncio.ensure_future(work()) for _ in range(min(DELETES, len(keys)))]
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
        """See `Bucket.copy`. With `create` an equal object after a lost answer counts as ours.

        Onto itself only the metadata is set, which costs no copy and leaves unfinished uploads alone.
        """
        if source.key == key and metadata is not None and not create:
            return await self._set_metadata(source, metadata)
        headers = {
            "x-ms-requires-sync": "true",
            **await self._requests.source(source),
            **self._requests.tier(),
        }
        if metadata:
            headers |= metadata_of(metadata)
        if create:
            headers["If-None-Match"] = "*"
        try:
            answer = await self._requests.attempt("CopyBlobFromURL", "PUT", key, headers=headers)
        except Failed as failed:
            if not create or not isinstance(failed.error, ObjectChanged):
                raise failed.error from None
            return await self._copied(source, key, failed)
        kept = metadata if metadata is not None else source.metadata
        stored = Stored(key, source.size, *stamp(answer), kept, source.sums)
        if metadata is not None and not metadata:  # without any, those of the source are copied
            return await self._set_metadata(stored, {})
        return stored

    async def _copied(self, source: Stored, key: str, failed: Failed) -> Stored:
        """The target if a lost try has made it; else which of the two conditions was not met is found out."""
        if failed.code in {"SourceConditionNotMet", "CannotVerifyCopySource"}:
            raise failed.error
        return await copied_before(
            self.head,
            key,
            failed,
            lambda found: "md5" in found.sums and (found.size, found.sums) == (source.size, source.sums),
        )

    async def _set_metadata(self, source: Stored, metadata: Mapping[str, str]) -> Stored:
        headers = {**if_match(source.etag), **metadata_of(metadata)}
        try:
            answer = await self._requests.attempt(
                "SetBlobMetadata", "PUT", source.key, query={"comp": "metadata"}, headers=headers
            )
        except Failed as failed:
            if failed.tries > 1 and isinstance(failed.error, ObjectChanged):
                with suppress(TidegateError):  # a lost try may have set them
                    found = await self._requests.head(source.key)
                    if found.metadata == dict(metadata) and found.size == source.size:
                        return found
            raise failed.error from None
        modified, etag = stamp(answer)
        return replace(source, modified=modified, etag=etag, metadata=dict(metadata))


def _marker(stored: Stored) -> Stored:
    kept = {name: value for name, value in (stored.metadata or {}).items() if name != FOLDER}
    return replace(stored, key=f"{stored.key}/", size=0, metadata=kept)


def _proof(bucket: AzureBucket) -> Bucket:
    """The type checker's word that the contract is kept."""
    return bucket
