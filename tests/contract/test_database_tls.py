# SPDX-License-Identifier: Apache-2.0
"""Databases whose certificate a private authority signed: named, trusted by the system, or neither."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.command_line import process
from tests.support.databases import Server

STRANGER = Path(__file__).resolve().parents[1] / "data" / "other-authority.pem"
VERIFYING = {"postgresql": 3, "mysql": 1}
"""`sslmode` that checks certificate and host name."""
USER_COLUMNS = "uid int, gid int, homedir varchar(99), status varchar(20)"


@pytest.fixture(params=VERIFYING)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


def configure(directory: Path, server: Server, root_cert: str) -> None:
    section = {
        "driver": server.kind,
        "host": "127.0.0.1",
        "port": server.port,
        "username": server.username,
        "password": server.password,
        "name": server.database,
        "sql_tables_prefix": f"tls{uuid.uuid4().hex[:8]}_",
        "sslmode": VERIFYING[server.kind],
        "root_cert": root_cert,
    }
    (directory / "tidegate.json").write_text(json.dumps({"data_provider": section}))


@pytest.mark.parametrize("named", ["file", "system"])
def test_a_private_authority_is_trusted_where_it_is_named_and_nowhere_else(
    server: Server, named: str, tmp_path: Path
) -> None:
    """``system`` means OpenSSL's authorities, which SSL_CERT_FILE names."""
    (tmp_path / "ours.pem").write_bytes(Path(server.certificate).read_bytes())
    (tmp_path / "theirs.pem").write_bytes(STRANGER.read_bytes())

    def run(authority: str) -> tuple[int, str]:
        configure(tmp_path, server, f"{authority}.pem" if named == "file" else "system")
        trusted = {"SSL_CERT_FILE": str(tmp_path / f"{authority}.pem")} if named == "system" else {}
        made = process("initprovider", "-c", tmp_path, **trusted)
        return made.code, made.err

    assert run("ours") == (0, "")
    code, said = run("theirs")
    assert code == 1
    assert "certificate" in said.lower()


@pytest.fixture
async def gateway(mysql_server: Server) -> str:
    """The name of a database of the gateway's with one user."""
    name = f"gw_{uuid.uuid4().hex[:12]}"
    login = f"{mysql_server.username}:{mysql_server.password}@127.0.0.1:{mysql_server.port}"
    engine = create_async_engine(f"mysql+asyncmy://{login}/{mysql_server.database}")
    async with engine.begin() as connection:
        for statement in (
            f"CREATE DATABASE {name}",
            f"CREATE TABLE {name}.ftpd_user (userid varchar(50), passwd varchar(64), {USER_COLUMNS})",
            f"INSERT INTO {name}.ftpd_user VALUES ('dora', '{'ab' * 32}', 2001, 2001, '/srv/dora', 'active')",
            f"CREATE TABLE {name}.ftpd_deny (client_ip varchar(64), allowed varchar(20))",
        ):
            await connection.execute(text(statement))
    await engine.dispose()
    return name


def importing(server: Server, database: str, directory: Path, *more: str | Path) -> tuple[int, str]:
    (directory / "password").write_text(server.password)
    done = process(
        *("import", "openbridge", "--create", "-c", directory, "--host", "127.0.0.1"),
        *("--port", str(server.port), "--database", database, "--username", server.username),
        *("--password-file", directory / "password", "--dry-run", *more),
    )
    return done.code, done.err


async def test_import_names_its_authority(gateway: str, mysql_server: Server, tmp_path: Path) -> None:
    ours, gone = Path(mysql_server.certificate), tmp_path / "gone.pem"

    code, said = importing(mysql_server, gateway, tmp_path, "--tls", "true", "--tls-ca", ours)
    assert code == 0, said
    for authority in ([], ["--tls-ca", STRANGER]):
        code, said = importing(mysql_server, gateway, tmp_path, "--tls", "true", *authority)
        assert code == 1
        assert "certificate" in said.lower()
    code, said = importing(mysql_server, gateway, tmp_path, "--tls", "true", "--tls-ca", gone)
    assert (code, "gone.pem: No such file" in said) == (1, True), said


async def test_a_deny_table_that_cannot_be_read_stops_the_import(
    gateway: str, mysql_server: Server, tmp_path: Path
) -> None:
    """MySQL does not say whether a table is there that may not be read: only a reader of all can be told."""
    reader = f"r_{uuid.uuid4().hex[:8]}"
    login = f"{mysql_server.username}:{mysql_server.password}@127.0.0.1:{mysql_server.port}"
    engine = create_async_engine(f"mysql+asyncmy://{login}/{mysql_server.database}")
    async with engine.begin() as connection:
        await connection.execute(text(f"CREATE USER '{reader}'@'%' IDENTIFIED BY '{mysql_server.password}'"))
        await connection.execute(text(f"GRANT SELECT ON {gateway}.ftpd_user TO '{reader}'@'%'"))

    code, said = importing(mysql_server, gateway, tmp_path, "--username", reader)
    assert code == 1
    assert "the table ftpd_deny cannot be read" in said or "the table ftpd_quotalimit cannot be read" in said

    async with engine.begin() as connection:
        await connection.execute(text(f"GRANT SELECT ON {gateway}.* TO '{reader}'@'%'"))
    await engine.dispose()
    code, said = importing(mysql_server, gateway, tmp_path, "--username", reader)
    assert code == 0, said
    assert "there is no table ftpd_quotalimit that may be read" in said
