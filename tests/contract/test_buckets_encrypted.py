# SPDX-License-Identifier: Apache-2.0
"""SSE-C: content is read with the customer's key only. SSE-S3, SSE-KMS and ACL are asked for with all that is made."""

from __future__ import annotations

import pytest
from tests.support.fault_proxy import fault_proxy
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


@pytest.mark.parametrize(("encryption", "key"), [("AES256", ""), ("aws:kms", "alias/files")])
async def test_what_is_made_has_the_encryption_and_the_acl_of_the_record(
    moto_server: ObjectServer, encryption: str, key: str
) -> None:
    """By the client library, which sends the first of each, and past it."""
    name = moto_server.bucket()
    with fault_proxy(moto_server.endpoint) as proxy:
        bucket = moto_server.made(
            name,
            endpoint=proxy.endpoint,
            acl="bucket-owner-full-control",
            server_side_encryption=encryption,
            sse_kms_key_id=key,
            checksum="MD5",  # moto confirms no CRC-32, and an ETag of SSE-KMS is no MD5
        )
        await bucket.open()
        try:
            for number in range(2):
                stored = await bucket.put(f"f{number}", b"content", {})
                await bucket.copy(stored, f"c{number}")
                upload = await bucket.begin(f"u{number}", {})
                await bucket.complete(upload, [await bucket.part(upload, 1, b"part")])
        finally:
            await bucket.close()
    made = [
        one for one in proxy.asked if one.operation in {"PutObject", "CopyObject", "CreateMultipartUpload"}
    ]
    assert len(made) == 6
    for one in made:
        assert one.headers["x-amz-acl"] == "bucket-owner-full-control"
        assert one.headers["x-amz-server-side-encryption"] == encryption
        assert one.headers.get("x-amz-server-side-encryption-aws-kms-key-id", "") == key
    for found in ("f0", "f1", "c0", "u1"):
        assert moto_server.admin.head_object(Bucket=name, Key=found)["ServerSideEncryption"] == encryption
