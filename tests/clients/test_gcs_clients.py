# SPDX-License-Identifier: Apache-2.0
"""People whose home is a bucket of Google Cloud Storage: OpenSSH, rclone, asyncssh, and ``kill -9``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fault_proxy import fault_proxy
from tests.support.gcs_server import GcsServer
from tests.support.google_key import service_account, token_server
from tests.support.programs import digest, random_file, rclone, run, sftp, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import StorageConfig

MIB = 1 << 20
LARGE = 12 * MIB + 7
"""Three parts of the usual size."""


class Home:
    """A home in a bucket.

    Args:
        server: of the bucket.
        more: options of its record.
    """

    def __init__(self, server: GcsServer, **more: object) -> None:
        self.server = server
        self.bucket = server.bucket()
        options = server.options(self.bucket, key_prefix="home/", **more)
        self.storage = StorageConfig("gcs", {"gcsconfig": options})

    def sizes(self) -> dict[str, int]:
        """Sizes of the objects."""
        found = self.server.admin.objects(self.bucket, "home/")
        return {key.removeprefix("home/"): int(entry["size"]) for key, entry in found.items()}

    def read(self, key: str) -> bytes:
        """Content of an object."""
        return self.server.admin.read(self.bucket, f"home/{key}")

    def uploads(self) -> list[str]:
        """Objects of unfinished uploads."""
        return self.server.admin.uploads(self.bucket)


@pytest.fixture
def home(gcs_server: GcsServer) -> Home:
    return Home(gcs_server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"common": {"upload_mode": 2, "setstat_mode": 2}}
    with running(tmp_path_factory.mktemp("gcs") / "config", settings=settings) as made:
        yield made


@pytest.fixture
def person(server: Running, home: Home) -> Person:
    return server.account(f"u{os.urandom(4).hex()}", filesystem=home.storage, home_dir="", quota_size=1 << 40)


@pytest.mark.needs("sftp")
def test_openssh(home: Home, person: Person, tmp_path: Path) -> None:
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
    assert home.sizes() == {"d/": 0, "d/big": LARGE, "d/little": 5, "kept": 5}
    assert home.uploads() == []
    found = home.server.admin.objects(home.bucket)["home/kept"]["metadata"]
    assert found == found | {
        "mtime": "2001-09-09T01:46:40.000000000Z",
        "goog-reserved-file-mtime": "1000000000",
    }
    with (tmp_path / "big").open("ab") as file:
        file.write(b"appended")
    sftp(person, "reput big d/big", "rename d e", "get e/big back", cwd=tmp_path).ok()
    assert digest(tmp_path / "back") == digest(tmp_path / "big")
    sftp(person, "rm e/big", "rm e/little", "rmdir e", "rm kept", cwd=tmp_path).ok()
    assert home.sizes() == {}
    assert home.uploads() == []
    line = person.server.wait_line("Upload", username=person.name, virtual_path="/d/big")
    assert line["file_path"] == f"gs://{home.bucket}/home/d/big"


@pytest.mark.needs("rclone")
def test_rclone(home: Home, person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number, size in enumerate((0, 1, 70_000, LARGE)):
        random_file(source / f"sub/f{number}", size)
        os.utime(source / f"sub/f{number}", (10**9 + number, 10**9 + number))
    rclone(person, "sync", source, ":/there").ok()
    assert {key for key in home.sizes() if not key.endswith("/")} == {f"there/sub/f{n}" for n in range(4)}
    again = rclone(person, "sync", "-v", source, ":/there").ok()
    assert b"Copied" not in again.err + again.out  # times and sizes are as they were
    rclone(person, "copy", ":/there", tmp_path / "back").ok()
    assert tree(tmp_path / "back") == tree(source)
    rclone(person, "purge", ":/there").ok()
    assert home.sizes() == {}


@pytest.mark.needs("rclone")
def test_rclone_on_the_bucket_itself_sees_the_same_times(home: Home, person: Person, tmp_path: Path) -> None:
    (tmp_path / "ours").write_bytes(b"x")
    os.utime(tmp_path / "ours", (10**9, 10**9 + 0.5))
    rclone(person, "copy", tmp_path / "ours", ":/").ok()
    (tmp_path / "theirs").write_bytes(b"y")
    os.utime(tmp_path / "theirs", (10**9, 10**9 + 7))
    remote = (
        f":gcs,anonymous,bucket_policy_only,endpoint='{home.server.endpoint}/storage/v1/':{home.bucket}/home"
    )
    config = ("--config", str(tmp_path / "none"))
    run("rclone", *config, "copy", tmp_path / "theirs", remote).ok()
    listed = json.loads(run("rclone", *config, "lsjson", remote).ok().out)
    assert {one["Name"]: one["ModTime"][:19] for one in listed} == {
        "ours": "2001-09-09T01:46:40",
        "theirs": "2001-09-09T01:46:47",
    }
    listed = json.loads(rclone(person, "lsjson", ":/").ok().out)
    assert {one["Name"]: one["ModTime"][:19] for one in listed} == {
        "ours": "2001-09-09T01:46:40",
        "theirs": "2001-09-09T01:46:47",
    }


async def test_a_client_that_leaves_and_comes_back(home: Home, person: Person, server: Running) -> None:
    data = os.urandom(11 * MIB)
    async with person.connect() as connection:
        door = await connection.start_sftp_client()
        file = await door.open("f", "wb", encoding=None)
        await file.write(data)
        connection.abort()
    await asyncio.to_thread(server.wait_line, "Upload", username=person.name, virtual_path="/f")
    assert "f" not in home.sizes()
    async with person.connect() as connection:
        door = await connection.start_sftp_client()
        assert set(await door.listdir()) <= {".", ".."}
        size = (await door.stat("f")).size
        assert 5 * MIB <= size <= 11 * MIB
        async with door.open("f", "ab", encoding=None) as file:
            await file.write(data[size:])
    assert home.read("f") == data
    assert list(home.sizes()) == ["f"]
    assert home.uploads() == []


@pytest.mark.needs("sftp")
def test_key_of_a_service_account_is_sent_and_shown_nowhere(
    gcs_server: GcsServer, server: Running, tmp_path: Path
) -> None:
    with fault_proxy(gcs_server.endpoint) as proxy, token_server() as tokens:
        home = Home(gcs_server, endpoint=proxy.endpoint, credentials=service_account(tokens.token_uri))
        person = server.account(filesystem=home.storage, home_dir="")
        (tmp_path / "f").write_bytes(b"content")
        sftp(person, "put f", cwd=tmp_path).ok()
        assert home.sizes() == {"f": 7}
        assert len(tokens.given) == 1
        assert {one.headers["authorization"] for one in proxy.asked} == {f"Bearer {tokens.given[0]}"}
        server.secrets.add(tokens.given[0])  # looked for in the log at the end


@pytest.mark.parametrize("mode", [0, 2])
async def test_kill_9_while_uploading(gcs_server: GcsServer, tmp_path: Path, mode: int) -> None:
    data = os.urandom(13 * MIB)
    running_server = Running(tmp_path / "config", settings={"common": {"upload_mode": mode}})
    with fault_proxy(gcs_server.endpoint) as proxy:
        home = Home(gcs_server, endpoint=proxy.endpoint)
        try:
            await asyncio.to_thread(running_server.start)
            person = running_server.account(filesystem=home.storage, home_dir="", quota_size=1 << 40)
            with contextlib.suppress(Exception):
                async with person.connect() as client, client.start_sftp_client() as files:
                    file = await files.open("part", "wb")
                    await file.write(data)
                    await asyncio.to_thread(wait_for, lambda: len(home.uploads()) >= 2, "no part was sent")
                    await asyncio.to_thread(running_server.kill)
            assert home.uploads()
            await asyncio.to_thread(running_server.start)
            async with person.connect() as client, client.start_sftp_client() as files:
                assert set(await files.listdir()) <= {".", ".."}
                if mode == 0:
                    assert home.uploads() == []
                    assert home.sizes() == {}
                else:
                    size = (await files.stat("part")).size
                    assert size in {5 * MIB, 10 * MIB}
                    async with files.open("part", "ab") as file:
                        await file.write(data[size:])
                    assert home.read("part") == data
                    assert list(home.sizes()) == ["part"]
                    assert home.uploads() == []
            await asyncio.to_thread(running_server.stop)
        finally:
            running_server.kill()


async def test_kill_9_while_renaming_a_directory(gcs_server: GcsServer, tmp_path: Path) -> None:
    running_server = Running(tmp_path / "config")
    wanted = {f"new/sub{number % 3}/f{number}": 10 + number for number in range(40)}
    with fault_proxy(gcs_server.endpoint) as proxy:
        home = Home(gcs_server, endpoint=proxy.endpoint)
        try:
            await asyncio.to_thread(running_server.start)
            person = running_server.account(filesystem=home.storage, home_dir="")
            for name, size in wanted.items():
                key = f"home/{name.replace('new', 'old')}"
                gcs_server.admin.put(home.bucket, key, b"x" * size)
            async with person.connect() as client, client.start_sftp_client() as files:
                proxy.latency = 0.1
                renaming = asyncio.create_task(files.posix_rename("old", "new"))
                await asyncio.to_thread(
                    wait_for, lambda: proxy.operations().count("objects.rewrite") >= 35, "nothing was copied"
                )
                await asyncio.to_thread(running_server.kill)
                with contextlib.suppress(Exception):
                    await renaming
            proxy.latency = 0.0
            assert {name for name in wanted if name.replace("new", "old", 1) in home.sizes()} == set(wanted)
            await asyncio.to_thread(running_server.start)
            async with person.connect() as client, client.start_sftp_client() as files:
                assert set(await files.listdir()) - {".", ".."} == {"new"}
            assert {name: size for name, size in home.sizes().items() if not name.endswith("/")} == wanted
            await asyncio.to_thread(running_server.stop)
        finally:
            running_server.kill()
