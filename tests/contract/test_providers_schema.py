# SPDX-License-Identifier: Apache-2.0
"""Schema versions up and down, table names, and accounts in somebody else's table."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import lmdb
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import BCRYPT, full_account, full_admin, plain_account

from tidegate.errors import ProviderError
from tidegate.store.contract import UsageDelta
from tidegate.store.factory import ProviderOptions, create_provider, initialise, revert
from tidegate.store.sql import migrate, schema
from tidegate.store.sql.database import Database

SQL = ("sqlite", "postgresql", "mysql")


@pytest.fixture(params=SQL)
def sql_driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def run(options: ProviderOptions, *statements: str) -> list[object]:
    """Run plain SQL beside the provider; returns the rows of the last statement."""
    if options.driver == "sqlite":
        options.file.touch()  # a link makes none
    link = Database(options)
    link.start()
    rows: list[object] = []

    async def work(connection: AsyncConnection) -> None:
        nonlocal rows
        for statement in statements:
            result = await connection.execute(text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []

    try:
        await link.write(work)
    finally:
        await link.stop()
    return rows


async def tables(options: ProviderOptions) -> set[str]:
    link = Database(options)
    link.start()
    try:
        async with link.raw() as connection:
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            return {name for name in names if name.startswith(options.sql_tables_prefix)}
    finally:
        await link.stop()


async def test_up_and_down_and_up_again(sql_driver: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(sql_driver)
    assert "from version 0 to 10" in await initialise(options)
    assert "already up to date" in await initialise(options)
    provider = await opened(options)
    stored = await provider.add_user(full_account())
    await provider.close()

    assert "back to version 1" in await revert(options, "1")
    assert "already there" in await revert(options, "1")
    with pytest.raises(ProviderError, match="version 1, but 10 is needed: run tidegate initprovider"):
        await create_provider(options).open(migrate=False)
    with pytest.raises(ProviderError, match="10 is not older than 1"):
        await revert(options, "10")
    assert "from version 1 to 10" in await initialise(options)

    await provider.open(migrate=False)
    found = await provider.user("zoë")
    await provider.close()
    tally = replace(stored.tally, **dict.fromkeys(tally_names(), 0))
    assert found == replace(stored, tally=tally, login_count=0)  # columns that version 1 has not

    assert "back to version 0" in await revert(options, "0")
    left = await tables(options)
    assert {name.removeprefix(options.sql_tables_prefix) for name in left} <= {"schema_version"}
    assert "from version 0 to 10" in await initialise(options)


def tally_names() -> list[str]:
    return ["bytes_in", "bytes_out", "bytes_xfer", "files_in", "files_out", "files_xfer"]


async def test_unknown_version_cannot_be_reverted_to(sql_driver: str, options_of: OptionsOf) -> None:
    options = options_of(sql_driver)
    await initialise(options)

    with pytest.raises(ProviderError, match="no schema version 33; known are 0, 1, 2, 3, 4, 5, 6, 7, 8"):
        await revert(options, "33")


async def test_schema_of_a_newer_version_is_left_alone(sql_driver: str, options_of: OptionsOf) -> None:
    options = options_of(sql_driver)
    await initialise(options)
    await run(options, f"UPDATE {options.sql_tables_prefix}schema_version SET version_num = '11'")

    for attempt in (initialise(options), revert(options, "1"), create_provider(options).open(migrate=False)):
        with pytest.raises(ProviderError, match=r"schema version 11, newer than 10.*upgrade Tidegate"):
            await attempt


async def test_several_nodes_may_migrate_at_once(sql_driver: str, options_of: OptionsOf) -> None:
    options = options_of(sql_driver)
    providers = [create_provider(options) for _ in range(3)]

    await asyncio.gather(*(provider.open() for provider in providers))

    await providers[0].add_user(plain_account("ana"))
    assert [await provider.count_users() for provider in providers] == [1, 1, 1]
    await asyncio.gather(*(provider.close() for provider in providers))


async def test_incomplete_schema_is_named(options_of: OptionsOf) -> None:
    options = options_of("sqlite")
    await initialise(options)
    await run(options, "ALTER TABLE users DROP COLUMN email", "DROP TABLE settings")

    link = Database(options)
    link.start()
    provider = create_provider(options)
    with pytest.raises(ProviderError, match=r"missing: .*table settings"):
        await schema.verify(link, provider._tables)  # type: ignore[attr-defined]
    await link.stop()


async def test_what_stands_in_the_way_is_reported(sql_driver: str, options_of: OptionsOf) -> None:
    options = options_of(sql_driver)
    await run(options, f"CREATE TABLE {options.sql_tables_prefix}folders (mine INTEGER)")

    with pytest.raises(ProviderError, match="folders"):
        await initialise(options)


async def test_prefixes_keep_stores_apart(options_of: OptionsOf, opened: Opened) -> None:
    first = await opened(options_of("sqlite", sql_tables_prefix="a_"))
    second = await opened(options_of("sqlite", sql_tables_prefix="b_"))

    await first.add_user(plain_account("ana"))

    assert await second.user("ana") is None
    assert {"a_users", "a_admins", "a_schema_version"} <= await tables(options_of("sqlite"))


@pytest.mark.parametrize("name", ["a b", "a;DROP TABLE users", 'a"', "1a", "é", "a" * 32, "a-b", "a\n"])
async def test_unsafe_table_names_are_refused(options_of: OptionsOf, name: str) -> None:
    with pytest.raises(ProviderError, match="sql_tables_prefix"):
        create_provider(options_of("sqlite", sql_tables_prefix=name))
    with pytest.raises(ProviderError, match="users_table"):
        create_provider(options_of("sqlite", users_table=name * 2))


async def test_users_table_may_have_another_name(
    sql_driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of(sql_driver)
    options = replace(options, users_table=f"{options.sql_tables_prefix}people")
    provider = await opened(options)

    await provider.add_user(full_account())

    assert await run(options, f"SELECT username FROM {options.users_table}") == [("zoë",)]


# -- accounts in somebody else's table ---------------------------------------------------------------------


async def outside(options: ProviderOptions) -> ProviderOptions:
    """A table that is not ours and a view that gives its columns our names."""
    staff, view = f"{options.sql_tables_prefix}staff", f"{options.sql_tables_prefix}v_users"
    rights = json.dumps({"/": ["list", "download"]})
    await run(
        options,
        f"CREATE TABLE {staff} (login VARCHAR(100), secret VARCHAR(200), home VARCHAR(200), rights VARCHAR(200), "
        "folders VARCHAR(300), noise INTEGER)",
        *(
            f"INSERT INTO {staff} VALUES ('{name}', '{BCRYPT}', '/srv/{name}', '{rights}', {folders}, 7)"
            for name, folders in (
                ("ana", "NULL"),
                ("bob", """'[{"virtual_path":"/v","mapped_path":"/srv/v"}]'"""),
                ("cyd", "''"),
            )
        ),
        f"CREATE VIEW {view} AS SELECT login AS username, secret AS password, home AS home_dir, "
        f"rights AS permissions, folders AS virtual_folders, noise FROM {staff}",
    )
    return replace(options, users_table=view, manage_users=False, track_quota=0)


async def test_accounts_from_a_foreign_view(sql_driver: str, options_of: OptionsOf, opened: Opened) -> None:
    provider = await opened(await outside(options_of(sql_driver)))

    ana, bob = await provider.user("ana"), await provider.user("bob")

    assert (ana.password, ana.home_dir, ana.permissions) == (BCRYPT, "/srv/ana", {"/": ("list", "download")})
    assert (bob.virtual_folders[0].virtual_path, bob.virtual_folders[0].mapped_path) == ("/v", "/srv/v")
    assert await provider.user("dan") is None
    assert await provider.user("ANA") is None
    assert await provider.count_users() == 3
    assert [a.username for a in await provider.users(offset=1, limit=1)] == ["bob"]
    assert [a.username for a in await provider.users(order="DESC")] == ["cyd", "bob", "ana"]
    assert [a.username async for a in provider.iter_users()] == ["ana", "bob", "cyd"]
    with pytest.raises(ProviderError, match="manage_users is 0"):
        await provider.set_password("ana", "$1$x")
    await provider.touch_login("ana", 5)
    await provider.add_usage("ana", UsageDelta(size=1))
    await provider.add_admin(full_admin())
    assert (await provider.admin("root")).email == "root@example.org"


async def test_foreign_view_in_a_database_that_we_may_not_write(
    options_of: OptionsOf, opened: Opened
) -> None:
    options = await outside(options_of("postgresql"))
    role = f"{options.sql_tables_prefix}reader"
    await run(
        options,
        f"CREATE ROLE {role} LOGIN PASSWORD 'reader-secret'",
        f"GRANT SELECT ON {options.users_table} TO {role}",
    )
    provider = await opened(replace(options, username=role, password="reader-secret"))

    assert (await provider.user("ana")).home_dir == "/srv/ana"
    assert await provider.admins() == []
    assert await provider.folders() == []
    assert await provider.dirty_usage() == []
    assert await provider.setting("x") is None
    with pytest.raises(ProviderError):
        await provider.add_admin(full_admin())


async def test_bad_foreign_tables_are_named(options_of: OptionsOf) -> None:
    options = replace(options_of("sqlite"), manage_users=False, track_quota=0)
    await run(options, "CREATE TABLE other (name VARCHAR(9))")

    with pytest.raises(ProviderError, match="no table or view 'ghost'"):
        await create_provider(replace(options, users_table="ghost")).open()
    with pytest.raises(ProviderError, match="'other' has no column username"):
        await create_provider(replace(options, users_table="other")).open()


async def test_unreadable_rows_are_named_and_others_work(options_of: OptionsOf, opened: Opened) -> None:
    options = await outside(options_of("sqlite"))
    await run(options, "UPDATE staff SET rights = 'oops' WHERE login = 'ana'")
    await run(options, "UPDATE staff SET home = 'relative' WHERE login = 'bob'")
    provider = await opened(options)

    with pytest.raises(ProviderError, match="user 'ana': column permissions is not JSON"):
        await provider.user("ana")
    with pytest.raises(ProviderError, match="user 'bob': home_dir: 'relative' is not an absolute path"):
        await provider.user("bob")
    assert (await provider.user("cyd")).username == "cyd"


# -- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["sqlite", "bolt"])
async def test_database_file_is_private(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(driver)
    await opened(options)

    assert options.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("driver", ["sqlite", "bolt"])
async def test_missing_directory_is_named(driver: str, options_of: OptionsOf) -> None:
    with pytest.raises(ProviderError, match=r"the directory .*/no/such does not exist"):
        await create_provider(options_of(driver, name="no/such/x.db")).open()


@pytest.mark.parametrize(("driver", "what"), [("sqlite", "not a database"), ("bolt", "not a bolt database")])
async def test_foreign_file_is_left_alone(driver: str, what: str, options_of: OptionsOf) -> None:
    options = options_of(driver)
    options.file.write_bytes(b"precious bytes " * 1000)

    with pytest.raises(ProviderError, match=what):
        await create_provider(options).open()

    assert options.file.read_bytes() == b"precious bytes " * 1000


async def test_bolt_has_versions_too(options_of: OptionsOf, opened: Opened) -> None:
    options = options_of("bolt")
    with pytest.raises(ProviderError, match="run tidegate initprovider"):
        await create_provider(options).open(migrate=False)
    assert "from version 0 to 1" in await initialise(options)
    assert "already up to date" in await initialise(options)
    provider = await opened(options)
    await provider.add_user(full_account())
    await provider.close()

    assert "already there" in await revert(options, "1")
    with pytest.raises(ProviderError, match="no schema version 10"):
        await revert(options, "10")
    assert "back to version 0" in await revert(options, "0")
    assert "already there" in await revert(options, "0")
    await provider.open()
    assert await provider.count_users() == 0
    assert await provider.folders() == []


async def test_bolt_file_of_a_newer_version_is_left_alone(options_of: OptionsOf) -> None:
    options = options_of("bolt")
    await initialise(options)
    with lmdb.open(str(options.file), subdir=False, max_dbs=9) as environment:
        meta = environment.open_db(b"meta")
        with environment.begin(write=True) as transaction:
            transaction.put(b"schema", b"7", db=meta)

    with pytest.raises(ProviderError, match=r"version 7, newer than 1.*upgrade Tidegate"):
        await create_provider(options).open()


async def test_memory_has_no_schema(options_of: OptionsOf) -> None:
    assert "nothing to initialise" in await initialise(options_of("memory"))
    with pytest.raises(ProviderError, match="no schema"):
        await revert(options_of("memory"), "0")


async def test_unknown_driver_is_named(options_of: OptionsOf) -> None:
    with pytest.raises(ProviderError, match="'oracle' is not one of sqlite, postgresql, mysql, bolt, memory"):
        create_provider(options_of("oracle"))


async def sqlite_layout(options: ProviderOptions) -> dict[str, list[object]]:
    """Columns, indexes and foreign keys of each table, whatever order they were made in."""
    layout: dict[str, list[object]] = {}
    for (table,) in await run(options, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        if table.startswith(("sqlite_", "alembic")):
            continue
        columns = await run(options, f"PRAGMA table_info({table})")
        indexes = []
        for _, _name, unique, origin, *_ in await run(options, f"PRAGMA index_list({table})"):
            parts = await run(options, f"PRAGMA index_info({_name})")
            indexes.append((_name if origin == "c" else "", unique, origin, tuple(part[2] for part in parts)))
        keys = await run(options, f"PRAGMA foreign_key_list({table})")
        layout[table] = [
            sorted(column[1:] for column in columns),
            sorted(indexes),
            sorted(key[2:] for key in keys),
        ]
    return layout


async def test_a_new_sqlite_file_is_what_migrating_would_make(options_of: OptionsOf) -> None:
    made, migrated = options_of("sqlite"), replace(options_of("sqlite"), name="migrated.db")
    await initialise(made)
    await initialise(migrated)
    await revert(migrated, "0")
    link = Database(migrated)
    link.start()
    try:
        await schema._migrate(link, migrated, "up", schema.latest())
    finally:
        await link.stop()
    layout = await sqlite_layout(made)
    assert layout == await sqlite_layout(migrated)
    assert len(layout) == 23 and await initialise(made) == await initialise(migrated)


def test_the_list_of_versions_is_that_of_the_revisions() -> None:
    assert list(schema.VERSIONS) == migrate.revisions()
