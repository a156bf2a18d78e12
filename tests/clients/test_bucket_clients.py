# SPDX-License-Identifier: Apache-2.0
"""People whose home is a bucket: OpenSSH, sshfs with git and tar, rclone, lftp, paramiko and asyncssh."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from tests.support.object_servers import ObjectServer
from tests.support.programs import digest, has_fuse, lftp, random_file, rclone, run, sftp, ssh, sshfs, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import StorageConfig

MIB = 1 << 20
LARGE = 12 * MIB + 7
"""Three parts of the least size that S3 takes."""


class Bucket:
    """A bucket, looked at with another library."""

    def __init__(self, server: ObjectServer) -> None:
        self.server = server
        self.name = server.bucket()

    def storage(self, prefix: str) -> StorageConfig:
        """The storage of an account."""
        return StorageConfig("s3", {"s3config": self.server.options(self.name, key_prefix=prefix)})

    def contents(self, prefix: str) -> dict[str, bytes]:
        """Objects by what comes behind the prefix."""
        client = self.server.admin
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {
            key.removeprefix(prefix): client.get_object(Bucket=self.name, Key=key)["Body"].read()
            for key in keys
        }

    def metadata(self, key: str) -> dict[str, str]:
        """User metadata of an object."""
        client = self.server.admin
        found: dict[str, str] = client.head_object(Bucket=self.name, Key=key)["Metadata"]
        return found

    def uploads(self, prefix: str) -> list[dict[str, Any]]:
        """Uploads in parts that have not ended."""
        client = self.server.admin
        answer = client.list_multipart_uploads(Bucket=self.name, Prefix=prefix)
        found: list[dict[str, Any]] = answer.get("Uploads", [])
        return found


@pytest.fixture(scope="module")
def bucket(seaweedfs_server: ObjectServer) -> Bucket:
    return Bucket(seaweedfs_server)


@pytest.fixture(scope="module", params=[0, 2], ids=["mode0", "mode2"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    top = tmp_path_factory.mktemp(f"bucket{request.param}")
    settings = {"common": {"upload_mode": request.param, "setstat_mode": 2}}
    with running(top / "config", settings=settings) as made:
        yield made


@pytest.fixture
def person(server: Running, bucket: Bucket) -> Person:
    name = f"u{os.urandom(4).hex()}"
    return server.account(name, filesystem=bucket.storage(f"{name}/"), home_dir="", quota_size=1 << 40)


def stored(bucket: Bucket, person: Person) -> dict[str, bytes]:
    return bucket.contents(f"{person.name}/")


@pytest.mark.needs("sftp")
def test_openssh_on_a_bucket(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    sent = random_file(tmp_path / "big", LARGE)
    (tmp_path / "small").write_bytes(b"small")
    os.utime(tmp_path / "small", (10**9, 10**9))
    listed = sftp(
        person, "mkdir d", "put big d/big", "put small", "put -p small kept", "rename small d/little", "ls -l d",
        "get d/big back", "get -p kept", "df", cwd=tmp_path,
    ).ok()  # fmt: skip
    assert digest(tmp_path / "back") == sent
    assert (tmp_path / "kept").stat().st_mtime == 10**9
    assert f"{LARGE}".encode() in listed.out
    found = stored(bucket, person)
    assert sorted(found) == ["d/", "d/big", "d/little", "kept"]
    assert found["d/big"] == (tmp_path / "big").read_bytes()
    assert bucket.metadata(f"{person.name}/kept")["mtime"] == "1000000000.000000000"
    sftp(
        person, "rename d e", "get e/big back", "rm e/big", "rm e/little", "rmdir e", "rm kept", cwd=tmp_path
    ).ok()
    assert digest(tmp_path / "back") == sent
    assert stored(bucket, person) == {}
    assert bucket.uploads(person.name) == []
    line = person.server.wait_line("Upload", username=person.name, virtual_path="/d/big")
    assert line["file_path"] == f"s3://{bucket.name}/{person.name}/d/big"


@pytest.mark.needs("sftp")
def test_openssh_goes_on_at_the_end(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    sent = random_file(whole, LARGE)
    (tmp_path / "f").write_bytes(whole.read_bytes()[: 7 * MIB])
    sftp(person, "put f", cwd=tmp_path).ok()
    os.rename(whole, tmp_path / "f")
    sftp(person, "reput f", cwd=tmp_path).ok()
    assert (
        hashlib.sha256(stored(bucket, person)["f"]).hexdigest() == sent
        or stored(bucket, person)["f"] == (tmp_path / "f").read_bytes()
    )


@pytest.mark.needs("rclone")
def test_rclone_on_a_bucket(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    for number, size in enumerate((0, 1, 70_000, LARGE)):
        random_file(source / f"sub/f{number}", size)
        os.utime(source / f"sub/f{number}", (10**9 + number, 10**9 + number))
    rclone(person, "sync", "--create-empty-src-dirs", source, ":/there").ok()
    found = stored(bucket, person)
    assert {key for key in found if not key.endswith("/")} == {f"there/sub/f{number}" for number in range(4)}
    again = rclone(person, "sync", "-v", source, ":/there").ok()
    assert b"Copied" not in again.err + again.out  # times and sizes are as they were
    rclone(person, "check", "--download", source, ":/there").ok()
    rclone(person, "copy", ":/there", tmp_path / "back").ok()
    (source / "sub/empty").rmdir()  # it is not copied, being empty
    assert tree(tmp_path / "back") == tree(source)
    assert (tmp_path / "back/sub/f1").stat().st_mtime == 10**9 + 1
    rclone(person, "purge", ":/there").ok()
    assert stored(bucket, person) == {}


@pytest.mark.needs("lftp")
def test_lftp_on_a_bucket(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number, size in enumerate((1, 40_000, LARGE)):
        random_file(source / f"sub/f{number}", size)
    lftp(person, f"mirror -R {source} there", "mv there moved", home=tmp_path).ok()
    lftp(person, f"mirror moved {tmp_path}/back", home=tmp_path).ok()
    assert tree(tmp_path / "back") == tree(source)
    assert "moved/sub/f2" in stored(bucket, person)
    lftp(person, "rm -r moved", home=tmp_path).ok()
    assert stored(bucket, person) == {}


def test_paramiko_on_a_bucket(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "f").write_bytes(data)
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", person.port, person.name, key_filename=str(person.key),
            allow_agent=False, look_for_keys=False,
        )  # fmt: skip
        with client.open_sftp() as door:
            door.mkdir("d")
            door.put(str(tmp_path / "f"), "d/f")
            assert door.stat("d/f").st_size == LARGE
            door.utime("d/f", (5, 6))
            assert door.stat("d/f").st_mtime == 6
            with door.open("d/f") as file:
                file.seek(7 * MIB)
                assert file.read(100_000) == data[7 * MIB : 7 * MIB + 100_000]
                assert file.readv([(0, 10), (9 * MIB, 10)]) is not None
            door.truncate("d/f", 6 * MIB)
            assert stored(bucket, person)["d/f"] == data[: 6 * MIB]
            with door.open("d/f", "a") as file:
                file.write(b"more")
            assert stored(bucket, person)["d/f"] == data[: 6 * MIB] + b"more"
            with door.open("new", "wx") as file:
                file.write(b"mine")
            with pytest.raises(OSError):
                door.open("new", "wx")
            assert sorted(door.listdir()) == ["d", "new"]
            with pytest.raises(OSError):
                door.rmdir("d")


@pytest.mark.needs("ssh")
def test_digests_without_reading(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    random_file(tmp_path / "f", 100_000)
    sftp(person, "put f", cwd=tmp_path).ok()
    assert "tidegate-blake3" in bucket.metadata(f"{person.name}/f")
    done = ssh(person, "sha256sum f").ok()
    assert done.out.split()[0].decode() == hashlib.sha256((tmp_path / "f").read_bytes()).hexdigest()


@pytest.mark.skipif(not has_fuse(), reason="FUSE is not usable here")
@pytest.mark.needs("sshfs", "fusermount3", "git", "tar")
def test_git_and_tar_on_a_mounted_bucket(bucket: Bucket, person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number, size in enumerate((0, 1, 70_000, 2 * MIB)):
        random_file(source / f"sub/f{number}", size)
        os.utime(source / f"sub/f{number}", (10**9 + number, 10**9 + number))
    env = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    with sshfs(person, tmp_path / "mount") as mount:
        run("tar", "cf", tmp_path / "a.tar", "-C", source, ".").ok()
        (mount / "untar").mkdir()
        run("tar", "xf", tmp_path / "a.tar", "-C", mount / "untar", "--no-same-owner").ok()
        os.statvfs(mount)
        assert tree(mount / "untar") == tree(source)
        assert (mount / "untar/sub/f2").stat().st_mtime == 10**9 + 2

        def git(*words: str | Path, cwd: Path = mount / "repo") -> bytes:
            who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "safe.directory=*")
            return run("git", *who, *words, cwd=cwd, env=env).ok().out

        git("init", "-q", mount / "repo", cwd=tmp_path)
        for number in range(3):
            (mount / "repo" / f"f{number}").write_text(f"text {number}\n" * 50)
        git("add", ".")
        git("commit", "-q", "-m", "one")
        (mount / "repo/f0").write_text("changed\n")
        git("commit", "-q", "-a", "-m", "two")
        git("fsck", "--strict")
        assert git("log", "--format=%s") == b"two\none\n"
        assert git("status", "--porcelain") == b""
    assert "repo/.git/HEAD" in stored(bucket, person)


async def test_a_client_that_leaves_leaves_no_object(bucket: Bucket, person: Person, server: Running) -> None:
    async with person.connect() as connection:
        door = await connection.start_sftp_client()
        file = await door.open("f", "wb", encoding=None)
        await file.write(os.urandom(11 * MIB))
        connection.abort()
    resumable = server.sections["common"]["upload_mode"] == 2
    server.wait_line("Upload", username=person.name, virtual_path="/f")
    wait_for(lambda: resumable or bucket.uploads(person.name) == [], "the parts stay")
    found = stored(bucket, person)
    assert "f" not in found
    if not resumable:
        assert found == {}
        return
    async with person.connect() as connection:
        door = await connection.start_sftp_client()
        assert await door.listdir() in ([], [".", ".."])
        size = (await door.stat("f")).size
        assert 5 * MIB <= size <= 11 * MIB
        await door.remove("f")
    assert stored(bucket, person) == {}
    assert bucket.uploads(person.name) == []


async def test_many_at_the_same_time(bucket: Bucket, person: Person) -> None:
    async with person.connect() as connection:
        door = await connection.start_sftp_client()
        contents = {f"f{number}": os.urandom(1000 + number) for number in range(40)}

        async def put(name: str, data: bytes) -> None:
            async with door.open(name, "wb", encoding=None) as file:
                await file.write(data)

        await asyncio.gather(*(put(name, data) for name, data in contents.items()))
        assert stored(bucket, person) == contents
        await asyncio.gather(*(door.remove(name) for name in contents))
    assert stored(bucket, person) == {}
