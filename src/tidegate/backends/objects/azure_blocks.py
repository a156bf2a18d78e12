# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts to Azure Blob (REST reference, "Put Block", "Get Block List", "Put Block List").

The service knows no uploads: each blob has one list of blocks that nothing is made of yet, of all who upload
to it, and a week after the last of them it forgets the list. So the identifier of a block (48 bytes) says
whose it is:

    4 bytes  `MAGIC`
    8        the upload: seconds since 1970 when it began (4), random (4)
    4        number
    1        kind: `METADATA`, `SENT`, `COPIED` or `ENDED`
    31       `METADATA`: a piece of the metadata of the object, which the service wants at the end only
             `SENT`: microseconds since 1970 (7), MD5 of the content (16), zeros
             `COPIED`: microseconds (7), random (16), zeros

A part that is stored again has another identifier, and the younger one counts. Who makes an object of blocks,
or puts one in a request, makes the service forget all other blocks of that blob: an upload whose blocks are
gone ends with an error. One that was given up gets a block `ENDED`, for single blocks cannot be removed
(docs/adr/0043).
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import struct
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from typing_extensions import Buffer

from tidegate.backends.objects.azure_lists import block_list
from tidegate.backends.objects.azure_requests import AzureRequests, digest, metadata_of, stamp
from tidegate.backends.objects.bucket import ObjectChanged, Part, Stored, Upload
from tidegate.backends.objects.markers import Markers
from tidegate.backends.objects.tries import Failed, exists_instead
from tidegate.errors import NotFound, StorageFailed

MAGIC: Final = b"TdG1"
METADATA: Final = b"m"
SENT: Final = b"s"
COPIED: Final = b"c"
ENDED: Final = b"e"
_HEAD: Final = struct.Struct(">4s8sIc")
_ID_BYTES: Final = 48
_ROOM: Final = _ID_BYTES - _HEAD.size
_TAIL: Final = struct.Struct(">7s16s")
METADATA_BYTES: Final = 8192
"""Longest metadata of a blob, names and values together (REST reference, "Setting and retrieving properties
and metadata")."""
ASKED: Final = 16
"""Blobs that are asked for their blocks at the same time."""
_GONE: Final = "another upload of this object ended meanwhile, which removed the parts of this one"


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A block of an upload; of two with one number the greater is the younger.

    Attributes:
        number: of the part, or of the piece of metadata from 0.
        kind: see the module.
        rest: see the module.
        size: bytes.
    """

    number: int
    kind: bytes
    rest: bytes
    size: int = 0

    def identifier(self, tag: bytes) -> bytes:
        """The identifier, as block of the upload `tag`."""
        return _HEAD.pack(MAGIC, tag, self.number, self.kind) + self.rest.ljust(_ROOM, b"\0")

    def part(self) -> Part:
        """The part that it is."""
        md5 = self.rest[7:23].hex()
        return Part(
            self.number,
            self.size,
            (self.kind + self.rest[: _TAIL.size]).hex(),
            {"md5": md5} if self.kind == SENT else {},
        )


class AzureBlocks:
    """Uploads in parts to one container; see the methods of `bucket.Bucket` with the same names.

    Args:
        requests: to the container.
    """

    def __init__(self, requests: AzureRequests) -> None:
        self._requests = requests

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See `Bucket.begin`. The metadata is kept in identifiers of blocks."""
        begun = int(time.time())
        upload = Upload(key, (begun.to_bytes(4, "big") + secrets.token_bytes(4)).hex(), float(begun))
        pieces = [Block(number, METADATA, piece) for number, piece in enumerate(_packed(metadata))]
        for first in range(0, len(pieces), ASKED):
            await asyncio.gather(*(self._mark(upload, piece) for piece in pieces[first : first + ASKED]))
        return upload

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:  # noqa: ARG002
        """See `Bucket.part`."""
        md5 = await digest(data)
        block = Block(number, SENT, _TAIL.pack(_now(), md5), memoryview(data).nbytes)
        try:
            await self._requests.send("PutBlock", upload.key, data, query=_query(upload, block), md5=md5)
        except Failed as failed:
            raise _explained(failed) from None
        return block.part()

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        """See `Bucket.copy_part`."""
        block = Block(number, COPIED, _TAIL.pack(_now(), secrets.token_bytes(16)), size)
        headers = {
            **await self._requests.source(source),
            "x-ms-source-range": f"bytes={start}-{start + size - 1}",
        }
        try:
            await self._requests.attempt(
                "PutBlockFromURL", "PUT", upload.key, query=_query(upload, block), headers=headers
            )
        except Failed as failed:
            raise _explained(failed) from None
        return block.part()

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool) -> Stored:
        """See `Bucket.complete`."""
        try:
            found, metadata = await self._of(upload)
        except ObjectChanged as changed:
            raise exists_instead(changed) if create else changed from None
        sizes = {block.identifier(_tag(upload)): block.size for block in found}
        identifiers = [_block(part).identifier(_tag(upload)) for part in parts]
        for part, identifier in zip(parts, identifiers, strict=True):
            if sizes.get(identifier) != part.size:
                raise StorageFailed(detail=f"PutBlockList: part {part.number} is not stored as it was sent")
        headers = {**self._requests.of_new(upload.key), **metadata_of(metadata)}
        if create:
            headers["If-None-Match"] = "*"
        try:
            answer = await self._requests.send(
                "PutBlockList",
                upload.key,
                block_list(identifiers),
                query={"comp": "blocklist"},
                headers=headers,
            )
        except Failed as failed:
            gone = failed.code == "InvalidBlockList"
            if failed.tries > 1 and (gone or isinstance(failed.error, ObjectChanged)):
                made = await self._made(upload, identifiers)
                if made is not None:
                    return made
            if gone:
                raise ObjectChanged(detail=_GONE) from None
            raise exists_instead(failed.error) if create else failed.error from None
        return Stored(upload.key, sum(sizes[one] for one in identifiers), *stamp(answer), None)

    async def _made(self, upload: Upload, identifiers: Sequence[bytes]) -> Stored | None:
        """The object, if an earlier try whose answer was lost has made it."""
        try:
            found = await self._requests.blocks(upload.key, "committed")
            stored = await self._requests.head(upload.key)
            again = await self._requests.blocks(upload.key, "committed")
        except NotFound:
            return None
        same = found == again and [identifier for identifier, _ in found.committed] == list(identifiers)
        return stored if same else None

    async def abort(self, upload: Upload) -> None:
        """See `Bucket.abort`. The blocks stay, unseen, until the service forgets them: within a week."""
        try:
            await self._of(upload)
        except (NotFound, ObjectChanged):
            return
        await self._mark(upload, Block(0, ENDED, b""))

    async def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """See `Bucket.uploads`. A request for each blob: lists do not say which have blocks."""
        query = {"include": "metadata,uncommittedblobs"}
        markers = Markers("ListBlobs")
        while True:
            page = await self._requests.list(prefix, query)
            for first in range(0, len(page.objects), ASKED):
                keys = [stored.key for stored in page.objects[first : first + ASKED]]
                found = [one for some in await asyncio.gather(*map(self._uploads_of, keys)) for one in some]
                if found:
                    yield found
            marker = markers.next(page.marker, more=bool(page.marker))
            if not marker:
                return
            query["marker"] = marker

    async def _uploads_of(self, key: str) -> list[Upload]:
        try:
            listed = (await self._requests.blocks(key, "uncommitted")).uncommitted
        except (NotFound, StorageFailed):  # gone, or a blob of another type
            return []
        kinds = defaultdict[bytes, set[bytes]](set)
        for identifier, _ in listed:
            if _is_ours(identifier):
                _, tag, _, kind = _HEAD.unpack_from(identifier)
                kinds[tag].add(kind)
        return [_upload(key, tag) for tag, seen in kinds.items() if METADATA in seen and ENDED not in seen]

    async def parts(self, upload: Upload) -> list[Part]:
        """See `Bucket.parts`."""
        try:
            found, _ = await self._of(upload)
        except ObjectChanged:
            raise NotFound from None
        latest: dict[int, Block] = {}
        for block in sorted((one for one in found if one.kind in {SENT, COPIED}), key=lambda one: one.rest):
            latest[block.number] = block
        return [latest[number].part() for number in sorted(latest)]

    async def _of(self, upload: Upload) -> tuple[list[Block], dict[str, str]]:
        """The blocks of an upload, and the metadata of the object.

        Raises:
            NotFound: it was given up, or neither it nor the object is there.
            ObjectChanged: the blocks that it began with are gone.
        """
        listed = (await self._requests.blocks(upload.key, "uncommitted")).uncommitted
        tag = _tag(upload)
        found: list[Block] = []
        for identifier, size in listed:
            if _is_ours(identifier):
                _, whose, number, kind = _HEAD.unpack_from(identifier)
                if whose == tag:
                    found.append(Block(number, kind, identifier[_HEAD.size :], size))
        if any(block.kind == ENDED for block in found):
            raise NotFound
        metadata = _unpacked(block for block in found if block.kind == METADATA)
        if metadata is None:
            raise ObjectChanged(detail=_GONE)
        return found, metadata

    async def _mark(self, upload: Upload, block: Block) -> None:
        try:
            await self._requests.send("PutBlock", upload.key, b"\0", query=_query(upload, block))
        except Failed as failed:
            raise _explained(failed) from None


def _query(upload: Upload, block: Block) -> dict[str, str]:
    return {"comp": "block", "blockid": base64.b64encode(block.identifier(_tag(upload))).decode()}


def _explained(failed: Failed) -> Exception:
    if failed.code == "InvalidBlobOrBlock":
        what = (
            "another program has left an unfinished upload of this blob, which the service keeps for a week"
        )
        return StorageFailed(detail=f"PutBlock: {failed.code}: {what}")
    return failed.error


def _tag(upload: Upload) -> bytes:
    try:
        tag = bytes.fromhex(upload.id)
    except ValueError:
        tag = b""
    if len(tag) != 8:
        raise NotFound
    return tag


def _upload(key: str, tag: bytes) -> Upload:
    return Upload(key, tag.hex(), float(int.from_bytes(tag[:4], "big")))


def _is_ours(identifier: bytes) -> bool:
    return len(identifier) == _ID_BYTES and identifier.startswith(MAGIC)


def _block(part: Part) -> Block:
    """The block of a part, from its ETag.

    Raises:
        StorageFailed: it is none of ours.
    """
    try:
        told = bytes.fromhex(part.etag)
    except ValueError:
        told = b""
    if len(told) != 1 + _TAIL.size or told[:1] not in {SENT, COPIED}:
        raise StorageFailed(detail=f"PutBlockList: part {part.number} is of another storage")
    return Block(part.number, told[:1], told[1:])


def _now() -> bytes:
    return (time.time_ns() // 1000).to_bytes(7, "big")


def _packed(metadata: Mapping[str, str]) -> list[bytes]:
    """Metadata as pieces for identifiers: length (2 bytes), then names and values, each with NUL at its end.

    Raises:
        StorageFailed: they are too long for the service.
    """
    text = b"".join(f"{name}\0{value}\0".encode() for name, value in metadata.items())
    if len(text) > METADATA_BYTES:
        raise StorageFailed(detail=f"{len(text)} bytes of metadata, more than {METADATA_BYTES}")
    whole = len(text).to_bytes(2, "big") + text
    return [whole[at : at + _ROOM] for at in range(0, len(whole), _ROOM)]


def _unpacked(blocks: Iterable[Block]) -> dict[str, str] | None:
    """The metadata that blocks hold; None if some are missing."""
    pieces = {block.number: block.rest for block in blocks}
    whole = b"".join(pieces.get(number, b"") for number in range(max(pieces, default=-1) + 1))
    size = int.from_bytes(whole[:2], "big")
    if 0 not in pieces or len(pieces) != -(-(size + 2) // _ROOM):
        return None
    words = whole[2 : 2 + size].decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=False))
