# SPDX-License-Identifier: Apache-2.0
"""One client of a service for all roots in one bucket, made when the first of them is opened.

It is kept for a while when the last one is closed: a client that logs in again finds its connections open and
signed requests known, which saves round trips and some 5 ms of CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final, cast
from weakref import WeakValueDictionary

from tidegate.backends.objects.bucket import Bucket, Limits
from tidegate.backends.objects.observed_bucket import ObservedBucket
from tidegate.errors import StorageFailed
from tidegate.model import StorageSpec
from tidegate.model.observe import Observe

KEPT_SECONDS: Final = 60.0
"""A client that nobody uses is closed after so long."""
KEPT_CLIENTS: Final = 32
"""Clients that nobody uses, of one kind of storage; a further one closes the oldest."""


class SharedBucket:
    """A `Bucket` that several roots open and close; what they know of its objects is then one, too.

    Args:
        make: imports the client's library and makes a bucket; called in a thread, because that takes a while.
        limits: of the bucket.
        place: its location, for instance ``s3://bucket/``.
        unused: called when its last user has gone, and keeps it for a while then, until it calls `release`;
            None to release the client at once.
    """

    def __init__(
        self,
        make: Callable[[], Bucket],
        limits: Limits,
        place: str,
        unused: Callable[[SharedBucket], None] | None = None,
    ) -> None:
        self.limits = limits
        self._unused = unused
        self._make = make
        self._place = place
        self._bucket: Bucket | None = None
        self._users = 0
        self._changing = asyncio.Lock()

    def location(self, key: str) -> str:
        """See `Bucket.location`."""
        return f"{self._place}{key}"

    async def open(self) -> None:
        """Make the client ready if nobody has yet. `close` belongs to each call, also to one that failed."""
        self._users += 1
        async with self._changing:
            if self._bucket is None:
                made = await asyncio.to_thread(self._make)
                await made.open()
                self._bucket = made

    async def close(self) -> None:
        """One user fewer; the client is released with the last one, or some time after it."""
        self._users = max(self._users - 1, 0)
        if self._unused is None or self._bucket is None:
            await self.release()
        elif self._users == 0:
            self._unused(self)

    async def release(self) -> None:
        """Release the client if nobody uses it."""
        async with self._changing:
            bucket = self._bucket
            if self._users == 0 and bucket is not None:
                self._bucket = None
                await bucket.close()

    def __getattr__(self, name: str) -> Any:
        bucket = self.__dict__.get("_bucket")
        if bucket is None:
            raise StorageFailed(detail=f"{self._place} is not open")
        return getattr(bucket, name)


class SharedBuckets:
    """The buckets of one kind of storage that are in use.

    Args:
        kind: its name.
        observe: told of each request; None where nobody counts them.
    """

    def __init__(self, kind: str = "", observe: Observe | None = None) -> None:
        self._kind = kind
        self._observe = observe
        self._used: WeakValueDictionary[Hashable, SharedBucket] = WeakValueDictionary()
        self._kept: dict[SharedBucket, asyncio.TimerHandle] = {}
        self._releasing: set[asyncio.Task[None]] = set()

    def get(self, key: Hashable, make: Callable[[], Bucket], limits: Limits, place: str) -> Bucket:
        """The bucket of this key; equal keys mean the same bucket, reached in the same way."""
        found = self._used.get(key)
        if found is None:
            if self._observe is not None:
                make = partial(_observed, make, self._kind, self._observe)
            found = self._used[key] = SharedBucket(make, limits, place, self._keep)
        return cast("Bucket", found)

    def _keep(self, bucket: SharedBucket) -> None:
        """Release an unused bucket later, unless somebody uses it by then."""
        self._forget(bucket)
        loop = asyncio.get_running_loop()
        self._kept[bucket] = loop.call_later(KEPT_SECONDS, self._release, bucket)
        if len(self._kept) > KEPT_CLIENTS:
            self._release(next(iter(self._kept)))

    def _forget(self, bucket: SharedBucket) -> None:
        timer = self._kept.pop(bucket, None)
        if timer is not None:
            timer.cancel()

    def _release(self, bucket: SharedBucket) -> None:
        self._forget(bucket)
        task = asyncio.get_running_loop().create_task(bucket.release())
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def close(self) -> None:
        """Release the clients that nobody uses."""
        for bucket in list(self._kept):
            self._release(bucket)
        await asyncio.gather(*self._releasing, return_exceptions=True)


def _observed(make: Callable[[], Bucket], kind: str, observe: Observe) -> Bucket:
    return cast("Bucket", ObservedBucket(make(), kind, observe))


def owner_of(spec: StorageSpec) -> Hashable:
    """The owner of the share of memory that transfers of a root use: an account's home, or a folder."""
    return (spec.owner.kind, spec.owner.name) if spec.owner.name else ""
