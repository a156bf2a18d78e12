# SPDX-License-Identifier: Apache-2.0
"""Credentials for Google Cloud Storage: keys of service accounts, those of the host, and what their loss means."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.support.fault_proxy import FaultProxy, Refuse, fault_proxy
from tests.support.gcs_server import GcsServer
from tests.support.google_key import TokenServer, service_account, token_server

from tidegate.backends.objects.bucket import StorageDenied, StorageMisconfigured
from tidegate.backends.objects.gcs import GcsBucket
from tidegate.backends.objects.gcs_options import GcsOptions
from tidegate.backends.objects.tries import Bounds
from tidegate.errors import StorageFailed

QUICK = Bounds(connect=5, read=5, call=20, tries=3, pause=0.01, longest_pause=0.05)


@pytest.fixture
def proxy(gcs_server: GcsServer) -> Iterator[FaultProxy]:
    with fault_proxy(gcs_server.endpoint) as made:
        yield made


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with token_server() as made:
        yield made


@pytest.fixture(autouse=True)
def no_credentials_of_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)


def bucket_with(proxy: FaultProxy, server: GcsServer, **more: object) -> GcsBucket:
    options = server.options(server.bucket(), endpoint=proxy.endpoint, **more)
    return GcsBucket(GcsOptions(**options), QUICK)


def used(proxy: FaultProxy) -> list[str]:
    return [one.headers.get("authorization", "").removeprefix("Bearer ") for one in proxy.asked]


async def test_key_of_a_service_account(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer, tmp_path: Path
) -> None:
    key = service_account(tokens.token_uri)
    (tmp_path / "key.json").write_text(key)
    for how in ({"credentials": key}, {"credentials_file": str(tmp_path / "key.json")}):
        tokens.given.clear()
        proxy.asked.clear()
        bucket = bucket_with(proxy, gcs_server, **how)
        await bucket.open()
        try:
            assert tokens.given == []
            await asyncio.gather(*(bucket.put(f"f{number}", b"x", {}) for number in range(8)))
            assert len(tokens.given) == 1  # all waited for one
            assert used(proxy) == tokens.given * 8
            proxy.add("objects.insert", Refuse(401, "authError", "Invalid Credentials"))
            with pytest.raises(StorageDenied, match="have expired, or are not valid"):
                await bucket.put("file", b"x", {})
            assert len(tokens.given) == 1  # it was fetched a moment ago: no other is expected
        finally:
            await bucket.close()


async def test_a_token_that_is_refused_is_replaced_once(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.backends.objects.gcs_credentials.RENEW_SECONDS", 0)
    bucket = bucket_with(proxy, gcs_server, credentials=service_account(tokens.token_uri))
    await bucket.open()
    try:
        await bucket.put("file", b"x", {})
        proxy.add("objects.insert", Refuse(401, "authError"))
        await bucket.put("file", b"y", {})
        assert used(proxy) == [tokens.given[0], tokens.given[0], tokens.given[1]]
        proxy.add("objects.insert", Refuse(401, "authError"), times=9)
        with pytest.raises(StorageDenied, match="have expired, or are not valid"):
            await bucket.put("file", b"z", {})
        assert len(tokens.given) == 3
    finally:
        await bucket.close()


async def test_a_token_is_fetched_before_the_old_one_ends(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer
) -> None:
    tokens.seconds = 60  # less than the library's margin
    bucket = bucket_with(proxy, gcs_server, credentials=service_account(tokens.token_uri))
    await bucket.open()
    try:
        await bucket.put("file", b"x", {})
        await bucket.put("file", b"x", {})
    finally:
        await bucket.close()
    assert used(proxy) == tokens.given
    assert len(tokens.given) == 2


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ("Invalid grant: account not found", "the service account is not there any more"),
        ("Invalid JWT Signature.", "the key does not belong to the service account any more"),
        ("Token has been expired or revoked.", "have expired or were revoked"),
        ("something else", "no token: .*invalid_grant: something else"),
    ],
)
async def test_keys_that_are_refused(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer, said: str, detail: str
) -> None:
    tokens.refusal = {"error": "invalid_grant", "error_description": said}
    bucket = bucket_with(proxy, gcs_server, credentials=service_account(tokens.token_uri))
    await bucket.open()
    try:
        with pytest.raises(StorageDenied, match=detail):
            await bucket.head("file")
        assert proxy.asked == []
    finally:
        await bucket.close()


async def test_a_clock_that_is_off(proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer) -> None:
    tokens.refusal = {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be short-lived"}
    tokens.date = formatdate(time.time() - 7200, usegmt=True)
    bucket = bucket_with(proxy, gcs_server, credentials=service_account(tokens.token_uri))
    await bucket.open()
    try:
        with pytest.raises(
            StorageMisconfigured, match=r"the clock of this host is 7[0-9]{3} seconds ahead of"
        ):
            await bucket.head("file")
    finally:
        await bucket.close()


async def test_nobody_gives_tokens(proxy: FaultProxy, gcs_server: GcsServer) -> None:
    with token_server() as gone:
        pass
    bucket = bucket_with(proxy, gcs_server, credentials=service_account(gone.token_uri))
    await bucket.open()
    try:
        with pytest.raises(StorageFailed, match="no token") as caught:
            await bucket.head("file")
        assert type(caught.value) is StorageFailed
    finally:
        await bucket.close()


async def test_credentials_of_the_host(
    proxy: FaultProxy,
    gcs_server: GcsServer,
    tokens: TokenServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = bucket_with(proxy, gcs_server, automatic_credentials=1)
    with pytest.raises(StorageDenied, match="no credentials"):
        await bucket.open()
    await bucket.close()
    (tmp_path / "key.json").write_text(service_account(tokens.token_uri))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    bucket = bucket_with(proxy, gcs_server, automatic_credentials=1)
    await bucket.open()
    await bucket.put("file", b"x", {})
    await bucket.close()
    assert used(proxy) == tokens.given


async def test_metadata_server_of_an_instance(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tokens.endpoint.removeprefix("http://")
    library = "google.auth.compute_engine._metadata"  # which reads the environment when it is imported
    monkeypatch.setattr(f"{library}._NO_GCE_CHECK", False)
    monkeypatch.setattr(f"{library}._GCE_METADATA_HOST", where)
    monkeypatch.setenv("GCE_METADATA_IP", where)
    bucket = bucket_with(proxy, gcs_server, automatic_credentials=1)
    await bucket.open()
    try:
        await bucket.put("file", b"x", {})
    finally:
        await bucket.close()
    assert used(proxy) == tokens.given


async def test_credentials_of_another_cloud(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer
) -> None:
    key = service_account(tokens.token_uri, universe_domain="example.goog")
    bucket = bucket_with(proxy, gcs_server, credentials=key)
    with pytest.raises(
        StorageMisconfigured, match=r"of example.goog, not of googleapis.com: set universe_domain"
    ):
        await bucket.open()
    await bucket.close()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        ("nonsense SECRET", "is not JSON"),
        ('{"type": "x"}', "no credentials"),
    ],
)
async def test_a_file_that_holds_none(
    proxy: FaultProxy, gcs_server: GcsServer, tmp_path: Path, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "key.json").write_text(content)
    bucket = bucket_with(proxy, gcs_server, credentials_file=str(tmp_path / "key.json"))
    with pytest.raises(StorageFailed, match=says) as caught:
        await bucket.open()
    assert "SECRET" not in caught.value.detail
    await bucket.close()


async def test_an_emulator_is_asked_without_a_token(
    gcs_server: GcsServer, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.endpoint)
    key = service_account(tokens.token_uri)
    bucket = GcsBucket(GcsOptions(bucket=gcs_server.bucket(), credentials=key), QUICK)
    await bucket.open()
    try:
        assert (await bucket.put("file", b"x", {})).size == 1
    finally:
        await bucket.close()
    assert tokens.given == []


async def test_who_leaves_does_not_end_the_fetching_for_others(
    proxy: FaultProxy, gcs_server: GcsServer, tokens: TokenServer
) -> None:
    bucket = bucket_with(proxy, gcs_server, credentials=service_account(tokens.token_uri))
    await bucket.open()
    try:
        first = asyncio.ensure_future(bucket.put("a", b"x", {}))
        second = asyncio.ensure_future(bucket.put("b", b"x", {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).size == 1
        await asyncio.wait([first])
    finally:
        await bucket.close()
    assert len(tokens.given) == 1


def test_the_key_is_in_no_text() -> None:
    key = service_account("https://oauth2.googleapis.com/token")
    options = GcsOptions(bucket="bkt", credentials=key)
    assert json.loads(key)["private_key"] not in repr(options)
    assert "PRIVATE" not in repr(options)


async def test_who_gives_tokens_sends_nobody_on_and_gets_nothing_of_netrc(
    proxy: FaultProxy,
    gcs_server: GcsServer,
    tokens: TokenServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host that a record names for tokens was judged; one that it answers with was not."""
    (tmp_path / "netrc").write_text("default login someone password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with token_server() as inside:
        tokens.location = f"{inside.endpoint}/computeMetadata/v1/instance/service-accounts/default/token"
        bucket = bucket_with(proxy, gcs_server, credentials=service_account(tokens.token_uri))
        await bucket.open()
        try:
            with pytest.raises((StorageDenied, StorageFailed), match="no token"):
                await bucket.put("file", b"x", {})
        finally:
            await bucket.close()
        assert inside.asked == []
        assert {path for path, _ in tokens.asked} == {"/token"}
        assert {word for _, word in tokens.asked} == {""}
