# SPDX-License-Identifier: Apache-2.0
"""The defence of the running product: bans, lists and rate limits on SSH, FTP, HTTP and WebDAV."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support import fork_server
from tests.support.ports import free_port
from tests.support.running import Person, Running, wait_for

DEFENDER = {
    "enabled": True,
    "driver": "provider",
    "threshold": 5,
    "score_invalid": 2,
    "ban_time_increment": 0,
}

Make = Callable[..., Running]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Running] = []

    def server(**common: Any) -> Running:
        ports = {"ftpd": free_port(), "httpd": free_port(), "webdavd": free_port()}
        one = Running(
            tmp_path / f"server{len(made)}",
            settings={
                "common": common,
                "ftpd": {"bindings": [{"port": ports["ftpd"], "address": "127.0.0.1", "plain_login": True}]},
                "httpd": {"bindings": [{"port": ports["httpd"], "address": "127.0.0.1"}]},
                "webdavd": {
                    "bindings": [{"port": ports["webdavd"], "address": "127.0.0.1", "plain_login": True}]
                },
            },
        )
        one.ports = ports  # type: ignore[attr-defined]
        made.append(one)
        return one.start()

    yield server
    for one in made:
        one.stop()


def greeting(port: int, source: str = "127.0.0.1") -> bytes:
    """The first bytes that a server sends; empty if it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as line:
        try:
            return line.recv(200)
        except ConnectionResetError:
            return b""


def answer(port: int, path: str, source: str = "127.0.0.1", login: str = "") -> tuple[int, dict[str, str]]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        headers = {"Authorization": "Basic " + b64encode(login.encode()).decode()} if login else {}
        line.request("GET", path, headers=headers)
        got = line.getresponse()
        got.read()
        return got.status, {name.lower(): value for name, value in got.getheaders()}
    finally:
        line.close()


def command(server: Running, *args: str) -> str:
    done = fork_server.run(
        [*args, "-c", str(server.directory)],
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def wrong(person: Person, source: str, name: str = "") -> None:
    """A login with a wrong password; whatever becomes of it."""
    with pytest.raises((asyncssh.Error, OSError)):
        await person.connect(
            username=name or person.name, password="no", client_keys=None, local_addr=(source, 0)
        )


def doors(server: Running, source: str) -> dict[str, bool]:
    """The doors that let an address in."""
    ports = server.ports  # type: ignore[attr-defined]
    return {
        "SSH": greeting(server.port, source).startswith(b"SSH-"),
        "FTP": greeting(ports["ftpd"], source).startswith(b"220"),
        "HTTP": answer(ports["httpd"], "/healthz", source)[0] == 200,
        "DAV": answer(ports["webdavd"], "/", source)[0] not in (403, 429),
    }


ALL = {"SSH": True, "FTP": True, "HTTP": True, "DAV": True}
NONE = dict.fromkeys(ALL, False)


async def test_a_ban_closes_every_door_survives_a_restart_and_is_ended(make: Make):
    server = make(defender=DEFENDER)
    person = server.account()
    for _ in range(3):
        await wrong(person, "127.0.0.7", "nobody")
    await asyncio.to_thread(wait_for, lambda: doors(server, "127.0.0.7") == NONE, "the ban")
    ports = server.ports  # type: ignore[attr-defined]
    assert greeting(ports["ftpd"], "127.0.0.7") == b"500 Access denied: banned client IP\r\n"
    assert doors(server, "127.0.0.8") == ALL
    async with person.connect():
        pass  # whoever comes from elsewhere is let in
    await asyncio.to_thread(wait_for, lambda: "127.0.0.7/32" in command(server, "ban", "list"), "the record")
    server.stop()
    server.start()
    assert doors(server, "127.0.0.7") == NONE
    server.stop()
    command(server, "ban", "remove", "127.0.0.7")
    server.start()
    assert doors(server, "127.0.0.7") == ALL


async def test_bad_logins_at_ftp_and_webdav_count_together_and_monitors_are_not_banned(make: Make):
    server = make(defender={**DEFENDER, "preset": "openbridge", "threshold": 4, "score_invalid": 1})
    ports = server.ports  # type: ignore[attr-defined]

    def try_all() -> None:
        for _ in range(8):
            assert greeting(server.port, "127.0.0.9").startswith(b"SSH-")
            assert greeting(ports["ftpd"], "127.0.0.9").startswith(b"220")
        for _ in range(2):
            assert answer(ports["webdavd"], "/", "127.0.0.7", "nobody:no")[0] == 401
            with (
                socket.create_connection(
                    ("127.0.0.1", ports["ftpd"]), timeout=10, source_address=("127.0.0.7", 0)
                ) as line,
                line.makefile("rwb", 0) as talk,
            ):
                assert talk.readline().startswith(b"220")
                talk.write(b"USER nobody\r\nPASS no\r\n")
                assert talk.readline().startswith(b"331")
                assert talk.readline().startswith(b"530")
        wait_for(lambda: doors(server, "127.0.0.7") == NONE, "the ban")
        assert doors(server, "127.0.0.9") == ALL

    await asyncio.to_thread(try_all)


async def test_lists_hold_for_protocols_and_only_listed_addresses_come(make: Make):
    server = make(allowlist_status=1, defender=DEFENDER)
    server.stop()
    command(server, "ip-list", "add", "allow", "127.0.0.0/29")
    command(server, "ip-list", "add", "block", "127.0.0.5", "--protocols", "SSH,HTTP", "--description", "x")
    command(server, "ip-list", "add", "safe", "127.0.0.6")
    server.start()
    assert doors(server, "127.0.0.2") == ALL
    assert doors(server, "127.0.0.5") == {**ALL, "SSH": False, "HTTP": False}
    assert doors(server, "127.0.0.9") == NONE
    assert greeting(server.ports["ftpd"], "127.0.0.9") == b"500 Access denied\r\n"  # type: ignore[attr-defined]
    person = server.account()
    for _ in range(4):
        await wrong(person, "127.0.0.6", "nobody")
    assert doors(server, "127.0.0.6") == ALL
    listed = command(server, "ip-list", "list", "--csv")
    assert 'block,127.0.0.5/32,"SSH,HTTP",,x' in listed
    again = server.directory / "lists.csv"
    again.write_text(listed)
    command(server, "ip-list", "remove", "block", "127.0.0.5")
    assert "127.0.0.5" not in command(server, "ip-list", "list", "--csv")
    command(server, "ip-list", "import", str(again))
    assert command(server, "ip-list", "list", "--csv") == listed


async def test_rate_limits_of_the_example_load_and_refuse(make: Make):
    one = {"average": 1, "period": 20000, "burst": 3, "generate_defender_events": True}
    server = make(rate_limiters=[{"average": 100, "type": 1, "burst": 50}, one])
    ports = server.ports  # type: ignore[attr-defined]

    def come() -> None:
        source = "127.0.0.7"
        assert [greeting(server.port, source)[:4] for _ in range(4)] == [b"SSH-"] * 3 + [b""]
        assert greeting(ports["ftpd"], source).startswith(b"500 Access denied: rate limit exceeded")
        for name in ("httpd", "webdavd"):
            status, headers = answer(ports[name], "/healthz", source)
            assert status == 429
            assert 1 <= int(headers["retry-after"]) <= 20
            assert 0 < float(headers["x-retry-in"].rstrip("s")) <= 20
        assert doors(server, "127.0.0.8")["FTP"]

    await asyncio.to_thread(come)


async def test_a_client_is_delayed_up_to_the_allowed_wait(make: Make):
    server = make(rate_limiters=[{"average": 1, "period": 1000, "burst": 1, "protocols": ["FTP"]}])
    ports = server.ports  # type: ignore[attr-defined]

    def come() -> None:
        assert greeting(ports["ftpd"]).startswith(b"220")
        begun = time.monotonic()
        # Half a second is waited at most, a second is needed: refused at first, delayed later.
        wait_for(lambda: greeting(ports["ftpd"]).startswith(b"220"), "a greeting")
        assert 0.8 < time.monotonic() - begun < 5

    await asyncio.to_thread(come)


async def test_failed_logins_cost_their_address_some_time_at_every_door(make: Make):
    server = make(penalties={"exempt": ["127.0.0.14/32"], "min": 10})
    person = server.account()
    for source in ("127.0.0.13", "127.0.0.14"):
        for _ in range(3):
            await wrong(person, source)
        await wrong(person, source, "nobody")
    ports = server.ports  # type: ignore[attr-defined]
    await asyncio.to_thread(wait_for, lambda: doors(server, "127.0.0.13") == NONE, "the penalty")
    assert greeting(ports["ftpd"], "127.0.0.13").startswith(b"500 Access denied: 127.0.0.13 is refused for ")
    status, headers = answer(ports["httpd"], "/healthz", "127.0.0.13")
    assert (status, 0 < int(headers["retry-after"]) <= 20) == (429, True)
    await asyncio.to_thread(server.wait_line, "refused", rule="common.penalties", protocol="HTTP")
    assert doors(server, "127.0.0.14") == ALL
    async with person.connect(local_addr=("127.0.0.14", 0)):
        pass


async def test_answers_to_logins_wait_for_administrators_too(make: Make):
    server = make(defender={"login_delay": {"password_failed": 700, "success": 400}})
    port = server.ports["httpd"]  # type: ignore[attr-defined]
    server.stop()
    secret = server.directory / "secret"
    secret.write_text("right-Horse-7\n")
    command(server, "admin", "add", "root", "--password-file", str(secret))
    server.start()
    for login, code, least in (
        ("root:wrong", 401, 0.7),
        ("nobody:wrong", 401, 0.7),
        ("root:right-Horse-7", 200, 0.4),
    ):
        began = time.monotonic()
        assert answer(port, "/api/v2/token", login=login)[0] == code
        assert time.monotonic() - began >= least


def test_the_connections_of_a_source_are_counted_over_all_doors(make: Make):
    server = make(max_per_host_connections=3)
    ports = server.ports  # type: ignore[attr-defined]
    held = [
        socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.15", 0))
        for port in (server.port, server.port, ports["ftpd"])
    ]
    assert [line.recv(3) for line in held] == [b"SSH", b"SSH", b"220"]
    assert greeting(server.port, "127.0.0.15") == b""
    assert greeting(ports["ftpd"], "127.0.0.15") == b"500 Access denied\r\n"
    with pytest.raises(OSError):
        answer(ports["webdavd"], "/", "127.0.0.15")
    assert answer(ports["httpd"], "/healthz", "127.0.0.15")[0] == 200
    assert doors(server, "127.0.0.16") == ALL
    for line in held:
        line.close()
    wait_for(lambda: doors(server, "127.0.0.15") == ALL, "room")


def test_prefixes_of_sources_hold_at_every_door_and_stored_bans_of_others_stay(make: Make):
    defender = {**DEFENDER, "threshold": 100}  # looks that come too early are refused, which counts
    server = make(max_per_host_connections=2, source_prefix4=29, defender=defender)
    ports = server.ports  # type: ignore[attr-defined]
    held = [
        socket.create_connection(("127.0.0.1", server.port), 10, (f"127.0.1.{number}", 0))
        for number in (1, 2)
    ]
    assert [line.recv(3) for line in held] == [b"SSH", b"SSH"]
    assert greeting(ports["ftpd"], "127.0.1.3") == b"500 Access denied\r\n"
    assert doors(server, "127.0.1.8") == ALL
    for line in held:
        line.close()
    wait_for(lambda: doors(server, "127.0.1.3") == ALL, "room")
    server.stop()
    assert command(server, "ban", "add", "127.0.2.1").startswith("banned 127.0.2.0/29 until ")
    common = {"source_prefix4": 24, "defender": defender}
    server.configure({**server.sections, "common": common})
    assert command(server, "ban", "add", "127.0.3.1").startswith("banned 127.0.3.0/24 until ")
    server.start()
    assert [doors(server, f"127.0.2.{number}") for number in (7, 8)] == [NONE, ALL]
    assert doors(server, "127.0.3.200") == NONE
    question = ["explain", "--connect", "127.0.2.7", "-c", str(server.directory)]
    told = fork_server.run(question, timeout=60).stdout
    assert "REFUSED 127.0.2.7 SSH by common.defender" in told
    assert "127.0.2.0/29 is banned until" in told
    assert "counted as 127.0.2.0/24" in told
    server.stop()
    assert command(server, "ban", "remove", "127.0.2.5") == "ended the ban of 127.0.2.5\n"
    server.start()
    assert doors(server, "127.0.2.7") == ALL
    common = {"source_prefix4": 29, "max_per_host_connections": 1, "defender": defender}
    server.configure({**server.sections, "common": common})
    server.send(signal.SIGHUP)
    server.wait_line("tidegate.server.app", message="configuration reloaded")
    with socket.create_connection(("127.0.0.1", server.port), 10, ("127.0.5.1", 0)) as line:
        assert line.recv(3) == b"SSH"
        assert greeting(server.port, "127.0.5.7") == b""
        assert doors(server, "127.0.5.8") == ALL
