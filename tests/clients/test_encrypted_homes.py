# SPDX-License-Identifier: Apache-2.0
"""Encrypted homes in the running product, by real clients: on local disk and in a bucket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.test_portable import Portable
from tests.support.command_line import process, tidegate
from tests.support.object_servers import ObjectServer
from tests.support.programs import SSH, digest, random_file, rclone, run, sftp, ssh, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.backends.crypt.format import CHUNK, HEADER, MAGIC, position, stored_size
from tidegate.model import StorageConfig

MIB = 1 << 20
PASSPHRASE = "a passphrase that nobody logs"
DISK = StorageConfig("crypt", {"cryptconfig": {"passphrase": PASSPHRASE}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("crypt") / "config") as made:
        made.secrets.add(PASSPHRASE)
        yield made


@pytest.fixture
def person(server: Running) -> Person:
    return server.account(filesystem=DISK, quota_size=1 << 30)


@pytest.mark.needs("sftp", "ssh")
def test_openssh(person: Person, tmp_path: Path) -> None:
    sent = random_file(tmp_path / "big", 5 * MIB + 5)
    content = (tmp_path / "big").read_bytes()
    (tmp_path / "small").write_bytes(b"small enough to be seen")
    sftp(
        person, "mkdir d", "put big d/big", "put small", "rename small d/little", "get d/big back", "put -p small s",
        cwd=tmp_path,
    ).ok()  # fmt: skip
    assert digest(tmp_path / "back") == sent
    listed = sftp(person, "ls -l d", cwd=tmp_path).ok().out
    assert str(len(content)).encode() in listed
    stored = (person.home / "d" / "big").read_bytes()
    assert len(stored) == stored_size(len(content))
    assert stored.startswith(MAGIC)
    assert b"small enough" not in (person.home / "d" / "little").read_bytes()
    # Digests are those of the content.
    assert hashlib.sha256(content).hexdigest().encode() in ssh(person, "sha256sum /d/big").ok().out
    # Resume: an upload that has half of the file, and a download that has.
    (tmp_path / "half").write_bytes(content[: 2 * MIB + 77])
    shutil.copy(tmp_path / "half", tmp_path / "part")
    sftp(person, "put half r", cwd=tmp_path).ok()
    sftp(person, "reput big r", "reget d/big part", "get r back2", cwd=tmp_path).ok()
    assert digest(tmp_path / "part") == digest(tmp_path / "back2") == sent
    sftp(person, "rm d/big", "rm d/little", "rmdir d", "rm r", "rm s", cwd=tmp_path).ok()
    assert list(person.home.iterdir()) == []


@pytest.mark.needs("rclone")
def test_rclone(person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    for number in range(5):
        random_file(source / "a" / f"{number}", 65_536 * number, number)
    random_file(source / "a" / "b" / "large", 3 * MIB + 17)
    rclone(person, "copy", source, ":/copy").ok()
    rclone(person, "check", "--download", source, ":/copy").ok()
    rclone(person, "copy", ":/copy", tmp_path / "back").ok()
    assert tree(tmp_path / "back") == tree(source)


async def test_clients_with_many_requests_and_appends(person: Person) -> None:
    data = os.urandom(8192) * 128
    pieces = list(range(0, len(data), 32768))
    shuffled = [at for start in range(0, len(pieces), 16) for at in reversed(pieces[start : start + 16])]
    async with person.connect() as connection, connection.start_sftp_client() as client:
        async with client.open("f", "wb", block_size=0) as file:
            await asyncio.gather(*(file.write(data[at : at + 32768], at) for at in shuffled))
        async with client.open("f", "ab") as file:
            await file.write(b"more")
        async with client.open("f", "rb") as file:
            assert await file.read() == data + b"more"
            assert await file.read(100, 200_000) == data[200_000:200_100]
        await client.truncate("f", 100_000)
        async with client.open("f", "rb") as file:
            assert await file.read() == data[:100_000]
    assert (person.home / "f").stat().st_size == stored_size(100_000)


def test_usage_counts_the_content(person: Person, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    sftp(person, "put f", "put f g", "rm g", cwd=tmp_path).ok()
    person.server.wait_line("Remove", username=person.name)
    sftp(person, "put f g", cwd=tmp_path).ok()

    def usage() -> tuple[int, int]:
        account = person.server.stored(person.name)
        return account.used_quota_size, account.used_quota_files

    wait_for(lambda: usage() == (200_000, 2), "usage is not that of the content")


@pytest.mark.needs("sftp")
def test_damage_is_a_failure_to_clients_and_a_reason_in_the_log(person: Person, tmp_path: Path) -> None:
    random_file(tmp_path / "f", 3 * CHUNK)
    sftp(person, "put f", "put f g", "put f h", cwd=tmp_path).ok()
    whole = (person.home / "f").read_bytes()
    changed = bytearray(whole)
    changed[position(1) + 500] ^= 1
    (person.home / "f").write_bytes(changed)
    (person.home / "g").write_bytes(whole[: position(2)])
    (person.home / "h").write_bytes(b"put here by hand")
    for name, why in (("f", "chunk 1 is not"), ("g", "not complete"), ("h", "is not encrypted")):
        done = sftp(person, f"get {name} back", cwd=tmp_path).failed("")
        assert why.encode() not in done.out + done.err
        wait_for(lambda: why in json.dumps(person.server.lines()), f"the log does not say that {why}")  # noqa: B023
    sftp(person, "put f h", cwd=tmp_path).ok()


@pytest.mark.parametrize("mode", [0, 2], ids=["mode0", "mode2"])
async def test_kill_9_while_uploading(mode: int, tmp_path: Path) -> None:
    server = Running(tmp_path / "config", settings={"common": {"upload_mode": mode}})
    data = os.urandom(3 * MIB + 333)
    try:
        await asyncio.to_thread(server.start)
        person = await asyncio.to_thread(lambda: server.account(filesystem=DISK))
        with contextlib.suppress(Exception):
            async with person.connect() as client, client.start_sftp_client() as files:
                async with files.open("old", "wb") as file:
                    await file.write(b"w" * 100_000)
                file = await files.open("part", "wb")
                over = await files.open("old", "wb" if mode else "ab")
                await file.write(data[: 2 * MIB + 100])
                await over.write(b"x" * 300_000)
                await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        async with person.connect() as client, client.start_sftp_client() as files:
            if mode:
                async with files.open("old", "rb") as file:
                    assert await file.read() == b"w" * 100_000
            size = (await files.stat("part")).size
            assert size == 2 * MIB  # whole chunks
            async with files.open("part", "ab") as file:
                await file.write(data[size:])
            async with files.open("part", "rb") as file:
                assert await file.read() == data
    finally:
        server.kill()


@pytest.mark.needs("sftp")
def test_a_home_in_a_bucket(server: Running, seaweedfs_server: ObjectServer, tmp_path: Path) -> None:
    bucket = seaweedfs_server.bucket()
    section = {"passphrase": {"status": "Plain", "payload": PASSPHRASE}, "storage": "s3"}
    options = {"cryptconfig": section, "s3config": seaweedfs_server.options(bucket, key_prefix="vault")}
    person = server.account(filesystem=StorageConfig("crypt", options), home_dir="")
    sent = random_file(tmp_path / "big", 6 * MIB + 5)
    (tmp_path / "half").write_bytes((tmp_path / "big").read_bytes()[: 2 * MIB + 1])
    sftp(
        person, "mkdir d", "put big d/big", "get d/big back", "put half d/half", "reput big d/half", "get d/half back2",
        "rename d e", "ls -l e", cwd=tmp_path,
    ).ok()  # fmt: skip
    assert digest(tmp_path / "back") == digest(tmp_path / "back2") == sent
    stored = seaweedfs_server.admin.get_object(Bucket=bucket, Key="vault/e/half")["Body"].read()
    assert len(stored) == stored_size(6 * MIB + 5)
    assert stored[: len(MAGIC)] == MAGIC


@pytest.mark.needs("sftp", "ssh-keygen")
def test_portable(tmp_path: Path) -> None:
    key, shared, scratch = tmp_path / "key", tmp_path / "shared", tmp_path / "scratch"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    (tmp_path / "up").write_bytes(b"content")
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\n")
    words = ["-f", "cryptfs", "--crypto-passphrase-file", str(tmp_path / "phrase"), "-u", "anna", "-g", "*"]
    for directory in (shared, scratch):
        directory.mkdir()
    portable = Portable(scratch, shared, *words, "-k", str(key.with_suffix(".pub")))
    try:
        portable.wait()
        port = ["-P", str(portable.port), "-b", "-", "anna@127.0.0.1"]
        run("sftp", *SSH, "-i", key, *port, stdin=b"put up d\nget d down\n", cwd=tmp_path).ok()
        portable.end()
    finally:
        portable.process.kill()
        portable.process.communicate()
    assert (tmp_path / "down").read_bytes() == b"content"
    assert (shared / "d").stat().st_size == stored_size(7)
    wrong = process("portable", "-f", "4", "--crypto-passphrase", "other", "-d", shared)
    assert wrong.code != 0
    assert "another passphrase" in wrong.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-f", "cryptfs"], "--crypto-passphrase: name the passphrase"),
        (["--crypto-passphrase", "x"], "--crypto-passphrase needs --fs-provider cryptfs"),
        (["-f", "4", "--crypto-passphrase-file", "none"], "--crypto-passphrase-file: none: No such file"),
    ],
)
def test_portable_names_the_flag(words: list[str], says: str, tmp_path: Path) -> None:
    done = process("portable", "-d", tmp_path, *words)
    assert done.code != 0
    assert says in done.err


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({}, "cryptconfig: passphrase is empty"),
        ({"passphrase": "x", "storage": "crypt"}, "expected the storage that holds the encrypted files"),
        ({"passphrase": "x", "storage": "ftp"}, "cryptconfig.storage: provider ftp is not available"),
        ({"passphrase": "x", "storage": "s3"}, "filesystem.s3config.bucket: is missing"),
        ({"passphrase": "x", "write_buffer_size": 11}, "write_buffer_size is 11; expected 0 to 10 MiB"),
    ],
)
def test_mistakes_are_told_when_a_record_is_written(
    section: dict[str, object], says: str, tmp_path: Path
) -> None:
    document = tmp_path / "ana.json"
    document.write_text(json.dumps({"filesystem": {"provider": 4, "cryptconfig": section}}))
    words = ["user", "add", "ana", "--create", "--password-stdin", "--document", document, "-c", tmp_path]
    done = tidegate(*words, stdin="a long enough password")
    assert done.code != 0
    assert says in done.err


def test_check_tries_the_passphrase(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    for name in ("good", "bad", "new"):
        document = tmp_path / f"{name}.json"
        document.write_text(
            json.dumps(
                {
                    "home_dir": str(tmp_path / name),
                    "filesystem": {"provider": 4, "cryptconfig": {"passphrase": PASSPHRASE}},
                }
            )
        )
        words = ["user", "add", name, "--create", "--password-stdin", "--document", document, "-c", config]
        added = tidegate(*words, stdin="a long enough password")
        assert added.code == 0, added.err
    for name in ("good", "bad"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "bad" / "f").write_bytes(MAGIC + bytes((1, 1, 16, 0)) + bytes(HEADER))
    done = tidegate("check", "-c", config, "--storage", "--json")
    found = {one["where"]: one["what"] for one in done.json["problems"]}
    assert set(found) == {"storage of user bad"}
    assert "encrypted with another passphrase" in found["storage of user bad"]
    assert PASSPHRASE not in done.out + done.err


def test_files_of_sftpgo_stay_out_of_reach(tmp_path: Path) -> None:
    filesystem = {"provider": 4, "cryptconfig": {"passphrase": {"status": "Plain", "payload": PASSPHRASE}}}
    user = {
        "username": "anna", "status": 1, "home_dir": "/srv/anna", "permissions": {"/": ["*"]},
        "password": "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "filesystem": filesystem,
    }  # fmt: skip
    (tmp_path / "dump.json").write_text(json.dumps({"version": 16, "users": [user]}))
    assert tidegate("initprovider", "-c", tmp_path).code == 0
    done = tidegate("loaddata", tmp_path / "dump.json", "-c", tmp_path)
    assert done.code == 0, done.err
    assert "(anna): filesystem.cryptconfig.format: cannot read files of the old server" in done.out + done.err
    assert PASSPHRASE not in done.out + done.err
    checked = tidegate("check", "-c", tmp_path, "--storage", "--json")
    found = {one["where"]: one["what"] for one in checked.json["problems"]}
    assert "files that SFTPGo has encrypted cannot be read" in found["storage of user anna"]
