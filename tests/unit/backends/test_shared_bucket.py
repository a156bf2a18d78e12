# SPDX-License-Identifier: Apache-2.0
"""Roots that share the client of a bucket: it is made once, lives as long as one of them, and may fail to open."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest

from tidegate.backends.objects import shared_bucket
from tidegate.backends.objects.bucket import Bucket
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


def kept(buckets: SharedBuckets, name: str, log: list[str]) -> SharedBucket:
    return cast(
        "SharedBucket", buckets.get(name, lambda: cast("Bucket", Made(log, [])), LIMITS, f"s3://{name}/")
    )


async def test_who_comes_back_finds_the_client_of_the_last_one() -> None:
    log: list[str] = []
    buckets = SharedBuckets()
    for _ in range(3):
        bucket = kept(buckets, "a", log)
        await bucket.open()
        assert await bucket.head("x") == "x"
        await bucket.close()
        del bucket
    assert log == ["made", "open"]
    await buckets.close()
    assert log == ["made", "open", "close"]
    again = kept(buckets, "a", log)
    await again.open()
    await again.close()
    await buckets.close()
    assert log == ["made", "open", "close"] * 2


async def test_a_client_that_nobody_uses_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_bucket, "KEPT_SECONDS", 0.0)
    log: list[str] = []
    buckets = SharedBuckets()
    bucket = kept(buckets, "a", log)
    await bucket.open()
    await bucket.close()
    async with asyncio.timeout(30):
        while "close" not in log:
            await asyncio.sleep(0)
    assert log == ["made", "open", "close"]
    await bucket.open()
    await bucket.open()
    await bucket.close()
    for _ in range(20):
        await asyncio.sleep(0)
    assert log[3:] == ["made", "open"]  # one user is left
    assert await bucket.head("x") == "x"
    await bucket.close()
    await buckets.close()
    assert log[3:] == ["made", "open", "close"]


async def test_only_so_many_clients_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_bucket, "KEPT_CLIENTS", 2)
    buckets = SharedBuckets()
    logs: list[list[str]] = [[] for _ in range(4)]
    for number, log in enumerate(logs):
        bucket = kept(buckets, str(number), log)
        await bucket.open()
        await bucket.close()
    async with asyncio.timeout(30):
        while "close" not in logs[1]:
            await asyncio.sleep(0)
    assert ["close" in log for log in logs] == [True, True, False, False]
    await buckets.close()
    assert all(log == ["made", "open", "close"] for log in logs)
