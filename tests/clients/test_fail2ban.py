# SPDX-License-Identifier: Apache-2.0
"""The files of examples/fail2ban: `fail2ban-regex` finds refused logins of every door in the log, and nothing else."""

from __future__ import annotations

import asyncio
import configparser
import ftplib
import http.client
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.ports import free_port
from tests.support.running import Running, wait_for

pytestmark = pytest.mark.needs("fail2ban-regex")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fail2ban"
FORGED = '","login_type":"password"} {"sender":"connection_failed","client_ip":"203.0.113.5'
"""A user name that looks like the beginning of another line."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    ports = {name: free_port() for name in ("ftpd", "httpd", "webdavd")}
    local = {"address": "127.0.0.1"}
    one = Running(
        tmp_path / "server",
        settings={
            "ftpd": {"bindings": [{"port": ports["ftpd"], **local, "plain_login": True}]},
            "httpd": {"bindings": [{"port": ports["httpd"], **local}]},
            "webdavd": {"bindings": [{"port": ports["webdavd"], **local, "plain_login": True}]},
        },
    )
    one.ports = ports  # type: ignore[attr-defined]
    one.start()
    try:
        yield one
        one.stop()
    finally:
        one.kill()


def ssh(server: Running, name: str, source: str, **options: Any) -> None:
    """A login that is refused."""

    async def attempt() -> None:
        await asyncssh.connect(
            "127.0.0.1", server.port, username=name, known_hosts=None, config=None, agent_path=None,
            local_addr=(source, 0), **{"client_keys": None, "password": "no", **options},
        )  # fmt: skip

    with pytest.raises(asyncssh.Error):
        asyncio.run(attempt())


def ftp(port: int, name: str, source: str) -> None:
    """A login that is refused."""
    with ftplib.FTP(source_address=(source, 0)) as client:
        client.connect("127.0.0.1", port, timeout=10)
        with pytest.raises(ftplib.error_perm):
            client.login(name, "no")


def web(port: int, path: str, name: str, source: str) -> None:
    """A request with credentials that are refused."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    line.request("GET", path, headers={"Authorization": "Basic " + b64encode(f"{name}:no".encode()).decode()})
    assert line.getresponse().status == 401
    line.close()


def found(log: Path | str, **options: str) -> list[str]:
    """The addresses that the filter finds, in their order."""
    words = "".join(f"[{name}={value}]" for name, value in options.items())
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", str(log), f"{EXAMPLE / 'filter.conf'}{words}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def test_the_filter_finds_refused_logins_of_every_door(server: Running) -> None:
    ports = server.ports  # type: ignore[attr-defined]
    person = server.account()
    other = asyncssh.generate_private_key("ssh-ed25519")
    ssh(server, person.name, "127.0.0.21", preferred_auth="password")
    ssh(server, FORGED, "127.0.0.22", preferred_auth="keyboard-interactive")
    ssh(server, FORGED, "127.0.0.23", client_keys=[other], password=None)
    ftp(ports["ftpd"], FORGED, "127.0.0.24")
    web(ports["webdavd"], "/", FORGED, "127.0.0.25")
    web(ports["httpd"], "/api/v2/token", FORGED, "127.0.0.26")

    async def log_in() -> None:
        async with person.connect(local_addr=("127.0.0.27", 0)):
            pass

    asyncio.run(log_in())
    for number in range(21, 27):
        address = f"127.0.0.{number}"
        wait_for(lambda: bool(server.lines("connection_failed", client_ip=address)), address)  # noqa: B023  called at once
    wait_for(lambda: bool(server.lines("disconnected", ip="127.0.0.27")), "the login")

    assert set(found(server.log_file)) == {f"127.0.0.{number}" for number in (21, 22, 24, 25, 26)}
    assert set(found(server.log_file, mode="aggressive")) == {f"127.0.0.{number}" for number in range(21, 27)}


def test_what_is_no_fault_of_the_client_does_not_count(tmp_path: Path) -> None:
    reasons = ["provider_unavailable", "internal_error", "no_session", "max_clients", "bad_credential"]
    log = tmp_path / "log"
    log.write_text(
        "".join(
            '{"time":"2026-11-30T07:31:39.505Z","level":"debug","sender":"connection_failed",'
            f'"client_ip":"2001:db8::{number}","username":"u","login_type":"password","protocol":"SSH",'
            f'"error":"{reason}","rule":"","connection_id":"b054baf8bd555b33"}}\n'
            for number, reason in enumerate(reasons)
        )
    )

    assert found(log) == ["2001:db8::4"]


def test_the_jail_names_the_filter_of_the_guide() -> None:
    jail = configparser.ConfigParser(interpolation=None)
    jail.read(EXAMPLE / "jail.conf")

    assert jail["tidegate"]["filter"] == "tidegate"
    assert "filter.d/tidegate.conf" in (EXAMPLE / "README.md").read_text()
