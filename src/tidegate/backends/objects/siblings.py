# SPDX-License-Identifier: Apache-2.0
"""Small files of a directory, fetched ahead of a client that opens one after the other.

A client that copies a directory lists it and then opens its files in that order, each when the last one has
come: a round trip to the service for each file. Once two were opened in the order of the listing, the next
ones are fetched: 4 at first, twice as many with each that is opened. What was fetched is bound to the object
by its ETag and is no older than attributes are kept; it counts in the memory of the owner, and goes when
others need that.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from tidegate.backends.objects.attributes import AttributeCache
from tidegate.backends.objects.bucket import Bucket, Content, Stored
from tidegate.backends.objects.budget import Share
from tidegate.errors import TidegateError

SMALL_BYTES: Final = 256 * 1024
"""Files up to this size are fetched whole, ahead."""
LISTINGS: Final = 16
"""Directories of one root whose order is known."""
LISTED_NAMES: Final = 10_000
"""Names of one of them; of a larger one the first."""
SKIPPED: Final = 4
"""A client that leaves out fewer names than that goes on in order."""
FIRST_FILES: Final = 4
"""Files that are fetched ahead at first."""


@dataclass(slots=True, eq=False)
class _Order:
    keys: list[str] = field(default_factory=list)
    at: int = -SKIPPED - 1
    run: int = 0
    asked: int = 0


@dataclass(slots=True, eq=False)
class _Fetched:
    stored: Stored
    task: asyncio.Task[Content]
    begun: float


class Siblings:
    """The files ahead of one root.

    Args:
        bucket: open while this is used.
        cache: what is known of the bucket.
        memory: of the root.
        seconds: greatest age of what was fetched; 0 fetches nothing.
        most: files that are fetched ahead; 0 fetches nothing.
        known_seconds: greatest age of what is known of a file.
    """

    def __init__(
        self,
        bucket: Bucket,
        cache: AttributeCache,
        memory: Share,
        *,
        seconds: float,
        most: int,
        known_seconds: float,
    ) -> None:
        self._bucket = bucket
        self._cache = cache
        self._memory = memory
        self._seconds = seconds
        self._most = most if seconds > 0 else 0
        self._known_seconds = known_seconds
        self._orders: OrderedDict[str, _Order] = OrderedDict()
        self._fetched: dict[str, _Fetched] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, folder: str) -> None:
        """A directory is being listed from its beginning."""
        if not self._most:
            return
        self._orders[folder] = _Order()
        self._orders.move_to_end(folder)
        if len(self._orders) > LISTINGS:
            self._orders.popitem(last=False)

    def listed(self, folder: str, keys: list[str]) -> None:
        """The next files of that listing."""
        order = self._orders.get(folder)
        if order is not None:
            order.keys += keys[: LISTED_NAMES - len(order.keys)]

    async def take(self, stored: Stored) -> tuple[Content, int]:
        """The content of a file that is opened now, and how much of the memory it holds; nothing if unknown.

        Begins to fetch those behind it.
        """
        mine = self._fetched.pop(stored.key, None)
        self._opened(stored.key)
        if mine is None:
            return b"", 0
        size = mine.stored.size
        try:
            data = await asyncio.shield(mine.task)
        except TidegateError:
            data = b""
        except BaseException:
            mine.task.cancel()
            self._memory.give_back(size)
            raise
        now = time.monotonic()
        if len(data) == size and mine.stored.etag == stored.etag and now - mine.begun <= self._seconds:
            return data, size
        self._memory.give_back(size)
        return b"", 0

    def shrink(self) -> None:
        """Give everything back; see `budget.Shrinks`."""
        for key in list(self._fetched):
            self._drop(key)

    def close(self) -> None:
        """End what is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.shrink()
        self._memory.ended(self)
        self._orders.clear()

    def _opened(self, key: str) -> None:
        order = self._orders.get(key[: key.rfind("/") + 1])
        if order is None:
            return
        index = bisect_left(order.keys, key)
        if index >= len(order.keys) or order.keys[index] != key:
            return
        in_order = 0 < index - order.at <= SKIPPED
        order.run = order.run + 1 if in_order else 0
        if not in_order:
            order.asked = 0
        order.at = index
        if order.run:
            ahead = min(self._most, FIRST_FILES << min(order.run - 1, 16))
            self._fetch(order, index + 1, min(index + 1 + ahead, len(order.keys)))

    def _fetch(self, order: _Order, start: int, end: int) -> None:
        for index in range(max(start, order.asked), end):
            key = order.keys[index]
            node = self._cache.get(key, self._known_seconds)
            stored = node.stored if node is not None else None
            if stored is not None and 0 < stored.size <= SMALL_BYTES and key not in self._fetched:
                if len(self._fetched) >= 2 * self._most or not self._memory.take_nowait(stored.size):
                    return
                task = asyncio.get_running_loop().create_task(
                    self._bucket.get(key, 0, stored.size, if_etag=stored.etag)
                )
                task.add_done_callback(_retrieved)
                self._fetched[key] = _Fetched(stored, task, time.monotonic())
                self._memory.used(self)
                if self._timer is None:
                    self._wait(self._seconds)
            order.asked = index + 1

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        """Drop what nobody has asked for; looks again as long as there is something."""
        self._timer = None
        now = time.monotonic()
        for key in [key for key, one in self._fetched.items() if now - one.begun >= self._seconds]:
            self._drop(key)
        if self._fetched:
            self._wait(min(one.begun for one in self._fetched.values()) + self._seconds - now)

    def _drop(self, key: str) -> None:
        one = self._fetched.pop(key)
        one.task.cancel()
        self._memory.give_back(one.stored.size)


def _retrieved(task: asyncio.Task[Content]) -> None:
    """A failure is no error: whoever opens the file asks again."""
    if not task.cancelled():
        task.exception()


__all__ = ["Siblings"]
