# SPDX-License-Identifier: Apache-2.0
"""A door of somebody else's package in the running product: found, checked, served, listed, drained."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.ports import free_port
from tests.support.running import COMMAND, Person, Running, running, wait_for

from tidegate.model import Filters

PACKAGE = Path(__file__).parents[1] / "third_party" / "door"


class Lines:
    """A client of the door."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.sock.makefile("rb")
        assert self.line() == "HELLO tidegate-lines 1"

    def line(self) -> str:
        return self.file.readline().decode().rstrip("\r\n")

    def say(self, text: str) -> str:
        self.sock.sendall(text.encode() + b"\r\n")
        return self.line()

    def listing(self, path: str) -> list[str]:
        found = [self.say(f"LIST {path}")]
        while not found[-1].startswith(("OK", "NO")):
            found.append(self.line())
        return found

    def get(self, path: str) -> bytes:
        word, _, size = self.say(f"GET {path}").partition(" ")
        assert word == "OK"
        return self.file.read(int(size))

    def ended(self) -> bool:
        try:
            return self.file.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def configured(port: int, *, use: str = "lines", **more: Any) -> dict[str, Any]:
    """Arguments for `running`."""
    door = {"use": use, "name": "lines", "options": {"port": port, "idle_seconds": 20}, **more}
    return {
        "settings": {"doors": {"others": [door]}},
        "environment": {"PYTHONPATH": str(PACKAGE)},
    }


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def api() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int, api: int) -> Iterator[Running]:
    options = configured(port)
    options["settings"]["data_provider"] = {"create_default_admin": True}
    options["settings"]["httpd"] = {"bindings": [{"port": api}]}
    options["environment"] |= {
        "TIDEGATE_DEFAULT_ADMIN_USERNAME": "boss",
        "TIDEGATE_DEFAULT_ADMIN_PASSWORD": "a long and boring password",
    }
    with running(tmp_path_factory.mktemp("lines"), **options) as server:
        yield server


@pytest.fixture(scope="module")
def person(server: Running) -> Person:
    person = server.account(permissions={"/": ("*",), "/secret": ("list",)}, max_sessions=2)
    (person.home / "secret").mkdir()
    (person.home / "note.txt").write_bytes(b"x" * 200_000)
    (person.home / "secret" / "key").write_bytes(b"no")
    return person


@contextlib.contextmanager
def logged_in(person: Person, port: int) -> Iterator[Lines]:
    with contextlib.closing(Lines(port)) as client:
        assert client.say(f"LOGIN {person.name} {person.password}") == "OK"
        yield client


def test_files_are_listed_and_sent_by_the_rules_of_the_account(
    server: Running, person: Person, port: int
) -> None:
    with logged_in(person, port) as client:
        names = {line.rpartition(" ")[2] for line in client.listing("/")[:-1]}
        assert names == {"note.txt", "secret"}
        assert client.get("note.txt") == b"x" * 200_000
        assert client.say("GET /secret/key") == "NO not allowed"
        assert client.say("GET /none") == "NO no such file"
        assert client.say("PUT /x") == "NO not understood"
        assert client.say("QUIT") == ""
    download = server.wait_line("Download", username=person.name)
    assert (download["protocol"], download["size_bytes"]) == ("LINES", 200_000)
    assert server.wait_line("refused", username=person.name)["rule"]


def test_connections_and_logins_are_on_record(server: Running, person: Person, port: int) -> None:
    with contextlib.closing(Lines(port)) as client:
        assert client.say("LIST /") == "NO log in first"
        assert client.say(f"LOGIN {person.name} wrong") == "NO login refused"
        assert client.say("LOGIN nobody x") == "NO login refused"
        assert client.say(f"LOGIN {person.name} wrong") == "NO login refused"
        assert client.ended()
    failed = server.wait_line("connection_failed", username=person.name, protocol="LINES")
    assert failed["login_type"] == "password"
    with logged_in(person, port):
        login = server.wait_line("login", username=person.name, protocol="LINES")
        assert login["method"] == "password"
    ended = server.wait_line("disconnected", connection_id=login["connection_id"])
    assert ended["protocol"] == "LINES"


def test_the_rest_api_shows_and_closes_its_users(
    server: Running, person: Person, port: int, api: int
) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{api}/api/v2", verify=False) as rest:
        token = rest.get("/token", auth=("boss", "a long and boring password")).json()["access_token"]
        rest.headers["Authorization"] = f"Bearer {token}"
        with logged_in(person, port) as client, logged_in(person, port) as second:
            shown = rest.get("/connections").json()
            assert {(one["username"], one["protocol"]) for one in shown} == {(person.name, "LINES")}
            assert len(shown) == 2
            with contextlib.closing(Lines(port)) as third:
                answer = third.say(f"LOGIN {person.name} {person.password}")
                assert answer == "NO too many sessions"
            disabled = rest.put(
                f"/users/{person.name}?disconnect=1",
                json={**rest.get(f"/users/{person.name}").json(), "description": "sent away"},
            )
            assert disabled.status_code == 200, disabled.text
            assert client.ended()
            assert second.ended()
        wait_for(lambda: rest.get("/connections").json() == [], "connections stay listed")


def test_rules_on_logins_take_it_for_a_protocol_of_ours(server: Running, port: int) -> None:
    person = server.account(filters=Filters(denied_protocols=("FTP",)))
    with contextlib.closing(Lines(port)) as client:
        assert client.say(f"LOGIN {person.name} {person.password}") == "NO login refused"
    failed = server.wait_line("connection_failed", username=person.name)
    assert (failed["protocol"], failed["error"]) == ("LINES", "protocol")


def test_a_transfer_ends_before_the_server_does(tmp_path: Path) -> None:
    port = free_port()
    server = Running(tmp_path, grace_time=10, **configured(port, use="tidegate_lines:LinesDoor"))
    try:
        server.start()
        person = server.account()
        (person.home / "big").write_bytes(b"y" * 30_000_000)
        with logged_in(person, port) as busy, logged_in(person, port) as idle:
            assert busy.say("GET big") == "OK 30000000"
            server.send(signal.SIGTERM)
            assert idle.ended()
            assert busy.file.read() == b"y" * 30_000_000
        assert server.process is not None
        assert server.process.wait(30) == 0
    finally:
        server.kill()
    assert server.lines("Download", username=person.name, protocol="LINES")


def test_options_are_read_again(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, **configured(port)) as server:
        sections = json.loads(json.dumps(server.sections))
        sections["doors"]["others"][0]["options"]["attempts"] = 1
        server.configure(sections)
        server.send(signal.SIGHUP)
        server.wait_line("tidegate.server.app", message="configuration reloaded")
        with contextlib.closing(Lines(port)) as client:
            assert client.say("LOGIN nobody x") == "NO login refused"
            assert client.ended()


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_mistake_is_one_line(tmp_path: Path, command: str) -> None:
    door = {"use": "lines", "options": {"port": "many"}}
    settings = {"doors": {"others": [door]}, "httpd": {"bindings": []}, "sftpd": {"bindings": []}}
    (tmp_path / "tidegate.json").write_text(json.dumps(settings))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
    done = subprocess.run(
        [*COMMAND, command, "-c", str(tmp_path)],
        env={**environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "doors.others" in line]
    assert "doors.others[0].options.port: input should be a valid integer" in line


def test_check_tells_what_is_on(tmp_path: Path) -> None:
    door = {"use": "lines", "options": {"port": 1}}
    (tmp_path / "tidegate.json").write_text(json.dumps({"doors": {"others": [door]}}))
    done = subprocess.run(
        [*COMMAND, "check", "-c", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "doors of other packages: lines\n" in done.stdout
