# SPDX-License-Identifier: Apache-2.0
"""Logins by WebDAV, from when to when: sessions, changes of accounts, being sent away, certificates."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import fork_server
from tests.support.authority import authority
from tests.support.dav_world import Dav, DavServer, dav_server
from tests.support.running import COMMAND, Person, wait_for

from tidegate.model import Filters


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    with dav_server(tmp_path_factory.mktemp("dav")) as made:
        yield made


def tidegate(server: DavServer, *words: str, text: str = "") -> str:
    done = fork_server.run(
        [*words, "-c", str(server.running.directory)],
        input=text,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(server: DavServer, person: Person, sender: str) -> list[dict[str, Any]]:
    return server.running.lines(sender, username=person.name)


def test_a_session_for_each_program_and_no_more_than_allowed(server: DavServer) -> None:
    person = server.account(max_sessions=1)
    with Dav(server.plain, person) as one, Dav(server.plain, person) as two:
        assert one.code("GET", "/", User_Agent="a") == 200
        assert two.code("GET", "/", User_Agent="a") == 200  # the same program
        answer = two.ask("GET", "/", User_Agent="b")
        assert answer.code == 429
        assert answer.headers["retry-after"]
        assert one.code("GET", "/", User_Agent="a") == 200


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        (Filters(denied_protocols=("DAV",)), "protocol"),
        (Filters(denied_ip=("127.0.0.0/8",)), "address"),
        (Filters(denied_login_methods=("password",)), "method"),
    ],
)
def test_rules_of_logins_hold(server: DavServer, filters: Filters, reason: str) -> None:
    person = server.account(filters=filters)
    with Dav(server.plain, person) as client:
        assert client.code("GET", "/") == 401
    wait_for(
        lambda: any(
            reason in str(line) for line in server.running.lines() if line.get("username") == person.name
        ),
        "no line about the refusal",
    )


def test_a_new_password_ends_who_has_the_old_one(tmp_path: Path) -> None:
    with dav_server(tmp_path) as server:
        person = server.account()
        with Dav(server.plain, person) as client:
            assert client.code("GET", "/") == 200
            tidegate(server, "user", "passwd", person.name, "--password-stdin", text="Another-pass-1\n")
            wait_for(lambda: client.code("GET", "/") == 401, "the old password is still taken", 20)


def test_somebody_who_is_disabled_is_out(tmp_path: Path) -> None:
    with dav_server(tmp_path) as server:
        person = server.account()
        with Dav(server.plain, person) as client:
            assert client.code("PUT", "/f", b"x") == 201
            tidegate(server, "user", "set", person.name, "--disable")
            wait_for(lambda: client.code("GET", "/f") == 401, "who is disabled is still in", 20)


def test_who_is_sent_away_stores_nothing_more(tmp_path: Path) -> None:
    with dav_server(tmp_path) as server:
        person = server.account()
        (person.home / "f").write_bytes(b"old")
        with Dav(server.plain, person) as client:
            words = client.authorization()["Authorization"]
            head = f"PUT /f HTTP/1.1\r\nHost: a\r\nAuthorization: {words}\r\nContent-Length: 200000\r\n\r\n"
            assert client.code("GET", "/", User_Agent="") == 200
            with socket.create_connection(("127.0.0.1", server.plain), 20) as sock:
                sock.sendall(head.encode() + b"x" * 150_000)
                wait_for(lambda: in_use(server, person), "the upload does not begin")
                tidegate(server, "user", "set", person.name, "--disable")
                wait_for(lambda: client.code("GET", "/") == 401, "who is disabled is still in", 20)
                with contextlib.suppress(ConnectionError):
                    assert sock.recv(1000) == b""
        server.running.wait_line("Upload", username=person.name, status="failed")
        assert (person.home / "f").read_bytes() == b"old"
        assert os.listdir(person.home) == ["f"]


def in_use(server: DavServer, person: Person) -> bool:
    """True if the server has a file below somebody's home open."""
    base = Path(f"/proc/{server.running.pid}/fd")
    found = False
    for name in os.listdir(base):
        with contextlib.suppress(FileNotFoundError):
            found = found or os.readlink(base / name).startswith(f"{person.home}/")
    return found


def test_who_does_nothing_is_logged_out(tmp_path: Path) -> None:
    with dav_server(tmp_path, cache={"users": {"max_size": 1}}) as server:
        first, second = server.account(), server.account()
        for person in (first, second, first):
            with Dav(server.plain, person) as client:
                assert client.code("GET", "/") == 200
        wait_for(lambda: len(lines(server, first, "login")) == 2, "not logged in twice")
        assert server.running.wait_line("disconnected", username=first.name)["by"] == "max_clients"


def test_one_account_with_many_programs_puts_out_nobody_else(tmp_path: Path) -> None:
    with dav_server(tmp_path, cache={"users": {"max_size": 3}}) as server:
        first, second, many = server.account(), server.account(), server.account()
        for person in (first, second):
            with Dav(server.plain, person) as client:
                assert client.code("GET", "/") == 200
        for name in ("a", "b", "c", "d"):
            with Dav(server.plain, many) as client:
                assert client.code("GET", "/", User_Agent=name) == 200
        wait_for(lambda: len(lines(server, many, "disconnected")) == 3, "its own clients do not give way")
        for person in (first, second):
            with Dav(server.plain, person) as client:
                assert client.code("GET", "/") == 200
            assert len(lines(server, person, "login")) == 1


def test_a_stop_ends_all_and_says_so(tmp_path: Path) -> None:
    with dav_server(tmp_path) as server:
        person = server.account()
        with Dav(server.plain, person) as client:
            assert client.code("GET", "/") == 200
            server.running.stop()
        assert lines(server, person, "disconnected")[-1]["by"] == "shutdown"
        assert lines(server, person, "login")[0]["protocol"] == "DAV"


def test_portable_serves_webdav_too(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "f").write_bytes(b"shared")
    words = [*COMMAND, "portable", "-d", str(tmp_path / "shared"), "-u", "u", "-p", "p", "--webdav-port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        url = next(line.strip() for line in process.stdout if line.strip().startswith("http://"))
        port = url.rstrip("/").rpartition(":")[2]
        done = subprocess.run(
            ["curl", "-sSf", "-u", "u:p", f"http://127.0.0.1:{port}/f"], capture_output=True, timeout=30
        )
        assert done.stdout == b"shared"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.needs("openssl")
@pytest.mark.needs("curl")
def test_certificates_of_clients(tmp_path: Path) -> None:
    own, other = authority(tmp_path / "own", "Partners"), authority(tmp_path / "other", "Somebody")
    settings = {"ca_certificates": [str(own.pem)]}
    with dav_server(tmp_path / "server", secure={"client_auth_type": 2}, **settings) as server:
        person = server.account(filters=Filters(tls_username="CommonName"))
        both = server.account(
            filters=Filters(tls_username="CommonName", denied_login_methods=("TLSCertificate",))
        )
        plain = server.account()

        def curl(pair: tuple[Path, Path] | None, words: str = "") -> int:
            command = [
                "curl",
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--cacert",
                str(server.certificate),
            ]
            if pair is not None:
                command += ["--cert", str(pair[0]), "--key", str(pair[1])]
            command += ["-u", words] if words else []
            done = subprocess.run(
                [*command, server.url(secure=True) + "/"], capture_output=True, text=True, timeout=30
            )
            return int(done.stdout) if done.returncode == 0 else -done.returncode

        right = own.client(person.name)
        assert curl(right) == 200
        assert curl(right, f"{person.name}:not the password") == 200
        assert curl(right, f"{plain.name}:{person.password}") == 401  # somebody else's name
        assert curl(right, f"{plain.name}:{plain.password}") == 200  # it says nothing about this one
        assert curl(None) == 401
        assert curl(None, f"{plain.name}:{plain.password}") == 200
        assert curl(other.client(person.name)) < 0  # of an authority that nobody trusts
        assert curl(own.client("nobody")) == 401
        assert curl(own.client(both.name)) == 401
        assert curl(own.client(both.name), f"{both.name}:wrong") == 401
        assert curl(own.client(both.name), f"{both.name}:{both.password}") == 200
        assert {line["protocol"] for line in lines(server, person, "login")} == {"DAVS"}
        assert "TLSCertificate" in {line["method"] for line in lines(server, person, "login")}


@pytest.mark.parametrize("protocol", ["DAV", "DAVS"])
def test_explain_knows_webdav(server: DavServer, protocol: str) -> None:
    person = server.account(filters=Filters(denied_protocols=("DAV",)))
    words = ["explain", "--user", person.name, "--op", "list", "--path", "/", "--protocol", protocol]
    done = fork_server.run([*words, "-c", str(server.running.directory)], timeout=60)
    assert "DENIED" in done.stdout
    assert "denied_protocols" in done.stdout
