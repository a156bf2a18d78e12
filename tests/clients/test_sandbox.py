# SPDX-License-Identifier: Apache-2.0
"""The sandbox of the server: code inside the process reaches nothing outside, and clients notice nothing of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support import fork_server
from tests.support.programs import SSH, digest, random_file, run, scp, sftp
from tests.support.running import Running, wait_for

from tidegate.confinement import landlock
from tidegate.server.sandbox import LEAST_VERSION

needs_landlock = pytest.mark.skipif(landlock.version() < LEAST_VERSION, reason="the kernel has no Landlock")

SECRET = b"the content of somebody else's file\n"
SINK = '''
import json, os, shutil, signal, subprocess, threading

class Escape:
    """Tries to leave the sandbox from inside the server, in the loop's thread and in another."""

    def __init__(self, options):
        self.outside, self.inside = options["outside"], options["inside"]
        self.victim, self.report = options["victim"], options["report"]

    def attempts(self):
        out, mine = self.outside, self.inside
        yield "read", lambda: open(f"{out}/secret", "rb").read()
        yield "list", lambda: os.listdir(out)
        yield "create", lambda: open(f"{out}/new", "w").close()
        yield "append", lambda: open(f"{out}/secret", "ab").close()
        yield "truncate", lambda: os.truncate(f"{out}/secret", 0)
        yield "mkdir", lambda: os.mkdir(f"{out}/new")
        yield "rmdir", lambda: os.rmdir(f"{out}/sub")
        yield "unlink", lambda: os.unlink(f"{out}/secret")
        yield "symlink", lambda: os.symlink("secret", f"{out}/new")
        yield "link out", lambda: os.link(f"{out}/secret", f"{mine}/linked")
        yield "rename out", lambda: os.rename(f"{mine}/own", f"{out}/own")
        yield "rename in", lambda: os.rename(f"{out}/secret", f"{mine}/stolen")
        yield "through a link", lambda: open(f"{mine}/way/secret", "rb").read()
        yield "by dots", lambda: open(os.path.join(mine, os.path.relpath(out, mine), "secret")).read()
        yield "by a descriptor", lambda: os.open("secret", os.O_RDONLY, dir_fd=os.open(out, os.O_PATH))
        yield "program", lambda: subprocess.run(["cat", f"{out}/secret"], check=True, stderr=subprocess.DEVNULL)
        yield "uploaded program", lambda: subprocess.run([f"{mine}/run.sh"], check=True)
        yield "signal", lambda: os.kill(self.victim, signal.SIGTERM)
        yield "memory", lambda: open(f"/proc/{self.victim}/mem", "rb").read(1)
        yield "mount", lambda: subprocess.run(
            ["unshare", "-m", "mount", "--bind", out, mine], check=True, stderr=subprocess.DEVNULL
        )

    def attempt(self):
        found = []
        for name, act in self.attempts():
            try:
                act()
            except (OSError, subprocess.CalledProcessError):
                continue
            found.append(name)
        return found

    async def open(self):
        found = [self.attempt()]
        other = threading.Thread(target=lambda: found.append(self.attempt()))
        other.start()
        other.join()
        with open(f"{self.report}.new", "w") as file:
            json.dump(found, file)
        os.rename(f"{self.report}.new", self.report)

    async def handle(self, event):
        pass

    async def close(self):
        pass
'''

Make = Callable[..., Running]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Servers whose temporary directory is their own, as with PrivateTmp of systemd."""
    made: list[Running] = []

    def server(sections: dict[str, Any], **options: Any) -> Running:
        directory = tmp_path / f"server{len(made)}"
        environment = {"TMPDIR": str(directory), **options.pop("environment", {})}
        one = Running(directory, settings=sections, environment=environment, **options)
        made.append(one)
        return one

    yield server
    for one in made:
        one.stop()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory that has to stay as it is."""
    place = tmp_path / "outside"
    (place / "sub").mkdir(parents=True)
    (place / "secret").write_bytes(SECRET)
    yield place
    assert sorted(os.listdir(place)) == ["secret", "sub"]
    assert (place / "secret").read_bytes() == SECRET


@needs_landlock
@pytest.mark.parametrize("mode", ["on", "off"])
def test_code_inside_the_server_reaches_nothing_outside(
    make: Make, outside: Path, tmp_path: Path, mode: str
) -> None:
    """Without the sandbox it would reach it, of which the check of the check takes what does no harm."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "escaping.py").write_text(
        SINK if mode == "on" else SINK.replace("self.attempts():", "list(self.attempts())[:2]:")
    )
    victim = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        server = make(
            {"sandbox": {"mode": mode, "readable": [str(tmp_path / "package")]}},
            environment={"PYTHONPATH": str(tmp_path / "package")},
        )
        inside, report = server.directory / "inside", server.directory / "report"
        inside.mkdir()
        (inside / "own").write_text("x")
        (inside / "way").symlink_to(outside)
        (inside / "run.sh").write_text("#!/bin/sh\nexit 0\n")
        (inside / "run.sh").chmod(0o755)
        options = {
            "outside": str(outside),
            "inside": str(inside),
            "victim": victim.pid,
            "report": str(report),
        }
        server.configure(
            {**server.sections, "events": {"sinks": [{"use": "escaping:Escape", "options": options}]}}
        )
        server.start()
        wait_for(report.exists, "the sink did not report")

        assert json.loads(report.read_text()) == [["read", "list"] if mode == "off" else []] * 2
        assert victim.poll() is None
    finally:
        victim.communicate(b"")


@needs_landlock
@pytest.mark.needs("sftp", "scp", "rsync", "git")
def test_clients_notice_nothing_of_the_sandbox(make: Make, tmp_path: Path) -> None:
    server = make(
        {
            "sandbox": {"mode": "on"},
            "common": {"upload_mode": 2},
            "sftpd": {"enabled_ssh_commands": ["*"]},
        }
    )
    server.start()
    person = server.account(home_dir=str(server.homes / "not" / "yet" / "there"))
    home = server.homes / "not" / "yet" / "there"
    expected = random_file(tmp_path / "f", 3 << 20)
    sftp(
        person, "mkdir a", "mkdir b", "put f a/f", "rename a/f b/f", "ln b/f b/hard", "ln -s b/f soft", "get soft back",
        "chmod 600 b/f", "ls -l b", "rm b/hard", cwd=tmp_path,
    ).ok()  # fmt: skip
    scp(person, tmp_path / "f", ":copied").ok()
    scp(person, tmp_path / "f", ":copied-old", old=True).ok()
    shell = " ".join(["ssh", *SSH, "-i", str(person.key), "-p", str(person.port)])
    run("rsync", "-a", "-e", shell, tmp_path / "f", f"{person.name}@127.0.0.1:b/synced", cwd=tmp_path).ok()
    (home / "r.git").mkdir()
    subprocess.run(["git", "init", "-q", "--bare", home / "r.git"], check=True)
    run("git", "clone", "-q", f"ssh://{person.name}@127.0.0.1:{person.port}/r.git", tmp_path / "clone",
        env={"GIT_SSH_COMMAND": shell}).ok()  # fmt: skip

    for path in ("b/f", "copied", "copied-old", "b/synced"):
        assert digest(home / path) == expected
    assert digest(tmp_path / "back") == expected
    assert stat.S_IMODE((home / "b/f").stat().st_mode) == 0o600
    (told,) = [line for line in server.lines() if line.get("message", "").startswith("sandbox: ")]
    assert re.match(r"sandbox: Landlock \d+; ", told["message"])
    server.send(signal.SIGHUP)
    server.wait_line("tidegate.server.app", message="configuration reloaded")


@needs_landlock
async def test_a_home_outside_is_refused_by_a_sentence_that_names_the_setting(
    make: Make, outside: Path
) -> None:
    server = make({"sandbox": {"mode": "on"}})
    server.start()
    person = server.account(home_dir=str(outside))
    with pytest.raises((asyncssh.Error, OSError)):
        async with person.connect() as client:
            await client.start_sftp_client()
    named = f"{outside} is outside the sandbox of the server; list it, or a directory above it, in sandbox.writable"

    def told_why() -> bool:
        lines = server.lines("tidegate.doors.ssh.session", level="warn")
        return any(named in line["message"] for line in lines)

    await asyncio.to_thread(wait_for, told_why, "no line says why")
    refused = fork_server.run(
        ["user", "add", "x", "--home", outside, "-c", server.directory, "--password-stdin"],
        input="Long-enough-1",
    )
    assert refused.returncode and "home_dir: is outside the sandbox" in refused.stderr
    told = fork_server.run(["check", "-c", server.directory])
    assert told.returncode == 0, told.stderr
    assert f'sandbox.writable = ["{outside}"]' in told.stderr
    server.stop()
    server.configure({**server.sections, "sandbox": {"mode": "on", "writable": [str(outside)]}})
    server.start()
    async with person.connect() as client, client.start_sftp_client() as files:
        assert await files.listdir("/") == [".", "..", "secret", "sub"]


@needs_landlock
def test_a_hook_inside_the_configuration_directory_runs_and_is_kept_in(make: Make, outside: Path) -> None:
    server = make({"sandbox": {"mode": "on"}})
    program, report = server.directory / "hook.sh", server.directory / "hook.out"
    program.write_text(
        f"#!/bin/sh\ncat {outside}/secret > {report}\nid -u > {report}.new\nmv {report}.new {report}\n"
    )
    program.chmod(0o755)
    server.configure({**server.sections, "common": {"startup_hook": str(program)}})
    server.start()
    wait_for(lambda: report.exists() and report.read_text() == f"{os.geteuid()}\n", "the hook did not run")


def test_what_cannot_be_is_no_start(make: Make, tmp_path: Path) -> None:
    server = make({"sandbox": {"mode": "on", "writable": [str(tmp_path / "missing")]}})
    done = fork_server.run(["serve", "-c", server.directory])
    assert done.returncode
    assert f"sandbox.writable: {tmp_path / 'missing'} is not there" in done.stderr
