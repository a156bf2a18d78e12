# SPDX-License-Identifier: Apache-2.0
"""Copies within a bucket: in one request, or in parts where the object is too large for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from tidegate.backends.objects.bucket import Bucket, Limits, Part, Stored
from tidegate.errors import StorageFailed, TidegateError, Unsupported

COPY_REQUESTS = 8
"""Parts of one copy that are made at the same time."""
LEAST_PART = 64 * 1024 * 1024
"""Parts of a copy are not smaller than that if the object is larger."""


def ranges(start: int, size: int, limits: Limits) -> Iterator[tuple[int, int]]:
    """Cut a range into parts of about the same size: offset and size of each."""
    least = -(-size // max(1, limits.parts // 2))
    count = max(1, -(-size // min(limits.part, max(least, LEAST_PART, limits.part_least))))
    for number in range(count):
        first, last = size * number // count, size * (number + 1) // count
        if last > first:
            yield start + first, last - first


async def copy_object(
    bucket: Bucket,
    source: Stored,
    key: str,
    metadata: Mapping[str, str] | None,
    *,
    create: bool = False,
    told: Callable[[int], None] | None = None,
) -> Stored:
    """Copy an object of any size; the target appears complete or not at all.

    Args:
        source: with metadata, if `metadata` is None and it may be larger than `Limits.copy`.
        metadata: of the copy; None keeps that of the source.
        create: only if nothing has the key.
        told: called with each number of bytes that are copied.

    Raises:
        AlreadyExists: with `create`. ObjectChanged, StorageFailed.
    """
    limits = bucket.limits
    onto_itself = source.key == key and metadata is not None and not create
    if source.size <= limits.copy or (limits.sets_metadata and onto_itself):
        stored = await bucket.copy(source, key, metadata, create=create)
        if told is not None:
            told(source.size)
    elif limits.copies_parts and limits.copies_ranges:
        kept = metadata or source.metadata or {}
        stored = await _in_parts(bucket, source, key, kept, create=create, told=told)
    else:
        raise Unsupported("this storage cannot copy so large a file")
    if stored.size != source.size:
        raise StorageFailed("the copy has another size than the original")
    return stored


async def _in_parts(
    bucket: Bucket,
    source: Stored,
    key: str,
    metadata: Mapping[str, str],
    *,
    create: bool,
    told: Callable[[int], None] | None,
) -> Stored:
    upload = await bucket.begin(key, metadata)
    waiting = iter(enumerate(ranges(0, source.size, bucket.limits), start=1))
    parts: list[Part] = []

    async def work() -> None:
        for number, (start, size) in waiting:
            parts.append(await bucket.copy_part(upload, number, source, start, size))
            if told is not None:
                told(size)

    tasks = [asyncio.ensure_future(work()) for _ in range(COPY_REQUESTS)]
    try:
        await asyncio.gather(*tasks)
        return await bucket.complete(upload, sorted(parts, key=lambda part: part.number), create=create)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TidegateError):  # what is left of it is swept with other unfinished uploads
            await bucket.abort(upload)
        raise
