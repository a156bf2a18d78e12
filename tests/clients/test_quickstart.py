# SPDX-License-Identifier: Apache-2.0
"""``tidegate serve --quickstart`` as a newcomer meets it: what it prints is true, and the second start reuses it all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import paramiko
from tests.support.ports import free_port
from tests.support.running import COMMAND

from tidegate.cli.main import run


@contextlib.contextmanager
def quickstart(place: Path) -> Iterator[str]:
    """A server in `place`/var; the value is what it prints. Ctrl-C ends it with exit code 0."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
    process = subprocess.Popen(
        [*COMMAND, "serve", "--quickstart", "--config-dir", "var"],
        env={
            **environ,
            "TIDEGATE_SFTPD__BINDINGS__0__PORT": str(free_port()),
            "TIDEGATE_HTTPD__BINDINGS__0__PORT": str(free_port()),
        },
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    told = ""
    for line in process.stdout:
        told += line
        if line.startswith("Ctrl-C"):
            break
    try:
        yield told
    finally:
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate()
        guard.cancel()
    assert process.returncode == 0, told


def said(told: str, word: str) -> str:
    """The text after a word at the beginning of a line."""
    found = re.search(rf"^  {word} +(.*?)(?: {{3,}}.*)?$", told, re.MULTILINE)
    assert found, told
    return found[1]


def test_what_is_printed_works_and_is_reused(tmp_path: Path) -> None:
    with quickstart(tmp_path) as told:
        _, _, port, person = shlex.split(said(told, "connect"))
        password = said(told, "password")
        transport = paramiko.Transport(("127.0.0.1", int(port)))
        try:
            transport.connect(username=person.partition("@")[0], password=password)
            key = hashlib.sha256(transport.get_remote_server_key().asbytes()).digest()
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None
            with client.open("hello.txt", "w") as file:
                file.write("hello")
        finally:
            transport.close()
        address, administrator = re.findall(r"(http\S+)/docs, administrator '(\w+)'", told)[0]
        secret = re.findall(r"administrator .*password (\S+)", told)[0]
        basic = base64.b64encode(f"{administrator}:{secret}".encode()).decode()
        question = urllib.request.Request(
            f"{address}/api/v2/token", headers={"Authorization": f"Basic {basic}"}
        )
        with urllib.request.urlopen(question, timeout=20) as answer:
            assert json.load(answer)["access_token"]

    assert said(told, "host key").split()[0].startswith("SHA256:")
    assert base64.b64encode(key).decode().rstrip("=") in told
    assert (Path(said(told, "files")) / "hello.txt").read_text() == "hello"
    assert password not in Path(said(told, "log")).read_text()
    secrets = [path for path in (tmp_path / "var").iterdir() if path.is_file() and path.suffix != ".pub"]
    assert [path.name for path in secrets if stat.S_IMODE(path.stat().st_mode) != 0o600] == []

    with quickstart(tmp_path) as again:
        assert said(again, "connect").endswith(" demo@127.0.0.1")
        assert password not in again
        assert secret not in again
        assert said(again, "host key") == said(told, "host key")
        program, *words = shlex.split(said(again, "password").partition("a new one: ")[2])

    assert program == "tidegate"
    assert words == ["user", "passwd", "demo", "-c", "var"]
    fresh = tmp_path / "fresh"
    fresh.write_text("another-Pass-1\n")
    assert run([*words[:-1], str(tmp_path / "var"), "--password-file", str(fresh)]) == 0
