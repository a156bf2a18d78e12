# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a handle of this kind has no use for
"""Reading an object: ranges in memory, fetched ahead of a client that reads from start to end.

Long, because what is in memory, what is on its way and where the client reads are one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from typing_extensions import Buffer

from tidegate.backends.objects.bucket import Bucket, Content, ObjectChanged, Stored
from tidegate.backends.objects.budget import Share
from tidegate.backends.objects.keys import name_of
from tidegate.backends.objects.metadata import digest_in, file_entry
from tidegate.backends.objects.siblings import Siblings
from tidegate.backends.objects.tree import Tree
from tidegate.errors import InvalidArgument, InvalidHandle, NotFound, StorageFailed
from tidegate.model import Attrs, Entry

FIRST_BYTES: Final = 256 * 1024
"""Bytes of the first request; each further one in sequence is twice as large, up to the part size."""
WHOLE_BYTES: Final = 1024 * 1024
"""A file up to this size is fetched in one request."""
BEHIND_BYTES: Final = 256 * 1024
"""Bytes behind the position of a sequential reader that stay, for clients that read a little of it again."""
OVERTAKEN_BYTES: Final = 16 * 1024 * 1024
"""Bytes behind it at which what nobody has read is given up: OpenSSH has 64 reads of 255 KiB on their way."""


class _Segment:
    """A range that is being fetched, or is in memory."""

    __slots__ = ("data", "end", "held", "start", "task", "unread", "waiting")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.data: Content | None = None
        self.held = 0
        self.unread = end - start  # bytes that no read has had yet, if each is read once
        self.waiting = 0
        self.task: asyncio.Task[Content] | None = None


class ObjectReader:
    """A handle for reading. See `tidegate.abc.FileHandle`.

    Args:
        tree: names of the root.
        memory: of the root.
        key: of the file.
        stored: the object, as it is known.
        first: its first bytes.
        held: bytes that are taken from the memory for those.

    What it reads is the object as it was at opening: if that is replaced meanwhile, reading fails with
    `ObjectChanged`. Memory is bounded by `download_concurrency` + 1 parts.
    """

    staged = False
    took = False

    def __init__(
        self, tree: Tree, memory: Share, key: str, stored: Stored, *, first: Content, held: int
    ) -> None:
        self.existed_size: int | None = stored.size
        self.version = stored.etag
        self._tree = tree
        self._budget = memory
        self._key = key
        self._stored = stored
        self._segments: list[_Segment] = []
        self._step = FIRST_BYTES
        self._frontier = 0  # end of what was asked for in sequence
        self._position = 0  # end of what the client has read
        self._read_any = False
        self._sequential = False
        self._closed = False
        if first:
            begin = _Segment(0, len(first))
            begin.data, begin.held = first, held
            self._segments.append(begin)
            self._frontier = len(first)
            self._sequential = True
            self._budget.used(self)  # who opens files and reads nothing keeps no memory from others

    @classmethod
    async def open(cls, tree: Tree, memory: Share, siblings: Siblings, key: str) -> ObjectReader:
        """Open a file; its beginning comes with the request that finds it, if there is memory for that.

        A small one may have been fetched already.

        Raises:
            NotFound, IsADirectory.
        """
        wanted = FIRST_BYTES if memory.take_nowait(FIRST_BYTES) else 0
        held = 0
        try:
            stored, first = await tree.file(key, wanted)
            held = len(first)
            if not first:
                memory.give_back(wanted)
                wanted = 0
                first, ahead = await siblings.take(stored)
                return cls(tree, memory, key, stored, first=first, held=ahead)
            return cls(tree, memory, key, stored, first=first, held=held)
        finally:
            memory.give_back(wanted - held)

    # -- the contract ------------------------------------------------------------------------------------

    async def read(self, offset: int, size: int) -> bytes:
        """Read; waits for the ranges that are missing."""
        self._check()
        if offset < 0 or size < 0:
            raise InvalidArgument("invalid argument: offset")
        try:
            return await self._read(offset, size)
        except (ObjectChanged, NotFound):
            if self._read_any:
                raise ObjectChanged from None
            await self._reopen()  # what was known when it was opened is out of date, and nobody saw any of it
            return await self._read(offset, size)

    async def _read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self._stored.size)
        pieces: list[bytes] = []
        # All of it before the first wait: else the next read seems to begin somewhere else.
        wanted = self._wanted(offset, end) if end - offset <= WHOLE_BYTES else []
        position = offset
        while position < end:
            segment = wanted.pop(0) if wanted else self._at(position) or self._demand(position, end)
            data = await self._data(segment)
            piece = bytes(data[position - segment.start : end - segment.start])
            segment.unread -= len(piece)
            pieces.append(piece)
            position += len(piece)
        self._note(position)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _wanted(self, position: int, end: int) -> list[_Segment]:
        """The ranges that hold these bytes, each there or being fetched."""
        found: list[_Segment] = []
        while position < end:
            found.append(self._at(position) or self._demand(position, end))
            position = found[-1].end
        return found

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Read what is in memory as a whole."""
        self._check()
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        end = min(offset + sum(map(len, buffers)), self._stored.size)
        position = offset
        found: list[_Segment] = []
        while position < end:
            segment = self._at(position)
            if segment is None or segment.data is None:
                return None
            found.append(segment)
            position = segment.end
        position = offset
        for buffer in buffers:
            filled = 0
            while filled < len(buffer) and position < end:
                segment = found[0]
                data = segment.data or b""
                at = position - segment.start
                count = min(len(buffer) - filled, end - position, len(data) - at)
                buffer[filled : filled + count] = memoryview(data)[at : at + count]
                filled += count
                position += count
                segment.unread -= count
                if position == segment.end:
                    found.pop(0)
        if position > offset:
            self._note(position)
        return max(0, position - offset)

    async def write(self, offset: int, data: Buffer) -> None:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    async def stat(self) -> Entry:
        """Attributes of the object that is read."""
        self._check()
        if self._stored.metadata is None:
            self._stored = await self._tree.detailed(self._stored)
        return file_entry(name_of(self._key), self._stored)

    async def set_attrs(self, attrs: Attrs) -> None:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    async def sync(self) -> None:
        """Nothing is pending."""
        self._check()

    async def digest(self, algorithm: str) -> bytes | None:
        """See `tidegate.abc.KnowsDigests`; one request, so that it is that of what is there now.

        Raises:
            ObjectChanged: that is another content than what was read.
        """
        return digest_in(await self.current(), algorithm)

    @property
    def bucket(self) -> Bucket:
        """The bucket that the object is in."""
        return self._tree.bucket

    @property
    def stored(self) -> Stored:
        """The object, as it is known."""
        return self._stored

    async def current(self) -> Stored:
        """The object as it is now, with metadata; one request.

        Raises:
            ObjectChanged: that is another content than what was read.
        """
        self._check()
        now = await self._tree.bucket.head(self._stored.key)
        if now.etag != self._stored.etag:
            if self._read_any:
                raise ObjectChanged
            await self._reopen()
        return now

    async def close(self, outcome: object = None) -> None:
        """End all requests that are under way."""
        self._check()
        self._closed = True
        self._budget.ended(self)
        segments, self._segments = self._segments, []
        tasks = [segment.task for segment in segments if segment.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for segment in segments:
            self._release(segment)

    # -- ranges ------------------------------------------------------------------------------------------

    def shrink(self) -> None:
        """Give back ranges that nobody waits for; see `budget.Shrinks`."""
        for segment in [item for item in self._segments if item.data is not None and not item.waiting]:
            self._drop(segment)
        self._frontier = max([self._position, *(segment.end for segment in self._segments)])

    def _at(self, position: int) -> _Segment | None:
        for segment in self._segments:
            if segment.start <= position < segment.end:
                return segment
        return None

    def _demand(self, position: int, end: int) -> _Segment:
        """Begin to fetch a range that somebody waits for."""
        size = self._stored.size
        if size <= WHOLE_BYTES and not self._segments:
            return self._fetch(0, size, demanded=True)
        self._sequential = position == self._frontier
        if self._sequential:
            return self._fetch(position, self._next_end(position), demanded=True)
        self._step = FIRST_BYTES  # somewhere else: a client that seeks
        after = min((item.start for item in self._segments if item.start > position), default=size)
        part = self._tree.settings.download_part_size
        stop = min(position + max(min(end - position, part), FIRST_BYTES // 4), after, size)
        return self._fetch(position, stop, demanded=True)

    def _next_end(self, start: int) -> int:
        step = self._step
        self._step = min(step * 2, self._tree.settings.download_part_size)
        if self._stored.size <= WHOLE_BYTES:
            step = WHOLE_BYTES
        after = min((item.start for item in self._segments if item.start >= start), default=self._stored.size)
        return min(start + step, after, self._stored.size)

    def _fetch(self, start: int, end: int, *, demanded: bool) -> _Segment:
        segment = _Segment(start, end)
        if not demanded:
            segment.held = end - start
        self._segments.append(segment)
        self._frontier = end
        self._evict(keep=segment)
        segment.task = asyncio.get_running_loop().create_task(self._get(segment))
        segment.task.add_done_callback(_retrieved)
        return segment

    async def _get(self, segment: _Segment) -> Content:
        stored, size = self._stored, segment.end - segment.start
        try:
            if not segment.held:
                await self._budget.take(self, size)
                segment.held = size
            data = await self._tree.bucket.get(stored.key, segment.start, size, if_etag=stored.etag)
            if len(data) != size:
                raise StorageFailed("the storage returned fewer bytes than the object has")
        except BaseException:
            if segment in self._segments:
                self._drop(segment)
            else:
                self._release(segment)
            raise
        segment.data = data
        return data

    async def _data(self, segment: _Segment) -> Content:
        if segment.data is None:
            assert segment.task is not None
            segment.waiting += 1
            try:
                data = await asyncio.shield(segment.task)
            except asyncio.CancelledError:
                if segment.task.cancelled() and not self._closed:
                    raise StorageFailed("reading was broken off") from None
                raise
            finally:
                segment.waiting -= 1
        else:
            data = segment.data
        self._read_any = True
        return data

    def _note(self, position: int) -> None:
        """The client has read up to `position`: fetch what comes next, forget what lies behind."""
        self._position = position
        self._budget.used(self)
        settings = self._tree.settings
        last = self._at(position - 1)
        if last is None or self._closed or position > self._frontier:
            return
        for segment in list(self._segments):
            behind = BEHIND_BYTES if segment.unread <= 0 else OVERTAKEN_BYTES
            if segment.end <= position - behind and not segment.waiting and segment.data is not None:
                self._drop(segment)
        ahead = self._step * settings.download_concurrency
        while (
            self._sequential
            and self._frontier < min(position + ahead, self._stored.size)
            and self._pending() < settings.download_concurrency
            and self._held() + self._step <= self._most()
        ):
            end = self._next_end(self._frontier)
            if end <= self._frontier or not self._budget.take_nowait(end - self._frontier):
                break
            self._fetch(self._frontier, end, demanded=False)

    def _pending(self) -> int:
        return sum(segment.data is None for segment in self._segments)

    def _held(self) -> int:
        return sum(segment.end - segment.start for segment in self._segments)

    def _most(self) -> int:
        settings = self._tree.settings
        return settings.download_part_size * (settings.download_concurrency + 1)

    def _evict(self, keep: _Segment) -> None:
        """Keep within bounds: first goes what the client has read, then what is farthest from there."""
        position = self._position
        spare = [item for item in self._segments if item is not keep and item.data is not None]
        spare.sort(key=lambda item: (item.end > position, -abs(item.start - position)))
        for segment in spare:
            if self._held() <= self._most():
                return
            if not segment.waiting:
                self._drop(segment)

    def _drop(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        self._release(segment)

    def _release(self, segment: _Segment) -> None:
        held, segment.held = segment.held, 0
        if held:
            self._budget.give_back(held)

    async def _reopen(self) -> None:
        cache = self._tree.cache
        cache.changed(self._stored.key)
        for segment in list(self._segments):
            if segment.data is not None:
                self._drop(segment)
        self._stored, _ = await self._tree.file(self._key)

    def _check(self) -> None:
        if self._closed:
            raise InvalidHandle


def _retrieved(task: asyncio.Task[Content]) -> None:
    """A failure of a range that nobody waits for is no error: whoever needs it asks again."""
    if not task.cancelled():
        task.exception()


__all__ = ["ObjectReader"]
