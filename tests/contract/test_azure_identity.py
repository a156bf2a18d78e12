# SPDX-License-Identifier: Apache-2.0
"""Tokens of a managed identity, over TLS with a certificate of our own, against an emulator that wants tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import jwt
import pytest
from tests.support.azure_server import AzureServer, azurite
from tests.support.certificates import certificate

from tidegate.backends.objects import azure_options
from tidegate.backends.objects.azure import AzureBucket
from tidegate.backends.objects.bucket import StorageDenied, StorageMisconfigured
from tidegate.backends.objects.tries import Bounds

HEADER = "the-header"
QUICK = Bounds(connect=5, read=5, call=20, tries=2, pause=0.01, longest_pause=0.05)


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    directory = tmp_path_factory.mktemp("azurite-tls")
    cert = certificate(directory, "azurite")
    words = ["--oauth", "basic", "--cert", str(cert), "--key", str(directory / "key.pem")]
    with azurite(directory, *words, ca_file=str(cert)) as server:
        yield server


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of the machine is looked at, and the emulator counts as a host of Azure."""
    for name in (
        "TENANT_ID",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "USERNAME",
        "FEDERATED_TOKEN_FILE",
        "TOKEN_CREDENTIALS",
    ):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(azure_options, "AZURE_SUFFIXES", ("127.0.0.1",))
    return monkeypatch


@contextlib.asynccontextmanager
async def identity(monkeypatch: pytest.MonkeyPatch, audience: str = "") -> AsyncIterator[list[str]]:
    """The identity endpoint of an app service, as its documentation has it; tells what was asked."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split(" ")[1])
        assert f"x-identity-header: {HEADER}" in head.lower()
        now = int(time.time())
        claims = {
            "aud": audience or "https://storage.azure.com", "iss": "https://sts.windows.net/tenant/", "iat": now,
            "nbf": now - 60, "exp": now + 3600,
        }  # fmt: skip
        token = jwt.encode(claims, "k" * 32, algorithm="HS256")
        said = {
            "access_token": token,
            "expires_on": str(now + 3600),
            "resource": "https://storage.azure.com",
            "token_type": "Bearer",
        }
        body = json.dumps(said).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token")
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)
    try:
        yield asked
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def opened(server: AzureServer, tmp_path: Path) -> AsyncIterator[AzureBucket]:
    authority = tmp_path / "ca.pem"
    port = server.endpoint.rpartition(":")[2]
    authority.write_text(ssl.get_server_certificate(("127.0.0.1", int(port))))
    bucket = server.made(server.bucket(), QUICK, account_key="", ca_file=str(authority))
    await bucket.open()
    try:
        yield bucket
    finally:
        await bucket.close()


async def test_a_managed_identity(
    tls_server: AzureServer, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with identity(environment) as asked, opened(tls_server, tmp_path) as bucket:
        await bucket.check("home/")
        source = await bucket.put("file", b"content", {"a": "1"})
        assert await bucket.get("file", 0, 10) == b"content"
        upload = await bucket.begin("parts", {})
        await bucket.complete(upload, [await bucket.part(upload, 1, b"x" * 100)])
        named = await bucket._requests.source(source)
        assert named["x-ms-copy-source-authorization"].startswith("Bearer ")
        assert "?" not in named["x-ms-copy-source"]
        assert (await bucket.copy(source, "copy")).size == 7
        assert len(asked) == 1
        assert "resource=https" in asked[0]


async def test_a_token_that_is_refused(
    tls_server: AzureServer, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with (
        identity(environment, "https://elsewhere.example.com") as _,
        opened(tls_server, tmp_path) as bucket,
    ):
        with pytest.raises(StorageDenied, match="ListBlobs: "):
            await bucket.check("home/")


async def test_no_identity_anywhere(
    tls_server: AzureServer, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with opened(tls_server, tmp_path) as bucket:
        with pytest.raises(StorageDenied, match="ListBlobs: no credentials: "):
            await bucket.check("home/")


async def test_a_certificate_that_is_not_trusted(tls_server: AzureServer) -> None:
    bucket = tls_server.made("files", QUICK)
    await bucket.open()
    try:
        with pytest.raises(StorageMisconfigured, match="ListBlobs: TLS: "):
            await bucket.check("home/")
    finally:
        await bucket.close()
