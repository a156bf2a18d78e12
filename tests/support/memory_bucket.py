# SPDX-License-Identifier: Apache-2.0
"""An object store in memory that keeps the whole of `bucket.Bucket`, strict about every limit.

For schedules of faults that a real server cannot be made to follow: the n-th call of a name fails, is done and
its answer lost, or waits. Everything else is tested with real servers.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from typing_extensions import Buffer

from tidegate.backends.objects.bucket import Bucket, Limits, ObjectChanged, Page, Part, Stored, Upload
from tidegate.errors import AlreadyExists, NotFound, StorageFailed

SMALL = Limits(put=1 << 20, copy=1 << 20, part_least=4096, part=1 << 20, parts=1000, object=1 << 26)
"""Limits that tests reach quickly."""


@dataclass
class _Object:
    data: bytes
    stored: Stored


@dataclass
class _Upload:
    upload: Upload
    metadata: dict[str, str]
    parts: dict[int, tuple[Part, bytes]] = field(default_factory=dict)


@dataclass
class Fault:
    """A failure of the `nth` call of `name` from now on.

    Attributes:
        error: raised; None waits until the caller gives up.
        after: the call is done before that.
        always: each call from the nth on.
    """

    name: str
    nth: int = 1
    error: Exception | None = field(default_factory=lambda: StorageFailed("the service does not answer"))
    after: bool = False
    always: bool = False
    seen: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryService:
    """Content of a bucket; several `MemoryBucket` clients may use one."""

    def __init__(self) -> None:
        self.objects: dict[str, _Object] = {}
        self.pending: dict[str, _Upload] = {}
        self.numbers = itertools.count(1)
        self.clock = time.time


class MemoryBucket:
    """A client of a `MemoryService`.

    Attributes:
        calls: number of calls of each method.
        faults: what goes wrong.
        summed: number of contents that came with their CRC-32, and without.
        service: what is stored.
    """

    def __init__(self, service: MemoryService | None = None, limits: Limits = SMALL) -> None:
        self.service = service or MemoryService()
        self._limits = limits
        self.calls: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.summed: Counter[bool] = Counter()
        self.opened = False

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def contents(self) -> dict[str, bytes]:
        """Every object."""
        return {key: item.data for key, item in sorted(self.service.objects.items())}

    @property
    def requests(self) -> int:
        """All calls so far."""
        return sum(self.calls.values())

    def location(self, key: str) -> str:
        return f"memory://bucket/{key}"

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        self.opened = False

    async def check(self, prefix: str) -> None:
        await self._call("check")

    async def head(self, key: str) -> Stored:
        await self._call("head")
        return self._object(key).stored

    def pages(
        self, prefix: str, *, delimited: bool, after: str = "", size: int = 1000
    ) -> AsyncIterator[Page]:
        assert 1 <= size <= 1000
        return self._pages(prefix, delimited=delimited, after=after, size=size)

    async def _pages(self, prefix: str, *, delimited: bool, after: str, size: int) -> AsyncIterator[Page]:
        while True:
            await self._call("pages")
            page, after, more = self._page(prefix, delimited=delimited, after=after, size=size)
            yield page
            if not more:
                return

    def _page(self, prefix: str, *, delimited: bool, after: str, size: int) -> tuple[Page, str, bool]:
        objects: list[Stored] = []
        prefixes: list[str] = []
        last = ""
        for key in sorted(self.service.objects, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= after.encode():
                continue
            if prefixes and key.startswith(prefixes[-1]):
                continue
            if delimited and after.endswith("/") and key.startswith(after) and after != prefix:
                continue
            if len(objects) + len(prefixes) == size:
                return Page(objects, prefixes), last, True
            below, slash, _ = key[len(prefix) :].partition("/")
            if delimited and slash:
                prefixes.append(f"{prefix}{below}/")
                last = prefixes[-1]
            else:
                objects.append(replace(self.service.objects[key].stored, metadata=None))
                last = key
        return Page(objects, prefixes), "", False

    async def get(self, key: str, start: int, size: int, *, if_etag: str = "") -> bytes:
        await self._call("get")
        found = self._object(key)
        if if_etag and found.stored.etag != if_etag:
            raise ObjectChanged
        return found.data[start : start + size]

    async def first(self, key: str, size: int) -> tuple[Stored, bytes]:
        await self._call("first")
        found = self._object(key)
        return found.stored, found.data[:size]

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
        content = bytes(data)
        self._compare(content, crc32)
        assert len(content) <= self.limits.put, "a put above the limit"
        async with self._acting("put"):
            found = self.service.objects.get(key)
            if if_etag and (found is None or found.stored.etag != if_etag):
                raise ObjectChanged
            return self._store(key, content, metadata, create=create)

    async def delete(self, keys: Sequence[str]) -> None:
        assert 1 <= len(keys) <= 1000, "a delete of no or too many keys"
        async with self._acting("delete"):
            for key in keys:
                self.service.objects.pop(key, None)

    async def copy(
        self,
        source: Stored,
        key: str,
        metadata: Mapping[str, str] | None = None,
        *,
        create: bool = False,
    ) -> Stored:
        assert source.size <= self.limits.copy, "a copy above the limit"
        assert metadata is not None or source.key != key, "a copy onto itself without a change"
        async with self._acting("copy"):
            found = self._same(source)
            kept = found.stored.metadata or {}
            return self._store(key, found.data, kept if metadata is None else metadata, create=create)

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        async with self._acting("begin"):
            upload = Upload(key, f"u{next(self.service.numbers)}", self.service.clock())
            self.service.pending[upload.id] = _Upload(upload, _metadata(metadata))
            return upload

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:
        content = bytes(data)
        self._compare(content, crc32)
        async with self._acting("part"):
            return self._part(upload, number, content)

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        async with self._acting("copy_part"):
            data = self._same(source).data[start : start + size]
            assert len(data) == size, "a range outside the object"
            return self._part(upload, number, data)

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool = False) -> Stored:
        async with self._acting("complete"):
            pending = self._pending(upload)
            assert [part.number for part in parts] == list(range(1, len(parts) + 1)), "gaps in the parts"
            for part in parts:
                assert pending.parts[part.number][0] == part
                assert part.size >= self.limits.part_least or part is parts[-1], "a part is too small"
            data = b"".join(pending.parts[part.number][1] for part in parts)
            assert len(data) <= self.limits.object
            stored = self._store(upload.key, data, pending.metadata, create=create)
            del self.service.pending[upload.id]
            return stored

    async def abort(self, upload: Upload) -> None:
        async with self._acting("abort"):
            self.service.pending.pop(upload.id, None)

    async def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        await self._call("uploads")
        found = [item.upload for item in self.service.pending.values() if item.upload.key.startswith(prefix)]
        if found:
            yield found

    async def parts(self, upload: Upload) -> list[Part]:
        await self._call("parts")
        return [part for _, (part, _) in sorted(self._pending(upload).parts.items())]

    # -- inside ------------------------------------------------------------------------------------------

    def _compare(self, data: bytes, crc32: str) -> None:
        assert not crc32 or self.limits.takes_crc32, "a digest that nobody asked for"
        self.summed[bool(crc32)] += 1
        if crc32 and int(crc32, 16) != zlib.crc32(data):
            raise StorageFailed("the service got something else")

    def _object(self, key: str) -> _Object:
        found = self.service.objects.get(key)
        if found is None:
            raise NotFound
        return found

    def _same(self, source: Stored) -> _Object:
        found = self._object(source.key)
        if found.stored.etag != source.etag:
            raise ObjectChanged
        return found

    def _pending(self, upload: Upload) -> _Upload:
        found = self.service.pending.get(upload.id)
        if found is None or found.upload.key != upload.key:
            raise NotFound("no such upload")
        return found

    def _part(self, upload: Upload, number: int, data: bytes) -> Part:
        assert 1 <= number <= self.limits.parts, "a part number out of range"
        assert len(data) <= self.limits.part, "a part above the limit"
        part = Part(number, len(data), hashlib.md5(data).hexdigest())
        self._pending(upload).parts[number] = (part, data)
        return part

    def _store(self, key: str, data: bytes, metadata: Mapping[str, str], *, create: bool) -> Stored:
        assert key, "an empty key"
        assert len(key.encode()) <= 1024, "a key above the limit"
        if create and key in self.service.objects:
            raise AlreadyExists
        etag = f"{hashlib.md5(data).hexdigest()}-{next(self.service.numbers)}"
        stored = Stored(key, len(data), self.service.clock(), etag, _metadata(metadata))
        self.service.objects[key] = _Object(data, stored)
        return stored

    async def _call(self, name: str) -> None:
        async with self._acting(name):
            return

    def _acting(self, name: str) -> _Acting:
        return _Acting(self, name)


class _Acting:
    def __init__(self, bucket: MemoryBucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._due: list[Fault] = []

    async def __aenter__(self) -> None:
        bucket = self._bucket
        assert bucket.opened, "the bucket is not open"
        bucket.calls[self._name] += 1
        await asyncio.sleep(0)
        for fault in bucket.faults:
            if fault.name == self._name:
                fault.seen += 1
                if fault.seen == fault.nth or (fault.always and fault.seen > fault.nth):
                    self._due.append(fault)
        await self._fail(after=False)

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            await self._fail(after=True)

    async def _fail(self, *, after: bool) -> None:
        for fault in self._due:
            if fault.after is after:
                fault.reached.set()
                if fault.error is None:
                    await asyncio.Event().wait()
                else:
                    raise fault.error


def _metadata(given: Mapping[str, str]) -> dict[str, str]:
    for name, value in given.items():
        assert name == name.lower() and value.isascii(), "metadata that services do not keep"
    return dict(given)


def _proof(bucket: MemoryBucket) -> Bucket:
    return bucket
