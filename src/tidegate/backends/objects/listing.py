# SPDX-License-Identifier: Apache-2.0
"""Listings of directories, streamed page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType

from tidegate.backends.objects.attributes import Node
from tidegate.backends.objects.bucket import Page, Stored, paging
from tidegate.backends.objects.keys import PARTIAL_PREFIX, TREE_PREFIX, decode
from tidegate.backends.objects.metadata import directory_entry, file_entry
from tidegate.backends.objects.siblings import Siblings
from tidegate.backends.objects.tree import Tree
from tidegate.errors import NotADirectory, NotFound, WorldError
from tidegate.model import Entry


class Listing:
    """Entries of a directory, a batch for each page of the service. See `tidegate.abc.TellsPartials`.

    Args:
        tree: names of the root.
        key: the directory.
        expires: an unfinished upload that was stored before is too old; seconds since 1970.
        siblings: is told of the order of the files.
        times: files are asked for their metadata, where the times are.
    """

    def __init__(
        self, tree: Tree, key: str, expires: float, siblings: Siblings | None = None, *, times: bool = True
    ) -> None:
        self.parts = False
        self.expired = False
        self._tree = tree
        self._key = key
        self._expires = expires
        self._folder = ""
        self._times = times
        self._siblings = siblings
        self._heads = tree.settings.listing_heads if times else 0
        self._files: list[str] = []
        self._batches = self._run()

    def __aiter__(self) -> AsyncIterator[list[Entry]]:
        return self

    async def __anext__(self) -> list[Entry]:
        return await self._batches.__anext__()

    async def aclose(self) -> None:
        """Release the listing."""
        await self._batches.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self) -> AsyncGenerator[list[Entry], None]:
        self._folder = folder = self._tree.keys.folder(self._key)
        seen = not self._key
        if self._siblings is not None:
            self._siblings.begin(folder)
        since = self._tree.cache.changes
        pages = self._tree.bucket.pages(folder, delimited=True)
        asking = asyncio.ensure_future(self._is_file())
        try:
            async with paging(pages) as read:
                async for page in read:
                    if not seen and (page.objects or page.prefixes):
                        seen = True
                        if await asking:  # what lies below a file is not seen
                            raise NotADirectory
                    entries = await self._entries(page, since)
                    if entries:
                        yield entries
                    since = self._tree.cache.changes
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if not seen:
            node = await self._tree.look(self._key)
            if node.stored is not None:
                raise NotADirectory
            if node.missing:
                raise NotFound

    async def _is_file(self) -> bool:
        """True if the directory's name is that of a file; who counts does not ask for such a directory."""
        if not self._key or not self._times:
            return False
        tree = self._tree
        known = tree.cache.get(tree.keys.object(self._key), tree.settings.attribute_seconds)
        if known is not None and not known.missing:
            return known.is_file
        return await tree.is_file(self._key)

    async def _entries(self, page: Page, since: int) -> list[Entry]:
        """Entries of one page; what no name leads to is left out."""
        found: list[tuple[str, str, Stored | None]] = []
        for stored in page.objects:
            component = stored.key[len(self._folder) :]
            if component.startswith(PARTIAL_PREFIX):
                self.parts = True
                self.expired = self.expired or stored.modified < self._expires
                continue
            name = decode(component) if "/" not in component else None
            if name is not None and not name.startswith(TREE_PREFIX):
                found.append((stored.key, name, stored))
        for prefix in page.prefixes:
            name = decode(prefix[len(self._folder) : -1])
            if name is not None and not name.startswith(TREE_PREFIX):
                found.append((prefix, name, None))
        found.sort(key=lambda item: item[0])
        shown = [item for item in found if not self._hidden_by_file(item[0])]
        detailed = await self._details([stored for _, _, stored in shown if stored is not None])
        cache = self._tree.cache
        entries: list[Entry] = []
        for key, name, listed in shown:
            if listed is None:
                known = cache.get(key[:-1], self._tree.settings.attribute_seconds)
                marker = known.marker if known is not None and known.is_dir else None
                entries.append(directory_entry(name, marker))
                continue
            stored = detailed.get(key, listed)
            if self._times or stored.metadata is not None:
                cache.learn(key, Node(stored), since)
            entries.append(file_entry(name, stored))
        if self._siblings is not None:
            self._siblings.listed(self._folder, [key for key, _, listed in shown if listed is not None])
        return entries

    def _hidden_by_file(self, key: str) -> bool:
        """True for a directory whose name a file has, too; keys come in order, files first."""
        files = self._files
        while files and not key.startswith(files[-1]):
            files.pop()
        if not key.endswith("/"):
            files.append(key)
            return False
        return key[:-1] in files

    async def _details(self, listed: list[Stored]) -> dict[str, Stored]:
        """Objects with their metadata, by key; the rest, beyond the bound, is shown as listed."""
        tree = self._tree
        detailed: dict[str, Stored] = {}
        unknown: list[Stored] = []
        for stored in listed:
            kept = stored if stored.metadata is not None else tree.cache.details(stored)
            if kept is not None:
                detailed[stored.key] = kept
            elif self._heads > 0:
                self._heads -= 1
                unknown.append(stored)
        waiting = iter(unknown)

        async def work() -> None:
            for stored in waiting:
                try:
                    found = await tree.bucket.head(stored.key)
                except (NotFound, WorldError):
                    continue  # gone, or not to be had: it is shown as it was listed
                detailed[stored.key] = found
                tree.cache.keep_details(stored, found)

        if unknown:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(tree.settings.requests, len(unknown))):
                    group.create_task(work())
        return detailed
