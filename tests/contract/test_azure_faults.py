# SPDX-License-Identifier: Apache-2.0
"""Azure Blob over a network that fails, and uploads that end each other: never other bytes than were sent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.support.azure_server import KEY, AzureServer
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

from tidegate.backends.objects.azure import AzureBucket
from tidegate.backends.objects.azure_options import LIMITS
from tidegate.backends.objects.bucket import ObjectChanged, Part, StorageDenied, StorageMisconfigured, Stored
from tidegate.backends.objects.copying import copy_object
from tidegate.backends.objects.tries import Bounds
from tidegate.errors import AlreadyExists, InvalidPath, NotFound, StorageFailed

FAULTS = [
    Refuse(503, "ServerBusy"),
    Refuse(500, "OperationTimedOut"),
    LoseAnswer(),
    CutUpload(0),
    CutUpload(2),
]


@pytest.fixture
def proxy(azurite_server: AzureServer) -> Iterator[FaultProxy]:
    with fault_proxy(azurite_server.endpoint) as made:
        yield made


@pytest.fixture
def name(azurite_server: AzureServer) -> str:
    return azurite_server.bucket()


@contextlib.asynccontextmanager
async def through(
    proxy: FaultProxy, server: AzureServer, name: str, bounds: Bounds = QUICK, **more: Any
) -> AsyncIterator[AzureBucket]:
    made = server.made(name, bounds, **{"endpoint": proxy.endpoint, **more})
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def bucket(proxy: FaultProxy, azurite_server: AzureServer, name: str) -> AsyncIterator[AzureBucket]:
    async with through(proxy, azurite_server, name) as made:
        yield made


# -- tried again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_tried_again(bucket: AzureBucket, proxy: FaultProxy, fault: Any) -> None:
    proxy.add("*", fault, times=2)
    put = await bucket.put("file", b"content", {"a": "1"})
    proxy.add("*", fault, times=2)
    assert (await bucket.head("file")).etag == put.etag
    proxy.add("*", fault, times=2)
    assert await bucket.get("file", 0, 100) == b"content"
    proxy.add("*", fault, times=2)
    assert [one.key async for page in bucket.pages("", delimited=False) for one in page.objects] == ["file"]
    proxy.add("*", fault, times=2)
    upload = await bucket.begin("big", {"tag": "one"})
    proxy.add("*", fault, times=2)
    parts = [await bucket.part(upload, 1, b"p" * MIB)]
    proxy.add("*", fault, times=2)
    parts.append(await bucket.copy_part(upload, 2, put, 0, 7))
    proxy.add("*", fault, times=2)
    assert (await bucket.complete(upload, parts)).size == MIB + 7
    proxy.add("*", fault, times=2)
    copied = await bucket.copy(put, "copy")
    proxy.add("*", fault, times=2)
    assert (await bucket.copy(copied, "copy", {"b": "2"})).metadata == {"b": "2"}
    proxy.add("*", fault, times=2)
    await bucket.delete(["file", "big"])
    assert await bucket.get("copy", 0, 100) == b"content"


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_given_up_after_the_last_try(bucket: AzureBucket, proxy: FaultProxy, fault: Any) -> None:
    assert type(await check_given_up(bucket, proxy, fault, "PutBlob")) is StorageFailed


async def test_what_is_wrong_is_not_tried_again(bucket: AzureBucket, proxy: FaultProxy) -> None:
    await check_not_tried_again(bucket, proxy, code="InvalidHeaderValue", get="GetBlob", put="PutBlob")


async def test_a_cut_part_leaves_nothing(bucket: AzureBucket, proxy: FaultProxy) -> None:
    await check_cut_part(bucket, proxy, "PutBlock")


async def test_damage_on_the_way_up_is_noticed_and_sent_again(bucket: AzureBucket, proxy: FaultProxy) -> None:
    proxy.add("PutBlob", DamageUpload(3))
    await bucket.put("file", b"content", {})
    assert await bucket.get("file", 0, 10) == b"content"
    upload = await bucket.begin("big", {})
    proxy.add("PutBlock", DamageUpload(700_000))
    part = await bucket.part(upload, 1, b"p" * MIB)
    await bucket.complete(upload, [part])
    assert await bucket.get("big", 0, MIB) == b"p" * MIB


async def test_damage_that_stays_is_an_error(bucket: AzureBucket, proxy: FaultProxy) -> None:
    proxy.add("PutBlob", DamageUpload(3), times=100)
    with pytest.raises(StorageFailed, match="Md5Mismatch"):
        await bucket.put("file", b"content", {})
    with pytest.raises(NotFound):
        await bucket.head("file")


async def test_a_digest_of_something_else_is_an_error(bucket: AzureBucket, proxy: FaultProxy) -> None:
    wrong = ChangeAnswer(without=("content-md5",), headers={"Content-MD5": "A" * 22 + "=="})
    proxy.add("PutBlob", wrong)
    with pytest.raises(StorageFailed, match="the service got MD5 0000"):
        await bucket.put("file", b"content", {})


async def test_fewer_bytes_than_there_are(bucket: AzureBucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"content" * 1000, {})
    proxy.add("GetBlob", Shorten(10))
    with pytest.raises(StorageFailed):
        await bucket.get("file", 0, 1000)
    proxy.add("GetBlob", CutDownload(500))
    assert await bucket.get("file", 0, 1000) == (b"content" * 1000)[:1000]


async def test_more_bytes_than_were_asked_for(bucket: AzureBucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"content" * 1000, {})
    lie = ChangeAnswer(without=("content-length",), headers={"Content-Length": "99999999999"})
    proxy.add("GetBlob", lie, times=100)
    with pytest.raises(StorageFailed, match="99999999999 bytes come where 10 were asked for"):
        await bucket.get("file", 0, 10)


async def test_no_answer_has_a_bound(proxy: FaultProxy, azurite_server: AzureServer, name: str) -> None:
    bounds = Bounds(connect=5, read=0.2, call=5, tries=2, pause=0.01, longest_pause=0.01)
    async with through(proxy, azurite_server, name, bounds) as bucket:
        proxy.add("*", Hang(), times=100)
        with pytest.raises(StorageFailed, match=r"GetBlobProperties: .*Timeout"):
            await bucket.head("file")
    async with through(proxy, azurite_server, name, Bounds(connect=5, read=60, call=0.3, tries=2)) as bucket:
        with pytest.raises(StorageFailed, match="GetBlobProperties: no answer in time"):
            await bucket.head("file")


async def test_nobody_listens(azurite_server: AzureServer, name: str) -> None:
    with fault_proxy(azurite_server.endpoint) as gone:
        pass
    async with through(gone, azurite_server, name) as bucket:
        with pytest.raises(StorageFailed, match="GetBlobProperties: ClientConnectorError"):
            await bucket.head("file")


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"<EnumerationResults><Blobs><Blob/></Blobs>"])
async def test_something_that_is_no_azure_blob(azurite_server: AzureServer, body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        answer = b"" if head.startswith(b"HEAD") else body
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    bucket = azurite_server.made("container", QUICK, endpoint=url)
    await bucket.open()
    try:
        with pytest.raises(StorageMisconfigured, match="this is no Azure Blob"):
            await anext(aiter(bucket.pages("", delimited=True)))
        with pytest.raises(StorageFailed, match="this is no Azure Blob"):
            await bucket.head("x")
        with pytest.raises(StorageFailed, match="this is no Azure Blob"):
            await bucket.put("x", b"", {})
    finally:
        await bucket.close()
        server.close()
        await server.wait_closed()


# -- lost answers ------------------------------------------------------------------------------------------


async def test_lost_answer_to_a_creation(bucket: AzureBucket, proxy: FaultProxy) -> None:
    proxy.add("PutBlob", LoseAnswer())
    made = await bucket.put("file", b"mine", {"a": "1"}, create=True)
    assert proxy.operations() == ["PutBlob", "PutBlob", "GetBlobProperties"]
    assert (made.size, made.metadata) == (4, {"a": "1"})
    proxy.add("PutBlob", LoseAnswer())
    with pytest.raises(AlreadyExists):  # the same content does not make it ours
        await bucket.put("file", b"mine", {}, create=True)


@pytest.mark.parametrize("create", [True, False])
async def test_lost_answer_to_complete(bucket: AzureBucket, proxy: FaultProxy, create: bool) -> None:
    upload = await bucket.begin("file", {"a": "1"})
    parts = [await bucket.part(upload, 1, b"p" * MIB), await bucket.part(upload, 2, b"rest")]
    proxy.add("PutBlockList", LoseAnswer())
    stored = await bucket.complete(upload, parts, create=create)
    assert stored.etag == (await bucket.head("file")).etag
    assert stored.size == MIB + 4


async def test_lost_answer_to_a_copy(bucket: AzureBucket, proxy: FaultProxy) -> None:
    source = await bucket.put("source", b"content", {})
    proxy.add("CopyBlobFromURL", LoseAnswer())
    assert (await bucket.copy(source, "target", create=True)).sums == source.sums
    proxy.add("SetBlobMetadata", LoseAnswer())
    assert (await bucket.copy(source, "source", {"x": "1"})).metadata == {"x": "1"}


# -- uploads to one key ------------------------------------------------------------------------------------


async def two_uploads(bucket: AzureBucket) -> tuple[Any, list[Part], Any, list[Part]]:
    first, second = await bucket.begin("file", {"of": "first"}), await bucket.begin("file", {"of": "second"})
    parts, others = [await bucket.part(first, 1, b"one")], [await bucket.part(second, 1, b"two")]
    return first, parts, second, others


async def test_an_upload_that_another_one_ended(bucket: AzureBucket) -> None:
    first, parts, second, others = await two_uploads(bucket)
    assert await bucket.parts(first) == parts
    assert await bucket.parts(second) == others
    assert len([one async for page in bucket.uploads("") for one in page]) == 2
    await bucket.complete(first, parts)
    later = await bucket.part(second, 2, b"three")
    with pytest.raises(ObjectChanged, match="another upload of this object ended meanwhile"):
        await bucket.complete(second, [*others, later])
    with pytest.raises(NotFound):
        await bucket.parts(second)
    head = await bucket.head("file")
    assert (head.metadata, await bucket.get("file", 0, 10)) == ({"of": "first"}, b"one")


async def test_an_upload_that_a_removal_ended(bucket: AzureBucket) -> None:
    first, parts, second, others = await two_uploads(bucket)
    await bucket.complete(first, parts)
    await bucket.delete(["file"])
    with pytest.raises(NotFound):
        await bucket.complete(second, others)
    with pytest.raises(NotFound):
        await bucket.parts(second)
    await bucket.abort(second)
    await bucket.put("file", b"small", {})
    with pytest.raises(ObjectChanged):
        await bucket.complete(second, others)
    with pytest.raises(AlreadyExists):
        await bucket.complete(second, others, create=True)
    assert await bucket.get("file", 0, 10) == b"small"


async def test_an_upload_that_is_given_up_ends_no_other(bucket: AzureBucket) -> None:
    first, parts, second, others = await two_uploads(bucket)
    await bucket.abort(first)
    assert [one.id async for page in bucket.uploads("") for one in page] == [second.id]
    with pytest.raises(NotFound):
        await bucket.complete(first, parts)
    assert (await bucket.complete(second, others)).size == 3
    assert await bucket.get("file", 0, 10) == b"two"


async def test_an_upload_ended_between_the_list_and_the_commit(
    bucket: AzureBucket, proxy: FaultProxy
) -> None:
    first, parts, second, others = await two_uploads(bucket)
    proxy.latency = 0.1  # both lists come before both commits
    ends = await asyncio.gather(
        bucket.complete(first, parts), bucket.complete(second, others), return_exceptions=True
    )
    won = [index for index, end in enumerate(ends) if isinstance(end, Stored)]
    assert len(won) == 1
    assert isinstance(ends[1 - won[0]], ObjectChanged)
    assert proxy.operations()[-4:] == ["GetBlockList", "GetBlockList", "PutBlockList", "PutBlockList"]
    assert await bucket.get("file", 0, 10) == [b"one", b"two"][won[0]]


async def test_setting_times_ends_no_upload(bucket: AzureBucket) -> None:
    stored = await bucket.put("file", b"old", {})
    upload = await bucket.begin("file", {})
    part = await bucket.part(upload, 1, b"new")
    await bucket.copy(stored, "file", {"mtime": "1.000000000"})
    assert (await bucket.complete(upload, [part])).size == 3


async def test_another_programs_unfinished_upload(
    bucket: AzureBucket, azurite_server: AzureServer, name: str
) -> None:
    azurite_server.admin.get_blob_client(name, "file").stage_block("short", b"theirs")
    with pytest.raises(StorageFailed, match="another program has left an unfinished upload"):
        await bucket.begin("file", {})
    assert [page async for page in bucket.uploads("")] == []


async def test_long_metadata_of_an_upload(bucket: AzureBucket) -> None:
    metadata = {f"tidegate-{number}": "v" * 100 for number in range(15)} | {"mtime": "1500000000.000000001"}
    upload = await bucket.begin("file", metadata)
    await bucket.complete(upload, [await bucket.part(upload, 1, b"x")])
    assert (await bucket.head("file")).metadata == metadata
    with pytest.raises(StorageFailed, match="bytes of metadata"):
        await bucket.begin("file", {"x": "y" * 9000})


# -- copies ------------------------------------------------------------------------------------------------


async def test_copies_above_the_limit_of_one_request(
    bucket: AzureBucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above 256 MiB: by parts, complete or not at all; metadata alone is set without a copy."""
    monkeypatch.setattr("tidegate.backends.objects.azure.LIMITS", replace(LIMITS, copy=MIB))
    monkeypatch.setattr("tidegate.backends.objects.copying.LEAST_PART", MIB)
    data = bytes(range(256)) * (5 * MIB // 512)
    source = replace(await bucket.put("source", data, {"a": "1"}), metadata={"a": "1"})
    copied = await copy_object(bucket, source, "target", None)
    assert (copied.size, (await bucket.head("target")).metadata) == (len(data), {"a": "1"})
    assert await bucket.get("target", 0, len(data)) == data
    assert proxy.operations().count("PutBlockFromURL") == 3
    with pytest.raises(AlreadyExists):
        await copy_object(bucket, source, "target", {"b": "2"}, create=True)
    proxy.add("PutBlockFromURL", Refuse(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(StorageDenied):
        await copy_object(bucket, source, "other", None)
    with pytest.raises(NotFound):
        await bucket.head("other")
    assert [one async for page in bucket.uploads("") for one in page] == []
    proxy.asked.clear()
    assert (await copy_object(bucket, source, "source", {"c": "3"})).metadata == {"c": "3"}
    assert proxy.operations() == ["SetBlobMetadata"]


# -- errors of the operator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "kind", "detail"),
    [
        (Refuse(404, "ContainerNotFound"), StorageMisconfigured, "{}: there is no container '{name}'"),
        (Refuse(409, "ContainerDisabled"), StorageMisconfigured, "{}: there is no container '{name}'"),
        (Refuse(403, "AuthenticationFailed"), StorageDenied, "{}: account_key does not belong to the account"),
        (
            Refuse(403, "AuthorizationPermissionMismatch"), StorageDenied,
            "{}: AuthorizationPermissionMismatch: by the proxy (needs the permission {permission})",
        ),
        (
            Refuse(403, "AuthorizationFailure"), StorageDenied,
            "(needs the permission {permission}; or the network rules of the account shut this host out)",
        ),
        (
            Refuse(403, "KeyBasedAuthenticationNotPermitted"), StorageDenied,
            "{}: the account does not allow keys: use a managed identity",
        ),
        (
            Refuse(403, "AuthenticationFailed", headers={"Date": formatdate(time.time() + 7200, usegmt=True)}),
            StorageMisconfigured, "seconds behind the service's",
        ),
        (Refuse(412, "LeaseIdMissing"), StorageFailed, "{}: another program holds a lease on the blob"),
        (Refuse(409, "BlobArchived"), StorageFailed, "{}: the blob is in the archive tier: rehydrate it first"),
        (Refuse(412, "ConditionNotMet"), ObjectChanged, ""),
        (Refuse(400, "InvalidUri"), InvalidPath, ""),
        (Refuse(409, "SnapshotsPresent"), StorageFailed, "{}: SnapshotsPresent: by the proxy"),
    ],
    ids=lambda value: getattr(value, "code", None),
)  # fmt: skip
async def test_every_refusal_is_told_apart(
    bucket: AzureBucket, proxy: FaultProxy, refusal: Refuse, kind: type, detail: str
) -> None:
    name = bucket.location("").split("/")[3]
    calls = {
        ("GetBlob", "read (r)"): lambda: bucket.get("key", 0, 1),
        ("PutBlob", "write (w)"): lambda: bucket.put("key", b"x", {}),
        ("ListBlobs", "list (l)"): lambda: anext(aiter(bucket.pages("", delimited=False))),
        ("PutBlock", "write (w)"): lambda: bucket.begin("key", {}),
        ("DeleteBlob", "delete (d)"): lambda: bucket.delete(["key"]),
    }
    for (operation, permission), call in calls.items():
        proxy.add(operation, refusal)
        with pytest.raises(kind) as caught:
            await call()
        assert type(caught.value) is kind
        said = getattr(caught.value, "detail", "") or ""
        assert detail.format(operation, name=name, permission=permission) in said
    proxy.add("GetBlobProperties", refusal)
    with pytest.raises(kind):
        await bucket.head("key")


@pytest.mark.parametrize(
    ("operation", "permission"),
    [("ListBlobs", "list"), ("PutBlob", "write"), ("GetBlob", "read"), ("PutBlock", "write"), ("DeleteBlob", "delete")],
)  # fmt: skip
async def test_check_names_the_permission(
    bucket: AzureBucket, proxy: FaultProxy, operation: str, permission: str
) -> None:
    proxy.add(operation, Refuse(403, "AuthorizationPermissionMismatch"))
    with pytest.raises(StorageDenied, match=f"needs the permission {permission}"):
        await bucket.check("home/")


async def test_check_refuses_a_hierarchical_namespace(bucket: AzureBucket, proxy: FaultProxy) -> None:
    await bucket.check("home/")
    proxy.add(
        "GetAccountInformation",
        ChangeAnswer(without=("x-ms-is-hns-enabled",), headers={"x-ms-is-hns-enabled": "true"}),
    )
    with pytest.raises(StorageMisconfigured, match="hierarchical namespace"):
        await bucket.check("home/")


# -- shared access signatures ------------------------------------------------------------------------------


def of_sas(url: str) -> dict[str, Any]:
    return {"account_key": "", "sas_url": url, "endpoint": "", "container": ""}


async def test_a_signature_for_the_container(azurite_server: AzureServer, name: str) -> None:
    bucket = azurite_server.made(name, QUICK, **of_sas(azurite_server.sas_url(name)))
    await bucket.open()
    try:
        await bucket.check("home/")
        source = await bucket.put("ä ö/file", b"content", {"a": "1"})
        assert (await bucket.copy(source, "copy")).size == 7
        upload = await bucket.begin("parts", {})
        await bucket.complete(upload, [await bucket.copy_part(upload, 1, source, 2, 3)])
        assert await bucket.get("parts", 0, 10) == b"nte"
        assert bucket.location("x").endswith(f"/{name}/x")
        assert "sig=" not in bucket.location("x")
    finally:
        await bucket.close()


@pytest.mark.parametrize(
    ("permission", "more", "says"),
    [
        ("rwd", {}, "list"),
        ("l", {}, "write"),
        ("rl", {"expiry": datetime.now(UTC) - timedelta(hours=1)}, "ListBlobs"),
    ],
)
async def test_a_signature_that_does_not_suffice(
    azurite_server: AzureServer, name: str, permission: str, more: dict[str, Any], says: str
) -> None:
    url = azurite_server.sas_url(name, permission, **more)
    bucket = azurite_server.made(name, QUICK, **of_sas(url))
    await bucket.open()
    try:
        with pytest.raises(StorageDenied, match=says) as caught:
            await bucket.check("home/")
        assert "sig=" not in str(caught.value)
        assert KEY not in str(caught.value)
    finally:
        await bucket.close()


# -- latency -----------------------------------------------------------------------------------------------


async def test_requests_overlap(bucket: AzureBucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"x" * 100, {})
    proxy.latency = 0.1
    begun = time.monotonic()
    await asyncio.gather(*(bucket.get("file", start, 1) for start in range(20)))
    assert time.monotonic() - begun < 20 * 0.1


async def test_a_proxy_of_the_environment_and_nothing_of_netrc(
    azurite_server: AzureServer,
    proxy: FaultProxy,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("default login someone password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", proxy.endpoint)
    async with through(proxy, azurite_server, name, endpoint="http://localhost:9") as bucket:
        await bucket.put("file", b"content", {})
        assert (await bucket.head("file")).size == 7
    assert {one.headers["host"] for one in proxy.asked} == {"localhost:9"}
    assert all(one.headers["authorization"].startswith("SharedKey ") for one in proxy.asked)
    monkeypatch.setenv("no_proxy", "localhost")
    count = len(proxy.asked)
    bounds = replace(QUICK, tries=1)
    async with through(proxy, azurite_server, name, bounds, endpoint="http://localhost:9") as bucket:
        with pytest.raises(StorageFailed):
            await bucket.head("file")
    assert len(proxy.asked) == count


@pytest.mark.parametrize("delimited", [False, True])
async def test_a_list_whose_marker_repeats_is_no_whole_list(
    bucket: AzureBucket, proxy: FaultProxy, delimited: bool
) -> None:
    await check_repeated_marker(bucket, proxy, "ListBlobs", delimited=delimited)
