# SPDX-License-Identifier: Apache-2.0
"""Encrypted secrets in the running product: buckets work, files hold no secret, keys are lost and rotated."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import fork_server
from tests.support.command_line import Result, tidegate
from tests.support.object_servers import ObjectServer
from tests.support.programs import sftp
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import FolderMount, StorageConfig
from tidegate.sealing.keys import from_text

WORD = "swordfish-in-the-clear"


def s3(server: ObjectServer, bucket: str, **more: object) -> StorageConfig:
    return StorageConfig("s3", {"s3config": server.options(bucket, **more)})


def new_key(path: Path) -> str:
    """Write a fresh master key; returns its id."""
    text = secrets.token_hex(32)
    path.write_text(f"{text}\n")
    return from_text(text, "").id


def holding(directory: Path, text: str) -> list[Path]:
    """Files that hold a text."""
    return [path for path in directory.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture
def server(tmp_path: Path, seaweedfs_server: ObjectServer) -> Iterator[Running]:
    place = tmp_path / "config"
    key = tmp_path / "master.key"
    new_key(key)
    with running(place, settings={"kms": {"secrets": {"master_key_path": str(key)}}}) as made:
        made.secrets |= {seaweedfs_server.access_secret, WORD, key.read_text().strip()}
        yield made


def put(person: Person, place: Path) -> None:
    (place / "note").write_bytes(b"content")
    sftp(person, "put note", "get note back", cwd=place).ok()
    assert (place / "back").read_bytes() == b"content"


@pytest.mark.needs("sftp")
def test_a_bucket_works_and_no_file_holds_its_secret(
    server: Running, seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    bucket = seaweedfs_server.bucket()
    shared = FolderMount(
        name="team", virtual_path="/team", mapped_path=str(tmp_path / "unused"),
        filesystem=s3(seaweedfs_server, bucket, key_prefix="team/"),
    )  # fmt: skip
    person = server.account("anna", filesystem=s3(seaweedfs_server, bucket), virtual_folders=(shared,))
    put(person, tmp_path)
    sftp(person, "put note team/note", cwd=tmp_path).ok()
    assert seaweedfs_server.admin.get_object(Bucket=bucket, Key="team/note")["Body"].read() == b"content"
    dumped = tidegate("dumpdata", tmp_path / "dump.json", "-c", server.directory)
    assert dumped.code == 0, dumped.err
    shown = [
        tidegate("user", "show", "anna", "--json", "-c", server.directory).out,
        tidegate("folder", "show", "team", "--json", "-c", server.directory).out,
        tidegate("config", "show", "-c", server.directory).out,
        tidegate("check", "--storage", "-c", server.directory).out,
        tidegate("explain", "anna", "upload", "/x", "-c", server.directory).out,
    ]
    key = (tmp_path / "master.key").read_text().strip()
    for secret in (seaweedfs_server.access_secret, key):
        assert not [text for text in shown if secret in text]
        assert holding(server.directory, secret) == []
        assert secret not in (tmp_path / "dump.json").read_text()
    assert "storage beyond local disk: 2 asked, 0 cannot be used" in shown[3]
    # The dump restores on a server that has the key.
    there = tmp_path / "there"
    there.mkdir()
    (there / "tidegate.json").write_text(
        json.dumps({"kms": {"secrets": {"master_key_path": str(tmp_path / "master.key")}}})
    )
    assert tidegate("initprovider", "-c", there).code == 0
    loaded = tidegate("loaddata", tmp_path / "dump.json", "-c", there)
    assert loaded.code == 0, loaded.err
    asked = tidegate("check", "--storage", "-c", there, "--json")
    assert "storage beyond local disk: 2 asked, 0 cannot be used" in asked.json["facts"], asked.out


@pytest.mark.needs("sftp")
def test_a_lost_key_costs_only_the_storage_that_needs_it(
    server: Running, seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    anna = server.account("anna", filesystem=s3(seaweedfs_server, seaweedfs_server.bucket()))
    ben = server.account("ben")
    put(anna, tmp_path)
    server.stop()
    key = tmp_path / "master.key"
    former = from_text(key.read_text(), "").id
    new = new_key(tmp_path / "new.key")
    kms = {"secrets": {"master_key_path": str(tmp_path / "new.key")}}
    server.configure({**server.sections, "kms": kms})
    server.start()
    put(ben, tmp_path)
    why = f"filesystem.s3config.access_secret is encrypted under master key {former}, which this server"
    refused = sftp(anna, "ls", cwd=tmp_path)
    assert (refused.status, refused.err.split(b"\n")[0]) == (255, b"storage failure")
    wait_for(
        lambda: any(f"storage of user anna: {why}" in str(line) for line in server.lines()),
        f"no line says why: {server.tail()}",
    )
    # An administrator can still change the account, but not its storage.
    disabled = tidegate("user", "set", "anna", "--description", "waits for a key", "-c", server.directory)
    assert disabled.code == 0, disabled.err
    status = tidegate("secrets", "status", "--json", "-c", server.directory)
    assert [one["state"] for one in status.json["secrets"]] == ["key missing"]
    left = tidegate("secrets", "rotate", "-c", server.directory)
    assert left.code == 1
    assert f"user anna: filesystem.s3config.access_secret is encrypted under master key {former}" in left.err
    rotated = tidegate("secrets", "rotate", "--old-key-file", key, "-c", server.directory)
    assert rotated.code == 0, rotated.err
    assert f"1 secrets of 1 records came under master key {new}" in rotated.out
    put(anna, tmp_path)


def populate(directory: Path, count: int, key: Path | None) -> None:
    """A configuration and a database of accounts with secrets."""
    directory.mkdir(exist_ok=True)
    section = {"kms": {"secrets": {"master_key_path": str(key)}}} if key else {}
    (directory / "tidegate.json").write_text(json.dumps(section))
    users = [
        {
            "username": f"user{number:05}", "home_dir": f"/srv/{number}", "permissions": {"/": ["*"]}, "status": 1,
            "filesystem": {
                "provider": 1,
                "s3config": {
                    "bucket": "b", "region": "r", "access_key": "AK",
                    "access_secret": {"status": "Plain", "payload": f"{WORD}-{number}"},
                },
            },
        }
        for number in range(count)
    ]  # fmt: skip
    dump = directory / "dump.json"
    dump.write_text(json.dumps({"tidegate": 1, "users": users, "version": 17}))
    assert tidegate("initprovider", "-c", directory).code == 0
    loaded = tidegate("loaddata", dump, "-c", directory)
    assert loaded.code == 0, loaded.err
    dump.unlink()


def states(directory: Path) -> dict[str, int]:
    found: Result = tidegate("secrets", "status", "--json", "-c", directory)
    assert found.code == 0, found.err
    return {one["state"]: one["count"] for one in found.json["secrets"]}


def test_a_rotation_that_is_killed_goes_on(tmp_path: Path) -> None:
    count = 400
    place, key = tmp_path / "config", tmp_path / "key"
    populate(place, count, None)
    assert states(place) == {"plain text": count}
    new_key(key)
    (place / "tidegate.json").write_text(json.dumps({"kms": {"secrets": {"master_key_path": str(key)}}}))
    process = fork_server.Forked(["secrets", "rotate", "-c", str(place)], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: states(place).get("current", 0) >= 5, "nothing was rotated", 30)
    finally:
        process.kill()
        process.wait()
    between = states(place)
    assert between["current"] >= 5
    assert sum(between.values()) == count
    # Two at once: none undoes what the other has done, and none fails.
    several = [
        fork_server.Forked(
            ["secrets", "rotate", "-c", str(place)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for one in several:
        out, err = one.communicate(timeout=120)
        assert one.returncode == 0, out + err
    assert states(place) == {"current": count}
    dumped = tidegate("dumpdata", "-", "-c", place)
    assert WORD not in dumped.out


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"master_key": "short"}, "kms.secrets.master_key: is shorter than 16 characters"),
        ({"master_key_path": "no-such-file"}, "no-such-file: No such file or directory"),
        (
            {"master_key": "a" * 64, "master_key_path": "x"},
            "master_key and master_key_path are given; give one",
        ),
        ({"master_key_command": ["false"]}, "kms.secrets.master_key_command: false: ended with status 1"),
        ({"master_key": "a" * 64, "old_master_key_paths": ["gone"]}, "kms.secrets.old_master_key_paths[0]: "),
    ],
)
def test_a_bad_key_is_an_error_of_check_and_start(
    settings: dict[str, object], says: str, tmp_path: Path
) -> None:
    (tmp_path / "tidegate.json").write_text(
        json.dumps({"kms": {"secrets": settings}, "sftpd": {"bindings": []}})
    )
    checked = tidegate("check", "-c", tmp_path)
    assert (checked.code, says in checked.err) == (1, True), checked.err
    started = fork_server.run(["serve", "-c", str(tmp_path)], timeout=60)
    assert started.returncode == 1
    assert says in started.stderr
    assert "Traceback" not in started.stderr
    assert "short" not in started.stderr.replace("shorter", "")


def test_check_says_which_key_it_is(tmp_path: Path) -> None:
    assert "secrets in records are kept in plain text: no master key" in tidegate("check", "-c", tmp_path).out
    for text, form in (
        ("ab" * 32, "32 bytes, in hex"),
        ("a passphrase of some words", "stretched from a passphrase"),
    ):
        environ = {"TIDEGATE_KMS__SECRETS__MASTER_KEY": text}
        checked = tidegate("check", "-c", tmp_path, environ=environ)
        assert checked.code == 0, checked.err
        assert f"secrets are encrypted under master key {from_text(text, '').id} ({form}" in checked.out
        assert text not in checked.out + checked.err
