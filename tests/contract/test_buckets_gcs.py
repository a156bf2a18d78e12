# SPDX-License-Identifier: Apache-2.0
"""Buckets of Google Cloud Storage over a network that fails, and what is only theirs: parts that are objects."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.support.bucket_faults import MIB, QUICK, check_given_up, check_repeated_marker
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
from tests.support.gcs_server import HIDDEN, GcsServer

from tidegate.backends.objects import gcs_uploads
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import Bucket, ObjectChanged, StorageDenied, StorageMisconfigured
from tidegate.backends.objects.tries import Bounds
from tidegate.errors import AlreadyExists, InvalidPath, NotFound, StorageFailed

LAST = -41
"""Of a body with an object: the last byte of its content."""
BUSY = [
    Refuse(503, "backendError"),
    Refuse(500, "internalError"),
    Refuse(429, "rateLimitExceeded"),
    Refuse(403, "userRateLimitExceeded"),
    Refuse(408, "requestTimeout"),
]
BROKEN = [LoseAnswer(), CutUpload(0), CutUpload(2)]


@pytest.fixture
def proxy(gcs_server: GcsServer) -> Iterator[FaultProxy]:
    with fault_proxy(gcs_server.endpoint) as made:
        yield made


@pytest.fixture
def name(gcs_server: GcsServer) -> str:
    return gcs_server.bucket()


@contextlib.asynccontextmanager
async def through(
    proxy: FaultProxy, server: GcsServer, name: str, bounds: Bounds = QUICK, **more: object
) -> AsyncIterator[Bucket]:
    made = server.made(name, bounds, endpoint=proxy.endpoint, **more)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def bucket(proxy: FaultProxy, gcs_server: GcsServer, name: str) -> AsyncIterator[Bucket]:
    async with through(proxy, gcs_server, name) as made:
        yield made


async def keys(bucket: Bucket) -> list[str]:
    return [one.key async for page in bucket.pages("", delimited=False) for one in page.objects]


@pytest.mark.parametrize("fault", [*BUSY, *BROKEN], ids=repr)
async def test_tried_again(bucket: Bucket, proxy: FaultProxy, fault) -> None:
    proxy.add("*", fault, times=2)
    await bucket.put("file", b"content", {"a": "1"})
    put = await bucket.head("file")  # a lost answer makes two objects, one after the other
    proxy.add("*", fault, times=2)
    assert (await bucket.head("file")).etag == put.etag
    proxy.add("*", fault, times=2)
    assert await bucket.get("file", 0, 100, if_etag=put.etag) == b"content"
    proxy.add("*", fault, times=2)
    assert await keys(bucket) == ["file"]
    proxy.add("*", fault, times=2)
    upload = await bucket.begin("big", {})
    proxy.add("*", fault, times=2)
    part = await bucket.part(upload, 1, b"p" * MIB)
    proxy.add("*", fault, times=2)
    assert (await bucket.complete(upload, [part])).size == MIB
    proxy.add("*", fault, times=2)
    assert (await bucket.copy(put, "copy")).size == 7
    proxy.add("*", fault, times=2)
    assert (await bucket.copy(put, "file", {"a": "2"})).etag == put.etag
    proxy.add("*", fault, times=2)
    await bucket.delete(["file", "big"])
    proxy.clear()
    assert await bucket.get("copy", 0, 100) == b"content"
    assert await keys(bucket) == ["copy"]


@pytest.mark.parametrize("fault", [*BUSY, *BROKEN], ids=repr)
async def test_given_up_after_the_last_try(bucket: Bucket, proxy: FaultProxy, fault) -> None:
    error = await check_given_up(bucket, proxy, fault, "objects.insert")
    if getattr(fault, "status", 0) != 403:
        assert type(error) is StorageFailed


async def test_what_is_wrong_is_not_tried_again(bucket: Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"", {})
    with pytest.raises(NotFound):
        await bucket.get("none", 0, 1)
    proxy.add("*", Refuse(400, "invalid"))
    with pytest.raises(StorageFailed, match="invalid"):
        await bucket.put("file", b"", {})
    assert proxy.operations() == ["objects.insert", "objects.get", "objects.insert"]


async def test_damage_on_the_way_up_is_noticed_and_sent_again(bucket: Bucket, proxy: FaultProxy) -> None:
    proxy.add("objects.insert", DamageUpload(LAST))
    await bucket.put("file", b"content", {})
    assert await bucket.get("file", 0, 10) == b"content"
    upload = await bucket.begin("big", {})
    proxy.add("objects.insert", DamageUpload(-700_000))
    part = await bucket.part(upload, 1, b"p" * MIB)
    await bucket.complete(upload, [part])
    assert await bucket.get("big", 0, MIB) == b"p" * MIB
    assert proxy.operations().count("objects.insert") == 5


async def test_damage_that_stays_is_an_error(bucket: Bucket, proxy: FaultProxy) -> None:
    proxy.add("objects.insert", DamageUpload(LAST), times=100)
    with pytest.raises(StorageFailed, match="CRC32C"):
        await bucket.put("file", b"content", {})
    with pytest.raises(NotFound):
        await bucket.head("file")


async def test_fewer_and_more_bytes_than_were_asked_for(bucket: Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"content" * 1000, {})
    proxy.add("objects.get", Shorten(10))
    with pytest.raises(StorageFailed):
        await bucket.get("file", 0, 1000)
    proxy.add("objects.get", CutDownload(500))
    assert await bucket.get("file", 0, 1000) == (b"content" * 1000)[:1000]
    lie = ChangeAnswer(without=("content-length",), headers={"Content-Length": "99999999999"})
    proxy.add("objects.get", lie, times=100)
    with pytest.raises(StorageFailed, match="99999999999 bytes come where 10 were asked for"):
        await bucket.get("file", 0, 10)


async def test_content_of_another_generation_is_refused(bucket: Bucket, proxy: FaultProxy) -> None:
    put = await bucket.put("file", b"content", {})
    proxy.add("objects.get", ChangeAnswer(without=("x-goog-generation",), headers={"X-Goog-Generation": "7"}))
    with pytest.raises(ObjectChanged):
        await bucket.get("file", 0, 10, if_etag=put.etag)


async def test_no_answer_has_a_bound(proxy: FaultProxy, gcs_server: GcsServer, name: str) -> None:
    bounds = Bounds(connect=5, read=0.2, call=5, tries=2, pause=0.01, longest_pause=0.01)
    async with through(proxy, gcs_server, name, bounds) as bucket:
        proxy.add("*", Hang(), times=100)
        with pytest.raises(StorageFailed, match=r"objects.get: SocketTimeoutError"):
            await bucket.head("file")
    bounds = Bounds(connect=5, read=60, call=0.3, tries=2)
    async with through(proxy, gcs_server, name, bounds) as bucket:
        with pytest.raises(StorageFailed, match=r"objects.get: no answer in time"):
            await bucket.head("file")


async def test_nobody_listens(gcs_server: GcsServer, name: str) -> None:
    with fault_proxy(gcs_server.endpoint) as gone:
        pass
    async with through(gone, gcs_server, name) as bucket:
        with pytest.raises(StorageFailed, match=r"objects.get: ClientConnectorError"):
            await bucket.head("file")
    with pytest.raises(StorageFailed, match="closed"):
        await bucket.head("file")


# -- lost answers ------------------------------------------------------------------------------------------


async def test_lost_answer_to_a_creation(bucket: Bucket, proxy: FaultProxy) -> None:
    proxy.add("objects.insert", LoseAnswer())
    made = await bucket.put("file", b"mine", {"a": "1"}, create=True)
    assert proxy.operations() == ["objects.insert", "objects.insert", "objects.get"]
    assert (made.size, made.metadata) == (4, {"a": "1"})


async def test_lost_answer_to_a_creation_that_failed(bucket: Bucket, proxy: FaultProxy) -> None:
    await bucket.put("file", b"mine", {}, create=True)
    proxy.add("objects.insert", LoseAnswer())
    with pytest.raises(AlreadyExists):  # the same content does not make it ours
        await bucket.put("file", b"mine", {}, create=True)


@pytest.mark.parametrize("storage_class", ["", "NEARLINE"])
@pytest.mark.parametrize("create", [True, False])
async def test_lost_answer_to_complete(
    proxy: FaultProxy, gcs_server: GcsServer, name: str, create: bool, storage_class: str
) -> None:
    async with through(proxy, gcs_server, name, storage_class=storage_class) as bucket:
        upload = await bucket.begin("file", {"a": "1"})
        parts = [await bucket.part(upload, 1, b"p" * MIB), await bucket.part(upload, 2, b"rest")]
        proxy.add("objects.rewrite" if storage_class else "objects.compose", LoseAnswer())
        stored = await bucket.complete(upload, parts, create=create)
        head = await bucket.head("file")
    assert (stored.etag, stored.size, head.metadata) == (head.etag, MIB + 4, {"a": "1"})
    assert gcs_server.admin.uploads(name) == []


async def test_lost_answer_to_a_copy_that_replaces_nothing(bucket: Bucket, proxy: FaultProxy) -> None:
    source = await bucket.put("source", b"content", {})
    proxy.add("objects.rewrite", LoseAnswer())
    assert (await bucket.copy(source, "target", create=True)).size == 7
    with pytest.raises(AlreadyExists):
        await bucket.copy(source, "target", create=True)


# -- errors of the operator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "kind", "detail"),
    [
        (Refuse(404, "notFound", "The specified bucket does not exist."), StorageMisconfigured, "{}: there is no bucket '{name}'"),
        (
            Refuse(403, "forbidden", "a@b.iam does not have storage.objects.x access to the bucket. Permission 'storage.objects.x' denied on resource"),
            StorageDenied, "(needs the permission storage.objects.x)",
        ),
        (Refuse(403, "forbidden", "Access denied."), StorageDenied, "{}: forbidden: Access denied. (needs the permission {permission})"),
        (
            Refuse(403, "insufficientPermissions", "Request had insufficient authentication scopes."),
            StorageDenied, "lack the scope devstorage",
        ),
        (
            Refuse(403, "accessNotConfigured", "Cloud Storage JSON API has not been used in project 7 before"),
            StorageMisconfigured, "project 7 before (the project is not set up for this)",
        ),
        (Refuse(403, "accountDisabled", "The project is disabled"), StorageMisconfigured, "not set up for this"),
        (
            Refuse(400, "required", "Bucket is a requester pays bucket but no user project provided."),
            StorageMisconfigured, "set user_project",
        ),
        (Refuse(401, "authError", "Invalid Credentials"), StorageDenied, "{}: the credentials have expired, or are not valid"),
        (
            Refuse(401, "authError", "Invalid Credentials", {"Date": formatdate(time.time() + 7200, usegmt=True)}),
            StorageMisconfigured, "seconds behind the service's",
        ),
        (
            Refuse(401, "required", "Anonymous caller does not have storage.objects.get access"),
            StorageDenied, "needs the permission storage.objects.get",
        ),
        (Refuse(412, "conditionNotMet"), ObjectChanged, ""),
        (Refuse(409, "conflict"), StorageFailed, "{}: conflict: by the proxy"),
    ],
    ids=lambda value: f"{value.status}-{value.message[:12]}" if isinstance(value, Refuse) else "",
)  # fmt: skip
async def test_every_refusal_is_told_apart(bucket: Bucket, proxy: FaultProxy, refusal, kind, detail) -> None:
    name = bucket.location("").split("/")[2]
    source = await bucket.put("source", b"x", {})
    calls = {
        "objects.get": ("storage.objects.get", lambda: bucket.get("key", 0, 1)),
        "objects.insert": ("storage.objects.create", lambda: bucket.put("key", b"x", {})),
        "objects.list": (
            "storage.objects.list",
            lambda: anext(aiter(bucket.pages("", delimited=False))),
        ),
        "objects.delete": ("storage.objects.delete", lambda: bucket.delete(["key"])),
        "objects.rewrite": ("storage.objects.create", lambda: bucket.copy(source, "key")),
        "objects.patch": ("storage.objects.update", lambda: bucket.copy(source, "source", {})),
    }
    for operation, (permission, call) in calls.items():
        proxy.add(operation, refusal)
        with pytest.raises(kind) as caught:
            await call()
        assert type(caught.value) is kind
        needed = permission if operation != "objects.rewrite" else f"storage.objects.get and {permission}"
        assert detail.format(operation, name=name, permission=needed) in caught.value.detail
        assert caught.value.text == kind.default_text


async def test_rights_that_are_lost_half_way(
    bucket: Bucket, proxy: FaultProxy, gcs_server: GcsServer
) -> None:
    upload = await bucket.begin("file", {})
    part = await bucket.part(upload, 1, b"x")
    proxy.add("objects.compose", Refuse(403, "forbidden"), times=9)
    with pytest.raises(StorageDenied):
        await bucket.complete(upload, [part])
    proxy.clear()
    assert [one.number for one in await bucket.parts(upload)] == [1]
    await bucket.abort(upload)
    assert gcs_server.admin.objects(bucket.location("").split("/")[2]) == {}


async def test_what_cannot_be_removed_after_completion_does_not_matter(
    bucket: Bucket, proxy: FaultProxy, gcs_server: GcsServer
) -> None:
    upload = await bucket.begin("file", {})
    part = await bucket.part(upload, 1, b"x")
    proxy.add("objects.delete", Refuse(403, "forbidden"), times=9)
    assert (await bucket.complete(upload, [part])).size == 1
    proxy.clear()
    assert [one async for page in bucket.uploads("") for one in page] == [upload]
    await bucket.abort(upload)
    assert list(gcs_server.admin.objects(bucket.location("").split("/")[2])) == ["file"]


# -- parts are objects -------------------------------------------------------------------------------------


async def test_more_parts_than_one_request_composes(
    bucket: Bucket, proxy: FaultProxy, gcs_server: GcsServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_uploads, "COMPONENTS", 3)
    upload = await bucket.begin("file", {"a": "1"})
    contents = [bytes([number]) * number for number in range(1, 32)]
    parts = [await bucket.part(upload, number, data) for number, data in enumerate(contents, 1)]
    stored = await bucket.complete(upload, parts)
    assert proxy.operations().count("objects.compose") == 11 + 4 + 2 + 1
    assert await bucket.get("file", 0, stored.size) == b"".join(contents)
    assert (await bucket.head("file")).metadata == {"a": "1"}
    assert list(gcs_server.admin.objects(name)) == ["file"]


async def test_a_storage_class_is_that_of_the_object_and_not_of_its_parts(
    proxy: FaultProxy, gcs_server: GcsServer, name: str
) -> None:
    async with through(proxy, gcs_server, name, storage_class="ARCHIVE", acl="projectPrivate") as bucket:
        await bucket.put("small", b"x", {})
        upload = await bucket.begin("big", {"a": "1"})
        parts = [await bucket.part(upload, number, b"p") for number in (1, 2)]
        await bucket.complete(upload, parts, create=True)
        assert (await bucket.head("big")).metadata == {"a": "1"}
    sent = [body for body in proxy.bodies if b'"name"' in body]
    archived = [
        b'"big"' in body or b'"small"' in body for body in sent if b'"storageClass": "ARCHIVE"' in body
    ]
    assert archived == [True, True]
    assert sum(b'"storageClass": "STANDARD"' in body for body in sent) == 3
    assert gcs_server.admin.objects(name)["small"]["storageClass"] == "ARCHIVE"
    assert list(gcs_server.admin.objects(name)) == ["big", "small"]


async def test_a_part_that_was_replaced_is_not_composed(
    bucket: Bucket, gcs_server: GcsServer, name: str
) -> None:
    await bucket.put("file", b"old", {})
    upload = await bucket.begin("file", {})
    part = await bucket.part(upload, 1, b"mine")
    gcs_server.admin.put(name, f"{HIDDEN}{upload.id}/00001", b"evil")
    with pytest.raises(StorageFailed, match="a part is missing or was replaced"):
        await bucket.complete(upload, [part])
    assert await bucket.get("file", 0, 10) == b"old"


async def test_a_composition_that_is_not_what_was_sent_is_an_error(bucket: Bucket) -> None:
    upload = await bucket.begin("file", {})
    part = await bucket.part(upload, 1, b"mine")
    with pytest.raises(StorageFailed, match="the object has 4 bytes with CRC32C"):
        await bucket.complete(upload, [replace(part, sums={"crc32c": "00000000"})])


async def test_a_part_that_comes_after_the_end_removes_itself(
    bucket: Bucket, gcs_server: GcsServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await bucket.begin("file", {})
    stored, ended = asyncio.Event(), asyncio.Event()
    requests = bucket._requests
    head = requests.head

    async def late(key: str):
        if not stored.is_set():
            stored.set()
            await ended.wait()
        return await head(key)

    monkeypatch.setattr(requests, "head", late)
    part = asyncio.ensure_future(bucket.part(upload, 1, b"x"))
    await stored.wait()
    await bucket.abort(upload)
    assert gcs_server.admin.uploads(name) == []
    ended.set()
    with pytest.raises(NotFound):
        await part
    gcs_server.admin.put(name, f"{HIDDEN}{upload.id}/00002", b"x")
    assert gcs_server.admin.uploads(name) == [f"{HIDDEN}{upload.id}/00002"]


async def test_an_abort_that_broke_off_is_done_again(
    bucket: Bucket, proxy: FaultProxy, gcs_server: GcsServer, name: str
) -> None:
    upload = await bucket.begin("file", {})
    part = await bucket.part(upload, 1, b"x")
    proxy.add("objects.delete", Refuse(403, "forbidden"), times=9)
    with pytest.raises(StorageDenied):
        await bucket.abort(upload)
    proxy.clear()
    for call in (bucket.parts(upload), bucket.complete(upload, [part]), bucket.part(upload, 2, b"y")):
        with pytest.raises(NotFound):
            await call
    assert [one.id async for page in bucket.uploads("f") for one in page] == [upload.id]
    await bucket.abort(upload)
    assert gcs_server.admin.objects(name) == {}


async def test_parts_are_nobodys_files(bucket: Bucket) -> None:
    upload = await bucket.begin("file", {})
    await bucket.part(upload, 1, b"x")
    key = f"{HIDDEN}{upload.id}/00001"
    source = await bucket.put("source", b"x", {})
    for call in (
        bucket.head(key),
        bucket.get(key, 0, 1),
        bucket.first(key, 1),
        bucket.put(key, b"y", {}),
        bucket.delete([key]),
        bucket.copy(source, key),
        bucket.copy(replace(source, key=key), "target"),
        bucket.begin(key, {}),
    ):
        with pytest.raises(InvalidPath):
            await call
    for delimited in (True, False):
        pages = [page async for page in bucket.pages("", delimited=delimited)]
        assert [one.key for page in pages for one in page.objects] == ["source"]
        assert [one for page in pages for one in page.prefixes] == []


# -- metadata ----------------------------------------------------------------------------------------------


async def test_metadata_change_without_a_new_generation(bucket: Bucket, proxy: FaultProxy) -> None:
    put = await bucket.put("file", b"content", {"a": "1"})
    changed = await bucket.copy(put, "file", {"a": "2", "b": "ü"})
    assert (changed.etag, changed.metadata) == (put.etag, {"a": "2", "b": "ü"})
    assert (await bucket.head("file")).metadata == {"a": "2", "b": "ü"}
    assert await bucket.get("file", 0, 10, if_etag=put.etag) == b"content"
    assert "objects.rewrite" not in proxy.operations()
    without = await bucket.copy(changed, "file", {"c": "3"})
    assert without.etag != put.etag
    assert (await bucket.head("file")).metadata == {"c": "3"}
    with pytest.raises(ObjectChanged):
        await bucket.copy(put, "file", {"a": "4"})


async def test_a_listing_tells_times(
    bucket: Bucket, proxy: FaultProxy, gcs_server: GcsServer, name: str
) -> None:
    for number in range(5):
        await bucket.put(f"d/{number}", b"x", {"mtime": f"{number}"})
    made = gcs_server.made(name, endpoint=proxy.endpoint)
    backend = ObjectBackend(made, "d/")
    await backend.open()
    proxy.asked.clear()
    found = [entry async for page in backend.list("") for entry in page]
    await backend.close()
    assert [entry.mtime_ns for entry in sorted(found, key=lambda one: one.name)] == [
        n * 10**9 for n in range(5)
    ]
    assert set(proxy.operations()) <= {"objects.list", "objects.get"}
    assert not [one for one in proxy.asked if one.operation == "objects.get" and "/o/d/" in one.key]


# -- the way there -----------------------------------------------------------------------------------------


async def test_a_proxy_of_the_environment_and_nothing_of_netrc(
    gcs_server: GcsServer, proxy: FaultProxy, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login someone password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", proxy.endpoint)
    bucket = gcs_server.made(name, QUICK, endpoint="http://storage.test")
    await bucket.open()
    try:
        await bucket.put("file", b"content", {})
    finally:
        await bucket.close()
    assert gcs_server.admin.objects(name).keys() == {"file"}
    assert [one.headers["host"] for one in proxy.asked] == ["storage.test"]
    assert "authorization" not in proxy.asked[0].headers
    monkeypatch.setenv("no_proxy", "storage.test")
    bucket = gcs_server.made(name, replace(QUICK, tries=1), endpoint="http://storage.test")
    await bucket.open()
    with pytest.raises(StorageFailed, match=r"objects\.get"):
        await bucket.head("file")
    await bucket.close()
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("delimited", [False, True])
async def test_a_list_whose_marker_repeats_is_no_whole_list(
    bucket: Bucket, proxy: FaultProxy, delimited: bool
) -> None:
    await check_repeated_marker(bucket, proxy, "objects.list", delimited=delimited)
