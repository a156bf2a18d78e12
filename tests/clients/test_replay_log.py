# SPDX-License-Identifier: Apache-2.0
"""Recorded log lines of SFTPGo 0.9.4, 0.9.6 and 2.7.5: the same acts here have the same fields and units."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import httpx2
import pytest
from tests.support.ports import free_port
from tests.support.running import Person, Running, make_key, running, wait_for

from tidegate.model import Filters
from tidegate.testing.replay import Case, cases, line_differences, replaced

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
LINES = [
    case for version in ("0.9.4", "0.9.6", "2.7.5") for case in cases(RECORDED / f"{version}-log-lines.jsonl")
]
ACT_SECONDS = 20
HOMES = "/srv/data/homes"
OWN = {
    "time", "local_addr", "remote_addr", "connection_id", "elapsed", "elapsed_ms", "error", "client", "request_id",
    "user_agent", "uri", "resp_size", "resp_status", "proto",
}  # fmt: skip
"""Fields whose values are each run's own."""

LASTING = {
    (
        "0.9.4",
        "connection_failed",
        "login_type",
    ): "`no_auth_tryed` and `public_key` are spelt as later releases do",
    ("0.9.6", "connection_failed", "login_type"): "`no_auth_tryed` is spelt as later releases do",
    (
        "0.9.4",
        "SSHCommand",
        "file_path",
    ): "the place on the host, as in 2.7.5; 0.9 has the path as the client typed it",
    (
        "0.9.6",
        "SSHCommand",
        "file_path",
    ): "the place on the host, as in 2.7.5; 0.9 has the path as the client typed it",
    (
        "2.7.5",
        "Upload",
        "level",
    ): "an upload that broke off is the client's affair: warn, and `status` says failed",
    ("2.7.5", "Download", "level"): "as for uploads",
    ("2.7.5", "login", "info"): "names of the negotiated algorithms are not in the line",
    ("2.7.5", "login", "method"): "the method alone; SFTPGo adds the key's fingerprint",
    ("2.7.5", "httpd", "level"): "info, so that the access log is complete at that level, as in 0.9",
    ("2.7.5", "httpd", "cipher_suite"): "not in the line",
    ("2.7.5", "httpd", "local_addr"): "not in the line",
}
"""(version, sender, field) that differs for good; docs/explanation/compare-with-sftpgo.md tells the same."""


class World:
    """A running server with the users of the recordings."""

    def __init__(self, server: Running, http_port: int, key: Path) -> None:
        self.server, self.http_port, self.key = server, http_port, key
        two_steps = Filters(
            denied_login_methods=(
                "publickey",
                "password",
                "keyboard-interactive",
                "publickey+keyboard-interactive",
            )
        )
        documents: list[dict[str, Any]] = [
            {"username": name} for name in ("u1", "l1", "d1", "e1", "e2", "p1", "pd1", "c1")
        ]
        documents += [{"username": "d3", "status": 0}, {"username": "l6", "filters": two_steps}]
        self.people = {person.name: person for person in server.accounts(documents)}

    def fresh(self, person: Person) -> None:
        """The tree in which the recorded acts can be done."""
        shutil.rmtree(person.home)
        for name in ("d2", "dir"):
            (person.home / name).mkdir(parents=True)
        for name in ("s.txt", "x", "r.bin", "p.bin", "a", "b c.txt", "x.key"):
            (person.home / name).write_bytes(b"123456")
        (person.home / "big.bin").write_bytes(bytes(1_000_000))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("replay")
    make_key(directory / "stranger")
    port = free_port()
    bindings = [{"port": port, "address": "127.0.0.1"}]
    with running(directory / "server", settings={"httpd": {"bindings": bindings}}) as server:
        yield World(server, port, directory / "stranger")


def virtual(line: dict[str, Any], name: str) -> str:
    """A path of the line as the client knows it; 0.9 has only the place on the host."""
    text = str(line.get(f"virtual_{name}") or line.get("file_path" if name == "path" else name, ""))
    home = f"{HOMES}/{line.get('username')}"
    return text.removeprefix(home) or "/"


async def act(world: World, line: dict[str, Any]) -> None:
    """Do what the line is about."""
    sender = line["sender"]
    if sender == "connection_failed":
        await fail_to_log_in(world, line)
        return
    person = world.people[line["username"]]
    if sender == "login":
        async with logged_in(person, line["method"].partition(":")[0]):
            return
    world.fresh(person)
    path, target = virtual(line, "path"), virtual(line, "target_path")
    if path != "/" and not (person.home / path[1:]).exists() and sender not in ("Mkdir", "Upload"):
        (person.home / path[1:]).write_bytes(b"123456")
    async with person.connect() as client:
        if sender == "SSHCommand":
            await client.run(line["ssh_command"], stdin=asyncssh.DEVNULL)
            return
        if line["level"] == "error":
            await break_off(client, sender, path, line["size_bytes"])
            return
        async with client.start_sftp_client() as sftp:
            match sender:
                case "Upload":
                    async with sftp.open(path, "wb") as file:
                        await file.write(bytes(line["size_bytes"]))
                case "Download":
                    async with sftp.open(path, "rb") as file:
                        await file.read()
                case "Rename":
                    await sftp.rename(path, target)
                case "Mkdir":
                    await sftp.mkdir(path)
                case "Symlink":
                    await sftp.symlink(path, target)
                case "Remove":
                    await sftp.remove(path)
                case "Rmdir":
                    await sftp.rmdir(path)
                case "Chmod":
                    await sftp.chmod(path, mode_of(line["filemode"]))
                case "Chown":
                    await sftp.chown(path, line["uid"], line["gid"])
                case "Truncate":
                    await sftp.truncate(path, line["size"])
                case _:
                    raise AssertionError(sender)


def mode_of(text: str) -> int:
    return sum(1 << (8 - index) for index, letter in enumerate(text[-9:]) if letter != "-")


async def break_off(client: asyncssh.SSHClientConnection, sender: str, path: str, size: int) -> None:
    """End the connection in the middle of a transfer."""
    sftp = await client.start_sftp_client()
    file = await sftp.open(path, "wb" if sender == "Upload" else "rb", block_size=0)
    if sender == "Upload":
        await file.write(bytes(size))
    else:
        done = 0
        while done < size:
            done += len(await file.read(min(size - done, 32_768), done))
    client.abort()
    await client.wait_closed()


@contextlib.asynccontextmanager
async def logged_in(person: Person, method: str) -> AsyncIterator[None]:
    options = {
        "password": {"client_keys": None, "password": person.password, "preferred_auth": "password"},
        "publickey": {"preferred_auth": "publickey"},
        "keyboard-interactive": {
            "client_keys": None, "password": person.password, "preferred_auth": "keyboard-interactive",
        },
        "publickey+password": {"password": person.password, "preferred_auth": "publickey,password"},
    }[method]  # fmt: skip
    async with person.connect(**options):
        yield


async def fail_to_log_in(world: World, line: dict[str, Any]) -> None:
    if line["login_type"].startswith("no_auth"):
        with socket.create_connection(("127.0.0.1", world.server.port), timeout=10) as connection:
            connection.recv(4)
        return
    person = world.people.get(line["username"], world.people["u1"])
    keyed = "key" in line["login_type"] and "board" not in line["login_type"]
    options: dict[str, Any] = {"client_keys": [str(world.key)], "preferred_auth": "publickey"}
    if not keyed:
        options = {"client_keys": None, "password": "wrong", "preferred_auth": line["login_type"]}
        if "disabled" in line["error"]:
            options["password"] = person.password
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(username=line["username"], **options)


async def ours(world: World, case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recorded line with the paths of this run, and the line that the same act has here."""
    line = replaced(dict(case.expected), {HOMES: str(world.server.homes)})
    if line["sender"] == "httpd":
        async with httpx2.AsyncClient() as client:
            await client.request(line["method"], f"http://127.0.0.1:{world.http_port}/api/v2/version")
        return line, world.server.wait_line("httpd", method=line["method"])
    who = {"username": line["username"]} if line["username"] else {}
    before = len(world.server.lines(line["sender"], **who))
    async with asyncio.timeout(ACT_SECONDS):
        await act(world, dict(case.expected))
    wait_for(lambda: len(world.server.lines(line["sender"], **who)) > before, f"no line for {case}")
    return line, world.server.lines(line["sender"], **who)[before]


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are set by root only")
async def test_the_same_acts_have_the_same_lines(world: World) -> None:
    found: list[str] = []
    used: set[tuple[str, str, str]] = set()
    for case in LINES:
        line, got = await ours(world, case)
        version = case.place.partition("-")[0]
        for difference in line_differences(line, got, own=OWN):
            key = (version, line["sender"], difference.partition(":")[0])
            used.add(key)
            if key not in LASTING:
                found.append(f"{case}: {difference}")
    assert not found, "\n".join(found)
    assert used == set(LASTING)
