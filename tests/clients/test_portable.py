# SPDX-License-Identifier: Apache-2.0
"""``tidegate portable`` as people use it: share a directory, connect, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from tests.support import fork_server
from tests.support.certificates import certificate
from tests.support.ports import free_port
from tests.support.programs import SSH as SSH_OPTIONS
from tests.support.programs import digest, lftp, random_file, rclone, run, scp, sftp, tree
from tests.support.running import COMMAND, Person, make_key
from tests.support.ssh_world import askpass

MIB = 1 << 20


class Portable:
    """A running ``tidegate portable``."""

    def __init__(self, scratch: Path, shared: Path, *flags: str) -> None:
        self.temporary = scratch / "tmp"
        self.home = scratch / "user"
        self.cwd = scratch / "cwd"
        for directory in (self.temporary, self.home, self.cwd):
            directory.mkdir()
        environ = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
        self.process = fork_server.Forked(
            ["portable", "-d", str(shared), *flags],
            env={**environ, "TMPDIR": str(self.temporary), "HOME": str(self.home)},
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told = ""
        self.port = 0

    def wait(self) -> None:
        """Read what it prints, up to the lines to paste."""
        assert self.process.stdout is not None
        guard = threading.Timer(30, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            self.told += line
            if line.startswith("  rclone"):
                break
        guard.cancel()
        found = re.search(r"sftp -P (\d+) ", self.told)
        assert found, self.told
        self.port = int(found[1])

    def end(self, number: int = signal.SIGINT) -> str:
        """End it as Ctrl-C does; returns what it wrote to standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        self.told += out
        assert self.process.returncode == 0, err
        assert "Traceback" not in err
        return err


@contextlib.contextmanager
def sharing(tmp_path: Path, *flags: str) -> Iterator[Portable]:
    """A shared directory ``tmp_path/shared``; whatever the program made elsewhere has to be gone at the end."""
    shared = tmp_path / "shared"
    shared.mkdir(exist_ok=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    portable = Portable(scratch, shared, *flags)
    try:
        portable.wait()
        yield portable
        err = portable.end()
        assert "stopped" in err
        for directory in (portable.temporary, portable.home, portable.cwd):
            assert os.listdir(directory) == [], directory
    finally:
        portable.process.kill()
        portable.process.communicate()


def guest(portable: Any, tmp_path: Path, key: Path) -> Person:
    """The account, with a key."""
    return Person(portable, "u", "p", key, tmp_path / "shared")


@pytest.mark.needs("sftp", "scp", "rclone", "lftp")
def test_every_client_is_served_without_an_error(tmp_path: Path):
    port = free_port()
    make_key(tmp_path / "key")
    flags = ("-s", str(port), "-u", "u", "-p", "p", "-g", "*", "-k", str(tmp_path / "key.pub"))
    expected = random_file(tmp_path / "f", 3 * MIB + 1)
    with sharing(tmp_path, *flags, "-l", str(tmp_path / "log")) as portable:
        assert portable.port == port
        shared = tmp_path / "shared"
        person = guest(portable, tmp_path, tmp_path / "key")

        batch = tmp_path / "batch"
        batch.write_text(f"put {tmp_path}/f /by-password\nget /by-password {tmp_path}/back\nls -la\ndf\n")
        run(
            "sftp", *SSH_OPTIONS, "-o", "BatchMode=no", "-o", "PubkeyAuthentication=no", "-P", str(port), "-b", batch,
            "u@127.0.0.1", env=askpass(tmp_path, "p"),
        ).ok()  # fmt: skip
        assert digest(shared / "by-password") == digest(tmp_path / "back") == expected

        sftp(
            person,
            "put f sftp",
            "mkdir d",
            "rename sftp d/sftp",
            "ls -l d",
            "rm d/sftp",
            "rmdir d",
            cwd=tmp_path,
        ).ok()
        scp(person, tmp_path / "f", ":/scp").ok()
        assert digest(shared / "scp") == expected

        obscured = run("rclone", "obscure", "p").ok().out.decode().strip()
        run(
            "rclone", "--config", "", "copyto", tmp_path / "f",
            f":sftp,host=127.0.0.1,port={port},user=u,pass={obscured}:/rclone",
        ).ok()  # fmt: skip
        assert digest(shared / "rclone") == expected
        rclone(person, "check", shared, ":/").ok()
        rclone(person, "sync", ":/", tmp_path / "synced").ok()
        assert tree(tmp_path / "synced") == tree(shared)

        lftp(person, "put f -o lftp", "get lftp -o lftp-back", "rm lftp", home=tmp_path).ok()
        assert digest(tmp_path / "lftp-back") == expected

        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            client.connect("127.0.0.1", port, "u", "p", allow_agent=False, look_for_keys=False)
            with client.open_sftp() as files:
                files.put(str(tmp_path / "f"), "/paramiko")
                files.get("/paramiko", str(tmp_path / "paramiko-back"))
                files.remove("/paramiko")
        assert digest(tmp_path / "paramiko-back") == expected
        assert sorted(os.listdir(shared)) == ["by-password", "rclone", "scp"]
    log = (tmp_path / "log").read_text()
    assert '"level":"error"' not in log
    assert '"sender":"Upload"' in log
    assert "Traceback" not in log


@pytest.mark.needs("rclone")
def test_the_line_to_paste_works(tmp_path: Path):
    """A password with everything that shells treat in a special way, and a free port."""
    password = "p'w \"$x, `y`:z"
    with sharing(tmp_path, "-u", "ada", "-p", password) as portable:
        (tmp_path / "shared" / "a file").write_bytes(b"12345")
        line = next(line for line in portable.told.splitlines() if line.startswith("  rclone"))
        done = run("bash", "-c", line.strip(), env={"RCLONE_CONFIG": ""}).ok()
        assert done.out == b"        5 a file\n"
        assert f"password  {password}\n" in portable.told


@pytest.mark.needs("sftp")
def test_by_default_nothing_can_be_changed(tmp_path: Path):
    make_key(tmp_path / "key")
    with sharing(tmp_path, "-u", "u", "-k", str(tmp_path / "key.pub")) as portable:
        (tmp_path / "shared" / "f").write_bytes(b"content")
        before = tree(tmp_path / "shared")
        assert "password" not in portable.told
        person = guest(portable, tmp_path, tmp_path / "key")
        sftp(person, "get f got", "ls", cwd=tmp_path).ok()
        for line in (
            "put got new",
            "put got f",
            "rm f",
            "rename f g",
            "mkdir d",
            "ln -s f l",
            "ln f h",
            "chmod 600 f",
        ):
            sftp(person, line, cwd=tmp_path).failed("ermission denied")
        assert tree(tmp_path / "shared") == before


@pytest.mark.needs("sftp")
def test_ctrl_c_in_the_middle_of_a_transfer(tmp_path: Path):
    """The client is cut off, the part that arrived stays (upload mode 0), and the program ends at once."""
    make_key(tmp_path / "key")
    with open(tmp_path / "f", "wb") as file:
        file.truncate(2 << 30)
    shared = tmp_path / "shared"
    with sharing(tmp_path, "-u", "u", "-g", "*", "-k", str(tmp_path / "key.pub")) as portable:
        client = subprocess.Popen(
            ["sftp", *SSH_OPTIONS, "-i", str(tmp_path / "key"), "-P", str(portable.port), "-b", "-", "u@127.0.0.1"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert client.stdin is not None
        client.stdin.write(f"put {tmp_path}/f /f\n".encode())
        client.stdin.close()
        from tests.support.running import wait_for

        wait_for(lambda: (shared / "f").exists() and (shared / "f").stat().st_size > MIB, "no upload")
    assert client.wait(20) != 0
    assert client.stderr is not None
    client.stderr.close()
    assert os.listdir(shared) == ["f"]
    assert MIB < (shared / "f").stat().st_size < 2 << 30


def test_mistakes_are_one_line(tmp_path: Path):
    cases = [
        (["-d", str(tmp_path / "missing")], "is not a directory"),
        (["-d", str(tmp_path), "-g", "upload,fly"], "'fly'"),
        (["-d", str(tmp_path), "-k", str(tmp_path / "missing")], "no such file"),
        (["-d", str(tmp_path), "-s", "70000"], "65535"),
        (["-d", str(tmp_path), "-C"], "--advertise-service"),
        (["-d", str(tmp_path), "--state-dir", str(tmp_path / "state")], "--state-dir"),
        (["-d", str(tmp_path), "--host-key", str(tmp_path / "a" / ".." / "key")], "--host-key"),
    ]
    for flags, text in cases:
        done = run(*COMMAND, "portable", *flags, seconds=20)
        assert done.status == 1
        assert text in done.err.decode()
        assert len(done.err.decode().splitlines()) == 1
        assert done.out == b""


def test_a_taken_port_is_one_line(tmp_path: Path):
    with sharing(tmp_path) as portable:
        done = run(*COMMAND, "portable", "-d", tmp_path, "-s", str(portable.port), seconds=20)
        assert done.status == 1
        assert len(done.err.decode().splitlines()) == 1
        assert str(portable.port) in done.err.decode()


@pytest.mark.needs("curl")
def test_ftp_beside_sftp(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "f").write_bytes(b"content")
    certificate(tmp_path, "localhost")
    tls = ["--ftpd-cert", str(tmp_path / "cert.pem"), "--ftpd-key", str(tmp_path / "key.pem")]
    flags = ["-g", "*", "-u", "u", "-p", "Portable-pass-1", "--ftpd-port", "0", *tls]
    with sharing(tmp_path, *flags) as server:
        found = re.search(r"lftp -p (\d+) -u u ", server.told)
        assert found, server.told
        url = f"ftp://localhost:{found[1]}/"
        login = ["curl", "-sS", "--cacert", str(tmp_path / "cert.pem"), "-u", "u:Portable-pass-1"]
        run(*login, "--ssl-reqd", "-T", shared / "f", f"{url}g").ok()
        assert run(*login, f"{url}g").ok().out == b"content"
