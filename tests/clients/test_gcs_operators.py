# SPDX-License-Identifier: Apache-2.0
"""Operators of buckets of Google Cloud Storage: ``portable``, ``check``, REST, and what comes from SFTPGo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.clients.test_portable import Portable
from tests.support.command_line import process, tidegate
from tests.support.fault_proxy import Refuse, fault_proxy
from tests.support.gcs_server import GcsServer
from tests.support.google_key import service_account
from tests.support.programs import SSH, run
from tests.support.web_world import web_world

PASSWORD = "correct-horse-battery"


@pytest.mark.needs("sftp")
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_portable_shares_a_bucket(
    gcs_server: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bucket, key = gcs_server.bucket(), tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    (tmp_path / "up").write_bytes(b"content")
    (tmp_path / "scratch").mkdir()
    words = [
        "--fs-provider",
        "gcsfs",
        "--gcs-bucket",
        bucket,
        "--gcs-key-prefix",
        "in/it",
        "-u",
        "anna",
        "-g",
        "*",
    ]
    if how == "flag":
        words += ["--gcs-endpoint", gcs_server.endpoint]
    else:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.endpoint.removeprefix("http://"))
    portable = Portable(tmp_path / "scratch", tmp_path, *words, "-k", str(key.with_suffix(".pub")))
    try:
        portable.wait()
        assert f"Sharing gs://{bucket}/in/it/ (*)" in portable.told
        port = ["-P", str(portable.port), "-b", "-", "anna@127.0.0.1"]
        run("sftp", *SSH, "-i", key, *port, stdin=b"put up d\nget d down\n", cwd=tmp_path).ok()
        portable.end()
    finally:
        portable.process.kill()
        portable.process.communicate()
    assert (tmp_path / "down").read_bytes() == b"content"
    assert gcs_server.admin.read(bucket, "in/it/d") == b"content"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fs", "2"], "--gcs-bucket: name the bucket"),
        (["--gcs-bucket", "b"], "--gcs-bucket needs --fs-provider gcsfs"),
        (["-f", "s3", "--s3-bucket", "b", "--gcs-acl", "x"], "--gcs-acl needs --fs-provider gcsfs"),
        (["-f", "gcs", "--gcs-bucket", "bkt", "--gcs-acl", "all"], "--gcs-acl is 'all'; expected one of"),
        (["-f", "gcs", "--gcs-bucket", "b/c"], "--gcs-bucket is 'b/c'; expected the name of a bucket"),
        (
            ["-f", "gcs", "--gcs-bucket", "bkt", "--gcs-automatic-credentials", "0"],
            "--gcs-credentials is missing",
        ),
        (
            ["-f", "gcs", "--gcs-bucket", "bkt", "--gcs-credentials-file", "none.json"],
            "none.json' cannot be read",
        ),
    ],
)
def test_portable_names_the_flag(words: list[str], says: str, tmp_path: Path) -> None:
    done = process("portable", "-d", tmp_path, *words)
    assert done.code != 0
    assert says in done.err


def test_check_asks_every_storage(gcs_server: GcsServer, tmp_path: Path) -> None:
    good, denied = gcs_server.bucket(), gcs_server.bucket()
    with fault_proxy(gcs_server.endpoint) as proxy:
        storages = {
            "anna": gcs_server.options(good),
            "carl": gcs_server.options("no-such-bucket"),
            "dora": gcs_server.options(denied, endpoint=proxy.endpoint),
        }
        for name, options in storages.items():
            document = tmp_path / f"{name}.json"
            document.write_text(json.dumps({"filesystem": {"provider": 2, "gcsconfig": options}}))
            words = [
                "user",
                "add",
                name,
                "--create",
                "--password-stdin",
                "--document",
                document,
                "-c",
                tmp_path,
            ]
            added = tidegate(*words, stdin=PASSWORD)
            assert added.code == 0, added.err
        proxy.add(
            "objects.patch",
            Refuse(403, "forbidden", "Permission 'storage.objects.update' denied on resource"),
        )
        done = tidegate("check", "-c", tmp_path, "--storage", "--json")
    assert done.code != 0
    found = {one["where"]: one["what"] for one in done.json["problems"]}
    assert set(found) == {"storage of user carl", "storage of user dora"}
    assert "there is no bucket 'no-such-bucket'" in found["storage of user carl"]
    assert "needs the permission storage.objects.update" in found["storage of user dora"]
    assert gcs_server.admin.objects(good) == {}


async def test_rest_asks_the_storage_of_a_record(gcs_server: GcsServer, tmp_path: Path) -> None:
    key = service_account("http://127.0.0.1:9/token")
    bad = {**json.loads(key), "private_key": "nonsense"}

    def gcs(**more: Any) -> dict[str, Any]:
        return {"provider": 2, "gcsconfig": gcs_server.options(gcs_server.bucket(), **more)}

    async with web_world(tmp_path) as world:
        answer = await world.client.post("/api/v2/users", json=world.user("anna", filesystem=gcs()))
        assert answer.status_code == 201, answer.text
        answer = await world.client.post("/api/v2/users/anna/storage-check", timeout=60)
        assert answer.json()["results"] == [
            {"path": "/", "ok": True, "message": "it may be listed, read and written"}
        ]
        answer = await world.client.post(
            "/api/v2/users", json=world.user("ben", filesystem=gcs(credentials=key))
        )
        assert answer.status_code == 201, answer.text
        assert "PRIVATE KEY" not in answer.text
        shown = await world.client.get("/api/v2/users/ben")
        assert "PRIVATE KEY" not in shown.text and "client_email" not in shown.text
        answer = await world.client.post("/api/v2/users/ben/storage-check", timeout=60)
        [result] = answer.json()["results"]
        assert not result["ok"] and "no token: " in result["message"]
        broken = world.user("carl", filesystem=gcs(credentials=json.dumps(bad)))
        answer = await world.client.post("/api/v2/users", json=broken)
        assert answer.status_code == 400
        assert "filesystem.gcsconfig: credentials: private_key is not a private key in PEM" in answer.text
        assert "nonsense" not in answer.text


def test_accounts_of_sftpgo_come_over(tmp_path: Path) -> None:
    key = service_account("https://oauth2.googleapis.com/token")
    empty = {
        name: {}
        for name in ("s3config", "azblobconfig", "cryptconfig", "sftpconfig", "osconfig", "httpconfig")
    }

    def user(name: str, **more: Any) -> dict[str, Any]:
        config = {
            "bucket": "b-1", "key_prefix": "x/", "credentials": {"status": "Plain", "payload": key},
            "automatic_credentials": 0, "storage_class": "NEARLINE", "acl": "projectPrivate", "hns": 1,
            "upload_part_size": 16, "upload_part_max_time": 32, **more,
        }  # fmt: skip
        return {
            "username": name, "status": 1, "home_dir": f"/srv/{name}", "permissions": {"/": ["*"]},
            "password": "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
            "filesystem": {"provider": 2, "gcsconfig": config, **empty},
        }  # fmt: skip

    sealed = {"status": "Secretbox", "payload": "c2Vj", "key": "kk", "additional_data": "ben"}
    users = [
        user("anna"),
        user("ben", credentials=sealed),
        user("carl", credentials={}, automatic_credentials=1),
        user("dora", credentials={}),
    ]
    dump = {"version": 16, "users": users, "folders": [], "admins": [], "api_keys": []}
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    done = tidegate("loaddata", tmp_path / "dump.json", "-c", tmp_path)
    assert done.code == 0, done.err
    assert "PRIVATE KEY" not in done.out + done.err
    notes = [line for line in (done.out + done.err).splitlines() if "filesystem" in line]
    later = "until that is set, its files cannot be reached"
    assert len(notes) == 2
    assert notes[0] == (
        "note: users[1] (ben): filesystem.gcsconfig: credentials is encrypted (Secretbox); "
        f"expected it in plain text: {later}"
    )
    assert notes[1].startswith("note: users[3] (dora): filesystem.gcsconfig: credentials is missing: ")
    shown = tidegate("user", "show", "anna", "-c", tmp_path, "--json")
    assert shown.code == 0, shown.err
    kept = shown.json["filesystem"]["gcsconfig"]
    assert (kept["bucket"], kept["storage_class"], kept["upload_part_size"]) == ("b-1", "NEARLINE", 16)
    assert "PRIVATE KEY" not in shown.out
