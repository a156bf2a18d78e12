# SPDX-License-Identifier: Apache-2.0
"""Two servers on the gateway's tables, with real clients of SFTP, FTP and WebDAV."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import hashlib
import io
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest
from tests.support import fork_server
from tests.support.databases import Server, mariadb
from tests.support.openbridge_world import Gateway, closed_port, gateway
from tests.support.ports import free_port
from tests.support.running import Running

from tidegate.config.load import load
from tidegate.errors import ConfigError
from tidegate.server.openbridge import openbridge_options

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
    place: Path, tables: Gateway, *, ftp: int = 0, dav: int = 0, keys: dict[str, Any] | None = None
) -> Iterator[Running]:
    settings: dict[str, Any] = {"identity": tables.section(cache_seconds=0, **(keys or {}))}
    settings["data_provider"] = {"driver": "memory", "name": ""}
    if dav:
        settings["webdavd"] = {"bindings": [{"port": dav, "address": "127.0.0.1", "plain_login": True}]}
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


async def test_two_servers_by_three_doors(tables: Gateway, tmp_path: Path) -> None:
    await tables.grant()
    home, ftp, dav = tmp_path / "home", free_port(), free_port()
    home.mkdir()
    with serving(tmp_path / "one", tables) as one, serving(tmp_path / "two", tables, ftp=ftp, dav=dav) as two:
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
        with httpx.Client(auth=("peter", SECRET), timeout=10) as http:
            assert http.get(f"http://127.0.0.1:{dav}/b.csv").content == b"01234"
        await tables.sql("UPDATE ftpd_user SET status='inactive' WHERE userid='peter'")
        for server in (one, two):
            with pytest.raises(asyncssh.PermissionDenied):
                await connect(server, "peter")


def tidegate(
    place: Path, *words: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("TIDEGATE_", "MYSQL_", "APP_", "AWS_"))}
    return fork_server.run(
        [*words, "-c", str(place)], env={**kept, **(environ or {})},
        timeout=60,
    )  # fmt: skip


async def test_check_and_explain_ask_the_tables(tables: Gateway, tmp_path: Path) -> None:
    await tables.add("peter", SECRET, home="/srv/peter")
    await tables.sql("DROP TABLE ftpd_allow")
    with closed_port() as port:
        section = tables.section(read_host=f"127.0.0.1:{port}")
        settings = {"identity": section, "data_provider": {"driver": "memory", "name": ""}}
        settings["sftpd"] = {"bindings": [{"port": 0}]}
        settings["httpd"] = {"bindings": []}
        (tmp_path / "tidegate.json").write_text(json.dumps(settings))
        told = tidegate(tmp_path, "check")
    assert told.returncode == 0, told.stderr
    assert f"users of mysql at 127.0.0.1:{tables.server.port}: table ftpd_user" in told.stdout
    everything = told.stdout + told.stderr
    for text in (
        "there is no table ftpd_allow", "count and accessed are not written back: UPDATE command denied",
        "tallies are not written back: UPDATE command denied", "transfers are not written back: INSERT command denied",
        "the replica cannot be asked",
    ):  # fmt: skip
        assert text in everything, everything
    assert tables.password not in everything
    await tables.grant()
    assert "written back: count and accessed, tallies, transfers" in tidegate(tmp_path, "check").stdout

    flags = ("--op", "upload", "--path", "/a.csv")
    told = tidegate(tmp_path, "explain", "--user", "peter", *flags)
    assert told.stdout.startswith("ALLOWED"), told.stderr
    assert (
        f"account from identity.openbridge, tables of mysql at 127.0.0.1:{tables.server.port}" in told.stdout
    )
    await tables.sql("UPDATE ftpd_user SET status='inactive'")
    told = tidegate(tmp_path, "explain", "--user", "peter", *flags, "--json")
    assert (told.returncode, json.loads(told.stdout)["allowed"]) == (3, False)
    assert "identity.openbridge" in json.loads(told.stdout)["account_from"]
    assert "no such user" in tidegate(tmp_path, "explain", "--user", "paul", *flags).stderr

    await tables.sql("INSERT INTO ftpd_deny VALUES ('.example.com', 'ALL', 'DENIED')")
    told = tidegate(tmp_path, "check")
    assert told.returncode != 0
    assert "'.example.com' is not an address or network" in told.stderr
    await tables.sql("RENAME TABLE ftpd_user TO ftpd_gone")
    assert "has no table ftpd_user or ftpusers" in tidegate(tmp_path, "check").stderr


async def test_the_gateways_variables_name_the_tables(tables: Gateway, tmp_path: Path) -> None:
    await tables.add("peter", SECRET)
    given = {
        "MYSQL_HOST": f"127.0.0.1:{tables.server.port}", "MYSQL_READHOST": f"127.0.0.1:{tables.server.port}",
        "APP_DATABASE": tables.name, "APP_SYSTEM_USER": tables.user, "APP_SYSTEM_PASSWORD": tables.password,
        "TIDEGATE_DATA_PROVIDER__DRIVER": "memory", "TIDEGATE_SFTPD__BINDINGS__0__PORT": "0",
    }  # fmt: skip
    told = tidegate(tmp_path, "check", environ=given)
    assert f"users of mysql at 127.0.0.1:{tables.server.port}: table ftpd_user" in told.stdout, told.stderr
    assert "replica" not in told.stdout
    assert f"users are read from the tables of the database {tables.name} at 127.0.0.1" in told.stderr
    assert tables.password not in told.stdout + told.stderr
    told = tidegate(tmp_path, "explain", "--user", "peter", "--op", "upload", environ=given)
    assert "account from identity.openbridge" in told.stdout, told.stderr


def test_variables_are_weaker_than_ours_and_than_a_file(tmp_path: Path) -> None:
    given = {"MYSQL_HOST": "db:3307", "MYSQL_READHOST": "replica", "APP_SYSTEM_USER": "ftpd"}
    keys = load(tmp_path, "tidegate", given).settings.identity.openbridge
    assert (keys.host, keys.read_host, keys.username, keys.mount_point) == ("db:3307", "replica", "ftpd", "")
    bucket = {**given, "AWS_S3BUCKET": "b", "AWS_DEFAULT_REGION": "r"}
    assert load(tmp_path, "tidegate", bucket).settings.identity.openbridge.mount_point == "/mnt"
    bucket["MOUNT_POINT"] = "/data"
    assert load(tmp_path, "tidegate", bucket).settings.identity.openbridge.mount_point == "/data"
    ours = {**given, "TIDEGATE_IDENTITY__OPENBRIDGE__HOST": "other"}
    assert load(tmp_path, "tidegate", ours).settings.identity.openbridge.host == "other"
    assert load(tmp_path, "tidegate", {"MYSQL_HOST": "db"}).settings.identity.openbridge.host == ""
    (tmp_path / "tidegate.json").write_text("{}")
    assert load(tmp_path, "tidegate", given).settings.identity.openbridge.host == ""


@pytest.mark.parametrize("host", ["db:port", "db:0", "db:65536", ":3306", "[::1]:x"])
def test_mistakes_in_addresses_are_named(tmp_path: Path, host: str) -> None:
    (tmp_path / "tidegate.json").write_text(
        json.dumps({"identity": {"openbridge": {"host": host, "username": "u"}}})
    )
    loaded = load(tmp_path, "tidegate", {})
    with pytest.raises(ConfigError, match=r"identity.openbridge.host: expected host or host:port"):
        openbridge_options(loaded)
