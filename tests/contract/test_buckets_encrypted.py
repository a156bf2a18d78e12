# SPDX-License-Identifier: Apache-2.0
"""SSE-C: content that the service encrypts with the customer's key is read with that key only."""

from __future__ import annotations

import pytest
from tests.support.object_servers import ObjectServer

from tidegate.backends.objects.s3 import S3Bucket
from tidegate.backends.objects.s3_client import make_loader
from tidegate.backends.objects.s3_options import S3Options
from tidegate.errors import StorageFailed

MIB = 1024 * 1024
LOADER = make_loader()


async def test_customer_key(seaweedfs_server: ObjectServer) -> None:
    name = seaweedfs_server.bucket()
    bucket = S3Bucket(S3Options(**seaweedfs_server.options(name, sse_customer_key="k" * 32)), loader=LOADER)
    other = S3Bucket(S3Options(**seaweedfs_server.options(name, sse_customer_key="o" * 32)), loader=LOADER)
    await bucket.open()
    await other.open()
    try:
        put = await bucket.put("file", b"content", {"a": "1"})
        assert (await bucket.head("file")).metadata == {"a": "1"}
        assert await bucket.get("file", 1, 3) == b"ont"
        copied = await bucket.copy(put, "copy", {"b": "2"})
        assert await bucket.get(copied.key, 0, 10) == b"content"
        upload = await bucket.begin("big", {})
        parts = [await bucket.part(upload, 1, b"p" * 5 * MIB), await bucket.part(upload, 2, b"tail")]
        await bucket.complete(upload, parts)
        assert await bucket.get("big", 5 * MIB - 1, 10) == b"ptail"
        with pytest.raises(StorageFailed):
            await other.get("file", 0, 10)
    finally:
        await bucket.close()
        await other.close()
