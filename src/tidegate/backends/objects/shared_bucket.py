# SPDX-License-Identifier: Apache-2.0
"""One client of a service for all roots in one bucket, made when the first of them is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, cast
from weakref import WeakValueDictionary

from tidegate.backends.objects.bucket import Bucket, Limits
from tidegate.backends.objects.observed_bucket import ObservedBucket
from tidegate.errors import StorageFailed
from tidegate.model import StorageSpec
from tidegate.model.observe import Observe


class SharedBucket:
    """A `Bucket` that several roots open and close; what they know of its objects is then one, too.

    Args:
        make: imports the client's library and makes a bucket; called in a thread, because that takes a while.
        limits: of the bucket.
        place: its location, for instance ``s3://bucket/``.
    """

    def __init__(self, make: Callable[[], Bucket], limits: Limits, place: str) -> None:
        self.limits = limits
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
        """Release the client if nobody else uses it."""
        self._users = max(self._users - 1, 0)
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

    def get(self, key: Hashable, make: Callable[[], Bucket], limits: Limits, place: str) -> Bucket:
        """The bucket of this key; equal keys mean the same bucket, reached in the same way."""
        found = self._used.get(key)
        if found is None:
            if self._observe is not None:
                make = partial(_observed, make, self._kind, self._observe)
            found = self._used[key] = SharedBucket(make, limits, place)
        return cast("Bucket", found)


def _observed(make: Callable[[], Bucket], kind: str, observe: Observe) -> Bucket:
    return cast("Bucket", ObservedBucket(make(), kind, observe))


def owner_of(spec: StorageSpec) -> Hashable:
    """The owner of the share of memory that transfers of a root use: an account's home, or a folder."""
    return (spec.owner.kind, spec.owner.name) if spec.owner.name else ""
