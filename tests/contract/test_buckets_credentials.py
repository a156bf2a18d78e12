# SPDX-License-Identifier: Apache-2.0
"""Credentials of S3 beyond a key in the record: assumed roles, and the metadata of an instance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fault_proxy import FaultProxy, Refuse, fault_proxy
from tests.support.object_servers import ObjectServer

from tidegate.backends.objects.bucket import StorageDenied
from tidegate.backends.objects.s3 import S3Bucket
from tidegate.backends.objects.s3_client import make_loader
from tidegate.backends.objects.s3_options import S3Options

LOADER = make_loader()
ROLE = "arn:aws:iam::123456789012:role/inbox"


@pytest.fixture
def proxy(moto_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(moto_server.endpoint) as made:
        yield made


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine is looked at."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def keys_of(proxy: FaultProxy, operation: str) -> list[str]:
    """Access keys that requests of an operation were signed with."""
    found = [one.headers["authorization"] for one in proxy.asked if one.operation == operation]
    return [text.partition("Credential=")[2].partition("/")[0] for text in found]


async def test_assumed_role(
    proxy: FaultProxy, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.endpoint)
    options = moto_server.options(
        moto_server.bucket(), endpoint=proxy.endpoint, role_arn=ROLE, external_id="ext-7"
    )
    bucket = S3Bucket(S3Options(**options), loader=LOADER)
    await bucket.open()
    try:
        await bucket.put("file", b"x", {})
        await bucket.put("file", b"y", {})
        [assumed] = [body for body in proxy.bodies if b"AssumeRole" in body]
        assert b"ExternalId=ext-7" in assumed
        assert b"RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Finbox" in assumed
        first, second = keys_of(proxy, "PutObject")
        assert first == second != moto_server.access_key
        assert all(
            "x-amz-security-token" in one.headers for one in proxy.asked if one.operation == "PutObject"
        )

        proxy.add("PutObject", Refuse(400, "ExpiredToken"))
        await bucket.put("file", b"z", {})
        assert keys_of(proxy, "PutObject")[-1] not in {first, moto_server.access_key}
    finally:
        await bucket.close()


async def test_web_identity(
    proxy: FaultProxy, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in EKS: a token in a file, which is read again when new credentials are fetched."""
    token = tmp_path / "token"
    token.write_text("a.token.of-the-cluster")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.endpoint)
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    options = moto_server.options(
        moto_server.bucket(), endpoint=proxy.endpoint, access_key="", access_secret=""
    )
    bucket = S3Bucket(S3Options(**options), loader=LOADER)
    await bucket.open()
    try:
        await bucket.put("file", b"x", {})
        await bucket.put("file", b"y", {})
        [asked] = [body for body in proxy.bodies if b"AssumeRoleWithWebIdentity" in body]
        assert b"WebIdentityToken=a.token.of-the-cluster" in asked and b"inbox" in asked
        first, second = keys_of(proxy, "PutObject")
        assert first == second != moto_server.access_key
        assert "x-amz-security-token" in proxy.asked[-1].headers

        token.write_text("the.next.token")
        proxy.add("PutObject", Refuse(400, "ExpiredToken"))
        await bucket.put("file", b"z", {})
        assert any(b"WebIdentityToken=the.next.token" in body for body in proxy.bodies)
        assert keys_of(proxy, "PutObject")[-1] != first
    finally:
        await bucket.close()


async def test_role_that_may_not_be_assumed(
    proxy: FaultProxy, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.endpoint)
    proxy.add("*", Refuse(403, "AccessDenied"), times=100)
    options = moto_server.options("any-bucket", endpoint=proxy.endpoint, role_arn=ROLE)
    bucket = S3Bucket(S3Options(**options), loader=LOADER)
    await bucket.open()
    try:
        with pytest.raises(StorageDenied, match=r"AssumeRole: .*needs the permission sts:AssumeRole"):
            await bucket.put("file", b"x", {})
    finally:
        await bucket.close()


async def test_no_credentials_anywhere(moto_server: ObjectServer) -> None:
    options = moto_server.options("any-bucket", access_key="", access_secret="")
    bucket = S3Bucket(S3Options(**options), loader=LOADER)
    with pytest.raises(StorageDenied, match="no credentials"):
        await bucket.open()
    await bucket.close()


async def test_metadata_of_the_instance(
    proxy: FaultProxy, moto_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", moto_server.endpoint)
    options = moto_server.options(
        moto_server.bucket(), endpoint=proxy.endpoint, access_key="", access_secret=""
    )
    bucket = S3Bucket(S3Options(**options), loader=LOADER)
    await bucket.open()
    try:
        await bucket.put("file", b"x", {})
        assert keys_of(proxy, "PutObject") != [moto_server.access_key]
        assert "x-amz-security-token" in proxy.asked[-1].headers
    finally:
        await bucket.close()
