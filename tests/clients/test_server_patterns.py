# SPDX-License-Identifier: Apache-2.0
"""`common.file_patterns` at every door: names that no account may use are refused, and `explain` says by what."""

from __future__ import annotations

import ftplib
import http.client
import io
from base64 import b64encode
from pathlib import Path

import pytest
from tests.support import fork_server
from tests.support.ports import free_port
from tests.support.programs import SSH, run, scp, sftp
from tests.support.running import running


@pytest.mark.needs("sftp", "scp", "rsync")
def test_names_are_refused_at_every_door(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("ftpd", "webdavd")}
    local = {"address": "127.0.0.1", "plain_login": True}
    settings = {
        "common": {"file_patterns": {"preset": "openbridge", "denied_patterns": ["secret*"]}},
        "sftpd": {"enabled_ssh_commands": ["*"]},
        **{name: {"bindings": [{"port": port, **local}]} for name, port in ports.items()},
    }
    (tmp_path / "f").write_text("content")
    with running(tmp_path / "s", settings=settings) as server:
        person = server.account()
        (person.home / "there.exe").write_text("from before")
        (person.home / "secret.txt").write_text("from before")

        sftp(person, "put f a.txt", "rename a.txt b.txt", cwd=tmp_path).ok()
        for command in (
            "put f a.exe",
            "put f .a",
            "mkdir .d",
            "rename b.txt b.EXE",
            "ln b.txt c.exe",
            "get secret.txt",
        ):
            sftp(person, command, cwd=tmp_path).failed("denied")
        sftp(person, "get there.exe", "rm there.exe", cwd=tmp_path).ok()
        for old in (False, True):
            assert scp(person, tmp_path / "f", ":x.exe", old=old).status
        shell = " ".join(["ssh", *SSH, "-i", str(person.key), "-p", str(person.port)])
        assert run("rsync", "-e", shell, tmp_path / "f", f"{person.name}@127.0.0.1:g").status
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", ports["ftpd"], timeout=10)
            client.login(person.name, person.password)
            for words in ("STOR a.exe", "STOR .a"):
                with pytest.raises(ftplib.error_perm, match=r"^55"):
                    client.storbinary(words, io.BytesIO(b"x"))
        line = http.client.HTTPConnection("127.0.0.1", ports["webdavd"], timeout=10)
        word = b64encode(f"{person.name}:{person.password}".encode()).decode()
        statuses = []
        for method, path in (("PUT", "/a.exe"), ("MKCOL", "/.d"), ("GET", "/secret.txt"), ("PUT", "/ok")):
            line.request(method, path, headers={"Authorization": f"Basic {word}"})
            answer = line.getresponse()
            answer.read()
            statuses.append(answer.status)
        line.close()

        assert statuses == [403, 403, 403, 201]
        assert sorted(path.name for path in person.home.iterdir()) == ["b.txt", "ok", "secret.txt"]
        server.wait_line("refused", virtual_path="/a.exe", rule="common.file_patterns", protocol="FTP")
        words = [
            "explain",
            "-c",
            server.directory,
            "--user",
            person.name,
            "--op",
            "upload",
            "--path",
            "/a.exe",
        ]
        told = fork_server.run(words)
        assert "common.file_patterns" in told.stdout
        assert told.stdout.startswith("DENIED")
