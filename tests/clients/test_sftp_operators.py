# SPDX-License-Identifier: Apache-2.0
"""Operators of homes on another SFTP server: ``portable``, ``check --storage``, REST, accounts of SFTPGo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.test_portable import Portable
from tests.support.command_line import process, tidegate
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.programs import SSH, run
from tests.support.web_world import web_world

pytestmark = pytest.mark.needs("sshd")
PASSWORD = "correct-horse-battery"
WRONG = "SHA256:" + "a" * 43


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    with far_sshd(tmp_path_factory.mktemp("far") / "sshd") as server:
        yield server


def storage(far: FarServer, prefix: Path, **more: Any) -> dict[str, Any]:
    return {"provider": 5, "sftpconfig": far.options(prefix, **more)}


def secret_of(far: FarServer) -> str:
    return (far.directory / "user_key").read_text().splitlines()[2]


@pytest.mark.needs("sftp")
def test_portable_shares_a_directory_of_it(far: FarServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    (tmp_path / "up").write_bytes(b"content")
    (tmp_path / "scratch").mkdir()
    words = [
        "--fs-provider", "sftpfs", "--sftp-endpoint", f"127.0.0.1:{far.port}", "--sftp-username", far.user,
        "--sftp-key-path", str(far.directory / "user_key"), "--sftp-fingerprints", WRONG,
        "--sftp-fingerprints", far.fingerprints["rsa"], "--sftp-prefix", str(tmp_path / "there"),
        "-u", "anna", "-g", "*", "-k", str(key.with_suffix(".pub")),
    ]  # fmt: skip
    portable = Portable(tmp_path / "scratch", tmp_path, *words)
    try:
        portable.wait()
        assert f"Sharing sftp://{far.user}@127.0.0.1:{far.port}{tmp_path}/there/ (*)" in portable.told
        port = ["-P", str(portable.port), "-b", "-", "anna@127.0.0.1"]
        run("sftp", *SSH, "-i", key, *port, stdin=b"put up d\nget d down\n", cwd=tmp_path).ok()
        portable.end()
    finally:
        portable.process.kill()
        portable.process.communicate()
    assert (tmp_path / "down").read_bytes() == b"content"
    assert (tmp_path / "there" / "d").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fs", "5"], "--sftp-endpoint: name the endpoint"),
        (["--sftp-endpoint", "h"], "--sftp-endpoint needs --fs-provider sftpfs"),
        (["-f", "sftp", "--sftp-endpoint", "h"], "--sftp-username is missing"),
        (
            ["-f", "sftp", "--sftp-endpoint", "h", "--sftp-key-path", "/no"],
            "--sftp-key-path: /no: No such file",
        ),
        (["-f", "sftp", "--sftp-endpoint", "h:x"], "--sftp-endpoint is 'h:x'; expected host:port"),
    ],
)
def test_portable_names_the_flag(words: list[str], says: str, tmp_path: Path) -> None:
    done = process("portable", "-d", tmp_path, *words)
    assert done.code != 0
    assert says in done.err


def test_check_tells_mistakes_apart(far: FarServer, tmp_path: Path) -> None:
    other_key = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other_key).ok()
    locked = tmp_path / "locked"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", locked).ok()
    (tmp_path / "file").write_text("")
    storages = {
        "anna": storage(far, tmp_path / "good"),
        "ben": storage(far, tmp_path / "good", fingerprints=[]),
        "carl": storage(far, tmp_path / "good", fingerprints=[WRONG]),
        "dora": storage(far, tmp_path / "good", private_key=other_key.read_text()),
        "emil": storage(far, tmp_path / "good", private_key=locked.read_text()),
        "fritz": storage(far, tmp_path / "file"),
        "gerd": storage(far, tmp_path / "good", endpoint="127.0.0.1:1"),
    }
    for name, filesystem in storages.items():
        document = tmp_path / f"{name}.json"
        document.write_text(json.dumps({"filesystem": filesystem}))
        words = ["user", "add", name, "--create", "--password-stdin", "--document", document, "-c", tmp_path]
        added = tidegate(*words, stdin=PASSWORD)
        assert added.code == 0, added.err
    done = tidegate("check", "-c", tmp_path, "--storage", "--json")
    found = {one["where"].rpartition(" ")[2]: one["what"] for one in done.json["problems"]}
    assert "anna" not in found, found
    assert "sftpconfig.fingerprints is empty; the server shows" in found["ben"]
    assert all(shown in found["ben"] for shown in far.fingerprints.values())
    assert "the host key is none of sftpconfig.fingerprints" in found["carl"]
    assert far.fingerprints["rsa"] in found["carl"]
    assert "the server refuses sftpconfig.username with sftpconfig.private_key" in found["dora"]
    assert "key_passphrase is missing" in found["emil"]
    assert "sftpconfig.prefix is no directory there" in found["fritz"]
    assert "cannot connect" in found["gerd"]
    assert secret_of(far) not in done.out + done.err
    assert list((tmp_path / "good").iterdir()) == []


async def test_rest_asks_it_and_forgets_its_secrets(far: FarServer, tmp_path: Path) -> None:
    async with web_world(tmp_path) as world:
        good = storage(far, tmp_path / "good")
        answer = await world.client.post("/api/v2/users", json=world.user("anna", filesystem=good))
        assert answer.status_code == 201, answer.text
        assert secret_of(far) not in answer.text
        asked = await world.client.post("/api/v2/users/anna/storage-check", timeout=60)
        assert asked.json()["results"][0]["ok"] is True, asked.text
        without = {name: value for name, value in good["sftpconfig"].items() if name != "private_key"}
        for change in ({"endpoint": "127.0.0.1:9"}, {"fingerprints": [WRONG]}):
            moved = {"provider": 5, "sftpconfig": {**without, **change}}
            answer = await world.client.put("/api/v2/users/anna", json=world.user("anna", filesystem=moved))
            assert answer.status_code == 400, answer.text
            assert "password and private_key are missing" in answer.text
        same = {"provider": 5, "sftpconfig": {**without, "prefix": str(tmp_path / "else")}}
        answer = await world.client.put("/api/v2/users/anna", json=world.user("anna", filesystem=same))
        assert answer.status_code == 200, answer.text


def test_accounts_of_sftpgo_come_over(far: FarServer, tmp_path: Path) -> None:
    key = {"status": "Plain", "payload": (far.directory / "user_key").read_text()}

    def user(name: str, **more: Any) -> dict[str, Any]:
        config = {
            "endpoint": f"127.0.0.1:{far.port}", "username": far.user, "password": {}, "private_key": key,
            "key_passphrase": {}, "fingerprints": [far.fingerprints["ed25519"]], "prefix": str(tmp_path / name),
            "disable_concurrent_reads": True, "buffer_size": 2, "equality_check_mode": 1, **more,
        }  # fmt: skip
        others = ("s3config", "gcsconfig", "azblobconfig", "cryptconfig", "osconfig", "httpconfig")
        return {
            "username": name, "status": 1, "home_dir": f"/srv/{name}", "permissions": {"/": ["*"]},
            "password": "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
            "filesystem": {"provider": 5, "sftpconfig": config, **{other: {} for other in others}},
        }  # fmt: skip

    sealed = {"status": "Secretbox", "payload": "c2Vj", "key": "kk", "additional_data": "ben"}
    users = [user("anna"), user("ben", private_key=sealed)]
    dump = {"version": 16, "users": users, "folders": [], "admins": [], "api_keys": []}
    (tmp_path / "dump.json").write_text(json.dumps(dump))
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    done = tidegate("loaddata", tmp_path / "dump.json", "-c", tmp_path)
    assert done.code == 0, done.err
    told = [line for line in (done.out + done.err).splitlines() if "filesystem" in line]
    assert len(told) == 1, told
    assert "users[1] (ben): filesystem.sftpconfig: private_key is encrypted (Secretbox)" in told[0]
    found = tidegate("check", "-c", tmp_path, "--storage", "--json").json["problems"]
    assert {one["where"] for one in found} == {"storage of user ben"}
