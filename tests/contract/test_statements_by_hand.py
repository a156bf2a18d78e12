# SPDX-License-Identifier: Apache-2.0
"""The SQL that `initprovider --sql` prints, run by the databases' own clients; no server of ours makes a table."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sqla
from tests.support.command_line import process, tidegate
from tests.support.databases import MYSQL, Server, mysql, need, oldest_postgresql
from tests.support.guide_database import MAKER, PASSWORD, Place
from tests.support.ports import free_port
from tests.support.running import running

from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.store.factory import ProviderOptions, initialise, revert
from tidegate.store.sql.database import Database
from tidegate.store.sql.schema import VERSIONS, latest

DRIVERS = ("postgresql", "mysql")
ROWS = "a server that changes no tables"
CIPHER = {
    "postgresql": "connections and their ciphers",
    "mysql": "the cipher of this connection, and a user who may come with TLS only",
}


def printed(*words: str, directory: Path, command: str = "initprovider") -> str:
    done = tidegate(command, "--sql", "-c", directory, *words)
    assert done.code == 0, done.err
    assert done.err == ""
    return done.out


def client(place: Place, sql: str, *, user: str = "") -> subprocess.CompletedProcess[str]:
    """Run SQL with psql or mariadb as a user of the place; the first error ends it."""
    name = place.name + user
    if place.driver == "postgresql":
        words = [need("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
        words += ["-p", str(place.server.port), "-U", name, place.name]
    else:
        words = [need("mariadb"), "--no-defaults", "-h", "127.0.0.1", "-P", str(place.server.port)]
        words += ["-u", name, place.name]
    environ = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "MYSQL_PWD": PASSWORD}
    return subprocess.run(
        words, input=sql, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


async def made(server: Server, driver: str) -> Place:
    place = Place(server, driver)
    await place.block(MAKER[driver], inside=False)
    return place


async def shape(options: ProviderOptions) -> dict[str, Any]:
    """Tables as the database describes them."""
    link = Database(options)
    link.start()
    try:
        async with link.raw() as connection:
            return await connection.run_sync(described)
    finally:
        await link.stop()


def described(connection: sqla.Connection) -> dict[str, Any]:
    inspector = sqla.inspect(connection)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"] or "", i["column_names"], i["unique"]) for i in inspector.get_indexes(name)),
            sorted((f["constrained_columns"], f["referred_table"]) for f in inspector.get_foreign_keys(name)),
            sorted(u["column_names"] for u in inspector.get_unique_constraints(name)),
        )
        for name in sorted(inspector.get_table_names())
    }


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(driver: str, request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{driver}_server")
    return found


async def test_an_administrator_makes_the_tables_and_the_server_only_writes_rows(
    driver: str, server: Server, tmp_path: Path
) -> None:
    place = await made(server, driver)
    sql = printed("--driver", driver, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []

    done = client(place, sql)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    await place.block(ROWS)
    refused = client(place, "CREATE TABLE more (a INT)", user="_rows")
    assert "denied" in refused.stderr, refused

    await place.block(CIPHER[driver])
    if driver == "mysql":
        await place.run("ALTER USER 'tidegate_rows'@'%' REQUIRE SSL")
    await serves(place, tmp_path / "served")


async def serves(place: Place, directory: Path) -> None:
    """A server whose user may only write rows starts, takes an upload, and tells its cipher."""
    mode = {"postgresql": 3, "mysql": 1}[place.driver]
    (directory.parent / "auth").write_text(f"watch:{plain_hash('Watch-pass-1')}\n")
    (directory.parent / "word").write_text("Watch-pass-1")
    port = free_port()
    settings: dict[str, dict[str, Any]] = {
        "data_provider": {
            "driver": place.driver,
            "host": "127.0.0.1",
            "port": place.server.port,
            "name": place.name,
            "username": f"{place.name}_rows",
            "password": PASSWORD,
            "sslmode": mode,
            "root_cert": place.server.certificate,
            "update_mode": 1,
        },
        "telemetry": {
            "bind_port": port,
            "bind_address": "127.0.0.1",
            "auth_user_file": str(directory.parent / "auth"),
        },
    }
    with running(directory, settings=settings) as gateway:
        person = gateway.account(quota_size=1 << 20)
        async with (
            person.connect() as connection,
            connection.start_sftp_client() as files,
            files.open("/f", "wb") as file,
        ):
            await file.write(bytes(1000))
        told = process(
            "status",
            "-c",
            directory,
            "--json",
            "--user",
            "watch",
            "--password-file",
            directory.parent / "word",
        )
        assert told.code == 0, told.out + told.err
        (provider,) = [check for check in told.json["checks"] if check["name"] == "data_provider"]
        assert re.fullmatch(r"TLS_[A-Z0-9_]+", provider["tls_cipher"]), provider
    assert gateway.stored(person.name).used_quota_size == 1000


def plain_hash(password: str) -> str:
    return hash_password(password, HashOptions(algorithm="bcrypt", bcrypt_cost=4))


async def test_ranges_make_what_the_server_makes(driver: str, server: Server, tmp_path: Path) -> None:
    """Up in two ranges and down to the middle again, by hand; each way ends at the server's own tables."""
    middle = "2"  # before marks and groups, whose ways back change rows
    by_hand, by_server = await made(server, driver), await made(server, driver)
    await initialise(by_server.options())
    whole = await shape(by_server.options())
    words = ("--driver", driver, "--from-version")

    for sql in (
        printed("--driver", driver, "--to-version", middle, directory=tmp_path),
        printed(*words, middle, directory=tmp_path),
    ):
        done = client(by_hand, sql)
        assert (done.returncode, done.stderr) == (0, "")
    assert await shape(by_hand.options()) == whole
    assert "already up to date" in await initialise(by_hand.options())

    if driver == "mysql":
        await by_hand.run("GRANT DROP ON tidegate.* TO 'tidegate'@'%'")
        await by_server.run("GRANT DROP ON tidegate.* TO 'tidegate'@'%'")
    back = printed("--to-version", middle, "--driver", driver, directory=tmp_path, command="revertprovider")
    done = client(by_hand, back)
    assert (done.returncode, done.stderr) == (0, "")
    await revert(by_server.options(), middle)
    assert await shape(by_hand.options()) == await shape(by_server.options())
    assert f"from version {middle} to {latest()}" in await initialise(by_hand.options())

    gone = printed("--to-version", "0", "--driver", driver, directory=tmp_path, command="revertprovider")
    assert client(by_hand, gone).returncode == 0
    assert await shape(by_hand.options()) == {}


async def test_a_file_of_sqlite_made_by_hand(tmp_path: Path) -> None:
    ours = ProviderOptions(driver="sqlite", base_dir=tmp_path, name="tidegate.db")
    await initialise(ours)
    whole = await shape(ours)
    (tmp_path / "byhand").mkdir()
    link = sqlite3.connect(tmp_path / "byhand" / "tidegate.db")
    link.executescript(printed(directory=tmp_path / "byhand"))
    link.close()

    theirs = replace(ours, base_dir=tmp_path / "byhand")
    assert "already up to date" in await initialise(theirs)
    found = await shape(theirs)
    assert {name: sorted(columns[0]) for name, columns in found.items()} == {
        name: sorted(columns[0]) for name, columns in whole.items()
    }
    assert {name: rest[1:] for name, rest in found.items()} == {n: rest[1:] for n, rest in whole.items()}


async def test_names_of_tables_are_those_of_the_configuration(tmp_path: Path) -> None:
    section = {
        "driver": "postgresql",
        "sql_tables_prefix": "tg_",
        "users_table": "people",
        "password": "Word-1",
    }
    (tmp_path / "tidegate.json").write_text(json.dumps({"data_provider": section}))

    sql = printed(directory=tmp_path)

    made_tables = re.findall(r"^CREATE TABLE (\S+)", sql, re.MULTILINE)
    assert {"people", "tg_schema_version", "tg_folders"} <= set(made_tables)
    assert "Word-1" not in sql
    assert [*re.findall(r"^-- version (\d+): .", sql, re.MULTILINE)] == list(VERSIONS)
    assert (sql.startswith("BEGIN;\n"), sql.endswith("COMMIT;\n")) == (True, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["initprovider", "--sql", "--from-version", "77"], "no schema version 77; known are 0, 1"),
        (["initprovider", "--sql", "--from-version", "x'"], "no schema version x'"),
        (
            ["initprovider", "--sql", "--from-version", "4", "--to-version", "3"],
            "is the way of revertprovider",
        ),
        (
            ["revertprovider", "--sql", "--from-version", "3", "--to-version", "4"],
            "is the way of initprovider",
        ),
        (["initprovider", "--sql", "--from-version", "3", "--to-version", "3"], "there is nothing to do"),
        (["initprovider", "--sql", "--driver", "oracle"], "oracle: has no SQL"),
        (["initprovider", "--sql", "--driver", "bolt"], "bolt: has no SQL"),
        (["initprovider", "--from-version", "3"], "--from-version goes with --sql"),
        (["revertprovider", "--to-version", "3", "--driver", "mysql"], "--driver goes with --sql"),
    ],
)
def test_what_cannot_be_printed_is_refused_by_name(words: list[str], said: str, tmp_path: Path) -> None:
    done = tidegate(*words, "-c", tmp_path)

    assert done.code != 0
    assert said in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


async def test_the_oldest_postgresql(tmp_path: Path) -> None:
    with oldest_postgresql() as server:
        place = await made(server, "postgresql")
        assert client(place, printed("--driver", "postgresql", directory=tmp_path)).returncode == 0
        await place.block(ROWS)
        await serves(place, tmp_path / "served")
        again = await made(server, "postgresql")
        await initialise(again.options())
        assert await shape(again.options()) == await shape(place.options())


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not MYSQL.exists(), reason="no MySQL is unpacked here (.ci/run takes it from Debian's unstable)"
)
async def test_mysql_itself(tmp_path: Path) -> None:
    """MariaDB is another program by now: statements, rights, TLS with its cipher, uploads and ways back on MySQL."""
    with mysql() as server:
        for name in ("rows", "ranges"):
            (tmp_path / name).mkdir()
        await test_an_administrator_makes_the_tables_and_the_server_only_writes_rows(
            "mysql", server, tmp_path / "rows"
        )
        await test_ranges_make_what_the_server_makes("mysql", server, tmp_path / "ranges")
