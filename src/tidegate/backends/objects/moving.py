# SPDX-License-Identifier: Apache-2.0
"""Renames and copies: the service copies, and then the original is removed.

A directory is copied as a whole before anything of it is removed. Both steps compare what is at both places,
name by name in one pass over the two listings, so they hold two pages each whatever the size of the tree, and
can be done again after a crash: what is copied already is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tidegate.abc import Steps
from tidegate.backends.objects.attributes import NOTHING, Node
from tidegate.backends.objects.bucket import Bucket, Stored, paging
from tidegate.backends.objects.copying import copy_object
from tidegate.backends.objects.keys import is_record
from tidegate.backends.objects.metadata import times_of, with_times
from tidegate.backends.objects.tree import Tree
from tidegate.errors import AlreadyExists, NotFound, StorageFailed

COUNT_AFTER = 2.0
"""Seconds after which what a long rename has to copy is counted; shorter ones are not worth the requests."""
DELETE_BATCH = 1000
"""Objects removed in one request."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One name below two directories; None where nothing has it."""

    source: Stored | None
    target: Stored | None


async def copy_file(
    tree: Tree, source: Stored, key: str, *, create: bool, steps: Steps | None = None
) -> Stored:
    """Copy a file to `key` (of an object), with its modification time.

    Args:
        steps: counts what is done.

    Raises:
        AlreadyExists: with `create`: something has the key.
    """
    source = await tree.detailed(source)
    metadata = source.metadata or {}
    if _is_marker(source):  # some stores do not copy markers
        # Not only if it is missing: some stores take a directory that longer keys imply for its marker.
        return await tree.bucket.put(key, b"", metadata)
    wanted = None if "mtime" in metadata else with_times(metadata, times_of(source)[0], None)

    counted: list[int] = []
    try:
        stored = await copy_object(
            tree.bucket, source, key, wanted, create=create, told=_counter(steps, counted)
        )
    except BaseException:
        if steps is not None:
            steps.size -= sum(counted)
        raise
    if steps is not None:
        steps.files += 1
    kept = wanted if wanted is not None else metadata
    return Stored(stored.key, stored.size, stored.modified, stored.etag, kept, stored.sums)


def _counter(steps: Steps | None, counted: list[int]) -> Callable[[int], None] | None:
    """A function that counts bytes in both."""
    if steps is None:
        return None
    told = steps

    def count(size: int) -> None:
        told.size += size
        counted.append(size)

    return count


async def rename_file(
    tree: Tree, source: Stored, key: str, *, create: bool, steps: Steps | None = None
) -> None:
    """Rename a file: copy it, then remove the original."""
    with tree.cache.changing(key):
        stored = await copy_file(tree, source, key, create=create, steps=steps)
    tree.cache.changed(key, Node(stored))
    with tree.cache.changing(source.key):
        await tree.bucket.delete([source.key])
    tree.cache.changed(source.key, NOTHING)


async def copy_tree(tree: Tree, source: str, target: str, steps: Steps | None = None) -> None:
    """Copy everything whose key begins with `source` to the same below `target`, unless it is there.

    Args:
        steps: counts what is done; what there is in all is counted if it takes `COUNT_AFTER` and more.

    Raises:
        StorageFailed: something could not be copied; what was is left.
    """

    async def copy(pair: Pair) -> None:
        if pair.source is None or is_record(pair.source.key) or not _to_copy(pair):
            return
        await _copy_if_there(
            tree,
            pair.source,
            target + pair.source.key[len(source) :],
            create=pair.target is None,
            steps=steps,
        )

    async with _counting(tree, source, steps):
        await each(pairs(tree, source, target), copy, tree.settings.requests)


@asynccontextmanager
async def _counting(tree: Tree, source: str, steps: Steps | None) -> AsyncIterator[None]:
    """Count what is below a directory while the block goes on, if that is long."""
    if steps is None:
        yield
        return

    async def count(steps: Steps) -> None:
        await asyncio.sleep(COUNT_AFTER)
        size = files = 0
        async for stored in objects(tree, source):
            if not is_record(stored.key) and not _is_marker(stored):
                size += stored.size
                files += 1
        steps.total_size, steps.total_files = size, files

    counting = asyncio.ensure_future(count(steps))
    try:
        yield
    finally:
        counting.cancel()
        # A count that failed is no reason to fail: the copy meets the same trouble, or has none.
        await asyncio.gather(counting, return_exceptions=True)


async def remove_copied(
    tree: Tree, source: str, target: str, drop_record: Callable[[str], Awaitable[object]]
) -> None:
    """Remove what is below `source` and has its copy below `target`; what is newer is copied first.

    Args:
        drop_record: removes an unfinished upload; those do not move with their directory.

    Raises:
        StorageFailed: something could not be copied or removed.
    """
    removing = Removing(tree.bucket)
    async for pair in pairs(tree, source, target):
        if pair.source is None:
            continue
        if is_record(pair.source.key):
            await drop_record(pair.source.key)
        elif _to_copy(pair):
            await _copy_if_there(
                tree, pair.source, target + pair.source.key[len(source) :], create=pair.target is None
            )
        await removing.add(pair.source.key)
    await removing.end()


class Removing:
    """Removes objects that come in order of their keys, many in a request; markers after what is in them.

    Some stores keep an empty directory if its marker goes first.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._batch: list[str] = []
        self._markers: list[str] = []

    async def add(self, key: str) -> None:
        """Remove an object."""
        await self._leave(key)
        if key.endswith("/"):
            self._markers.append(key)
        else:
            await self._put(key)

    async def end(self) -> None:
        """Remove what is left."""
        await self._leave("")
        if self._batch:
            await self._bucket.delete(self._batch)
            self._batch = []

    async def _leave(self, key: str) -> None:
        while self._markers and not (key and key.startswith(self._markers[-1])):
            await self._put(self._markers.pop())

    async def _put(self, key: str) -> None:
        self._batch.append(key)
        if len(self._batch) >= DELETE_BATCH:
            full, self._batch = self._batch, []
            await self._bucket.delete(full)


def _is_marker(stored: Stored) -> bool:
    return stored.key.endswith("/") and not stored.size


async def _copy_if_there(
    tree: Tree, source: Stored, key: str, *, create: bool, steps: Steps | None = None
) -> None:
    """Copy an object that was listed; what was removed since then, or put there, is left as others want it.

    Raises:
        StorageFailed: it is there and cannot be copied.
    """
    with suppress(AlreadyExists):
        try:
            await copy_file(tree, source, key, create=create, steps=steps)
        except NotFound:
            with suppress(NotFound):
                await tree.bucket.head(source.key)
                raise StorageFailed("a file of a directory cannot be copied") from None


async def remove_copies(tree: Tree, source: str, target: str, *, keep_marker: bool) -> None:
    """Remove the copies below `target` of what is below `source`, its marker too unless that is kept.

    What others put there meanwhile stays.
    """
    removing = Removing(tree.bucket)
    async for pair in pairs(tree, source, target):
        if pair.source is None or pair.target is None or pair.source.size != pair.target.size:
            continue
        if not (keep_marker and pair.target.key == target):
            await removing.add(pair.target.key)
    await removing.end()


def _to_copy(pair: Pair) -> bool:
    """True if what is at the source has no copy, or was replaced after it was copied.

    A file that others put to the target since then is younger, and stays.
    """
    if pair.source is None or pair.target is None:
        return pair.source is not None
    if pair.source.modified == pair.target.modified:  # a service tells seconds only
        return pair.source.size != pair.target.size
    return pair.source.modified > pair.target.modified


async def pairs(tree: Tree, source: str, target: str) -> AsyncIterator[Pair]:
    """Names below two directories, in order."""
    left, right = objects(tree, source), objects(tree, target)
    try:
        here, there = await anext(left, None), await anext(right, None)
        while here is not None or there is not None:
            first = here.key[len(source) :].encode() if here is not None else None
            second = there.key[len(target) :].encode() if there is not None else None
            if second is None or (first is not None and first < second):
                yield Pair(here, None)
                here = await anext(left, None)
            elif first is None or second < first:
                yield Pair(None, there)
                there = await anext(right, None)
            else:
                yield Pair(here, there)
                here, there = await anext(left, None), await anext(right, None)
    finally:
        await left.aclose()
        await right.aclose()


async def objects(tree: Tree, folder: str) -> AsyncGenerator[Stored, None]:
    """Everything whose key begins with `folder`, in order."""
    async with paging(tree.bucket.pages(folder, delimited=False)) as pages:
        async for page in pages:
            for stored in page.objects:
                yield stored


async def each(
    found: AsyncIterator[Pair], act: Callable[[Pair], Coroutine[None, None, None]], requests: int
) -> None:
    """Act on all, so many at a time; the first failure ends it."""
    running: set[asyncio.Task[None]] = set()
    try:
        async for pair in found:
            while len(running) >= requests:
                await _first_done(running)
            if pair.source is not None and pair.source.key.endswith("/"):
                await act(pair)  # before what is in it
                continue
            running.add(asyncio.ensure_future(act(pair)))
        while running:
            await _first_done(running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _first_done(running: set[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    running -= done
    for task in done:
        task.result()
