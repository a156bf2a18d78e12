# SPDX-License-Identifier: Apache-2.0
"""`check` tells of everything that `serve` refuses, and passes everything that `serve` takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import tomli_w
from tests.support.fork_server import COMMAND, Forked
from tests.support.ports import free_port

PLAIN = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Root without the right to write where modes forbid it."""


def write(directory: Path, **sections: dict[str, Any]) -> None:
    bindings = [{"port": free_port(), "address": "127.0.0.1"}]
    document = {"sftpd": {"bindings": bindings}, "httpd": {"bindings": []}, **sections}
    document["sftpd"] = {"bindings": bindings, **document["sftpd"]}
    (directory / "tidegate.toml").write_text(tomli_w.dumps(document))


def key(path: Path, mode: int = 0o600) -> None:
    path.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    path.chmod(mode)


def certificate(directory: Path, *, fitting: bool) -> dict[str, Any]:
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    for name in ("a", "b"):
        made = [*words, "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"]
        subprocess.run(made, check=True, capture_output=True, timeout=20)
    binding = {"port": free_port(), "address": "127.0.0.1", "enable_https": True, "certificate_file": "a.crt"}
    return {"bindings": [{**binding, "certificate_key_file": "a.key" if fitting else "b.key"}]}


def banner(directory: Path, content: bytes) -> dict[str, Any]:
    (directory / "banner").write_bytes(content)
    return {"login_banner_file": "banner"}


def ftp(directory: Path, content: bytes) -> dict[str, Any]:
    (directory / "welcome").write_bytes(content)
    binding = {"port": free_port(), "address": "127.0.0.1", "plain_login": True}
    return {"ftpd": {"bindings": [binding], "banner_file": "welcome"}}


def host_key(directory: Path, mode: int, content: str = "") -> dict[str, Any]:
    key(directory / "mine", mode)
    if content:
        (directory / "mine").write_text(content)
    return {"host_keys": ["mine"]}


def user_file(directory: Path, text: str) -> dict[str, Any]:
    (directory / "users").write_text(text)
    return {"auth_user_file": "users", "bindings": [{"port": free_port(), "address": "127.0.0.1"}]}


Change = Callable[[Path], dict[str, dict[str, Any]]]
CASES: dict[str, tuple[bool, Change]] = {
    "plain": (True, lambda _: {}),
    "a banner": (True, lambda at: {"sftpd": banner(at, "Grüße\n".encode())}),
    "a banner in Latin-1": (False, lambda at: {"sftpd": banner(at, "Grüße\n".encode("latin-1"))}),
    "a long banner": (False, lambda at: {"sftpd": banner(at, b"x" * 1_000_000)}),
    "a version with a control character": (False, lambda _: {"sftpd": {"banner": "a\x07b"}}),
    "a banner of FTP": (True, lambda at: ftp(at, "Grüße\n".encode())),
    "a banner of FTP in Latin-1": (False, lambda at: ftp(at, "Grüße\n".encode("latin-1"))),
    "a banner of FTP without lines": (False, lambda at: ftp(at, b"\n")),
    "a host key": (True, lambda at: {"sftpd": host_key(at, 0o600)}),
    "a host key others can read": (False, lambda at: {"sftpd": host_key(at, 0o640)}),
    "a broken host key": (False, lambda at: {"sftpd": host_key(at, 0o600, "no key")}),
    "a host key that is not there": (False, lambda _: {"sftpd": {"host_keys": ["none"]}}),
    "a certificate": (True, lambda at: {"httpd": certificate(at, fitting=True)}),
    "a certificate of another key": (False, lambda at: {"httpd": certificate(at, fitting=False)}),
    "a user file": (True, lambda at: {"httpd": user_file(at, "a:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n")}),
    "a broken user file": (False, lambda at: {"httpd": user_file(at, "a plain\n")}),
    "the cluster driver by its name": (True, lambda _: {"cluster": {"driver": "memory"}}),
    "a cluster driver that is not there": (False, lambda _: {"cluster": {"driver": "redis"}}),
    "a cluster driver with options that it has not": (
        False,
        lambda _: {"cluster": {"options": {"url": "x"}}},
    ),
    "a base that is not there": (
        True,
        lambda at: {"data_provider": {"users_base_dir": str(at / "no" / "homes")}},
    ),
}


def ask(directory: Path, command: str, *, plain: bool = False) -> tuple[int, str]:
    """Exit code and output; a server that runs is ended and counts as 0. `plain`: with a user's rights."""
    words = [command, "-c", str(directory)]
    options: dict[str, Any] = {
        "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": "/",
        "env": {"PATH": os.environ["PATH"], "HOME": "/"},
    }  # fmt: skip
    with (
        subprocess.Popen([*PLAIN, *COMMAND, *words], **options)
        if plain and os.geteuid() == 0
        else Forked(words, **options)
    ) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if command == "serve" and (
                "listening" in line.lower() or "ready" in line.lower() or "SSH" in line
            ):
                process.terminate()
                output += process.stdout.read()
                break
        return process.wait(20), output


@pytest.mark.parametrize(("good", "change"), CASES.values(), ids=CASES)
def test_check_says_what_serve_does(tmp_path: Path, good: bool, change: Change):
    write(tmp_path, **change(tmp_path))
    before = sorted(path.name for path in tmp_path.iterdir())
    code, told = ask(tmp_path, "check")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    served, text = ask(tmp_path, "serve")
    assert (code == 0, served == 0) == (good, good), (told, text)


@pytest.mark.parametrize("writable", [True, False])
def test_directories_are_looked_at_as_whoever_runs_it(tmp_path: Path, writable: bool):
    directory = tmp_path / "etc"
    directory.mkdir()
    write(directory)
    directory.chmod(0o755 if writable else 0o555)
    try:
        code, told = ask(directory, "check", plain=True)
        served, text = ask(directory, "serve", plain=True)
    finally:
        directory.chmod(0o755)
    assert (code == 0, served == 0) == (writable, writable), (told, text)
    if not writable:
        assert "not writable" in told
