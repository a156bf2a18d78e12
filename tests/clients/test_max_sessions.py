# SPDX-License-Identifier: Apache-2.0
"""`max_sessions` of an account counts its sessions at all doors together."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import http.client
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest
from tests.support.ports import free_port
from tests.support.running import Person, Running, running, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    ports = {name: free_port() for name in ("ftpd", "webdavd")}
    sections: dict[str, dict[str, Any]] = {
        name: {"bindings": [{"port": port, "address": "127.0.0.1", "plain_login": True}]}
        for name, port in ports.items()
    }
    with running(tmp_path_factory.mktemp("sessions") / "s", settings=sections) as one:
        one.ports = ports  # type: ignore[attr-defined]
        yield one


def ftp(person: Person) -> ftplib.FTP:
    client = ftplib.FTP()
    client.connect("127.0.0.1", person.server.ports["ftpd"], timeout=10)  # type: ignore[attr-defined]
    try:
        client.login(person.name, person.password)
    except BaseException:
        client.close()
        raise
    return client


class Dav:
    """A client that keeps its connection."""

    def __init__(self, person: Person) -> None:
        port = person.server.ports["webdavd"]  # type: ignore[attr-defined]
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        word = b64encode(f"{person.name}:{person.password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {word}", "Depth": "0"}

    def status(self) -> int:
        self.line.request("PROPFIND", "/", headers=self.headers)
        answer = self.line.getresponse()
        answer.read()
        return answer.status


async def sftp_refused(person: Person) -> bool:
    try:
        async with person.connect() as client:
            await client.start_sftp_client()
    except (asyncssh.Error, OSError):
        return True
    return False


def ftp_refused(person: Person) -> bool:
    try:
        ftp(person).quit()
    except (ftplib.Error, EOFError):
        return True
    return False


def dav_refused(person: Person) -> bool:
    client = Dav(person)
    try:
        status = client.status()
    finally:
        client.line.close()
    return status != 207


async def everywhere(person: Person) -> dict[str, bool]:
    """The doors that refuse the account now."""
    return {
        "SFTP": await sftp_refused(person),
        "FTP": await asyncio.to_thread(ftp_refused, person),
        "DAV": await asyncio.to_thread(dav_refused, person),
    }


REFUSED = {"SFTP": True, "FTP": True, "DAV": True}


async def test_one_of_sftp_and_one_of_ftp_leave_none_at_any_door(server: Running) -> None:
    person = server.account(max_sessions=2)
    first = await person.connect()
    files = await first.start_sftp_client()
    second = await asyncio.to_thread(ftp, person)
    try:
        assert await everywhere(person) == REFUSED
        assert await files.listdir(".") == [".", ".."]
        assert await asyncio.to_thread(second.nlst) == []
        second.quit()
        await asyncio.to_thread(
            wait_for, lambda: not ftp_refused(person), "the place of a session that ended stays taken"
        )
    finally:
        second.close()
        first.close()
        await first.wait_closed()


async def test_one_of_webdav_and_one_of_ftp_leave_none_at_any_door(server: Running) -> None:
    person = server.account(max_sessions=2)
    kept = Dav(person)
    assert await asyncio.to_thread(kept.status) == 207
    second = await asyncio.to_thread(ftp, person)
    try:
        other = Dav(person)
        # WebDAV has a session for each login, not for each connection: the same login has its own.
        assert await asyncio.to_thread(other.status) == 207
        other.line.close()
        assert await sftp_refused(person)
        assert await asyncio.to_thread(ftp_refused, person)
        assert await asyncio.to_thread(kept.status) == 207
    finally:
        second.close()
        kept.line.close()


async def test_a_burst_over_all_doors_gets_no_more_than_the_limit(server: Running) -> None:
    person = server.account(max_sessions=3)
    held: list[Any] = []

    async def one_sftp() -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            client = await person.connect()
            held.append(client)
            await client.start_sftp_client()
            inside.append("SFTP")

    async def one_ftp() -> None:
        with contextlib.suppress(ftplib.Error, EOFError):
            held.append(await asyncio.to_thread(ftp, person))
            inside.append("FTP")

    inside: list[str] = []
    try:
        await asyncio.gather(*(work() for _ in range(10) for work in (one_sftp, one_ftp)))
        assert len(inside) == 3, inside
    finally:
        for client in held:
            client.close()
