# SPDX-License-Identifier: Apache-2.0
"""Unfinished uploads that are kept for resuming: parts stay with the service, a hidden object describes them.

The record of an upload of ``name`` is an object beside it (`keys.partial_name`). Its content are the bytes
behind the last part, its metadata say which upload it is and how many parts count. It is written when parts
begin, so that an upload can be resumed after a crash of the server as well, and again when the upload breaks
off.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from tidegate.backends.objects.bucket import Content, Part, Stored, Upload, paging
from tidegate.backends.objects.keys import PARTIAL_PREFIX, name_of, parent_of, partial_name
from tidegate.backends.objects.metadata import FILE_MODE
from tidegate.backends.objects.settings import PartialState
from tidegate.backends.objects.tree import Tree
from tidegate.errors import NotFound, StorageFailed
from tidegate.model import Entry, Kind

if TYPE_CHECKING:
    from tidegate.backends.objects.writing import ObjectWriter

NAME = "tidegate-name"
UPLOAD = "tidegate-upload"
PARTS = "tidegate-parts"


@dataclass(frozen=True, slots=True)
class Kept:
    """An unfinished upload.

    Attributes:
        name: the file that it was to become.
        record: the object that describes it.
        upload: in parts, if there are any.
        parts: those that count, numbered from 1 without gaps.
        tail: bytes behind them, in the record.
    """

    name: str
    record: Stored
    upload: Upload | None
    parts: tuple[Part, ...]
    tail: int

    @property
    def size(self) -> int:
        """Bytes that arrived."""
        return sum(part.size for part in self.parts) + self.tail

    def entry(self) -> Entry:
        """The file as it is so far."""
        mtime = round(self.record.modified * 1000) * 10**6
        return Entry(self.name, Kind.FILE, self.size, FILE_MODE, mtime_ns=mtime, atime_ns=mtime)


LISTED_DIRECTORIES = 4096
"""Directories whose records are known at the same time."""


class Partials:
    """Unfinished uploads of one root.

    Args:
        tree: names of the root.
        state: shared by all roots of the bucket.
    """

    def __init__(self, tree: Tree, state: PartialState) -> None:
        self._tree = tree
        self._bucket = tree.bucket
        self.state = state

    def record_key(self, key: str) -> str:
        """Key of the object that would describe an upload of `key`."""
        return self._tree.keys.folder(parent_of(key)) + partial_name(name_of(key))

    def writer(self, key: str) -> ObjectWriter | None:
        """The live upload of `key` that can be kept."""
        return self.state.writing.get(self.record_key(key))

    async def listed(self, parent: str) -> set[str]:
        """Keys of the records in a directory; one request, unless it was asked a moment ago."""
        known = self.known(parent)
        return await self.list_anew(parent) if known is None else known

    def known(self, parent: str) -> set[str] | None:
        """As `listed`, without a request; None if it takes one."""
        known = self.state.listed.get(self._tree.keys.folder(parent))
        if known is not None and time.monotonic() - known[0] <= self._tree.settings.attribute_seconds:
            return known[1]
        return None

    async def list_anew(self, parent: str) -> set[str]:
        """As `listed`, by a request whatever is known."""
        folder = self._tree.keys.folder(parent)
        found: set[str] = set()
        asked = time.monotonic()
        async with paging(self._bucket.pages(folder + PARTIAL_PREFIX, delimited=True)) as pages:
            async for page in pages:
                found.update(stored.key for stored in page.objects)
        if len(self.state.listed) >= LISTED_DIRECTORIES:
            self.state.listed.clear()
        self.state.listed[folder] = (asked, found)
        return found

    def none_in(self, key: str) -> None:
        """Note that a directory was made just now."""
        self.state.listed[self._tree.keys.folder(key)] = (time.monotonic(), set())

    def _note(self, record: str, *, there: bool) -> None:
        known = self.state.listed.get(record.rpartition(PARTIAL_PREFIX)[0])
        if known is not None and there:
            known[1].add(record)
        elif known is not None:
            known[1].discard(record)

    async def find(self, key: str) -> Kept | None:
        """The unfinished upload of a name that nobody writes now."""
        record = self.record_key(key)
        if record in self.state.writing or record not in await self.listed(parent_of(key)):
            return None
        kept = await self._load(record)
        return kept if kept is not None and kept.name == name_of(key) else None

    async def _load(self, record: str) -> Kept | None:
        try:
            stored = await self._bucket.head(record)
        except NotFound:
            self._note(record, there=False)
            return None
        metadata = stored.metadata or {}
        name = unquote_to_bytes(metadata.get(NAME, "")).decode("utf-8", "surrogateescape")
        if not name or "/" in name or name_of(record) != partial_name(name):
            return None  # somebody else's object
        identifier = metadata.get(UPLOAD, "")
        if not identifier:
            return Kept(name, stored, None, (), stored.size)
        folder = record.rpartition(PARTIAL_PREFIX)[0]
        upload = Upload(self._tree.keys.sibling(folder, name), identifier)
        try:
            parts = await self._bucket.parts(upload)
        except NotFound:
            return Kept(name, stored, None, (), 0)
        text = metadata.get(PARTS, "")
        counted = int(text) if text.isdigit() else None
        prefix: list[Part] = []
        for number, part in enumerate(parts[:counted], start=1):
            if part.number != number:
                break
            prefix.append(part)
        return Kept(name, stored, upload, tuple(prefix), stored.size if len(prefix) == counted else 0)

    async def tail(self, kept: Kept) -> Content:
        """The bytes behind the last part.

        Raises:
            StorageFailed: they are not there as they were.
        """
        if not kept.tail:
            return b""
        data = await self._bucket.get(kept.record.key, 0, kept.tail, if_etag=kept.record.etag)
        if len(data) != kept.tail:
            raise StorageFailed("an unfinished upload cannot be read")
        return data

    async def begin(self, writer: ObjectWriter, upload: Upload) -> None:
        """Describe an upload whose parts begin."""
        await self._write(writer.key, upload.id, None, b"")

    async def keep(self, writer: ObjectWriter) -> None:
        """Keep what arrived of an upload that broke off."""
        upload, parts, tail = await writer.stream.keep()
        await self._write(writer.key, upload.id if upload else "", len(parts), tail)

    async def _write(self, key: str, identifier: str, parts: int | None, tail: bytes | bytearray) -> None:
        record = self.record_key(key)
        metadata = {
            NAME: quote(name_of(key).encode("utf-8", "surrogateescape")),
            UPLOAD: identifier,
            PARTS: "" if parts is None else str(parts),
        }
        metadata = {name: value for name, value in metadata.items() if value}
        self._note(record, there=True)  # it may be, whatever becomes of the request
        await self._bucket.put(record, tail, metadata)
        self._note(record, there=True)

    async def drop(self, key: str) -> bool:
        """Remove the unfinished upload of a name, unless somebody writes it; True if there was one."""
        record = self.record_key(key)
        if record in self.state.writing or record not in await self.listed(parent_of(key)):
            return False
        return await self.drop_record(record)

    async def drop_record(self, record: str) -> bool:
        """Remove an unfinished upload by its record; True if there was one."""
        kept = await self._load(record)
        if kept is None:
            return False
        if kept.upload is not None:
            await self._bucket.abort(kept.upload)
        await self.forget(record)
        return True

    async def forget(self, record: str) -> None:
        """Remove a record, whose upload has ended."""
        await self._bucket.delete([record])
        self._note(record, there=False)

    def forget_below(self, folder: str) -> None:
        """Ask again about every directory whose prefix begins with `folder`."""
        for known in [known for known in self.state.listed if known.startswith(folder)]:
            del self.state.listed[known]

    async def of_directory(self, parent: str) -> AsyncIterator[Kept]:
        """Unfinished uploads of a directory that nobody writes and no finished file hides."""
        self.state.listed.pop(self._tree.keys.folder(parent), None)
        for record in sorted(await self.listed(parent)):
            if record in self.state.writing:
                continue
            kept = await self._load(record)
            if kept is not None:
                yield kept

    async def hidden(self, parent: str, kept: Kept) -> bool:
        """True if something finished has the name."""
        return not (await self._tree.look(f"{parent}/{kept.name}" if parent else kept.name)).missing
