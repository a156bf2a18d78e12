# SPDX-License-Identifier: Apache-2.0
"""SFTPGo's own database read on each server: what comes in is what comes from the dump of the same accounts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sqla
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.databases import Server
from tests.support.moved import HASH, Moved, dump_file, move, move_stream
from tests.support.sftpgo_database import Filler

from tidegate.errors import ProviderError
from tidegate.model import Account, Admin
from tidegate.store.imports.sftpgo_tables import read_sftpgo
from tidegate.store.legacy.rows import format_of
from tidegate.store.sql.shape import RightMissing

Document = dict[str, Any]

ERAS: dict[str, int | None] = {
    "whole-0.9.6": 2,
    "whole-1.2.2": 6,
    "whole-2.0.4": 8,
    "whole-2.4.5": 23,
    "whole-2.7.5": 33,
    "i02": 33,
    "i18": 33,
    "i07b": 10,
    "i07-09": 2,
}
"""Dump and schema of the database that held the same accounts."""


class Source:
    """One database of SFTPGo for one test.

    Attributes:
        url: as `import sftpgo --from` takes it.
        prefix: of its tables, so that tests share a server.
    """

    def __init__(self, url: str, driver_url: str, prefix: str) -> None:
        self.url, self.prefix = url, prefix
        self._driver_url = driver_url

    async def run(self, work: Callable[[sqla.Connection], object]) -> None:
        engine = create_async_engine(self._driver_url)
        async with engine.begin() as connection:
            await connection.run_sync(work)
        await engine.dispose()

    async def fill(self, dump: Document, schema: int | None) -> None:
        await self.run(lambda connection: Filler(connection, schema, self.prefix).fill(dump))

    async def moved(self, **options: Any) -> Moved:
        found = await read_sftpgo(self.url, prefix=self.prefix)
        with found.dump as dump:
            return await move_stream(dump, **options)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    driver = request.param
    prefix = f"s{uuid.uuid4().hex[:12]}_"
    if driver == "sqlite":
        return Source(f"sqlite:{tmp_path}/sftpgo.db", f"sqlite+aiosqlite:///{tmp_path}/sftpgo.db", prefix)
    return server_source(request, driver)


def server_source(request: pytest.FixtureRequest, driver: str) -> Source:
    server: Server = request.getfixturevalue(f"{driver}_server")
    place = f"{server.username}:{server.password}@127.0.0.1:{server.port}/{server.database}"
    full = f"postgresql+psycopg://{place}" if driver == "postgresql" else f"mysql+asyncmy://{place}"
    return Source(f"{driver}://{place}", full, f"s{uuid.uuid4().hex[:12]}_")


def as_database_keeps_it(dump: Document, schema: int | None) -> Document:
    """A dump that was made by hand, as the tables of a release hold it."""
    made = {**dump, "version": format_of(schema)}
    return {key: value for key, value in made.items() if value is not None}


Dated = TypeVar("Dated", Account, Admin)


def undated(record: Dated, dump: Document) -> Dated:
    """The record without dates that the load itself has set, where the dump has none."""
    if any("created_at" in user for user in dump["users"]):
        return record
    return replace(record, created_at=0, updated_at=0)


@pytest.mark.parametrize("name", ERAS)
async def test_a_database_and_a_dump_of_it_come_in_alike(source: Source, name: str) -> None:
    dump = as_database_keeps_it(json.loads(dump_file(name).read_text()), ERAS[name])
    await source.fill(dump, ERAS[name])

    straight = await source.moved(leave_out=True)
    dumped = await move(dump, leave_out=True)

    assert straight.users.keys() == dumped.users.keys()
    for username, account in dumped.users.items():
        assert undated(straight.users[username], dump) == undated(account, dump)
    for username, admin in dumped.admins.items():
        assert undated(straight.admins[username], dump) == undated(admin, dump)
    assert straight.admins.keys() == dumped.admins.keys()
    assert straight.folders == dumped.folders
    assert straight.keys == dumped.keys
    assert straight.rules == dumped.rules
    assert {name: len(rule.actions) for name, rule in straight.rules.items()} == {
        rule["name"]: len(rule["actions"]) for rule in dump.get("event_rules") or ()
    }
    assert straight.actions == dumped.actions
    assert sorted(straight.report.notes) == sorted(dumped.report.notes)
    assert straight.report.rows


async def test_0_9_4_comes_straight_from_its_database(source: Source) -> None:
    users = json.loads(dump_file("whole-0.9.4").read_text())
    await source.fill({"users": [{**user, "password": HASH} for user in users]}, None)

    moved = await source.moved(leave_out=True)

    assert len(moved.users) + len(moved.report.remarks.mistakes) == len(users)
    assert len(moved.users) > 25
    assert {account.password for account in moved.users.values()} == {HASH}
    by_name = {user["username"]: user for user in users}
    for account in moved.users.values():
        assert dict(account.permissions) == {"/": tuple(by_name[account.username]["permissions"])}


def person(name: str, **fields: object) -> Document:
    return {
        "username": name,
        "status": 1,
        "password": HASH,
        "home_dir": f"/srv/{name}",
        "permissions": {"/": ["*"]},
        **fields,
    }


async def test_what_sftpgo_has_deleted_does_not_come_back(source: Source) -> None:
    gone = {"type": 2, "ipornet": "192.0.2.0/24", "mode": 2, "deleted_at": 1}
    dump = {"users": [person("ana"), person("bea", deleted_at=17)], "ip_lists": [gone]}
    await source.fill(dump, 33)

    moved = await source.moved()

    assert set(moved.users) == {"ana"}
    assert "192.0.2.0" not in moved.notes


async def test_a_column_that_nobody_knows_closes_the_account(source: Source) -> None:
    await source.fill({"users": [person("ana"), person("bea")]}, 35)

    def newer(connection: sqla.Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        table = quote(f"{source.prefix}users")
        kind = "bytea" if connection.dialect.name == "postgresql" else "blob"
        connection.execute(sqla.text(f"ALTER TABLE {table} ADD COLUMN curfew {kind}"))
        value = {"curfew": b"\xff\x00"}
        connection.execute(sqla.text(f"UPDATE {table} SET curfew = :curfew WHERE username = 'bea'"), value)

    await source.run(newer)
    found = await read_sftpgo(source.url, prefix=source.prefix)
    with found.dump as dump:
        moved = await move_stream(dump)

    assert {name: account.status for name, account in moved.users.items()} == {"ana": 1, "bea": 0}
    assert "users[1] (bea): curfew: comes in disabled: not known to this version" in moved.notes
    assert "schema 35 is newer than this version of Tidegate knows" in found.notes[0]


@pytest.mark.parametrize("text", ["{broken", '{"a": NaN}', "[" * 3000 + "]" * 3000, "7"])
async def test_filters_that_are_no_json_are_a_mistake_of_their_user(source: Source, text: str) -> None:
    await source.fill({"users": [person("ana"), person("bea")]}, 33)

    def spoil(connection: sqla.Connection) -> None:
        table = connection.dialect.identifier_preparer.quote(f"{source.prefix}users")
        query = sqla.text(f"UPDATE {table} SET filters = :text WHERE username = 'bea'")
        connection.execute(query, {"text": text})

    await source.run(spoil)
    moved = await source.moved(leave_out=True)

    assert set(moved.users) == {"ana"}
    assert "users[1] (bea): filters: left out: should be a JSON object" in moved.notes


async def test_a_table_that_is_missing_is_named(source: Source) -> None:
    await source.fill({"users": [person("ana")]}, 33)
    table = f"{source.prefix}users_groups_mapping"
    await source.run(lambda connection: sqla.Table(table, sqla.MetaData()).drop(connection))

    with pytest.raises(ProviderError, match=f"there is no table {table}"):
        await source.moved()


async def test_a_wrong_prefix_says_where_it_stands(source: Source) -> None:
    await source.fill({"users": [person("ana")]}, 33)
    source.prefix += "x"

    with pytest.raises(ProviderError, match=r"no table s.*_xusers; name .* by --tables-prefix"):
        await source.moved()


async def test_a_database_user_who_may_only_read_is_enough(
    postgresql_server: Server, mysql_server: Server
) -> None:
    for server, driver in ((postgresql_server, "postgresql+psycopg"), (mysql_server, "mysql+asyncmy")):
        kind = driver.partition("+")[0]
        place = f"127.0.0.1:{server.port}/{server.database}"
        owner = f"{server.username}:{server.password}@{place}"
        prefix, reader = f"s{uuid.uuid4().hex[:12]}_", f"r{uuid.uuid4().hex[:8]}"
        source = Source(f"{kind}://{reader}:secret-of-reader@{place}", f"{driver}://{owner}", prefix)
        await source.fill({"users": [person("ana")]}, 2)

        def grant(connection: sqla.Connection, tables: list[str], reader: str = reader) -> None:
            quote = connection.dialect.identifier_preparer.quote
            for table in tables:
                connection.execute(sqla.text(f"GRANT SELECT ON {quote(table)} TO {reader}"))

        password = "IDENTIFIED BY" if kind == "mysql" else "PASSWORD"
        await source.run(
            lambda c, p=password, r=reader: c.execute(sqla.text(f"CREATE USER {r} {p} 'secret-of-reader'"))
        )
        await source.run(lambda c, g=grant, p=prefix: g(c, [f"{p}users"]))
        with pytest.raises(RightMissing, match=r"schema_version.*GRANT SELECT") as caught:
            await source.moved()
        assert "secret-of-reader" not in str(caught.value)

        await source.run(lambda c, g=grant, p=prefix: g(c, [f"{p}schema_version"]))
        assert set((await source.moved()).users) == {"ana"}


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
async def test_not_even_a_view_of_the_database_makes_the_reading_write(
    request: pytest.FixtureRequest, driver: str
) -> None:
    source = server_source(request, driver)
    await source.fill({"users": [person("ana")]}, 2)
    users, trace, function = (f"{source.prefix}{name}" for name in ("users", "trace", "leave"))
    if driver == "postgresql":
        body = f"INSERT INTO {trace} VALUES (1) RETURNING 1"
        made = f"CREATE FUNCTION {function}() RETURNS integer LANGUAGE sql AS $$ {body} $$"
    else:
        made = f"CREATE FUNCTION {function}() RETURNS integer BEGIN INSERT INTO {trace} VALUES (1); RETURN 1; END"

    def lay(connection: sqla.Connection) -> None:
        for line in (
            f"CREATE TABLE {trace} (n integer)",
            made,
            f"ALTER TABLE {users} RENAME TO {users}_own",
            f"CREATE VIEW {users} AS SELECT *, {function}() AS extra FROM {users}_own",
        ):
            connection.exec_driver_sql(line)

    await source.run(lay)
    with pytest.raises(ProviderError, match=r"(?i)read.only"):
        await source.moved()
    found = []
    await source.run(lambda c: found.extend(c.exec_driver_sql(f"SELECT * FROM {trace}").all()))
    assert found == []
