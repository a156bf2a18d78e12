# SPDX-License-Identifier: Apache-2.0
"""A program that is waited for refuses what would replace a file: real clients, hung programs, kill -9."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.object_servers import ObjectServer
from tests.support.ports import free_port
from tests.support.programs import Done, run, scp, sftp
from tests.support.running import Person, Running, leftovers, wait_for

from tidegate.model import StorageConfig

pytestmark = pytest.mark.needs("curl", "scp", "sftp")

OLD = b"the old content"
MTIME = 1_500_000_000
SCRIPT = """#!/bin/sh
cd {directory}
case "$SFTPGO_ACTION_PATH" in
  /*) content=$(/bin/cat "$SFTPGO_ACTION_PATH") ;;
  *) content=$SFTPGO_ACTION_FILE_SIZE ;;
esac
printf '%s|%s|%s|%s\\n' "$SFTPGO_ACTION_PROTOCOL" "$SFTPGO_ACTION_PATH" "$SFTPGO_ACTION_VIRTUAL_PATH" "$content" >> seen
case "$content" in
  bad*|3) echo not on Sundays; exit 1 ;;
  hang*|4) exec /bin/sleep 600 ;;
esac
"""


class World:
    """A server whose uploads are decided by a program, and one person."""

    def __init__(self, directory: Path, *, upload_mode: int = 0, seconds: int = 30, **account: Any) -> None:
        program = directory / "decide"
        program.write_text(SCRIPT.format(directory=directory))
        program.chmod(0o755)
        self.seen_file = directory / "seen"
        self.ports = {name: free_port() for name in ("ftpd", "webdavd")}
        local = {"address": "127.0.0.1", "plain_login": True}
        doors = {name: {"bindings": [{"port": port, **local}]} for name, port in self.ports.items()}
        actions = {"execute_on": ["upload"], "execute_sync": ["upload"], "hook": str(program)}
        self.server = Running(
            directory / "config",
            settings={
                "common": {"upload_mode": upload_mode, "actions": actions},
                "command": {"timeout": seconds},
                **doors,
            },
        )
        self.server.start()
        self.person: Person = self.server.account(quota_size=1000, quota_files=10, **account)

    def seen(self) -> list[list[str]]:
        """Calls of the program: protocol, path, virtual path, and the content that it read there."""
        if not self.seen_file.exists():
            return []
        return [line.split("|") for line in self.seen_file.read_text().splitlines()]

    def wait_usage(self, size: int, files: int) -> None:
        found = [(0, 0)]

        def settled() -> bool:
            account = self.server.stored(self.person.name)
            found[0] = (account.used_quota_size, account.used_quota_files)
            return found[0] == (size, files)

        wait_for(settled, f"usage is {found}, not {(size, files)}")

    def curl(self, door: str, *words: str | Path) -> Done:
        who = f"{self.person.name}:{self.person.password}"
        return run("curl", "-sS", "--fail-with-body", "-u", who, *words, f"{self.url(door)}")

    def url(self, door: str) -> str:
        scheme = "ftp" if door == "ftpd" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[door]}/f"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**options: Any) -> World:
        worlds.append(World(tmp_path, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.server.kill()


def puts(world: World, source: Path) -> dict[str, Callable[[], Done]]:
    """By protocol: put a file to ``/f``."""
    return {
        "SFTP": lambda: sftp(world.person, f"put {source} f"),
        "SCP": lambda: scp(world.person, source, ":f", old=True),
        "FTP": lambda: world.curl("ftpd", "-T", source),
        "DAV": lambda: world.curl("webdavd", "-T", source),
    }


@pytest.mark.parametrize("upload_mode", [0, 1])
def test_the_old_file_is_back_at_every_door(
    made: Callable[..., World], tmp_path: Path, upload_mode: int
) -> None:
    world = made(upload_mode=upload_mode)
    home, source = world.person.home, tmp_path / "source"
    file = home / "f"
    for protocol, put in puts(world, source).items():
        source.write_bytes(OLD)
        put().ok()
        file.chmod(0o640)
        os.utime(file, (MTIME, MTIME))
        source.write_bytes(b"bad content, and longer than the old one")
        # Programs that have a text of their own do not show what they are told.
        put().failed("ot on Sundays" if protocol in {"SCP", "DAV"} else "")
        assert world.seen()[-1] == [protocol, str(file), "/f", source.read_text()]
        found = file.stat()
        assert (file.read_bytes(), found.st_mtime, stat.S_IMODE(found.st_mode)) == (OLD, MTIME, 0o640)
        world.wait_usage(len(OLD), 1)
        source.write_bytes(b"great")
        put().ok()
        assert file.read_bytes() == b"great"
        assert world.seen()[-1] == [protocol, str(file), "/f", "great"]
        world.wait_usage(5, 1)
    assert [path.name for path in home.iterdir()] == ["f"]
    uploads = [(line["protocol"], line["status"]) for line in world.server.lines("Upload")]
    assert uploads == [
        (protocol, status) for protocol in ("SFTP", "SCP", "FTP", "DAV") for status in ("ok", "failed", "ok")
    ]
    world.server.stop()


def test_a_program_that_hangs_refuses(made: Callable[..., World], tmp_path: Path) -> None:
    world = made(seconds=1)
    source = tmp_path / "source"
    for put in puts(world, source).values():
        source.write_bytes(OLD)
        put().ok()
        source.write_bytes(b"hang")
        put().failed("")
        assert (world.person.home / "f").read_bytes() == OLD
        world.wait_usage(len(OLD), 1)
    assert [path.name for path in world.person.home.iterdir()] == ["f"]
    world.server.stop()


def kill_while_it_decides(world: World, source: Path) -> None:
    """Put "hang" to ``/f`` and kill the server while the program decides about that."""
    source.write_bytes(b"hang")
    argv = ["-T", str(source), world.url("ftpd")]
    who = f"{world.person.name}:{world.person.password}"
    before = len(world.seen())
    with subprocess.Popen(["curl", "-sS", "-u", who, *argv], stderr=subprocess.DEVNULL) as client:
        try:
            wait_for(lambda: len(world.seen()) > before, "the program was not asked")
            world.server.kill()
            assert client.wait(20) != 0
        finally:
            client.kill()


@pytest.mark.parametrize("upload_mode", [0, 2])
def test_after_kill_9_while_it_decides_the_old_file_is_back(
    made: Callable[..., World], tmp_path: Path, upload_mode: int
) -> None:
    world = made(upload_mode=upload_mode)
    source, file = tmp_path / "source", world.person.home / "f"
    source.write_bytes(OLD)
    world.curl("ftpd", "-T", source).ok()
    os.utime(file, (MTIME, MTIME))
    kill_while_it_decides(world, source)
    assert file.read_bytes() == b"hang"
    world.server.start()
    assert (file.read_bytes(), file.stat().st_mtime) == (OLD, MTIME)
    assert leftovers(world.person.home) == []
    assert sftp(world.person, "ls -1").ok().out.split() == [b"sftp>", b"ls", b"-1", b"f"]
    world.wait_usage(len(OLD), 1)
    world.server.stop()


def test_a_bucket_has_the_old_file_after_a_refusal_and_after_kill_9(
    made: Callable[..., World], tmp_path: Path, seaweedfs_server: ObjectServer
) -> None:
    bucket = seaweedfs_server.bucket()
    options = seaweedfs_server.options(bucket, key_prefix="home/")
    world = made(filesystem=StorageConfig("s3", {"s3config": options}), home_dir="")
    source = tmp_path / "source"
    client = seaweedfs_server.admin

    def stored() -> dict[str, tuple[bytes, dict[str, str]]]:
        found = client.list_objects_v2(Bucket=bucket, Prefix="home/").get("Contents", ())
        objects = {one["Key"]: client.get_object(Bucket=bucket, Key=one["Key"]) for one in found}
        return {key: (one["Body"].read(), one["Metadata"]) for key, one in objects.items()}

    source.write_bytes(OLD)
    os.utime(source, (MTIME, MTIME))
    sftp(world.person, f"put -p {source} f").ok()
    before = stored()
    assert list(before) == ["home/f"]
    assert (before["home/f"][0], len(before["home/f"][1])) == (OLD, 3)  # times and a digest
    for name, put in puts(world, source).items():
        source.write_bytes(b"bad")
        put().failed("")
        assert world.seen()[-1] == [name, f"s3://{bucket}/home/f", "/f", "3"]
        assert stored() == before
        world.wait_usage(len(OLD), 1)
    kill_while_it_decides(world, source)
    assert stored()["home/f"][0] == b"hang"
    world.server.start()
    assert sftp(world.person, "ls -l").ok().out.count(b"\n") == 2
    assert stored() == before
    world.wait_usage(len(OLD), 1)
    source.write_bytes(b"great")
    sftp(world.person, f"put {source} f").ok()
    assert {key: content for key, (content, _) in stored().items()} == {"home/f": b"great"}
    world.server.stop()
