# SPDX-License-Identifier: Apache-2.0
"""``tidegate probe`` against running servers: every protocol, every way to fail, nothing left behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.certificates import certificate
from tests.support.command_line import Result, process
from tests.support.ports import free_port
from tests.support.running import Person, Running, running


@dataclass
class World:
    server: Running
    person: Person
    password: Path
    ports: dict[str, int]

    def probe(self, protocol: str, *words: str | Path, **environment: str) -> Result:
        where = ["--protocol", protocol, "--port", str(self.ports[protocol])]
        return process("probe", *where, *words, **environment)

    def probe_as(self, protocol: str, *words: str | Path) -> Result:
        account = ["--user", self.person.name, "--password-file", self.password]
        return self.probe(protocol, *account, *words)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = tmp_path_factory.mktemp("probe")
    files = {"certificate_file": "cert.pem", "certificate_key_file": "key.pem"}
    ports = {"ftp": free_port(), "dav": free_port()}
    settings = {
        "ftpd": {"bindings": [{"port": ports["ftp"], "address": "127.0.0.1", "plain_login": True, **files}]},
        "webdavd": {
            "bindings": [{"port": ports["dav"], "address": "127.0.0.1", "enable_https": True, **files}]
        },
    }
    (place / "server").mkdir()
    certificate(place / "server", "probe")
    (place / "server").rename(place / "made")
    server = Running(place / "server", settings=settings)
    for name in ("cert.pem", "key.pem"):
        (place / "made" / name).rename(place / "server" / name)
    server.start()
    try:
        person = server.account()
        password = place / "password"
        password.write_text(f"{person.password}\n")
        yield World(server, person, password, {**ports, "sftp": server.port})
    finally:
        server.stop()


def left(world: World) -> list[str]:
    return [path.name for path in world.person.home.rglob("*") if "probe" in path.name]


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("sftp", ["--insecure"]),
        ("ftp", []),
        ("ftp", ["--tls", "--insecure"]),
        ("dav", ["--tls", "--ca-file", "CERT"]),
    ],
)
def test_a_file_goes_there_and_back(world: World, protocol: str, words: list[str]) -> None:
    given = [str(world.server.directory / "cert.pem") if word == "CERT" else word for word in words]
    done = world.probe_as(protocol, *given, "--size", "300000")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"PROBE OK - {protocol} 300000 bytes there and back in ")
    assert done.out.count("\n") == 1
    figures = done.out.partition(" | ")[2]
    assert all(f"{step}=" in figures for step in ("login", "upload", "download", "remove"))
    assert left(world) == []


def test_the_host_key_is_compared_and_a_key_logs_in(world: World) -> None:
    key = ["--user", world.person.name, "--key-file", world.person.key]
    wrong = world.probe("sftp", *key, "--host-key", "SHA256:AAAA")
    nobody = world.probe("sftp", *key, "--known-hosts", "/dev/null")
    taken = world.probe("sftp", *key, "--insecure", "--json")

    assert wrong.code == nobody.code == 2
    assert wrong.out.startswith("PROBE CRITICAL - login: ")
    assert taken.code == 0
    assert set(json.loads(taken.out)["seconds"]) == {"login", "open", "upload", "download", "remove"}


def test_the_account_of_the_old_gateways_self_test_is_used(world: World) -> None:
    tester = {"APP_TEST_USER": world.person.name, "APP_TEST_PASSWORD": world.person.password}

    assert world.probe("sftp", "--insecure", **tester).code == 0
    assert world.probe("sftp", "--insecure", "--warn", "0.000001", **tester).code == 1


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--user", "nobody", "--password-file", "PASSWORD"], 2, "PROBE CRITICAL - login: "),
        (
            ["--user", "ANA", "--password-file", "PASSWORD", "--directory", "/nowhere"],
            2,
            "PROBE CRITICAL - upload: ",
        ),
        (["--user", "ANA"], 3, "PROBE UNKNOWN - nothing to log in with"),
        ([], 3, "PROBE UNKNOWN - no account"),
        (["--user", "ANA", "--password-file", "/nowhere"], 3, "PROBE UNKNOWN - "),
    ],
)
def test_what_does_not_work_is_named(world: World, words: list[str], code: int, text: str) -> None:
    stands = {"PASSWORD": str(world.password), "ANA": world.person.name}
    done = world.probe("sftp", "--insecure", *(stands.get(word, word) for word in words))

    assert (done.code, done.err) == (code, "")
    assert done.out.startswith(text)


@pytest.mark.parametrize("protocol", ["sftp", "ftp", "dav"])
def test_a_server_that_says_nothing_fails_in_time(world: World, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        world = World(world.server, world.person, world.password, {protocol: silent.getsockname()[1]})
        done = world.probe_as(protocol, "--timeout", "0.5", "--insecure")

    assert done.code == 2
    assert done.out.startswith("PROBE CRITICAL - ")


def test_a_monitor_that_only_opens_the_port_is_no_attacker(tmp_path: Path) -> None:
    defender = {"enabled": True, "driver": "memory", "threshold": 8, "score_no_auth": 3}

    def knock(server: Running) -> list[bytes]:
        answers = []
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as link:
                answers.append(link.recv(4))
            server.wait_line("disconnected")
        return answers

    for monitors, welcome in ((["127.0.0.1"], True), ([], False)):
        sections = {"common": {"defender": defender}, "telemetry": {"monitors": monitors}}
        with running(tmp_path / str(welcome), settings=sections) as server:
            answers = knock(server)
            assert (answers[-1] == b"SSH-") is welcome
