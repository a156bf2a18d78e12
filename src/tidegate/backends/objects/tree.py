# SPDX-License-Identifier: Apache-2.0
"""Names in a bucket as a tree of directories and files.

A directory is an object whose key ends with ``/`` (its marker), or whatever other keys imply; both are seen.
A name that is a file and a directory is the file. A directory stays when we remove what is in it: it gets a
marker before that, if it has none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, TypeVar, cast

from tidegate.backends.objects.attributes import NOTHING, AttributeCache, Node
from tidegate.backends.objects.bucket import Bucket, Content, Stored, paging
from tidegate.backends.objects.directory_looks import DirectoryLooks
from tidegate.backends.objects.keys import Keys, name_of, parent_of
from tidegate.backends.objects.metadata import directory_entry, file_entry, with_times
from tidegate.backends.objects.settings import ObjectSettings
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
)
from tidegate.model import Attrs, Entry

ABSENT_SECONDS = 1.0
"""So long an operation relies on having seen that a name is free."""

T = TypeVar("T")


class Tree:
    """Names of one root.

    Args:
        bucket: open while this is used.
        keys: of the root.
        cache: what is known of the bucket.
        settings: of the root.
    """

    def __init__(self, bucket: Bucket, keys: Keys, cache: AttributeCache, settings: ObjectSettings) -> None:
        self.bucket = bucket
        self.keys = keys
        self.cache = cache
        self.settings = settings
        self.directories = DirectoryLooks(bucket, cache, settings.attribute_seconds)

    async def look(self, key: str, *, absent_seconds: float = 0.0) -> Node:
        """The node of a name: from what is known, else by one or two requests at the same time.

        Args:
            absent_seconds: greatest age of the look that found it free.
        """
        known = self.known(key, absent_seconds=absent_seconds)
        if known is not None:
            return known
        target = self.keys.object(key)
        directory = target[: target.rfind("/") + 1]
        if self.directories.asked(directory):
            return (await both(self._ask(target), self.directories.learn(directory)))[0]
        return await self._ask(target)

    def known(self, key: str, *, absent_seconds: float = 0.0) -> Node | None:
        """As `look`, without a request; None if it takes one."""
        target = self.keys.object(key)
        if not key:
            return Node(folder=True)
        known = self.cache.get(target, self.settings.attribute_seconds)
        if known is not None and (not known.missing or self.cache.get(target, absent_seconds) is not None):
            return known
        directory = target[: target.rfind("/") + 1]
        return NOTHING if self.cache.is_free(directory, target, self.settings.attribute_seconds) else None

    async def _ask(self, target: str) -> Node:
        since = self.cache.changes
        seen = self.cache.get(target, inf)
        if seen is not None and seen.is_file:
            # It is one still, as a rule, and a LIST costs ten times as much as a HEAD.
            stored = await self._head(target)
            below = (seen.folder, None) if stored is not None else await self._first_below(f"{target}/")
        else:
            stored, below = await both(self._head(target), self._first_below(f"{target}/"))
        folder, marker = below
        node = Node(stored, folder, marker) if stored is not None or folder else NOTHING
        self.cache.learn(target, node, since)
        return node

    async def renew(self, key: str) -> None:
        """Ask again what a directory is, and which names it holds."""
        folder = self.keys.folder(key)
        if key:
            await both(self._ask(self.keys.object(key)), self.directories.renew(folder))
        else:
            await self.directories.renew(folder)

    async def find(self, key: str) -> Node:
        """As `look`.

        Raises:
            NotFound: there is nothing.
        """
        node = await self.look(key)
        if node.missing:
            raise NotFound
        return node

    async def file(self, key: str, first: int = 0) -> tuple[Stored, Content]:
        """The file of a name, and its first bytes; one request, or none if it was seen a moment ago.

        Args:
            first: bytes wanted; if no request is sent there are none.

        Raises:
            NotFound, IsADirectory.
        """
        target = self.keys.object(key)
        if not key:
            raise IsADirectory
        known = self.cache.get(target, self.settings.open_seconds)
        if known is not None and known.stored is not None:
            return known.stored, b""
        since = self.cache.changes
        try:
            if first:
                stored, data = await self.bucket.first(target, first)
            else:
                stored, data = await self.bucket.head(target), b""
        except NotFound:
            if (await self.look(key)).folder:
                raise IsADirectory from None
            raise
        self.cache.learn(target, Node(stored, folder=known is not None and known.folder), since)
        return stored, data

    async def detailed(self, stored: Stored) -> Stored:
        """The same object, with its metadata."""
        if stored.metadata is not None:
            return stored
        return self.cache.details(stored) or await self.bucket.head(stored.key)

    async def entry(self, key: str) -> Entry:
        """Attributes of a name.

        Raises:
            NotFound.
        """
        node = await self.find(key)
        if node.stored is not None:
            return file_entry(name_of(key), node.stored)
        marker = node.marker
        if marker is not None and marker.metadata is None:
            since = self.cache.changes
            marker = await self._head(marker.key)
            self.cache.learn(self.keys.object(key), Node(folder=True, marker=marker), since)
        return directory_entry(name_of(key), marker)

    async def is_file(self, key: str) -> bool:
        """True if a name is a file; one request."""
        return await self._head(self.keys.object(key)) is not None

    async def require_parent(self, key: str) -> None:
        """Refuse a name whose directory is not there.

        Raises:
            NotFound.
        """
        if not (await self.parent(key)).is_dir:
            raise NotFound

    async def parent(self, key: str) -> Node:
        """The directory that holds a name; asked for anew if what is known would refuse an operation."""
        parent = parent_of(key)
        if not parent:
            return Node(folder=True)
        known = self.known(parent)
        if known is None:
            return await self.look(parent)
        return known if known.is_dir else await self._ask(self.keys.object(parent))

    async def keep_parent(self, key: str) -> None:
        """Give the directory that holds `key` a marker, so that it stays when `key` is gone."""
        parent = parent_of(key)
        if not parent:
            return
        node = await self.look(parent)
        if node.marker is None and node.is_dir:
            await self._mark(parent)

    async def _mark(self, key: str, attrs: Attrs | None = None, *, create: bool = False) -> None:
        now = time.time_ns()
        mtime, atime = (attrs.mtime_ns, attrs.atime_ns) if attrs else (now, None)
        metadata = with_times(None, mtime, atime)
        target = self.keys.object(key)
        with self.cache.changing(target):
            stored = await self.bucket.put(self.keys.folder(key), b"", metadata, create=create)
        self.cache.changed(target, Node(folder=True, marker=_with(stored, metadata)))

    async def mkdir(self, key: str) -> None:
        """Make a directory: its marker.

        Raises:
            AlreadyExists, NotFound: its parent is not there.
        """
        if not key:
            raise AlreadyExists
        node, _ = await both(self.look(key), self.require_parent(key))
        if not node.missing:
            raise AlreadyExists
        await self._mark(key, create=True)
        self.cache.learn_directory(self.keys.folder(key), set(), self.cache.changes, self.cache.now())

    async def set_directory_times(self, key: str, attrs: Attrs) -> None:
        """Keep times of a directory, in its marker."""
        node = await self.look(key)
        if node.marker is not None and node.marker.size:
            return  # somebody's object: its content stays
        if key:
            await self._mark(key, attrs)

    async def rmdir(self, key: str, hidden: Callable[[Stored, str], bool]) -> list[str]:
        """Remove an empty directory.

        Args:
            hidden: true for objects that do not keep a directory, whose prefix it gets as well.

        Returns:
            those that were in it; they are still there.

        Raises:
            NotFound, NotADirectory, DirectoryNotEmpty: also for a marker with content, or objects whose names
                cannot be shown.
        """
        if not key:
            raise Denied(rule="root")
        folder = self.keys.folder(key)
        seen = found = False
        left: list[str] = []
        async with paging(self.bucket.pages(folder, delimited=False)) as pages:
            async for page in pages:
                for stored in page.objects:
                    seen = True
                    if stored.key == folder and not stored.size:
                        continue
                    if not hidden(stored, folder):
                        found = True
                        break
                    left.append(stored.key)
                if found:
                    break
        target = self.keys.object(key)
        if await self._head(target) is not None:
            raise NotADirectory
        if found:
            raise DirectoryNotEmpty
        if not seen:
            self.cache.changed(target, NOTHING)
            raise NotFound
        await self.keep_parent(key)
        with self.cache.changing(target):
            await self.bucket.delete([folder])
        self.cache.changed(target, NOTHING)
        return left

    async def remove(self, key: str) -> Stored | None:
        """Remove a file; None if there is none.

        Raises:
            IsADirectory.
        """
        if not key:
            raise IsADirectory
        node = await self.look(key)
        if node.is_dir:
            raise IsADirectory
        if node.stored is None:
            return None
        await self.keep_parent(key)
        with self.cache.changing(node.stored.key):
            await self.bucket.delete([node.stored.key])
        self.cache.changed(node.stored.key, None if node.folder else NOTHING)
        return node.stored

    async def count_below(self, folder: str, most: int) -> int:
        """Objects below a directory besides its marker, up to about `most`; a marker with content counts."""
        found = 0
        async with paging(self.bucket.pages(folder, delimited=False, size=most + 1)) as pages:
            async for page in pages:
                found += sum(stored.key != folder or stored.size > 0 for stored in page.objects)
                if found >= most:
                    break
        return found

    async def _head(self, target: str) -> Stored | None:
        try:
            return await self.bucket.head(target)
        except NotFound:
            return None

    async def _first_below(self, folder: str) -> tuple[bool, Stored | None]:
        async with paging(self.bucket.pages(folder, delimited=False, size=1)) as pages:
            async for page in pages:
                for stored in page.objects:
                    return True, stored if stored.key == folder else None
        return False, None


async def both(first: Awaitable[T], second: Awaitable[Any]) -> tuple[T, Any]:
    """Both results; the first failure ends the other and is raised."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return cast("T", tasks[0].result()), tasks[1].result()


def _with(stored: Stored, metadata: dict[str, str]) -> Stored:
    return Stored(stored.key, stored.size, stored.modified, stored.etag, metadata, stored.sums)
