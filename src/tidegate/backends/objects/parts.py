# SPDX-License-Identifier: Apache-2.0
"""The content of one new object: in memory while it fits into one part, then parts sent behind the writer.

Long, because what is being filled, what is on its way and how it ends are one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from typing_extensions import Buffer

from tidegate.backends.objects.bucket import Bucket, Part, Stored, Upload
from tidegate.backends.objects.budget import Share
from tidegate.backends.objects.copying import copy_object, ranges
from tidegate.backends.objects.digests import Digests
from tidegate.backends.objects.part_buffer import PartBuffer
from tidegate.backends.objects.settings import MIB, ObjectSettings
from tidegate.errors import StorageFailed, TidegateError, TooLarge, Unsupported

PLAIN_PARTS: Final = 2000
"""Parts of the usual size, before they grow."""
GROWTH: Final = 900
"""A part is at most the 900th of what came after those: 5 TiB in 10,000 parts."""


def part_size(limit_least: int, limit_most: int, usual: int, sent: int) -> int:
    """Size of the next part of an upload; bytes.

    Args:
        limit_least: of the service.
        limit_most: of the service.
        usual: the setting.
        sent: bytes that were sent in parts.
    """
    usual = max(usual, limit_least)
    grown = (sent - PLAIN_PARTS * usual) // GROWTH
    if grown > usual:
        return min(limit_most, -(-grown // MIB) * MIB)
    return min(limit_most, usual)


class WatchesUploads(Protocol):
    """Is told of uploads in parts, so that a crash leaves nothing of them for ever."""

    async def begun(self, upload: Upload) -> None:
        """An upload in parts begins; if this fails it does not."""
        ...

    async def ended(self, upload: Upload) -> None:
        """It was completed or removed."""
        ...


class PartStream:
    """Bytes of one new object, from its start to its end.

    Life: bytes are added, then one of `finish`, `abandon` and `keep`. Holds one part and those on their way.

    Args:
        bucket: where to.
        memory: of whoever uploads.
        settings: sizes of parts.
        key: of the object.
        metadata: of the object, if it is sent in parts: then it has to be known before the content.
        watch: is told of the upload in parts.
    """

    def __init__(
        self,
        bucket: Bucket,
        memory: Share,
        settings: ObjectSettings,
        key: str,
        metadata: Mapping[str, str],
        *,
        watch: WatchesUploads,
    ) -> None:
        self.key = key
        self.size = 0
        self.upload: Upload | None = None
        self.digests = Digests(settings.digests)
        self._bucket = bucket
        self._budget = memory
        self._settings = settings
        self._metadata = dict(metadata)
        self._watch = watch
        self._buffer = PartBuffer(summed=bucket.limits.takes_crc32)
        self._spares: list[memoryview] = []
        self._parts: dict[int, Part] = {}
        self._numbers = 0
        self._sent = 0
        self._room = self._next_size()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._ended = False
        self._resumed = False

    @property
    def begun_with(self) -> Mapping[str, str] | None:
        """The metadata that the service was told when this sent the first part; None if it told none."""
        return None if self.upload is None or self._resumed else self._metadata

    # -- adding ------------------------------------------------------------------------------------------

    def write_nowait(self, data: Buffer) -> bool:
        """Add bytes, if neither memory nor another part has to be waited for; False if nothing was done."""
        size = memoryview(data).nbytes
        left = self._room - len(self._buffer)
        if self._failure is not None or (size > left and not self._passes(size)):
            return False
        if not self._budget.take_nowait(size):
            return False
        if size <= left:
            self._buffer.add(data, self._room)
        else:
            view = memoryview(data).cast("B")
            self._buffer.add(view[:left], self._room)
            self._start_part()
            self._buffer.add(view[left:], self._room)
        self.size += size
        return True

    def _passes(self, size: int) -> bool:
        """True if a further part may be sent at once, so that so many bytes fit into it and the next."""
        limits = self._bucket.limits
        return (
            self.upload is not None
            and len(self._tasks) < self._most_parts()
            and self._numbers < limits.parts
            and self.size + size <= limits.object
            and size <= self._next_size()
        )

    async def write(self, data: Buffer) -> None:
        """Add bytes; waits while enough parts are on their way.

        Raises:
            TidegateError: an earlier part could not be stored; nothing of the object will be.
        """
        view = memoryview(data).cast("B")
        if self.size + len(view) > self._bucket.limits.object:
            raise TooLarge("file too large for this storage")
        while view:
            self._check()
            if len(self._buffer) >= self._room:
                await self._send()
            piece = view[: self._room - len(self._buffer)]
            await self._budget.take(self, len(piece))
            self._buffer.add(piece, self._room)
            self.size += len(piece)
            view = view[len(piece) :]

    def copies(self, source: Stored, start: int, size: int) -> bool:
        """True if the service copies these bytes: they suffice for a part, and nothing is in memory."""
        limits = self._bucket.limits
        whole = start == 0 and size == source.size
        copies = limits.copies_parts and (limits.copies_ranges or whole)
        return copies and not self._buffer and size >= limits.part_least

    def is_of(self, bucket: Bucket) -> bool:
        """True if this goes into a bucket, by the same client."""
        return self._bucket is bucket

    async def copy(self, source: Stored, start: int, size: int) -> None:
        """Add bytes of an object, by the service if it `copies` them."""
        limits = self._bucket.limits
        if not self.copies(source, start, size):
            step = max(self._room, MIB)
            for at in range(start, start + size, step):
                wanted = min(step, start + size - at)
                data = await self._bucket.get(source.key, at, wanted, if_etag=source.etag)
                if len(data) != wanted:
                    raise StorageFailed("the storage returned fewer bytes than the object has")
                await self.write(data)
            return
        self.digests.forget()
        upload = await self._begin()
        for at, count in ranges(start, size, limits) if limits.copies_ranges else [(start, size)]:
            number = self._take_number()
            await self._slot()
            self._start(self._copy_part(upload, number, source, at, count), 0)
            self.size += count

    async def _begin(self) -> Upload:
        if self.upload is None:
            upload = await self._bucket.begin(self.key, self._metadata)
            try:
                await self._watch.begun(upload)
            except BaseException:
                await abort_quietly(self._bucket, upload)
                raise
            self.upload = upload
        return self.upload

    async def _send(self) -> None:
        """Send the part that was filled behind the writer."""
        await self._begin()
        await self._slot()
        self._check()
        self._start_part()

    def _start_part(self) -> None:
        """The same, once the upload has begun and there is room for a part on its way."""
        assert self.upload is not None
        crc32, data = self._buffer.crc32, self._buffer.take()
        number = self._take_number()
        self._sent += len(data)
        self._room = self._next_size()
        if self._spares and len(self._spares[-1]) < self._room:  # parts have grown
            self._drop_spares()
        if self._spares:
            self._buffer.reuse(self._take_spare())
        else:
            self._buffer.reserve(self._room)
        if self.size > self._settings.digest_copy:
            self.digests.forget()
        self._start(self._store_part(self.upload, number, data, crc32), len(data))

    def _take_number(self) -> int:
        if self._numbers >= self._bucket.limits.parts:
            raise TooLarge("file too large for this storage")
        self._numbers += 1
        return self._numbers

    def _next_size(self) -> int:
        limits = self._bucket.limits
        return part_size(limits.part_least, limits.part, self._settings.upload_part_size, self._sent)

    def _most_parts(self) -> int:
        """Parts that may be on their way at the same time: fewer once they have grown."""
        settings = self._settings
        memory = settings.upload_concurrency * max(settings.upload_part_size, self._bucket.limits.part_least)
        return max(1, min(settings.upload_concurrency, memory // self._next_size()))

    async def _slot(self) -> None:
        most = self._most_parts()
        while len(self._tasks) >= most:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def _start(self, work: Coroutine[None, None, None], held: int) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, held))

    def _done(self, held: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._budget.give_back(held)
        if not self._tasks or self._ended:
            self._drop_spares()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and self._failure is None:
            self._failure = error

    async def _store_part(self, upload: Upload, number: int, data: memoryview, crc32: str) -> None:
        await self.digests.update(data)
        part = await self._bucket.part(upload, number, data, crc32=crc32)
        self._parts[number] = _sized(part, len(data))
        # Fresh memory is filled with zeros first, and page by page: what was stored is filled again instead.
        room = len(self._spares) + len(self._tasks) <= self._most_parts()
        if room and len(data) >= self._room and self._budget.take_nowait(len(data)):
            self._spares.append(data)

    def _take_spare(self) -> memoryview:
        spare = self._spares.pop()
        self._budget.give_back(len(spare))
        return spare

    def _drop_spares(self) -> None:
        while self._spares:
            self._take_spare()

    async def _copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> None:
        self._parts[number] = _sized(await self._bucket.copy_part(upload, number, source, start, size), size)

    def _check(self) -> None:
        error = self._failure
        if error is None:
            return
        if isinstance(error, TidegateError):
            raise error
        raise StorageFailed("an earlier part of this file could not be stored") from error

    # -- reading back, cutting off -----------------------------------------------------------------------

    def in_memory(self) -> memoryview | None:
        """Everything so far, if nothing was sent yet; to be used at once."""
        return self._buffer.view() if self.upload is None else None

    def cut(self, size: int) -> bool:
        """Cut off everything behind `size`, or add zeros in memory; False if that was sent already."""
        start = self.size - len(self._buffer)
        if size < start or self._ended:
            return False
        if size > self.size:
            added = size - self.size
            if len(self._buffer) + added > self._room or not self._budget.take_nowait(added):
                return False
            self._buffer.add(bytes(added), self._room)
        else:
            self._budget.give_back(self.size - size)
            self._buffer.cut(size - start)
        self.size = size
        return True

    async def flush(self) -> None:
        """Send what is left of an upload in parts, and wait until all of them have ended, well or not.

        Raises:
            TidegateError: an earlier part could not be stored.
        """
        if self._buffer and self.upload is not None:
            await self._send()
        await self._join()

    # -- endings -----------------------------------------------------------------------------------------

    async def finish(self, metadata: Mapping[str, str], *, create: bool, if_etag: str = "") -> Stored:
        """Make the object.

        Args:
            metadata: of the object, without digests.
            create: only if nothing has the key.
            if_etag: only in place of the object with this etag; for what fits into one request.

        Raises:
            TidegateError: it was not made, and nothing of it is left.
        """
        try:
            self._check()
            if self.upload is not None and if_etag:
                raise Unsupported("a file of this size cannot be replaced on a condition")
            if self.upload is None:
                content = self._buffer.view()
                await self.digests.update(content)
                wanted = {**metadata, **self.digests.metadata()}
                stored = await self._bucket.put(
                    self.key, content, wanted, create=create, if_etag=if_etag, crc32=self._buffer.crc32
                )
            else:
                await self.flush()
                self._check()
                parts = [self._parts[number] for number in sorted(self._parts)]
                stored = await self._bucket.complete(self.upload, parts, create=create)
                await self._watch.ended(self.upload)
                self.upload = None
                wanted = {**metadata, **self.digests.metadata()}
                if wanted != self._metadata:
                    self._same_size(stored)
                    stored = await copy_object(self._bucket, stored, self.key, wanted)
            self._same_size(stored)
        except BaseException:
            await self.abandon()
            raise
        self._end()
        return replace(stored, metadata=wanted)

    def _same_size(self, stored: Stored) -> None:
        if stored.size != self.size:
            raise StorageFailed("the storage keeps another number of bytes than were sent")

    async def resume(self, upload: Upload, parts: Sequence[Part]) -> None:
        """Go on behind parts that were stored earlier; before anything else is added."""
        self.digests.forget()
        self._resumed = True
        self.upload = upload
        self._parts = {part.number: part for part in parts}
        self._numbers = len(parts)
        self.size = self._sent = sum(part.size for part in parts)
        self._room = self._next_size()

    def leave(self) -> None:
        """Leave the upload in parts with the service: its record says which parts count."""
        self.upload = None

    async def keep(self) -> tuple[Upload | None, list[Part], bytes]:
        """Leave what arrived with the service.

        Returns:
            the upload in parts, if there is one; its parts without gaps; the bytes behind them.
        """
        await self._join()
        upload = self.upload
        prefix: list[Part] = []
        while (part := self._parts.get(len(prefix) + 1)) is not None:
            prefix.append(part)
        tail = bytes(self._buffer.view()) if len(prefix) == self._numbers else b""
        self._end()
        return upload, prefix, tail

    async def abandon(self) -> None:
        """Leave nothing: neither an object nor parts."""
        if self._ended:
            return
        for task in list(self._tasks):
            task.cancel()
        await self._join()
        upload, self.upload = self.upload, None
        self._end()
        if upload is not None and await abort_quietly(self._bucket, upload):
            await self._watch.ended(upload)

    async def _join(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self) -> None:
        self._ended = True
        self._budget.give_back(len(self._buffer))
        self._buffer.take()
        self._drop_spares()


async def abort_quietly(bucket: Bucket, upload: Upload) -> bool:
    """Remove an upload in parts; False if the storage did not: it is swept later."""
    try:
        await bucket.abort(upload)
    except TidegateError:
        return False
    return True


def _sized(part: Part, size: int) -> Part:
    if part.size != size:
        raise StorageFailed("the storage keeps another number of bytes than were sent")
    return part
