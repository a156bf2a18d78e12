# SPDX-License-Identifier: Apache-2.0
"""Homes on another SFTP server: real clients, and what that server may do while they are at work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.programs import SSH, run
from tests.support.running import Person, Running

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
