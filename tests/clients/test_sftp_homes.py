# SPDX-License-Identifier: Apache-2.0
"""Homes on another SFTP server: real clients, and what that server may do while they are at work."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.programs import SSH, run
from tests.support.running import Person, Running, wait_for

from tidegate.model import StorageConfig

pytestmark = pytest.mark.needs("sshd")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    with far_sshd(tmp_path_factory.mktemp("far") / "sshd") as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("near") / "tidegate", settings={"common": {"upload_mode": 2}})
    made.start()
    yield made
    made.stop()


@pytest.fixture
def person(far: FarServer, server: Running, tmp_path: Path) -> Person:
    """An account whose home is `tmp_path / "files"` on the other server."""
    storage = StorageConfig("sftp", {"sftpconfig": far.options(tmp_path / "files")})
    return server.account(filesystem=storage)


def sftp(person: Person, batch: str, where: Path) -> bytes:
    words = ["-P", str(person.port), "-b", "-", f"{person.name}@127.0.0.1"]
    return run("sftp", *SSH, "-i", person.key, *words, stdin=batch.encode(), cwd=where).ok().out


@pytest.mark.needs("sftp")
def test_openssh_works_in_such_a_home(person: Person, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    data = os.urandom(9_000_000)
    (here / "up").write_bytes(data)
    batch = "mkdir in\nput -p up in/file\nrename in/file in/renamed\nget in/renamed down\nls -l in\ndf\n"
    shown = sftp(person, batch, here)
    assert b"renamed" in shown
    assert (here / "down").read_bytes() == data
    assert (tmp_path / "files" / "in" / "renamed").read_bytes() == data
    assert abs((tmp_path / "files/in/renamed").stat().st_mtime - (here / "up").stat().st_mtime) < 1
    # An upload that broke off goes on where it ended.
    part = here / "part"
    part.write_bytes(data[:4_000_000])
    sftp(person, "put part big\n", here)
    part.write_bytes(data)
    sftp(person, "reput part big\nrm in/renamed\nrmdir in\n", here)
    assert (tmp_path / "files" / "big").read_bytes() == data
    assert os.listdir(tmp_path / "files") == ["big"]


@pytest.mark.needs("rclone")
def test_rclone_keeps_a_tree_in_step(person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(40):
        path = source / f"d{number % 4}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha256(bytes([number])).digest() * 500)
    options = f"host=127.0.0.1,port={person.port},user={person.name},key_file={person.key},shell_type=none"
    remote = f":sftp,{options}:"
    config = {"RCLONE_CONFIG": "/dev/null"}
    run("rclone", "sync", source, f"{remote}tree", env={**os.environ, **config}).ok()
    run("rclone", "check", "--download", source, f"{remote}tree", env={**os.environ, **config}).ok()
    assert (tmp_path / "files/tree/d1/f1").read_bytes() == (source / "d1/f1").read_bytes()
    run("rclone", "purge", f"{remote}tree", env={**os.environ, **config}).ok()
    assert os.listdir(tmp_path / "files") == []


@contextlib.asynccontextmanager
async def session(person: Person) -> AsyncIterator[asyncssh.SFTPClient]:
    async with person.connect() as connection, connection.start_sftp_client() as client:
        yield client


async def test_the_other_server_dies_and_comes_back(server: Running, tmp_path: Path) -> None:
    """kill -9 in the middle: the upload fails and is kept, and a download goes on when it is back."""
    server.expected_errors = [*server.expected_errors, "sftp://"]
    with far_sshd(tmp_path / "sshd") as far:
        files = tmp_path / "files"
        storage = StorageConfig("sftp", {"sftpconfig": far.options(files)})
        person = server.account(filesystem=storage)
        data = os.urandom(3_000_000)
        files.mkdir()
        (files / "whole").write_bytes(data)
        async with session(person) as client:
            reader = await client.open("whole", "rb")
            assert await reader.read(1000, 0) == data[:1000]
            writer = await client.open("up", "wb")
            await writer.write(data[:2_000_000], 0)
            far.kill()
            with pytest.raises(asyncssh.SFTPError):
                await writer.write(data[2_000_000:], 2_000_000)
            with pytest.raises(asyncssh.SFTPError):
                await client.listdir(".")
            far.start()
            await until_listed(client)
            assert await reader.read(3_000_000, 1000) == data[1000:]
            await reader.close()
            with pytest.raises(asyncssh.SFTPError):
                await writer.close()
            assert (await client.stat("up")).size == 2_000_000
            # The client takes it up where it ended.
            again = await client.open("up", asyncssh.FXF_WRITE, encoding=None)
            await again.write(data[2_000_000:], 2_000_000)
            await again.close()
        assert (files / "up").read_bytes() == data
        assert sorted(os.listdir(files)) == ["up", "whole"]


async def until_listed(client: asyncssh.SFTPClient) -> None:
    """Ask until the pause after failed attempts is over."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.listdir(".")
            except asyncssh.SFTPError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_another_host_key_is_refused(server: Running, tmp_path: Path) -> None:
    server.expected_errors = [*server.expected_errors, "sftp://"]
    with far_sshd(tmp_path / "sshd") as far:
        files = tmp_path / "files"
        storage = StorageConfig("sftp", {"sftpconfig": far.options(files)})
        person = server.account(filesystem=storage)
        async with session(person) as client:
            await client.listdir(".")
            far.kill()
            far.make_host_keys("ed25519")
            far.start()
            with pytest.raises(asyncssh.SFTPError):
                await client.listdir(".")
        told = wait_for_text(server, "the host key is none of sftpconfig.fingerprints")
        assert far.fingerprints["ed25519"] in told
        assert (far.directory / "user_key").read_text().splitlines()[2] not in server.log_file.read_text()


async def test_a_home_that_leads_to_the_server_itself_is_refused(server: Running) -> None:
    server.expected_errors = [*server.expected_errors, "sftp://"]
    inner = server.account()
    own = asyncssh.read_private_key(server.directory / "id_ed25519").get_fingerprint()
    options = {
        "endpoint": f"127.0.0.1:{server.port}",
        "username": inner.name,
        "password": inner.password,
        "fingerprints": [own],
    }
    person = server.account(filesystem=StorageConfig("sftp", {"sftpconfig": options}))
    async with person.connect() as connection:
        with pytest.raises((asyncssh.Error, OSError)):
            async with connection.start_sftp_client() as client:
                await client.listdir(".")
    wait_for_text(server, "leads to this server itself")


def wait_for_text(server: Running, text: str) -> str:
    """The line of the log that holds a text, as soon as it is there."""
    found: list[str] = []

    def look() -> bool:
        found[:] = [line for line in server.log_file.read_text().splitlines() if text in line]
        return bool(found)

    wait_for(look, f"the log does not say {text!r}: {server.tail()}")
    return found[0]
