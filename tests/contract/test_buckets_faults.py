# SPDX-License-Identifier: Apache-2.0
"""A bucket over a network that fails: what is tried again, what a lost answer means, and what the errors say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate

import pytest
from tests.support.bucket_faults import (
    MIB,
    QUICK,
    check_cut_part,
    check_given_up,
    check_not_tried_again,
    check_repeated_marker,
)
from tests.support.fault_proxy import (
    ChangeAnswer,
    CutDownload,
    CutUpload,
    DamageUpload,
    FaultProxy,
    Hang,
    LoseAnswer,
    Refuse,
    Shorten,
    fault_proxy,
)
from tests.support.object_servers import ObjectServer

from tidegate.backends.objects.bucket import ObjectChanged, StorageDenied, StorageMisconfigured
from tidegate.backends.objects.s3 import S3Bucket
from tidegate.backends.objects.s3_client import make_loader
from tidegate.backends.objects.s3_options import S3Options
from tidegate.backends.objects.tries import Bounds
from tidegate.errors import AlreadyExists, NotFound, StorageFailed

LOADER = make_loader()
BUSY = [
    Refuse(503, "SlowDown"),
    Refuse(500, "InternalError"),
    Refuse(503, "ServiceUnavailable"),
    Refuse(429, "TooMany"),
]
BROKEN = [LoseAnswer(), CutUpload(0), CutUpload(2)]


@pytest.fixture
def proxy(seaweedfs_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(seaweedfs_server.endpoint) as made:
        yield made


@pytest.fixture
def name(seaweedfs_server: ObjectServer) -> str:
    return seaweedfs_server.bucket()


@contextlib.asynccontextmanager
async def through(
    proxy: FaultProxy, server: ObjectServer, name: str, bounds: Bounds = QUICK, **more: object
) -> AsyncIterator[S3Bucket]:
    options = S3Options(**server.options(name, **{"endpoint": proxy.endpoint, **more}))
    made = S3Bucket(options, bounds, LOADER)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def bucket(proxy: FaultProxy, seaweedfs_server: ObjectServer, name: str) -> AsyncIterator[S3Bucket]:
    async with through(proxy, seaweedfs_server, name) as made:
        yield made


@pytest.mark.parametrize("fault", [*BUSY, *BROKEN], ids=repr)
async def test_tried_again(bucket: S3Bucket, proxy: FaultProxy, fault) -> None:
    proxy.add("*", fault, times=2)
    put = await bucket.put("file", b"content", {"a": "1"})
    proxy.add("*", fault, times=2)
    assert (await bucket.head("file")).etag == put.etag
    proxy.add("*", fault, times=2)
    assert await bucket.get("file", 0, 100) == b"content"
    proxy.add("*", fault, times=2)
    assert [one.key async for page in bucket.pages("", delimited=False) for one in page.objects] == ["file"]
    proxy.add("*", fault, times=2)
    upload = await bucket.begin("big", {})
    proxy.add("*", fault, times=2)
    part = await bucket.part(upload, 1, b"p" * MIB)
    proxy.add("*", fault, times=2)
    assert (await bucket.complete(upload, [part])).size == MIB
    proxy.add("*", fault, times=2)
    copied = await bucket.copy(put, "copy")
    proxy.add("*", fault, times=2)
    await bucket.delete(["file", "big"])
    assert (await bucket.get("copy", 0, 100), copied.etag) == (b"content", put.etag)


@pytest.mark.parametrize("fault", [*BUSY, *BROKEN], ids=repr)
async def test_given_up_after_the_last_try(bucket: S3Bucket, proxy: FaultProxy, fault) -> None:
    assert type(await check_given_up(bucket, proxy, fault, "PutObject")) is StorageFailed


async def test_what_is_wrong_is_not_tried_again(bucket: S3Bucket, proxy: FaultProxy) -> None:
    await check_not_tried_again(bucket, proxy, code="InvalidArgument", get="GetObject", put="PutObject")


async def test_a_cut_part_leaves_nothing(bucket: S3Bucket, proxy: FaultProxy) -> None:
    await check_cut_part(bucket, proxy, "UploadPart")


async def test_damage_on_the_way_up_is_noticed_and_sent_again(bucket: S3Bucket, proxy: FaultProxy) -> None:
    proxy.add("PutObject", DamageUpload(3))
    await bucket.put("file", b"content", {})
    assert await bucket.get("file", 0, 10) == b"content"
    upload = await bucket.begin("big", {})
    proxy.add("UploadPart", DamageUpload(700_000))
    part = await bucket.part(upload, 1, b"p" * MIB)
    await bucket.complete(upload, [part])
    assert await bucket.get("big", 0, MIB) == b"p" * MIB


@pytest.mark.parametrize("sign", [True, False])
async def test_damage_that_stays_is_an_error(
    proxy: FaultProxy, seaweedfs_server: ObjectServer, name: str, sign: bool
) -> None:
    async with through(proxy, seaweedfs_server, name, sign_payload=sign) as bucket:
        proxy.add("PutObject", DamageUpload(3), times=100)
        with pytest.raises(StorageFailed):
            await bucket.put("file", b"content", {})
        with pytest.raises(NotFound):
            await bucket.head("file")


async def test_a_service_without_checksums_is_compared_by_md5(bucket: S3Bucket, proxy: FaultProxy) -> None:
    proxy.add("PutObject", ChangeAnswer(without=("x-amz-checksum-crc32",)))
    put = await bucket.put("file", b"content", {})
    assert put.sums == {"md5": put.etag}
    await bucket.put("file", b"content", {})
    first, second = [one.headers for one in proxy.asked]
    assert "x-amz-checksum-crc32" in first and "content-md5" not in first
    assert "content-md5" in second and "x-amz-checksum-crc32" not in second
    upload = await bucket.begin("big", {})
    part = await bucket.part(upload, 1, b"content")
    assert (await bucket.complete(upload, [part])).size == 7


async def test_an_etag_of_something_else_is_an_error(bucket: S3Bucket, proxy: FaultProxy) -> None:
    wrong = ChangeAnswer(without=("x-amz-checksum-crc32", "etag"), headers={"ETag": f'"{"0" * 32}"'})
    proxy.add("PutObject", wrong)
    with pytest.raises(StorageFailed, match="the service got md5 0000"):
        await bucket.put("file", b"content", {})


async def test_no_confirmation_at_all_is_an_error(bucket: S3Bucket, proxy: FaultProxy) -> None:
    silent = ChangeAnswer(without=("x-amz-checksum-crc32", "etag"), headers={"ETag": '"opaque"'})
    proxy.add("PutObject", silent)
    with pytest.raises(StorageFailed, match="set checksum to MD5"):
        await bucket.put("file", b"content", {})


async def test_fewer_bytes_than_there_are(bucket: S3Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"content" * 1000, {})
    proxy.add("GetObject", Shorten(10))
    with pytest.raises(StorageFailed):
        await bucket.get("file", 0, 1000)
    proxy.add("GetObject", CutDownload(500))
    assert await bucket.get("file", 0, 1000) == (b"content" * 1000)[:1000]


async def test_more_bytes_than_were_asked_for(bucket: S3Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"content" * 1000, {})
    lie = ChangeAnswer(without=("content-length",), headers={"Content-Length": "99999999999"})
    proxy.add("GetObject", lie, times=100)
    with pytest.raises(StorageFailed, match="99999999999 bytes come where 10 were asked for"):
        await bucket.get("file", 0, 10)


async def test_no_answer_has_a_bound(proxy: FaultProxy, seaweedfs_server: ObjectServer, name: str) -> None:
    bounds = Bounds(connect=5, read=0.2, call=5, tries=2, pause=0.01, longest_pause=0.01)
    async with through(proxy, seaweedfs_server, name, bounds) as bucket:
        proxy.add("*", Hang(), times=100)
        with pytest.raises(StorageFailed, match=r"HeadObject: ReadTimeoutError"):
            await bucket.head("file")
    bounds = Bounds(connect=5, read=60, call=0.3, tries=2)
    async with through(proxy, seaweedfs_server, name, bounds) as bucket:
        with pytest.raises(StorageFailed, match="HeadObject: no answer in time"):
            await bucket.head("file")


async def test_nobody_listens(seaweedfs_server: ObjectServer, name: str) -> None:
    with fault_proxy(seaweedfs_server.endpoint) as gone:
        pass
    async with through(gone, seaweedfs_server, name) as bucket:
        with pytest.raises(StorageFailed, match="HeadObject: EndpointConnectionError"):
            await bucket.head("file")


# -- lost answers ------------------------------------------------------------------------------------------


async def test_lost_answer_to_a_creation(bucket: S3Bucket, proxy: FaultProxy) -> None:
    proxy.add("PutObject", LoseAnswer())
    made = await bucket.put("file", b"mine", {"a": "1"}, create=True)
    assert proxy.operations() == ["PutObject", "PutObject", "HeadObject"]
    assert (made.size, made.metadata) == (4, {"a": "1"})


async def test_lost_answer_to_a_creation_that_failed(bucket: S3Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"mine", {}, create=True)
    proxy.add("PutObject", LoseAnswer())
    with pytest.raises(AlreadyExists):  # the same content does not make it ours
        await bucket.put("file", b"mine", {}, create=True)


@pytest.mark.parametrize("create", [True, False])
async def test_lost_answer_to_complete(bucket: S3Bucket, proxy: FaultProxy, create: bool) -> None:
    upload = await bucket.begin("file", {"a": "1"})
    parts = [await bucket.part(upload, 1, b"p" * 5 * MIB), await bucket.part(upload, 2, b"rest")]
    proxy.add("CompleteMultipartUpload", LoseAnswer())
    stored = await bucket.complete(upload, parts, create=create)
    assert stored.etag == (await bucket.head("file")).etag
    assert stored.size == 5 * MIB + 4


async def test_lost_answer_to_complete_of_an_upload_that_is_gone_then(
    bucket: S3Bucket, proxy: FaultProxy
) -> None:
    upload = await bucket.begin("file", {})
    parts = [await bucket.part(upload, 1, b"content")]
    proxy.add("CompleteMultipartUpload", LoseAnswer())
    proxy.add("CompleteMultipartUpload", Refuse(404, "NoSuchUpload"))
    assert (await bucket.complete(upload, parts)).size == 7
    other = await bucket.begin("file", {})
    parts = [await bucket.part(other, 1, b"another")]
    proxy.add("CompleteMultipartUpload", Refuse(500, "InternalError"))
    proxy.add("CompleteMultipartUpload", Refuse(404, "NoSuchUpload"))
    with pytest.raises(NotFound):
        await bucket.complete(other, parts)
    assert await bucket.get("file", 0, 10) == b"content"


async def test_success_with_an_error_inside(bucket: S3Bucket, proxy: FaultProxy) -> None:
    upload = await bucket.begin("file", {})
    parts = [await bucket.part(upload, 1, b"content")]
    proxy.add("CompleteMultipartUpload", Refuse(200, "InternalError"), times=2)
    assert (await bucket.complete(upload, parts)).size == 7
    source = await bucket.head("file")
    proxy.add("CopyObject", Refuse(200, "InternalError"), times=2)
    assert (await bucket.copy(source, "copy")).size == 7
    assert await bucket.get("copy", 0, 10) == b"content"


async def test_lost_answer_to_a_copy_that_replaces_nothing(bucket: S3Bucket, proxy: FaultProxy) -> None:
    source = await bucket.put("source", b"content", {})
    proxy.add("CopyObject", LoseAnswer())
    assert (await bucket.copy(source, "target", create=True)).etag == source.etag


# -- errors of the operator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "kind", "detail"),
    [
        (Refuse(404, "NoSuchBucket"), StorageMisconfigured, "{}: there is no bucket '{name}'"),
        (Refuse(403, "AccessDenied"), StorageDenied, "{}: AccessDenied: by the proxy (needs the permission {permission})"),
        (
            Refuse(403, "AccessDenied", "User: x is not authorized to perform: kms:GenerateDataKey on resource: y"),
            StorageDenied, "(needs the permission kms:GenerateDataKey)",
        ),
        (
            Refuse(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-3"}),
            StorageMisconfigured, "{}: bucket '{name}' is in region eu-west-3, not in us-east-1: set region",
        ),
        (
            Refuse(400, "AuthorizationHeaderMalformed", headers={"x-amz-bucket-region": "eu-west-3"}),
            StorageMisconfigured, "is in region eu-west-3, not in us-east-1",
        ),
        (
            Refuse(403, "RequestTimeTooSkewed", headers={"Date": formatdate(time.time() + 7200, usegmt=True)}),
            StorageMisconfigured, "seconds behind the service's",
        ),
        (Refuse(403, "InvalidAccessKeyId"), StorageDenied, "{}: the service does not know the access key"),
        (Refuse(403, "SignatureDoesNotMatch"), StorageDenied, "{}: the secret does not belong to the access key"),
        (Refuse(400, "ExpiredToken"), StorageDenied, "{}: the credentials have expired"),
        (Refuse(412, "PreconditionFailed"), ObjectChanged, ""),
        (Refuse(409, "SomethingElse"), StorageFailed, "{}: SomethingElse: by the proxy"),
    ],
    ids=lambda value: getattr(value, "code", None),
)  # fmt: skip
async def test_every_refusal_is_told_apart(
    bucket: S3Bucket, proxy: FaultProxy, refusal, kind, detail
) -> None:
    name = bucket.location("").split("/")[2]
    permissions = {
        "GetObject": "s3:GetObject", "PutObject": "s3:PutObject", "ListObjectsV2": "s3:ListBucket",
        "CreateMultipartUpload": "s3:PutObject", "DeleteObject": "s3:DeleteObject",
    }  # fmt: skip
    calls = {
        "GetObject": lambda: bucket.get("key", 0, 1),
        "PutObject": lambda: bucket.put("key", b"x", {}),
        "ListObjectsV2": lambda: anext(aiter(bucket.pages("", delimited=False))),
        "CreateMultipartUpload": lambda: bucket.begin("key", {}),
        "DeleteObject": lambda: bucket.delete(["key"]),
    }
    for operation, call in calls.items():
        proxy.add(operation, refusal)
        with pytest.raises(kind) as caught:
            await call()
        assert type(caught.value) is kind
        expected = detail.format(operation, name=name, permission=permissions[operation])
        assert expected in caught.value.detail
        assert caught.value.text == kind.default_text
    proxy.clear()
    proxy.add("HeadObject", refusal)
    proxy.add("GetObject", refusal)
    if kind is not StorageFailed and refusal.status != 404:
        with pytest.raises(kind) as caught:
            await bucket.head("key")
        said = detail.removeprefix("{}: ").format(name=name, permission="s3:GetObject")
        assert said in caught.value.detail


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("ListObjectsV2", "s3:ListBucket"), ("PutObject", "s3:PutObject"), ("GetObject", "s3:GetObject"),
        ("CreateMultipartUpload", "s3:PutObject"), ("AbortMultipartUpload", "s3:AbortMultipartUpload"),
        ("DeleteObject", "s3:DeleteObject"),
    ],
)  # fmt: skip
async def test_check_names_the_permission(
    bucket: S3Bucket, proxy: FaultProxy, operation: str, permission: str
) -> None:
    proxy.add(operation, Refuse(403, "AccessDenied"))
    with pytest.raises(StorageDenied, match=permission):
        await bucket.check("home/")


async def test_a_bucket_that_disappears(
    bucket: S3Bucket,
    proxy: FaultProxy,
    seaweedfs_server: ObjectServer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await bucket.put("file", b"x", {})
    seaweedfs_server.admin.delete_object(Bucket=name, Key="file")
    seaweedfs_server.admin.delete_bucket(Bucket=name)
    with pytest.raises(NotFound):  # the bucket was there a moment ago
        await bucket.head("file")
    monkeypatch.setattr("tidegate.backends.objects.s3_requests.SEEN_SECONDS", -1.0)
    with pytest.raises(StorageMisconfigured, match="there is no bucket"):
        await bucket.head("file")


# -- credentials -------------------------------------------------------------------------------------------


async def test_static_credentials_that_expire_are_not_fetched_again(
    bucket: S3Bucket, proxy: FaultProxy
) -> None:
    proxy.add("PutObject", Refuse(400, "ExpiredToken"), times=2)
    with pytest.raises(StorageDenied):
        await bucket.put("file", b"x", {})
    assert proxy.operations() == ["PutObject"]


async def test_credentials_that_expire_while_a_part_is_up(
    proxy: FaultProxy, seaweedfs_server: ObjectServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs_server.access_secret)
    async with through(proxy, seaweedfs_server, name, access_key="", access_secret="") as bucket:
        upload = await bucket.begin("big", {})
        proxy.add("UploadPart", Refuse(400, "ExpiredToken"))
        calls = [bucket.part(upload, number, b"p" * 5 * MIB) for number in (1, 2, 3)]
        parts = await asyncio.gather(*calls)
        assert (await bucket.complete(upload, parts)).size == 15 * MIB
        proxy.add("HeadObject", Refuse(400, "x"))
        proxy.add("GetObject", Refuse(400, "ExpiredToken"))
        with pytest.raises(StorageDenied):  # fetched a moment ago, so others there are none
            await bucket.head("big")


# -- latency -----------------------------------------------------------------------------------------------


async def test_requests_overlap(bucket: S3Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"x" * 100, {})
    proxy.latency = 0.1
    begun = time.monotonic()
    await asyncio.gather(*(bucket.get("file", start, 1) for start in range(20)))
    assert time.monotonic() - begun < 20 * 0.1


@pytest.mark.parametrize("delimited", [False, True])
async def test_a_list_whose_marker_repeats_is_no_whole_list(
    bucket: S3Bucket, proxy: FaultProxy, delimited: bool
) -> None:
    await check_repeated_marker(bucket, proxy, "ListObjectsV2", delimited=delimited)
