# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts to Google Cloud Storage: each part is a hidden object, and `complete` composes them.

An upload is an object ``.tidegate-uploads/ID`` that says what it will become; its parts are below
``.tidegate-uploads/ID/``. Whoever aborts marks that object before removing parts, and whoever stores a part
looks at it afterwards, so a part that comes late removes itself. The reasons are in docs/adr/0042.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from typing_extensions import Buffer

from tidegate.backends.objects import sums
from tidegate.backends.objects.bucket import ObjectChanged, Part, StorageMisconfigured, Stored, Upload
from tidegate.backends.objects.gcs_client import Answer, Request
from tidegate.backends.objects.gcs_requests import (
    FIELDS,
    HIDDEN,
    PART_SECONDS,
    GcsRequests,
    listed,
    named,
    stored_of,
)
from tidegate.backends.objects.markers import Markers
from tidegate.backends.objects.metadata import WRITE_ID
from tidegate.backends.objects.tries import Failed
from tidegate.errors import AlreadyExists, NotFound, StorageFailed, TidegateError

COMPONENTS: Final = 32
"""Objects that one request composes (Cloud Storage, "Composite objects")."""
REQUESTS: Final = 16
"""Requests of one upload that compose or remove at the same time."""
BATCH: Final = 1000
"""Keys of one page."""
STANDARD: Final = "STANDARD"
"""Storage class of parts where a class is set: others have a least time to be paid for."""
_KEY: Final = "tidegate-key"
_ENDED: Final = "tidegate-ended"
_STATE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Piece:
    """An object that is composed: a part, or some of them."""

    name: str
    etag: str


@dataclass(frozen=True, slots=True)
class _Whole:
    """The object that an upload becomes; `crc` is empty if it is not known."""

    upload: Upload
    metadata: Mapping[str, str]
    size: int
    crc: str
    create: bool


class GcsUploads:
    """Uploads in parts to one bucket; see the methods of `bucket.Bucket` with the same names.

    Args:
        requests: to the bucket.
    """

    def __init__(self, requests: GcsRequests) -> None:
        self._requests = requests
        self._class = requests.options.storage_class
        self._part_class = STANDARD if self._class else ""

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See `Bucket.begin`."""
        upload = Upload(named(key), secrets.token_hex(16))
        state = json.dumps({"key": key, "metadata": dict(metadata)}).encode()
        stored = await self._put(_state(upload), state, {_KEY: quote(key, safe="")})
        return Upload(upload.key, upload.id, stored.modified)

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:  # noqa: ARG002
        """See `Bucket.part`."""
        stored = await self._put(_part(upload, number), data, {})
        return await self._counted(upload, number, stored)

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        """See `Bucket.copy_part`; of a whole object only."""
        if start != 0 or size != source.size:
            raise StorageFailed(detail="objects.rewrite: part of an object cannot be copied")
        key = _part(upload, number)
        body = self._requests.resource(key, {}, self._part_class)
        try:
            stored, _ = await self._requests.rewrite(source, key, body, create=False, acl="")
        except Failed as failed:
            raise failed.error from None
        return await self._counted(upload, number, stored)

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool) -> Stored:
        """See `Bucket.complete`. With a storage class it is composed, compared, and copied to its key."""
        metadata = await self._metadata(upload)
        if create:
            metadata[WRITE_ID] = upload.id
        whole = _Whole(upload, metadata, sum(part.size for part in parts), _crc_of(parts), create)
        made: list[_Piece] = []
        try:
            pieces = [_Piece(_part(upload, one.number), one.etag) for one in parts]
            pieces = await self._fewer(upload, pieces, made)
            if self._part_class == self._class:
                stored = await self._publish(pieces, whole)
            else:
                composed = await self._compose_whole(pieces, whole, f"{_state(upload)}/whole")
                made.append(_Piece(composed.key, composed.etag))
                stored = await self._move(composed, whole)
        finally:
            with suppress(TidegateError):
                await self._remove(made)
        with suppress(TidegateError):  # it is there: what is left is removed by whoever sweeps
            await self._clear(upload)
        return Stored(stored.key, stored.size, stored.modified, stored.etag, None, stored.sums)

    async def abort(self, upload: Upload) -> None:
        """See `Bucket.abort`."""
        try:
            await self._requests.head(_state(upload))
        except NotFound:
            return
        await self._put(_state(upload), b"", {_KEY: quote(upload.key, safe=""), _ENDED: "1"})
        await self._clear(upload)

    async def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """See `Bucket.uploads`."""
        async for page in self._pages(HIDDEN, delimiter="/"):
            found = [_upload(stored_of(entry)) for entry in page]
            if kept := [one for one in found if one.key and one.key.startswith(prefix)]:
                yield kept

    async def parts(self, upload: Upload) -> list[Part]:
        """See `Bucket.parts`."""
        await self._live(upload)
        found: list[Part] = []
        async for page in self._pages(f"{_state(upload)}/"):
            for entry in page:
                stored = stored_of(entry)
                number = stored.key.rpartition("/")[2]
                if number.isdigit():
                    found.append(Part(int(number), stored.size, stored.etag, stored.sums))
        return found

    # -- states ------------------------------------------------------------------------------------------

    async def _put(self, key: str, data: Buffer, metadata: Mapping[str, str]) -> Stored:
        try:
            stored, _ = await self._requests.insert(
                key, data, metadata, match="", storage_class=self._part_class, acl=""
            )
        except Failed as failed:
            raise failed.error from None
        return stored

    async def _live(self, upload: Upload) -> Stored:
        state = await self._requests.head(_state(upload))
        if _ENDED in (state.metadata or {}) or _upload(state).key != upload.key:
            raise NotFound
        return state

    async def _counted(self, upload: Upload, number: int, stored: Stored) -> Part:
        """The part, if its upload has not ended meanwhile; nobody would remove it then."""
        try:
            await self._live(upload)
        except NotFound:
            await self._requests.remove(stored.key, stored.etag)
            raise
        return Part(number, stored.size, stored.etag, stored.sums)

    async def _metadata(self, upload: Upload) -> dict[str, str]:
        """The metadata that were given when the upload began.

        Raises:
            NotFound: it has ended; its state is empty then, or gone.
        """
        try:
            data, _, _ = await self._requests.fetch(_state(upload), 0, _STATE_BYTES, "")
        except Failed as failed:
            raise failed.error from None
        try:
            found = json.loads(data)
            if found["key"] != upload.key:
                raise NotFound
            return {str(name): str(value) for name, value in found["metadata"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotFound from None

    async def _clear(self, upload: Upload) -> None:
        """Remove parts, then the state: if this breaks off the state still tells of the rest."""
        async for page in self._pages(f"{_state(upload)}/"):
            found = [stored_of(entry) for entry in page]
            await self._remove([_Piece(one.key, one.etag) for one in found])
        await self._requests.remove(_state(upload))

    async def _remove(self, pieces: Sequence[_Piece]) -> None:
        await _each([self._requests.remove(piece.name, piece.etag) for piece in pieces])

    async def _pages(self, prefix: str, delimiter: str = "") -> AsyncIterator[list[Mapping[str, Any]]]:
        fields = f"nextPageToken,items({FIELDS})"
        query: dict[str, str | int | None] = {"prefix": prefix, "delimiter": delimiter, "fields": fields}
        query["maxResults"] = BATCH
        markers = Markers("objects.list")
        while True:
            found = (await self._requests.call(self._requests.listing(query))).found
            if page := listed(found, "items"):
                yield page
            marker = str(found.get("nextPageToken") or "")
            token = markers.next(marker, more=bool(marker))
            if not token:
                return
            query["pageToken"] = token

    # -- composing ---------------------------------------------------------------------------------------

    async def _fewer(self, upload: Upload, pieces: list[_Piece], made: list[_Piece]) -> list[_Piece]:
        """As many objects as one request composes, with the same content."""
        level = 0
        while len(pieces) > COMPONENTS:
            level += 1
            groups = [pieces[at : at + COMPONENTS] for at in range(0, len(pieces), COMPONENTS)]

            async def join(index: int, group: list[_Piece], level: int = level) -> _Piece:
                key = f"{_state(upload)}/join-{level}-{index:05}"
                try:
                    answer = await self._compose(key, group, self._requests.resource(key, {}, ""), "", "")
                except Failed as failed:
                    raise _of_parts(failed.error) from None
                piece = _Piece(key, stored_of(answer.found).etag)
                made.append(piece)
                return piece

            pieces = await _each([join(index, group) for index, group in enumerate(groups)])
        return pieces

    async def _compose(
        self, key: str, pieces: Sequence[_Piece], resource: Mapping[str, Any], match: str, acl: str
    ) -> Answer:
        body = {
            "sourceObjects": [
                {"name": one.name, "objectPreconditions": {"ifGenerationMatch": one.etag}} for one in pieces
            ],
            "destination": resource,
        }
        query = {"ifGenerationMatch": match, "destinationPredefinedAcl": acl, "fields": FIELDS}
        path = f"{self._requests.path(key)}/compose"
        return await self._requests.attempt(
            Request("objects.compose", "POST", path, query, body, seconds=PART_SECONDS)
        )

    async def _publish(self, pieces: Sequence[_Piece], whole: _Whole) -> Stored:
        """Compose the object where it belongs."""
        try:
            return await self._compose_whole(pieces, whole, whole.upload.key)
        except Failed as failed:
            return await self._made(whole, failed)

    async def _compose_whole(self, pieces: Sequence[_Piece], whole: _Whole, key: str) -> Stored:
        """Compose the object.

        Raises:
            Failed: with the error, if it is the object's key; else the error itself.
            StorageFailed: it is something else.
        """
        there = key == whole.upload.key
        resource = self._requests.resource(whole.upload.key, whole.metadata, "") | {"name": key}
        match, acl = "0" if whole.create and there else "", self._requests.options.acl if there else ""
        try:
            stored = stored_of((await self._compose(key, pieces, resource, match, acl)).found)
        except Failed as failed:
            if there:
                raise
            raise _of_parts(failed.error) from None
        crc = stored.sums.get("crc32c", "")
        if stored.size != whole.size or (whole.crc and crc != whole.crc):
            said = f"{stored.size} bytes with CRC32C {crc}, not {whole.size} with {whole.crc}"
            raise StorageFailed(detail=f"objects.compose: the object has {said}")
        return stored

    async def _move(self, composed: Stored, whole: _Whole) -> Stored:
        """Copy what was composed to its key, in its storage class."""
        key, acl = whole.upload.key, self._requests.options.acl
        body = self._requests.resource(key, whole.metadata, self._class)
        try:
            stored, _ = await self._requests.rewrite(composed, key, body, create=whole.create, acl=acl)
        except Failed as failed:
            return await self._made(whole, failed)
        return stored

    async def _made(self, whole: _Whole, failed: Failed) -> Stored:
        """The object, if an earlier try whose answer was lost has made it; else the error."""
        if not whole.create or not isinstance(failed.error, ObjectChanged):
            raise _of_parts(failed.error) from None
        try:
            found = await self._requests.head(whole.upload.key)
        except NotFound:
            raise _of_parts(failed.error) from None
        if (found.metadata or {}).get(WRITE_ID) == whole.upload.id:
            return found
        raise AlreadyExists from None


def _of_parts(error: TidegateError) -> TidegateError:
    """The error about parts that are not there any more, or are others."""
    if isinstance(error, ObjectChanged | NotFound) and not isinstance(error, StorageMisconfigured):
        return StorageFailed(detail="objects.compose: a part is missing or was replaced")
    return error


def _state(upload: Upload) -> str:
    return HIDDEN + upload.id


def _part(upload: Upload, number: int) -> str:
    return f"{_state(upload)}/{number:05}"


def _upload(state: Stored) -> Upload:
    """The upload that a state tells of; its key is empty if it is nothing of ours."""
    key = unquote((state.metadata or {}).get(_KEY, ""))
    return Upload(key, state.key.removeprefix(HIDDEN), state.modified)


def _crc_of(parts: Sequence[Part]) -> str:
    """CRC-32C of the object; empty if that of a part is not known."""
    if not all("crc32c" in part.sums for part in parts):
        return ""
    return sums.crc_of_parts([(part.sums["crc32c"], part.size) for part in parts], sums.CASTAGNOLI)


async def _each(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """Results in order; so many at a time, and the first failure ends the rest."""
    limit = asyncio.Semaphore(REQUESTS)

    async def one(act: Awaitable[Any]) -> Any:
        async with limit:
            return await act

    tasks = [asyncio.ensure_future(one(act)) for act in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
