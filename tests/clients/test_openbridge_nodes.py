# SPDX-License-Identifier: Apache-2.0
"""Two servers on the gateway's tables, with real clients of SFTP and FTP."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import hashlib
import io
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.databases import Server, mariadb
from tests.support.openbridge_world import Gateway, gateway
from tests.support.running import Running, free_port

SECRET = "00cd555ee93dec9c549a06b5000e890e"
WAIT_SECONDS = 15


@pytest.fixture(scope="module")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.getbasetemp()
    with mariadb(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as server:
        yield server


@pytest.fixture
async def tables(mysql_server: Server) -> AsyncIterator[Gateway]:
    async with gateway(mysql_server) as made:
        yield made


@contextlib.contextmanager
def serving(
    place: Path, tables: Gateway, *, ftp: int = 0, keys: dict[str, Any] | None = None
) -> Iterator[Running]:
    settings: dict[str, Any] = {"identity": tables.section(cache_seconds=0, **(keys or {}))}
    settings["data_provider"] = {"driver": "memory", "name": ""}
    if ftp:
        settings["ftpd"] = {"bindings": [{"port": ftp, "address": "127.0.0.1", "plain_login": True}]}
    server = Running(place, settings=settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(server: Running, name: str, password: str = SECRET) -> Any:
    return asyncssh.connect(
        "127.0.0.1", server.port, username=name, password=password, known_hosts=None, config=None,
        agent_path=None, client_keys=None, gss_host=None,
    )  # fmt: skip


async def becomes(tables: Gateway, statement: str, wanted: object) -> None:
    """Wait for what the server writes behind the client's back."""
    end = time.monotonic() + WAIT_SECONDS
    while (found := await tables.sql(statement)) != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


async def uploads(server: Running) -> bool:
    """True if the user may upload one more file, which is removed again."""
    async with connect(server, "peter") as client, client.start_sftp_client() as sftp:
        try:
            async with sftp.open("d.csv", "wb") as file:
                await file.write(b"0")
        except asyncssh.SFTPError:
            return False
        await sftp.remove("d.csv")
        return True


async def test_two_servers_by_two_doors(tables: Gateway, tmp_path: Path) -> None:
    await tables.grant()
    home, ftp = tmp_path / "home", free_port()
    home.mkdir()
    with serving(tmp_path / "one", tables) as one, serving(tmp_path / "two", tables, ftp=ftp) as two:
        with pytest.raises(asyncssh.PermissionDenied):
            await connect(one, "peter")
        await tables.add("peter", SECRET, home=str(home), uid=os.getuid() or 2001)
        if not os.getuid():
            os.chown(home, 2001, 2001)
        await tables.limit("peter", files_in_avail=2, bytes_in_avail=15728640)
        async with (
            connect(one, "peter") as client,
            client.start_sftp_client() as sftp,
            sftp.open("a.csv", "wb") as file,
        ):
            await file.write(b"0123456789")
        await becomes(tables, "SELECT files_in_used, bytes_in_used FROM ftpd_quotatally", [(1.0, 10.0)])
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", ftp, timeout=10)
            client.login("peter", SECRET)
            client.storbinary("STOR b.csv", io.BytesIO(b"01234"))
            await becomes(tables, "SELECT files_in_used, bytes_in_used FROM ftpd_quotatally", [(2.0, 15.0)])
            with pytest.raises(ftplib.error_perm, match="552"):
                client.storbinary("STOR c.csv", io.BytesIO(b"0"))
        # For a moment after a session of its own a server counts on what it has in memory.
        end = time.monotonic() + WAIT_SECONDS
        while await uploads(one):
            assert time.monotonic() < end
            await asyncio.sleep(0.3)
        async with connect(one, "peter") as client, client.start_sftp_client() as sftp:
            await sftp.remove("a.csv")
        await becomes(tables, "SELECT count >= 4, accessed > '2020-01-01' FROM ftpd_user", [(1, 1)])
        await becomes(
            tables,
            "SELECT operation, protocol, bytes_transfer, transfer_status, client_ip FROM ftpd_log "
            "WHERE transfer_status = 'success' AND operation NOT LIKE '%/d.csv' ORDER BY operation",
            [
                ("DELE /a.csv", "sftp", 0, "success", "127.0.0.1"),
                ("STOR /a.csv", "sftp", 10, "success", "127.0.0.1"),
                ("STOR /b.csv", "ftp", 5, "success", "127.0.0.1"),
            ],
        )
        paths = await tables.sql("SELECT path_hash, file_path FROM ftpd_log WHERE operation = 'STOR /b.csv'")
        place = f"{home}/b.csv"
        assert paths == [(hashlib.md5(place.encode(), usedforsecurity=False).hexdigest(), place)]
        await tables.sql("UPDATE ftpd_user SET status='inactive' WHERE userid='peter'")
        for server in (one, two):
            with pytest.raises(asyncssh.PermissionDenied):
                await connect(server, "peter")
