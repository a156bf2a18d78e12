# SPDX-License-Identifier: Apache-2.0
"""Frequent requests to real stores go past the client library, whichever way content is signed."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from tests.support.object_servers import ObjectServer

from tidegate.backends.objects import s3_client, sums
from tidegate.backends.objects.bucket import ObjectChanged
from tidegate.errors import AlreadyExists, NotFound


@pytest.fixture(params=["seaweedfs_server", "moto_server"])
def store(request: pytest.FixtureRequest) -> ObjectServer:
    found: ObjectServer = request.getfixturevalue(request.param)
    return found


async def test_the_marker_of_a_directory_does_not_decide_how_content_is_summed_up(
    seaweedfs_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaweedFS repeats a CRC-32 of all but those; the MD5 of content takes seven times as long."""
    made: Counter[str] = Counter()
    for digest in (sums.crc32, sums.md5):

        def counted(data: Any, digest: Any = digest) -> str:
            made[digest.__name__] += 1
            return str(digest(data))

        monkeypatch.setattr(sums, digest.__name__, counted)
    bucket = seaweedfs_server.made(seaweedfs_server.bucket())
    await bucket.open()
    try:
        for number in range(2):
            await bucket.put(f"d{number}/", b"", {})
        made.clear()
        await bucket.put("d0/f", b"content", {})
        upload = await bucket.begin("large", {})
        parts = [await bucket.part(upload, number, bytes(5 << 20)) for number in (1, 2)]
        assert made == {"crc32": 3}
        assert all("crc32" in part.sums for part in parts)
        assert (await bucket.complete(upload, parts)).size == 10 << 20
    finally:
        await bucket.close()


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("checksum", ["", "MD5"])
async def test_the_library_shows_once_how_each_operation_is_done(
    store: ObjectServer, signs: bool, checksum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails too if an update of the library takes away what is looked at."""
    asked: Counter[str] = Counter()
    real = s3_client._send

    async def counted(client: Any, request: s3_client.Request) -> Any:
        asked[request.operation] += 1
        return await real(client, request)

    monkeypatch.setattr(s3_client, "_send", counted)
    name = store.bucket()
    bucket = store.made(name, sign_payload=signs, checksum=checksum)
    await bucket.open()
    try:
        content = {f"d \u00fc+/{number}": os.urandom(1000 * number) for number in range(4)}
        for key, data in content.items():
            stored = await bucket.put(key, data, {"mtime": "1.5", "who": "me"}, create=True)
            found = await bucket.head(key)
            assert (found.size, found.etag, found.metadata) == (len(data), stored.etag, stored.metadata)
            assert found.modified == pytest.approx(stored.modified, abs=2)
            assert (await bucket.first(key, 5000))[1] == data
            assert await bucket.get(key, 10, 20, if_etag=stored.etag) == data[10:30]
        for key in content:
            with pytest.raises(AlreadyExists):
                await bucket.put(key, b"other", {}, create=True)
            with pytest.raises(NotFound):
                await bucket.head(f"{key} not")
            with pytest.raises(ObjectChanged):
                await bucket.get(key, 0, 1, if_etag="0" * 32)
        for prefix in ("", "d \u00fc+/"):
            pages = [page async for page in bucket.pages(prefix, delimited=False, size=3)]
            assert [len(page.objects) for page in pages] == [3, 1]
            assert [(one.key, one.size) for page in pages for one in page.objects] == [
                (key, len(data)) for key, data in content.items()
            ]
        pages = [page async for page in bucket.pages("", delimited=True)]
        assert [prefix for page in pages for prefix in page.prefixes] == ["d \u00fc+/"]
        for key in ("one", "two"):
            await bucket.put(key, b"x", {})
            await bucket.delete([key])
            with pytest.raises(NotFound):
                await bucket.head(key)
        parts = [os.urandom(5 << 20), os.urandom(5 << 20), b"end"]
        upload = await bucket.begin("large", {"mtime": "2"})
        made = [await bucket.part(upload, number, data) for number, data in enumerate(parts, 1)]
        stored = await bucket.complete(upload, made)
        assert stored.size == sum(map(len, parts))
        assert (
            await bucket.get("large", (5 << 20) - 2, 4, if_etag=stored.etag) == parts[0][-2:] + parts[1][:2]
        )
    finally:
        await bucket.close()
    frequent = {"put_object", "get_object", "head_object", "upload_part", "delete_object", "list_objects_v2"}
    assert {name: asked[name] for name in frequent} == dict.fromkeys(frequent, 1)
    assert store.admin.get_object(Bucket=name, Key="d \u00fc+/3")["Body"].read() == content["d \u00fc+/3"]
