# SPDX-License-Identifier: Apache-2.0
"""Roots that share the client of a bucket: it is made once, lives as long as one of them, and may fail to open."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tidegate.backends.objects.s3_options import LIMITS
from tidegate.backends.objects.shared_bucket import SharedBucket, SharedBuckets
from tidegate.errors import StorageFailed


class Made:
    """The part of a bucket that sharing touches, with a record of it."""

    def __init__(self, log: list[str], fails: list[Exception]) -> None:
        self.log = log
        self.fails = fails
        log.append(
            "made" if threading.current_thread() is not threading.main_thread() else "made in the loop"
        )

    async def open(self) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails.pop()
        self.log.append("open")

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.log.append("close")

    async def head(self, key: str) -> str:
        return key


def shared(log: list[str], fails: list[Exception] | None = None) -> SharedBucket:
    failing = fails if fails is not None else []
    return SharedBucket(lambda: Made(log, failing), LIMITS, "s3://b/")  # type: ignore[arg-type, return-value]


async def test_one_client_as_long_as_somebody_uses_it() -> None:
    log: list[str] = []
    bucket = shared(log)
    await asyncio.gather(bucket.open(), bucket.open())
    assert log == ["made", "open"]
    await bucket.close()
    assert await bucket.head("x") == "x"
    await bucket.close()
    assert log == ["made", "open", "close"]
    await bucket.open()
    assert log == ["made", "open", "close", "made", "open"]
    await asyncio.gather(bucket.close(), bucket.open())
    assert await bucket.head("x") == "x"
    await bucket.close()


async def test_a_root_that_could_not_open_takes_nothing_from_others() -> None:
    log: list[str] = []
    bucket = shared(log, [StorageFailed()])
    with pytest.raises(StorageFailed):
        await bucket.open()
    await bucket.close()
    await bucket.open()
    assert await bucket.head("x") == "x"
    await bucket.close()
    assert log == ["made", "made", "open", "close"]


async def test_not_open() -> None:
    bucket = shared([])
    assert bucket.location("x") == "s3://b/x"
    assert bucket.limits is LIMITS
    with pytest.raises(StorageFailed, match="is not open"):
        await bucket.head("x")


async def test_equal_keys_mean_one_bucket() -> None:
    buckets = SharedBuckets()
    first = buckets.get("a", lambda: Made([], []), LIMITS, "s3://a/")  # type: ignore[arg-type, return-value]
    assert buckets.get("a", lambda: Made([], []), LIMITS, "s3://a/") is first  # type: ignore[arg-type, return-value]
    assert buckets.get("b", lambda: Made([], []), LIMITS, "s3://b/") is not first  # type: ignore[arg-type, return-value]
