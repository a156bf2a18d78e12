# SPDX-License-Identifier: Apache-2.0
"""S3 over TLS: a real store behind a relay that ends it, with a certificate that one has to trust."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.certificates import certificate
from tests.support.object_servers import ObjectServer

from tidegate.backends.objects import s3_client
from tidegate.backends.objects.bucket import StorageMisconfigured
from tidegate.errors import NotFound


@pytest.fixture
async def relay(seaweedfs_server: ObjectServer, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of SeaweedFS over TLS; its certificate is ``cert.pem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path, "a store"), tmp_path / "key.pem")
    target = urlsplit(seaweedfs_server.endpoint)

    async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(copied(reader, back), copied(back_reader, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_content_goes_both_ways(
    relay: str, seaweedfs_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_library: list[str] = []
    real = s3_client._send

    async def counted(client: object, request: s3_client.Request) -> object:
        by_library.append(request.operation)
        return await real(client, request)

    monkeypatch.setattr(s3_client, "_send", counted)
    bucket = seaweedfs_server.made(
        seaweedfs_server.bucket(), endpoint=relay, ca_file=str(tmp_path / "cert.pem")
    )
    await bucket.open()
    try:
        for size in (0, 1000, 3 << 20):
            data = os.urandom(size)
            for _ in range(2):
                stored = await bucket.put("f", data, {"mtime": "1"})
            assert (await bucket.head("f")).etag == stored.etag
            for start, count in ((0, size), (size // 3, 10_000)):
                found = await bucket.get("f", start, count, if_etag=stored.etag)
                assert found == data[start : start + count]
            assert (await bucket.first("f", 5000))[1] == data[:5000]
        parts = [os.urandom(5 << 20), os.urandom(6 << 20)]
        upload = await bucket.begin("parts", {})
        stored = await bucket.complete(
            upload, [await bucket.part(upload, number, data) for number, data in enumerate(parts, 1)]
        )
        assert await bucket.get("parts", 0, 11 << 20, if_etag=stored.etag) == b"".join(parts)
        with pytest.raises(NotFound):
            await bucket.head("none")
    finally:
        await bucket.close()
    assert max(by_library.count(name) for name in ("put_object", "get_object", "head_object")) == 1


async def test_a_certificate_that_is_not_trusted(relay: str, seaweedfs_server: ObjectServer) -> None:
    bucket = seaweedfs_server.made(seaweedfs_server.bucket(), endpoint=relay)
    await bucket.open()
    try:
        with pytest.raises(StorageMisconfigured, match="TLS"):
            await bucket.put("f", b"x", {})
    finally:
        await bucket.close()


async def test_any_certificate_where_the_operator_wants_that(
    relay: str, seaweedfs_server: ObjectServer
) -> None:
    bucket = seaweedfs_server.made(seaweedfs_server.bucket(), endpoint=relay, skip_tls_verify=True)
    await bucket.open()
    try:
        for _ in range(3):
            await bucket.put("f", b"x", {})
            assert await bucket.get("f", 0, 1) == b"x"
    finally:
        await bucket.close()
