# SPDX-License-Identifier: Apache-2.0
"""Accounts and folders on S3 come over from dumps, and what keeps their files from being reached is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import tidegate
from tests.support.google_key import AUDIENCE, service_account

from tidegate.backends.factory import StorageKinds, options_of
from tidegate.backends.objects.gcs_options import GcsOptions
from tidegate.backends.objects.s3_options import S3Options
from tidegate.cli.provider import opened
from tidegate.model.secrets import open_secret
from tidegate.policy.folders import storage_of

EMPTY = {
    name: {} for name in ("gcsconfig", "azblobconfig", "cryptconfig", "sftpconfig", "osconfig", "httpconfig")
}
PLAIN = {"status": "Plain", "payload": "the-secret"}
SEALED = {"status": "AES-256-GCM", "payload": "c2Vj", "key": "kk", "additional_data": "ben", "mode": 1}


def s3(**more: Any) -> dict[str, Any]:
    config = {
        "bucket": "b-1", "region": "eu-west-1", "access_key": "AK", "access_secret": PLAIN, "key_prefix": "x/",
        "upload_part_size": 0, "upload_concurrency": 0, "upload_part_max_time": 0, "download_part_size": 0,
        "download_concurrency": 0, "download_part_max_time": 0, "force_path_style": False, "skip_tls_verify": False,
        "sse_customer_key": {}, **more,
    }  # fmt: skip
    return {"provider": 1, "s3config": config, **EMPTY}


def user(name: str, filesystem: dict[str, Any]) -> dict[str, Any]:
    return {
        "username": name, "status": 1, "home_dir": f"/srv/{name}", "permissions": {"/": ["*"]},
        "password": "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "filesystem": filesystem,
    }  # fmt: skip


@pytest.fixture
def loaded(tmp_path: Path) -> str:
    old = s3(access_secret="$aes$00112233$445566")
    old["s3config"] = {name: value for name, value in old["s3config"].items() if "part" not in name}
    dump = {
        "version": 16,
        "users": [user("anna", s3()), user("ben", s3(access_secret=SEALED)), user("carl", old)],
        "folders": [{"name": "f", "mapped_path": "/srv/f", "filesystem": s3(bucket="")}],
        "admins": [],
        "api_keys": [],
    }
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    done = tidegate("loaddata", tmp_path / "dump.json", "-c", tmp_path)
    assert done.code == 0, done.err
    assert "the-secret" not in done.out + done.err
    return done.out + done.err


def test_what_cannot_be_reached_is_said(loaded: str) -> None:
    notes = [line for line in loaded.splitlines() if "filesystem" in line]
    later = "until that is set, its files cannot be reached"
    assert notes == [
        f"note: folders[0] (f): filesystem.s3config: bucket is ''; expected the name of a bucket or an ARN: {later}",
        f"note: users[1] (ben): filesystem.s3config: access_secret is encrypted (AES-256-GCM); expected it in plain text: {later}",
        f"note: users[2] (carl): filesystem.s3config: access_secret is encrypted ($aes$); expected it in plain text: {later}",
    ]


async def test_an_account_is_carried_whole(loaded: str, tmp_path: Path) -> None:
    async with opened(tmp_path, "tidegate") as desk:
        anna = await desk.provider.user("anna")
    assert anna is not None
    StorageKinds().mistake(storage_of(anna))
    options = options_of(S3Options, "s3config", anna.filesystem, "")
    assert (options.bucket, options.region, options.prefix) == ("b-1", "eu-west-1", "x/")
    assert open_secret("access_secret", options.access_secret) == "the-secret"


@pytest.mark.parametrize(("name", "code"), [("anna", 0), ("ben", 3)])
def test_explain_knows(loaded: str, tmp_path: Path, name: str, code: int) -> None:
    done = tidegate("explain", "-u", name, "--op", "list", "-c", tmp_path)
    assert done.code == code
    said = "would fail: storage: filesystem.s3config: access_secret is encrypted (AES-256-GCM)"
    assert done.out.startswith(said) == bool(code)


GCS = {"bucket": "b-1", "automatic_credentials": 0, "key_prefix": "x/"}


@pytest.mark.parametrize("form", ["json", "secret"])
def test_credentials_in_files_of_sftpgo_are_found(tmp_path: Path, form: str) -> None:
    """SFTPGo 0.9.6 to 2.2: a file for each user, and for each folder in a directory of its own."""
    text = service_account(AUDIENCE)
    place = tmp_path / "credentials"
    (place / "folders").mkdir(parents=True)
    content = text if form == "json" else json.dumps({"status": "Plain", "payload": text})
    (place / "gina_gcs_credentials.json").write_text(content)
    (place / "folders/f_gcs_credentials.json").write_text(content)
    (place / "broken_gcs_credentials.json").write_text("no json")
    bare = {"provider": 2, "gcsconfig": {**GCS, "credentials": {}}}
    auto = {"provider": 2, "gcsconfig": {**GCS, "automatic_credentials": 1}}
    dump = {
        "version": 10,
        "users": [user("gina", bare), user("auto", auto), user("broken", bare)],
        "folders": [{"name": "f", "mapped_path": "/srv/f", "filesystem": bare}],
        "admins": [],
        "api_keys": [],
    }
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    done = tidegate("loaddata", tmp_path / "dump.json", "-c", tmp_path)
    assert done.code == 0, done.err
    said = done.out + done.err
    assert "PRIVATE KEY" not in said
    assert f"come from {place}/gina_gcs_credentials.json" in said
    assert "users[2] (broken): filesystem.gcsconfig: credentials is missing" in said

    async def stored() -> tuple[Any, ...]:
        async with opened(tmp_path, "tidegate") as desk:
            provider = desk.provider
            return await provider.user("gina"), await provider.folder("f"), await provider.user("auto")

    *found, auto_found = asyncio.run(stored())
    for record in found:
        assert record is not None
        options = options_of(GcsOptions, "gcsconfig", record.filesystem, "")
        assert open_secret("credentials", options.credentials) == text
    assert auto_found is not None
    assert not options_of(GcsOptions, "gcsconfig", auto_found.filesystem, "").credentials
