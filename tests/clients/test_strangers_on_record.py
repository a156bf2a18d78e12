# SPDX-License-Identifier: Apache-2.0
"""Metrics of what strangers cost: each refusal by its rule, and processor time before a login, at every door."""

from __future__ import annotations

import asyncio
import ftplib
import http.client
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import fork_server
from tests.support.ports import free_port
from tests.support.running import Running, wait_for

REFUSED = 25
"""Connections of a refused address to each door; events tell of the first alone."""
STRANGER = "127.0.0.9"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    ports = {name: free_port() for name in ("ftpd", "httpd", "webdavd", "telemetry")}
    running = Running(
        tmp_path / "server",
        settings={
            "ftpd": {"bindings": [{"port": ports["ftpd"], "address": "127.0.0.1", "plain_login": True}]},
            "httpd": {"bindings": [{"port": ports["httpd"], "address": "127.0.0.1"}]},
            "webdavd": {
                "bindings": [{"port": ports["webdavd"], "address": "127.0.0.1", "plain_login": True}]
            },
            "telemetry": {"bind_port": ports["telemetry"], "bind_address": "127.0.0.1"},
        },
    )
    running.ports = ports  # type: ignore[attr-defined]
    try:
        yield running.start()
    finally:
        running.stop()


def ask(port: int, path: str, source: str = "127.0.0.1", login: str = "") -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    try:
        headers = {"Authorization": "Basic " + b64encode(login.encode()).decode()} if login else {}
        line.request("GET", path, headers=headers)
        answer = line.getresponse()
        return answer.status, answer.read().decode()
    finally:
        line.close()


def metric(server: Running, name: str) -> float:
    """The sum of a metric whose name and labels begin so."""
    lines = ask(server.ports["telemetry"], "/metrics")[1].splitlines()  # type: ignore[attr-defined]
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def said(port: int, source: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as line:
        try:
            return line.recv(200)
        except ConnectionResetError:
            return b""


def test_each_refusal_is_counted_by_its_rule(server: Running) -> None:
    ports = server.ports  # type: ignore[attr-defined]
    server.stop()
    done = fork_server.run(["ip-list", "add", "block", STRANGER, "-c", str(server.directory)], timeout=60)
    assert done.returncode == 0, done.stderr
    server.start()
    expected, counted = 0, 'tidegate_refusals_total{rule="defender",step="connection"}'
    for door in ("SSH", "ftpd", "httpd", "webdavd"):
        for _ in range(REFUSED):
            if door in ("httpd", "webdavd"):
                assert ask(ports[door], "/", STRANGER)[0] == 403
            else:
                assert not said(server.port if door == "SSH" else ports[door], STRANGER).startswith(
                    (b"SSH", b"220")
                )
        expected += REFUSED
        wait_for(lambda: metric(server, counted) == expected, f"{expected} refusals at {door}")  # noqa: B023


async def test_processor_time_before_the_login_is_that_of_strangers(server: Running) -> None:
    ports = server.ports  # type: ignore[attr-defined]
    person = server.account()
    name = "tidegate_unauthenticated_cpu_seconds_total"

    async def spent() -> float:
        return await asyncio.to_thread(metric, server, name)

    def speaks_ftp(*, login: bool) -> None:
        with ftplib.FTP() as ftp:
            ftp.connect("127.0.0.1", ports["ftpd"], timeout=10)
            if login:
                ftp.login(person.name, person.password)
            for _ in range(300):
                ftp.sendcmd("FEAT")

    def speaks_dav(*, login: str) -> None:
        line = http.client.HTTPConnection("127.0.0.1", ports["webdavd"], timeout=10)
        headers = {"Authorization": "Basic " + b64encode(login.encode()).decode()} if login else {}
        for _ in range(100):
            line.request("PROPFIND", "/", headers={"Depth": "0", **headers})
            answer = line.getresponse()
            answer.read()
            assert answer.status == (207 if login else 401)
        line.close()

    async with person.connect(), person.connect():
        pass  # what is done once
    before = await spent()
    async with person.connect():
        pass
    assert await spent() - before > 0.0005, "SSH"
    for door, speaks, anonymous, known in (
        ("FTP", speaks_ftp, {"login": False}, {"login": True}),
        ("DAV", speaks_dav, {"login": ""}, {"login": f"{person.name}:{person.password}"}),
    ):
        await asyncio.to_thread(speaks, **known)  # what is done once
        costs = []
        for how in (anonymous, known):
            before = await spent()
            await asyncio.to_thread(speaks, **how)
            costs.append(await spent() - before)
        assert costs[0] > 3 * costs[1], (door, costs)
