# SPDX-License-Identifier: Apache-2.0
"""Directories whose names are asked for again and again are listed: what is not there is free.

Else each new file costs two requests and a round trip before its content is sent. A directory of one page is
listed along with the question that makes it worth it; a larger one, whose pages come one after the other,
in the background, after so many questions that the list costs a quarter of them at most.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from tidegate.backends.objects.attributes import AttributeCache
from tidegate.backends.objects.bucket import Bucket, paging
from tidegate.errors import TidegateError

OFTEN: Final = 4
"""Questions within the time that answers are kept, for each page that is listed."""
ASKED_DIRECTORIES: Final = 1024
"""Directories whose questions are counted."""
PAGE_NAMES: Final = 1000
"""Names of one page."""
LARGE_PAGES: Final = 10
"""Pages of the largest directory that is listed; of a larger one each name is asked for."""
TOO_LARGE_SECONDS: Final = 300.0
"""Seconds before a larger one is tried again."""


class DirectoryLooks:
    """Lists of directories for one root. Life: constructed (pure), used, `close`.

    Args:
        bucket: open while this is used.
        cache: learns what they hold.
        seconds: that what is known counts.
    """

    def __init__(self, bucket: Bucket, cache: AttributeCache, seconds: float) -> None:
        self._bucket = bucket
        self._cache = cache
        self._seconds = seconds
        self._asked: dict[str, tuple[float, int]] = {}
        self._too_large: dict[str, float] = {}
        self._learning: dict[str, asyncio.Task[bool]] = {}

    def asked(self, directory: str) -> bool:
        """Count a question about a name; True if the directory is to be listed along with it, by `learn`."""
        now = time.monotonic()
        begun, count = self._asked.get(directory, (0.0, 0))
        if now - begun > self._seconds:
            begun, count = now, 0
        if len(self._asked) >= ASKED_DIRECTORIES:
            self._asked.clear()
        self._asked[directory] = begun, count + 1
        too_large = now < self._too_large.get(directory, 0.0)
        if count + 1 == OFTEN * LARGE_PAGES and not too_large:
            self._learn_behind(directory)
        return count + 1 == OFTEN and not too_large and self._cache.uses(directory)[0] < PAGE_NAMES

    def _learn_behind(self, directory: str) -> None:
        if directory in self._learning:
            return
        task = asyncio.get_running_loop().create_task(self._learn_large(directory))
        self._learning[directory] = task
        task.add_done_callback(lambda _: self._learning.pop(directory, None))

    async def _learn_large(self, directory: str) -> bool:
        with suppress(TidegateError):  # whoever needs to know asks again, and is told
            if await self.learn(directory, LARGE_PAGES):
                return True
            if len(self._too_large) >= ASKED_DIRECTORIES:
                self._too_large.clear()
            self._too_large[directory] = time.monotonic() + TOO_LARGE_SECONDS
        return False

    async def learn(self, directory: str, most: int = 1) -> bool:
        """List a directory; False if it has more than `most` pages, and nothing was learned."""
        since, begun = self._cache.changes, self._cache.now()
        keys: set[str] = set()
        number = 0
        async with paging(self._bucket.pages(directory, delimited=True)) as pages:
            async for page in pages:
                number += 1
                keys.update(stored.key for stored in page.objects)
                keys.update(prefix[:-1] for prefix in page.prefixes)
                if number > most or len(keys) >= most * PAGE_NAMES:
                    return False
        self._cache.learn_directory(directory, keys, since, begun)
        return True

    async def renew(self, directory: str) -> None:
        """List a directory again, if it has not grown by more than a page since."""
        names, _ = self._cache.uses(directory)
        await self.learn(directory, min(names // PAGE_NAMES + 1, LARGE_PAGES))

    def worth_renewing(self, directory: str) -> bool:
        """True if what is known of a directory has saved more requests than it costs to list it again."""
        names, uses = self._cache.uses(directory)
        return uses >= OFTEN * (names // PAGE_NAMES)

    async def close(self) -> None:
        """End what runs in the background."""
        tasks = list(self._learning.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["DirectoryLooks"]
