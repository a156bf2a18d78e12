# SPDX-License-Identifier: Apache-2.0
"""Operators of containers: ``portable``, ``check --storage``, REST, and accounts that come over from dumps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.test_portable import Portable
from tests.support.azure_server import ACCOUNT, KEY, AzureServer
from tests.support.command_line import process, tidegate
from tests.support.fault_proxy import FaultProxy, Refuse, fault_proxy
from tests.support.programs import SSH, run
from tests.support.web_world import web_world

PASSWORD = "correct-horse-battery"
OTHER_KEY = "bm90LXRoZS1rZXk="


@pytest.fixture
def proxy(azurite_server: AzureServer) -> Iterator[FaultProxy]:
    with fault_proxy(azurite_server.endpoint) as made:
        yield made


def azure(server: AzureServer, container: str, **more: Any) -> dict[str, Any]:
    return {"provider": 3, "azblobconfig": server.options(container, **more)}


@pytest.mark.needs("sftp")
def test_portable_shares_a_container(
    azurite_server: AzureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    container = azurite_server.bucket()
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    (tmp_path / "up").write_bytes(b"content")
    (tmp_path / "scratch").mkdir()
    words = [
        "--fs-provider", "azblobfs", "--az-container", container, "--az-endpoint", azurite_server.endpoint,
        "--az-use-emulator", "--az-key-prefix", "in/it", "-u", "anna", "-g", "*", "-k", str(key.with_suffix(".pub")),
    ]  # fmt: skip
    portable = Portable(tmp_path / "scratch", tmp_path, *words)
    try:
        portable.wait()
        assert f"Sharing azblob://{ACCOUNT}/{container}/in/it/ (*)" in portable.told
        assert KEY not in portable.told
        port = ["-P", str(portable.port), "-b", "-", "anna@127.0.0.1"]
        run("sftp", *SSH, "-i", key, *port, stdin=b"put up d\nget d down\n", cwd=tmp_path).ok()
        portable.end()
    finally:
        portable.process.kill()
        portable.process.communicate()
    assert (tmp_path / "down").read_bytes() == b"content"
    assert azurite_server.admin.get_blob_client(container, "in/it/d").download_blob().readall() == b"content"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fs", "3"], "--az-container: name the container"),
        (["--az-container", "files"], "--az-container needs --fs-provider azblobfs"),
        (["-f", "azblobfs", "--az-container", "files"], "--az-account-name is missing"),
        (["-f", "azblob", "--az-sas-url", "https://h/c"], "--az-sas-url has no signature (sig=...)"),
        (
            [
                "-f",
                "azblob",
                "--az-container",
                "files",
                "--az-account-name",
                "acct",
                "--az-access-tier",
                "Warm",
            ],
            "--az-access-tier is 'Warm'; expected one of Archive, Cold, Cool, Hot",
        ),
    ],
)
def test_portable_names_the_flag(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    done = process("portable", "-d", tmp_path, *words)
    assert done.code != 0
    assert says in done.err


def test_check_asks_every_storage_once(
    azurite_server: AzureServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    good, denied = azurite_server.bucket(), azurite_server.bucket()
    storages = {
        "anna": azure(azurite_server, good, endpoint=proxy.endpoint),
        "ben": azure(azurite_server, good, endpoint=proxy.endpoint),
        "carl": azure(azurite_server, "no-such-container"),
        "dora": azure(azurite_server, denied, endpoint=proxy.endpoint),
    }
    for name, filesystem in storages.items():
        document = tmp_path / f"{name}.json"
        document.write_text(json.dumps({"filesystem": filesystem}))
        words = ["user", "add", name, "--create", "--password-stdin", "--document", document, "-c", tmp_path]
        added = tidegate(*words, stdin=PASSWORD)
        assert added.code == 0, added.err
    proxy.add("GetBlob", Refuse(403, "AuthorizationPermissionMismatch"), key=denied)
    done = tidegate("check", "-c", tmp_path, "--storage", "--json")
    assert done.code != 0
    found = {one["where"]: one["what"] for one in done.json["problems"]}
    assert set(found) == {"storage of user carl", "storage of user dora"}
    assert "there is no container 'no-such-container'" in found["storage of user carl"]
    assert "needs the permission read (r)" in found["storage of user dora"]
    assert KEY not in done.out + done.err
    assert proxy.operations().count("ListBlobs") == 2
    assert list(azurite_server.admin.get_container_client(good).list_blob_names()) == []


async def test_rest_asks_the_storage_of_a_record(azurite_server: AzureServer, tmp_path: Path) -> None:
    container = azurite_server.bucket()
    async with web_world(tmp_path) as world:
        folder = {
            "name": "shared", "mapped_path": "/srv/unused",
            "filesystem": azure(azurite_server, container, account_key=OTHER_KEY),
        }  # fmt: skip
        answer = await world.client.post("/api/v2/folders", json=folder)
        assert answer.status_code == 201, answer.text
        mount = {"name": "shared", "virtual_path": "/shared", "quota_size": -1, "quota_files": -1}
        document = world.user("anna", filesystem=azure(azurite_server, container), virtual_folders=[mount])
        answer = await world.client.post("/api/v2/users", json=document)
        assert answer.status_code == 201, answer.text
        answer = await world.client.post("/api/v2/users/anna/storage-check", timeout=60)
        home, mounted = answer.json()["results"]
        assert home == {"path": "/", "ok": True, "message": "it may be listed, read and written"}
        assert (mounted["path"], mounted["ok"]) == ("/shared", False)
        assert "account_key does not belong to the account" in mounted["message"]
        shown = await world.client.get("/api/v2/users/anna")
        assert OTHER_KEY not in answer.text + shown.text
        assert KEY not in answer.text + shown.text


async def test_a_key_is_not_sent_to_another_account(azurite_server: AzureServer, tmp_path: Path) -> None:
    """An administrator, who is never shown a key, cannot have the server use it elsewhere by an update."""
    async with web_world(tmp_path) as world:
        mine = azure(azurite_server, "files")
        answer = await world.client.post("/api/v2/users", json=world.user("anna", filesystem=mine))
        assert answer.status_code == 201, answer.text
        for change in ({"account_name": "another"}, {"endpoint": "http://127.0.0.1:9"}):
            without = {name: value for name, value in mine["azblobconfig"].items() if name != "account_key"}
            moved = {"provider": 3, "azblobconfig": {**without, **change}}
            answer = await world.client.put("/api/v2/users/anna", json=world.user("anna", filesystem=moved))
            assert answer.status_code == 400, answer.text
            assert "account_key is missing" in answer.text


def test_accounts_of_sftpgo_come_over(azurite_server: AzureServer, tmp_path: Path) -> None:
    container = azurite_server.bucket()
    plain = {"status": "Plain", "payload": KEY}
    empty = {
        name: {} for name in ("s3config", "gcsconfig", "cryptconfig", "sftpconfig", "osconfig", "httpconfig")
    }

    def user(name: str, **more: Any) -> dict[str, Any]:
        config = {
            "container": container, "account_name": ACCOUNT, "account_key": plain, "sas_url": {}, "key_prefix": "x/",
            "endpoint": azurite_server.endpoint, "use_emulator": True, "access_tier": "Cool", "upload_part_size": 16,
            "upload_concurrency": 5, "download_part_size": 5, "download_concurrency": 5, **more,
        }  # fmt: skip
        return {
            "username": name, "status": 1, "home_dir": f"/srv/{name}", "permissions": {"/": ["*"]},
            "password": "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
            "filesystem": {"provider": 3, "azblobconfig": config, **empty},
        }  # fmt: skip

    sas = {"status": "Plain", "payload": azurite_server.sas_url(container)}
    users = [
        user("anna"),
        user(
            "ben",
            account_key={"status": "Secretbox", "payload": "c2Vj", "key": "kk", "additional_data": "ben"},
        ),
        user("carl", account_key={}, sas_url=sas, container="", endpoint="", account_name=""),
        user("dora", account_key={}),
    ]
    dump = {"version": 16, "users": users, "folders": [], "admins": [], "api_keys": []}
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    done = tidegate("loaddata", tmp_path / "dump.json", "-c", tmp_path)
    assert done.code == 0, done.err
    assert KEY not in done.out + done.err
    later = "until that is set, its files cannot be reached"
    assert [line for line in (done.out + done.err).splitlines() if "filesystem" in line] == [
        (
            "note: users[1] (ben): filesystem.azblobconfig: account_key is encrypted (Secretbox); "
            f"expected it in plain text: {later}"
        ),
        (
            "note: users[3] (dora): filesystem.azblobconfig: account_key is missing: an emulator needs it, or "
            f"sas_url: {later}"
        ),
    ]
    shown = tidegate("user", "show", "anna", "-c", tmp_path, "--json")
    kept = shown.json["filesystem"]["azblobconfig"]
    assert (kept["container"], kept["access_tier"], kept["upload_part_size"]) == (container, "Cool", 16)
    assert KEY not in shown.out
    found = tidegate("check", "-c", tmp_path, "--storage", "--json").json["problems"]
    assert {one["where"] for one in found} == {"storage of user ben", "storage of user dora"}
