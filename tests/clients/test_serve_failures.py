# SPDX-License-Identifier: Apache-2.0
"""No request fails in silence: each has its line in the log, and a client that fails in a loop does not fill it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import sftp_packets as p
from tests.support.raw_sftp import raw_sftp
from tests.support.running import Person, Running

NOBODY = 65534

FIELDS = {
    "time", "level", "sender", "username", "intent", "virtual_path", "virtual_target_path", "file_path",
    "target_path", "rule", "errno", "text", "muted", "ip", "protocol", "connection_id",
}  # fmt: skip


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[Running]:
    """A server whose user is not root, so that the permissions of directories hold for it."""
    directory = Path(tempfile.mkdtemp(prefix="tidegate-"))
    directory.chmod(0o755)
    server = Running(directory / "config")
    try:
        if os.geteuid() == 0:
            server.limit = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            for path in (server.directory, *server.directory.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield server.start()
        server.stop()
    finally:
        server.kill()
        shutil.rmtree(directory)


@pytest.fixture
def tree(unprivileged: Running) -> Iterator[Person]:
    """An account with a file, a directory that has one, and a directory that the server may not write."""
    person = unprivileged.account()
    for path in (unprivileged.directory, *unprivileged.directory.glob("tidegate.db*")):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    (person.home / "dir").mkdir()
    (person.home / "dir" / "f").write_text("f")
    (person.home / "f").write_text("f")
    (person.home / "secret").write_text("s")
    (person.home / "ro").mkdir()
    if os.geteuid() == 0:
        for path in (person.home, *person.home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    (person.home / "secret").chmod(0)
    (person.home / "ro").chmod(0o555)
    yield person
    with contextlib.suppress(OSError):
        (person.home / "ro").chmod(0o755)


FAILURES = [
    (p.open_, ("/missing", "r"), "download", "ENOENT", "info"),
    (p.open_, ("/secret", "r"), "download", "EACCES", "info"),
    (p.open_, ("/ro/x", "w"), "upload", "EACCES", "info"),
    (p.open_, ("/nodir/x", "w"), "upload", "ENOENT", "info"),
    (p.open_, ("/dir", "w"), "upload", "EISDIR", "info"),
    (p.opendir, ("/nodir",), "list", "ENOENT", "info"),
    (p.opendir, ("/f",), "list", "ENOTDIR", "info"),
    (p.mkdir, ("/ro/sub",), "mkdir", "EACCES", "info"),
    (p.mkdir, ("/dir",), "mkdir", "EEXIST", "info"),
    (p.remove, ("/dir",), "delete_file", "EISDIR", "info"),
    (p.remove, ("/gone",), "delete_file", "ENOENT", "info"),
    (p.rmdir, ("/dir",), "delete_dir", "ENOTEMPTY", "info"),
    (p.rename, ("/gone", "/there"), "rename", "ENOENT", "info"),
    (p.rename, ("/f", "/ro/f"), "rename", "EACCES", "info"),
    (p.readlink, ("/f",), "readlink", "EINVAL", "info"),
    (p.stat, ("/missing",), "stat", "ENOENT", "debug"),
    (p.setstat, ("/gone", p.attrs(mode=0o600)), "chmod", "ENOENT", "info"),
]


@pytest.mark.needs("setpriv")
async def test_each_failure_has_its_line(unprivileged: Running, tree: Person):
    async with raw_sftp(tree) as raw:
        for build, args, *_ in FAILURES:
            reply = await raw.ask(build, *args)
            assert reply.code != 0, args
    unprivileged.wait_line("disconnected", username=tree.name)
    lines = unprivileged.lines("failed", username=tree.name)

    assert [(n["intent"], n["virtual_path"], n["errno"], n["level"]) for n in lines] == [
        (intent, args[0], errno, level) for _, args, intent, errno, level in FAILURES
    ]
    for line in lines:
        assert set(line) == FIELDS
        assert line["rule"] == "storage"
        assert line["file_path"] == f"{tree.home}{line['virtual_path']}"
        assert line["protocol"] == "SFTP"
    (moved,) = [n for n in lines if n["virtual_target_path"] == "/ro/f"]
    assert moved["target_path"] == f"{tree.home}/ro/f"
    assert not unprivileged.lines("refused", username=tree.name)


@pytest.mark.needs("setpriv")
async def test_a_refusal_has_one_line_and_no_second(unprivileged: Running):
    person = unprivileged.account(permissions={"/": ("list",)})
    async with raw_sftp(person) as raw:
        assert (await raw.ask(p.mkdir, "/x")).code == 3
        assert (await raw.ask(p.open_, "/x", "w")).code == 3
    unprivileged.wait_line("disconnected", username=person.name)

    assert [line["intent"] for line in unprivileged.lines("refused", username=person.name)] == [
        "mkdir",
        "upload",
    ]
    assert unprivileged.lines("failed", username=person.name) == []


async def test_who_polls_does_not_fill_the_log(server: Running):
    person = server.account()
    async with raw_sftp(person) as raw:
        for _ in range(300):
            assert (await raw.ask(p.open_, "/incoming/ready", "r")).code == 2
        for number in range(300):
            assert (await raw.ask(p.open_, f"/incoming/{number}", "r")).code == 2
    server.wait_line("disconnected", username=person.name)
    lines = server.lines("failed", username=person.name)

    assert len(lines) == 600
    loud = [line for line in lines if line["level"] == "info"]
    assert loud[0]["virtual_path"] == "/incoming/ready"
    assert loud[1]["virtual_path"] == "/incoming/0"
    assert loud[1]["muted"] == 299
    assert 100 <= len(loud) < 200


async def test_what_makes_no_sense_has_its_line_too(server: Running):
    person = server.account()
    async with raw_sftp(person) as raw:
        assert (await raw.ask(p.mkdir, "/a\0b")).code == 4
        assert (await raw.ask(p.close, b"nothing")).code == 4
        assert (await raw.ask(p.extended, "made-up@example.com", b"")).code == 8
    server.wait_line("disconnected", username=person.name)

    assert [
        (line["rule"], line["intent"], line["level"]) for line in server.lines("failed", username=person.name)
    ] == [("request", "mkdir", "info"), ("request", "", "debug"), ("request", "", "debug")]


async def test_a_failed_command_has_its_line(server: Running):
    person = server.account()
    async with person.connect() as client:
        assert (await client.run("md5sum /missing")).exit_status == 1
    line = server.wait_line("failed", username=person.name)

    assert (line["intent"], line["errno"], line["protocol"]) == ("checksum", "ENOENT", "SSH")
