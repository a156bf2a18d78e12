# SPDX-License-Identifier: Apache-2.0
"""Operators of buckets: sharing one by ``portable``, and asking before users do, by ``check`` and REST."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.test_portable import Portable
from tests.support import fork_server
from tests.support.command_line import process, tidegate
from tests.support.fault_proxy import FaultProxy, Refuse, fault_proxy
from tests.support.object_servers import ObjectServer
from tests.support.programs import SSH, run
from tests.support.web_world import web_world

PASSWORD = "correct-horse-battery"


@pytest.fixture
def proxy(seaweedfs_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(seaweedfs_server.endpoint) as made:
        yield made


def flags(server: ObjectServer, bucket: str) -> list[str]:
    return [
        "--fs-provider", "s3fs", "--s3-bucket", bucket, "--s3-endpoint", server.endpoint, "--s3-force-path-style",
        "--s3-region", server.region,
    ]  # fmt: skip


@pytest.mark.needs("sftp")
def test_portable_shares_a_bucket(
    seaweedfs_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs_server.access_secret)
    bucket = seaweedfs_server.bucket()
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    (tmp_path / "up").write_bytes(b"content")
    (tmp_path / "scratch").mkdir()
    words = [*flags(seaweedfs_server, bucket), "--s3-key-prefix", "in/it", "-u", "anna", "-g", "*"]
    portable = Portable(tmp_path / "scratch", tmp_path, *words, "-k", str(key.with_suffix(".pub")))
    try:
        portable.wait()
        assert f"Sharing s3://{bucket}/in/it/ (*)" in portable.told
        batch = b"put up d\nget d down\n"
        port = ["-P", str(portable.port), "-b", "-", "anna@127.0.0.1"]
        run("sftp", *SSH, "-i", key, *port, stdin=batch, cwd=tmp_path).ok()
        portable.end()
    finally:
        portable.process.kill()
        portable.process.communicate()
    assert (tmp_path / "down").read_bytes() == b"content"
    stored = seaweedfs_server.admin.get_object(Bucket=bucket, Key="in/it/d")["Body"].read()
    assert stored == b"content"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fs", "1"], "--s3-bucket: name the bucket"),
        (["--s3-bucket", "b"], "--s3-bucket needs --fs-provider s3fs"),
        (["-f", "s3", "--s3-bucket", "b", "--s3-acl", "all"], "--s3-acl is 'all'; expected one of"),
        (["-f", "s3", "--s3-bucket", "b", "--s3-access-key", "k"], "--s3-access-secret is missing"),
        (
            ["-f", "s3", "--s3-bucket", "b", "--s3-upload-part-size", "4"],
            "--s3-upload-part-size is 4; expected",
        ),
        (["-f", "disk"], "--fs-provider: 'disk' is not one of osfs, s3fs, gcsfs"),
        (["-f", "6"], "--fs-provider: '6' is not available in this version"),
    ],
)
def test_portable_names_the_flag(words: list[str], says: str, tmp_path: Path) -> None:
    done = process("portable", "-d", tmp_path, *words)
    assert done.code != 0
    assert says in done.err


def test_portable_tells_at_once_that_the_bucket_is_missing(
    seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": seaweedfs_server.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs_server.access_secret,
    }
    done = fork_server.run(
        ["portable", *flags(seaweedfs_server, "no-such-bucket")],
        env=environment, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "there is no bucket 'no-such-bucket'" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_asks_every_storage_once(
    seaweedfs_server: ObjectServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    good, denied = seaweedfs_server.bucket(), seaweedfs_server.bucket()
    storages = {
        "anna": seaweedfs_server.options(good, endpoint=proxy.endpoint),
        "ben": seaweedfs_server.options(good, endpoint=proxy.endpoint),
        "carl": seaweedfs_server.options("no-such-bucket"),
        "dora": seaweedfs_server.options(denied, endpoint=proxy.endpoint),
    }
    for name, options in storages.items():
        document = tmp_path / f"{name}.json"
        document.write_text(json.dumps({"filesystem": {"provider": 1, "s3config": options}}))
        words = ["user", "add", name, "--create", "--password-stdin", "--document", document, "-c", tmp_path]
        added = tidegate(*words, stdin=PASSWORD)
        assert added.code == 0, added.err
    proxy.add("GetObject", Refuse(403, "AccessDenied"), key=denied)
    done = tidegate("check", "-c", tmp_path, "--storage", "--json")
    assert done.code != 0
    found = {one["where"]: one["what"] for one in done.json["problems"]}
    assert set(found) == {"storage of user carl", "storage of user dora"}
    assert "there is no bucket 'no-such-bucket'" in found["storage of user carl"]
    assert "needs the permission s3:GetObject" in found["storage of user dora"]
    assert "storage beyond local disk: 3 asked, 2 cannot be used" in done.json["facts"]
    assert seaweedfs_server.access_secret not in done.out + done.err
    assert proxy.operations().count("ListObjectsV2") == 2
    objects = seaweedfs_server.admin.list_objects_v2(Bucket=good)
    assert objects["KeyCount"] == 0


async def test_rest_asks_the_storage_of_a_record(seaweedfs_server: ObjectServer, tmp_path: Path) -> None:
    bucket = seaweedfs_server.bucket()

    def s3(**more: Any) -> dict[str, Any]:
        return {"provider": 1, "s3config": seaweedfs_server.options(bucket, **more)}

    async with web_world(tmp_path) as world:
        folder = {
            "name": "shared",
            "mapped_path": "/srv/unused",
            "filesystem": s3(access_secret="wrong-one"),
        }
        answer = await world.client.post("/api/v2/folders", json=folder)
        assert answer.status_code == 201, answer.text
        mount = {"name": "shared", "virtual_path": "/shared", "quota_size": -1, "quota_files": -1}
        document = world.user("anna", filesystem=s3(), virtual_folders=[mount])
        answer = await world.client.post("/api/v2/users", json=document)
        assert answer.status_code == 201, answer.text
        answer = await world.client.post("/api/v2/users/anna/storage-check", timeout=60)
        assert answer.status_code == 200, answer.text
        home, mounted = answer.json()["results"]
        assert home == {"path": "/", "ok": True, "message": "it may be listed, read and written"}
        assert (mounted["path"], mounted["ok"]) == ("/shared", False)
        assert "the secret does not belong to the access key" in mounted["message"]
        assert "wrong-one" not in answer.text
        answer = await world.client.post("/api/v2/folders/shared/storage-check", timeout=60)
        assert answer.json()["results"] == [{**mounted, "path": "/"}]
        await world.client.post("/api/v2/users", json=world.user("ben"))
        answer = await world.client.post("/api/v2/users/ben/storage-check", timeout=60)
        assert answer.json()["results"][0]["message"] == "a directory of the server, not looked at"
        answer = await world.client.post("/api/v2/users/nobody/storage-check", timeout=60)
        assert answer.status_code == 404
