# SPDX-License-Identifier: Apache-2.0
"""Checks of a bucket behind a `fault_proxy` that are the same for every service, by the names of its operations."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fault_proxy import CutUpload, FaultProxy, Refuse, Repeat

from tidegate.backends.objects.bucket import Bucket
from tidegate.backends.objects.tries import Bounds
from tidegate.errors import NotFound, StorageFailed

MIB = 1024 * 1024
QUICK = Bounds(connect=5, read=5, call=20, tries=4, pause=0.01, longest_pause=0.05)


async def check_given_up(bucket: Bucket, proxy: FaultProxy, fault: Any, put: str) -> StorageFailed:
    """A fault that stays is met so often and no more; returns the error."""
    proxy.add("*", fault, times=100)
    with pytest.raises(StorageFailed) as caught:
        await bucket.put("file", b"content", {})
    assert caught.value.detail.startswith(f"{put}: ")
    assert proxy.operations() == [put] * QUICK.tries
    return caught.value


async def check_not_tried_again(bucket: Bucket, proxy: FaultProxy, *, code: str, get: str, put: str) -> None:
    """A request that the service finds wrong is an error at once."""
    with pytest.raises(NotFound):
        await bucket.get("none", 0, 1)
    proxy.add("*", Refuse(400, code))
    with pytest.raises(StorageFailed, match=code):
        await bucket.put("file", b"", {})
    assert proxy.operations() == [get, put]


async def check_cut_part(bucket: Bucket, proxy: FaultProxy, part: str) -> None:
    """A part that is cut each time leaves nothing."""
    upload = await bucket.begin("big", {})
    proxy.add(part, CutUpload(3 * MIB), times=100)
    with pytest.raises(StorageFailed):
        await bucket.part(upload, 1, b"p" * 5 * MIB)
    proxy.clear()
    assert await bucket.parts(upload) == []


async def check_repeated_marker(bucket: Bucket, proxy: FaultProxy, listing: str, *, delimited: bool) -> None:
    """A service that hands out one page again and again would be read for ever, or taken for complete."""
    for name in "abcde":
        await bucket.put(name, b"", {})
    proxy.add(listing, Repeat(), times=100)
    seen = 0
    with pytest.raises(StorageFailed, match="marker of the next page was there already"):
        async for page in bucket.pages("", delimited=delimited, size=2):
            seen += len(page.objects)
    assert 2 <= seen <= 6
