# SPDX-License-Identifier: Apache-2.0
"""A kind of storage of somebody else's package, in the running product, by real clients.

It takes the writes of a file in order only, so it also shows what clients get on such storage.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from tests.support import fork_server
from tests.support.programs import digest, lftp, random_file, rclone, sftp, tree
from tests.support.running import Person, Running, running

from tidegate.model import FolderMount, StorageConfig

PACKAGE = Path(__file__).parents[1] / "third_party" / "storage"
MIB = 1 << 20
SQLAR = StorageConfig("sqlar", {"sqlarconfig": {"file": "all.sqlar"}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    top = tmp_path_factory.mktemp("sqlar")
    options = {
        "settings": {
            "storage": {"kinds": {"archive": "tidegate_sqlar:SqlarStorage"}},
            "common": {"setstat_mode": 2},
        },
        "environment": {"PYTHONPATH": str(PACKAGE)},
    }
    with running(top / "config", **options) as made:
        yield made


@pytest.fixture
def person(server: Running) -> Person:
    return server.account(filesystem=SQLAR)


def held(archive: Path) -> dict[str, bytes]:
    """Members of an SQLite archive, as its format is documented."""
    with sqlite3.connect(archive) as connection:
        rows = list(connection.execute("SELECT name, sz, data FROM sqlar WHERE mode & 61440 = 32768"))
    connection.close()
    return {name: data if len(data) == size else zlib.decompress(data) for name, size, data in rows}


@pytest.mark.needs("sftp")
def test_openssh(person: Person, tmp_path: Path) -> None:
    sent = random_file(tmp_path / "big", 9 * MIB + 5)
    (tmp_path / "small").write_bytes(b"small")
    sftp(
        person, "mkdir d", "put big d/big", "put small", "put -p small kept", "rename small d/little", "ls -l d",
        "get d/big back", cwd=tmp_path,
    ).ok()  # fmt: skip
    assert digest(tmp_path / "back") == sent
    members = held(person.home / "all.sqlar")
    assert sorted(members) == ["d/big", "d/little", "kept"]
    assert members["d/big"] == (tmp_path / "big").read_bytes()
    assert os.listdir(person.home) == ["all.sqlar"]
    sftp(person, "reput big d/little", cwd=tmp_path).failed("")
    sftp(person, "rm d/big", "rm d/little", "rmdir d", "rm kept", cwd=tmp_path).ok()
    assert held(person.home / "all.sqlar") == {}
    line = person.server.wait_line("Upload", username=person.name, virtual_path="/d/big")
    assert line["file_path"] == f"{person.home}/all.sqlar!/d/big"


async def test_writes_in_any_order_of_64_at_a_time(person: Person) -> None:
    data = os.urandom(8192) * 256
    pieces = list(range(0, len(data), 32768))
    shuffled = [at for start in range(0, len(pieces), 64) for at in reversed(pieces[start : start + 64])]
    async with person.connect() as connection, connection.start_sftp_client() as client:
        async with client.open("f", "wb", block_size=0) as file:
            await asyncio.gather(*(file.write(data[at : at + 32768], at) for at in shuffled))
        async with client.open("f", "rb") as file:
            assert await file.read() == data
        broken = await client.open("gap", "wb")
        await broken.write(b"x" * 100, 100)
        with pytest.raises(asyncssh.SFTPError, match="bytes 0 to 99 never came"):
            await broken.close()
        async with client.open("both", "wb+") as both:
            await both.write(b"x")
            with pytest.raises(asyncssh.SFTPError, match="not open for reading"):
                await both.read(1, 0)
        with pytest.raises(asyncssh.SFTPError, match="cannot read and write one file at a time"):
            await client.open("both", "rb+")


@pytest.mark.needs("rclone")
def test_rclone(person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    for number in range(6):
        random_file(source / "a" / f"{number}", 70_001 * number, number)
    random_file(source / "a" / "b" / "large", 3 * MIB + 17)
    rclone(person, "copy", "--sftp-set-modtime=false", source, ":/copy").ok()
    rclone(person, "check", "--download", source, ":/copy").ok()
    rclone(person, "copy", ":/copy", tmp_path / "back").ok()
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.needs("lftp", "ssh")
def test_lftp(person: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(4):
        random_file(source / f"{number}", MIB * number + 1, number)
    lftp(person, "mirror -R source /copy", home=tmp_path).ok()
    lftp(person, "mirror -P 4 /copy back", home=tmp_path).ok()
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.needs("sftp")
def test_folders_and_import_paths(server: Running, tmp_path: Path) -> None:
    """A folder on the storage in a home on local disk; the configuration names the kind as well."""
    shared = tmp_path / "shared"
    named = StorageConfig("archive", {"sqlarconfig": {"max_file_bytes": 1000}})
    mount = FolderMount(name="box", virtual_path="/box", mapped_path=str(shared), filesystem=named)
    person = server.account(virtual_folders=(mount,))
    (tmp_path / "f").write_bytes(b"content")
    (tmp_path / "large").write_bytes(b"x" * 1001)
    sftp(person, "put f", "put f box/f", "get box/f back", cwd=tmp_path).ok()
    assert (tmp_path / "back").read_bytes() == (person.home / "f").read_bytes() == b"content"
    assert held(shared / "files.sqlar") == {"f": b"content"}
    sftp(person, "rename f box/g", cwd=tmp_path).ok()
    sftp(person, "put large box/large", cwd=tmp_path).failed("")
    assert held(shared / "files.sqlar") == {"f": b"content", "g": b"content"}
    assert not (person.home / "f").exists()


def test_what_is_stored_is_there_after_a_restart(server: Running, person: Person, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    sftp(person, "put f", cwd=tmp_path).ok()
    server.stop()
    server.start()
    sftp(person, "get f back", cwd=tmp_path).ok()
    assert (tmp_path / "back").read_bytes() == b"content"


def test_the_command_line_asks_the_registry(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()

    def ask(*words: str, package: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, **({"PYTHONPATH": str(PACKAGE)} if package else {})}
        return fork_server.run([*words, "-c", str(config)], env=environ, input="a long enough password\n")

    def add(package: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        document = tmp_path / "ana.json"
        document.write_text(json.dumps({"filesystem": {"provider": "sqlar", "sqlarconfig": options}}))
        words = ["user", "add", "ana", "--create", "--password-stdin", "--document", str(document)]
        return ask(*words, package=package)

    (config / "tidegate.json").write_text("{}")
    listed = next(line for line in ask("check").stdout.splitlines() if line.startswith("storage: local, "))
    assert {"crypt", "sqlar"} <= set(listed.removeprefix("storage: ").split(", "))
    assert "filesystem.provider: 'sqlar' is not a provider" in add(package=False).stderr
    assert "filesystem.sqlarconfig: file is the name of a file in the directory" in add(file="../x").stderr
    assert "filesystem.sqlarconfig.level: should be a valid integer" in add(level="9").stderr
    assert add(file="x").returncode == 0
    asked = ("explain", "-u", "ana", "--op", "list")
    assert "would fail" not in ask(*asked).stdout
    without = ask(*asked, package=False).stdout
    assert "would fail: storage: provider sqlar is not available in this version" in without
    (config / "tidegate.json").write_text(json.dumps({"storage": {"kinds": {"x": "no_such_package:X"}}}))
    done = ask("check")
    assert done.returncode != 0
    assert "provider x cannot be used: ModuleNotFoundError: No module named 'no_such_package'" in done.stderr
