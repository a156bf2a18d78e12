# SPDX-License-Identifier: Apache-2.0
"""Brings a database up and down between schema versions, and checks what came of it.

Alembic is loaded only where there is something to migrate (`migrate`): it takes longer to load than all that
a start of the server does with a database that is up to date. A new SQLite file gets the newest schema at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator
from typing import Final

import sqlalchemy as sqla
from sqlalchemy import Connection, text

from tidegate.errors import ProviderError
from tidegate.store.options import ProviderOptions
from tidegate.store.recognise import foreign_schema
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.shape import is_denied
from tidegate.store.sql.tables import Tables, users_table_name

VERSIONS: Final = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
"""All schema versions, oldest first: the revisions in ``migrations/versions``."""
LOCK_SECONDS: Final = 60
"""Seconds that a node waits for another that is migrating the same database."""
_LOCK_NAME: Final = "tidegate_schema"
_LOCK_NUMBER: Final = 0x7469_6465
"""The advisory lock's number on PostgreSQL: "tide" in ASCII."""

# Alembic reaches the running migration through module globals: one at a time in each loop.
_TURNS: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = (
    weakref.WeakKeyDictionary()
)


async def current(database: Database, options: ProviderOptions) -> str:
    """The schema version of the database; ``0`` if there is none."""

    async def work(connection: AsyncConnection) -> str:
        return await connection.run_sync(_current, options)

    return await database.read(work)


def latest() -> str:
    """The schema version that this code works with."""
    return VERSIONS[-1]


async def upgrade(database: Database, options: ProviderOptions, tables: Tables) -> bool:
    """Bring the schema to the latest version.

    Returns:
        False if it was there already.

    Raises:
        ProviderError: the schema is newer than this code, or the result is not what it should be.
    """
    before = await current(database, options)
    refuse_newer(before)
    if before == latest():
        return False
    if before == "0" and database.driver == "sqlite":
        await _make_newest(database, options, tables)
    else:
        await _migrate(database, options, "up", latest())
    await verify(database, tables)
    return True


async def rehearse(database: Database, options: ProviderOptions, tables: Tables) -> bool:
    """Try whether `upgrade` and the writing of records would work; nothing is changed.

    Returns:
        whether `upgrade` has something to do.

    Raises:
        RightMissing: the database user lacks a right, named in the text.
        ProviderError: the schema is newer than this code.
    """
    before = await current(database, options)
    refuse_newer(before)
    if before == latest():
        if database.driver != "sqlite":
            await _try_writing(database, tables)
        return False
    if before == "0" and database.driver == "postgresql":
        # Undone again; older tables are not touched, since changing them would wait for those who use them.
        with contextlib.suppress(_Undone):
            async with _turn(), database.raw() as connection, _alone(connection, database.driver):
                await connection.run_sync(_run, options, "up", latest())
                raise _Undone
    elif before == "0" and database.driver == "mysql":
        await _try_making(database, options)
    return True


class _Undone(Exception):
    """Ends a transaction without leaving anything."""


async def _try_writing(database: Database, tables: Tables) -> None:
    """Ask for each right on rows, with statements that find none."""
    never = sqla.literal_column("1") == 0

    async def work(connection: AsyncConnection) -> None:
        for table in tables.metadata.sorted_tables:
            nothing = sqla.select(table).where(never)
            await connection.execute(sqla.insert(table).from_select(list(table.c), nothing))
            key = next(iter(table.primary_key))
            await connection.execute(sqla.update(table).where(never).values({key: key}))
            await connection.execute(sqla.delete(table).where(never))

    await database.write(work)


async def _try_making(database: Database, options: ProviderOptions) -> None:
    """Ask MySQL for each right on tables, with statements that cannot succeed."""
    name = f"{options.sql_tables_prefix}tidegate_never"
    for statement in (
        f"CREATE TABLE {name} (a INT, a INT)",
        f"ALTER TABLE {name} ADD COLUMN a INT",
        f"CREATE INDEX a ON {name} (a)",
    ):

        async def work(connection: AsyncConnection, statement: str = statement) -> None:
            try:
                await connection.execute(text(statement))
            except sqla.exc.DBAPIError as error:
                # Else refused because it makes no sense, after the right was found.
                if is_denied(error) or error.connection_invalidated:
                    raise

        await database.write(work)


async def downgrade(database: Database, options: ProviderOptions, to: str) -> bool:
    """Take the schema back to an older version; ``0`` removes it.

    Returns:
        False if it was there already.

    Raises:
        ProviderError: there is no such version, or it is not older.
    """
    before = await current(database, options)
    refuse_newer(before)
    known = ["0", *VERSIONS]
    if to not in known:
        raise ProviderError(f"there is no schema version {to}; known are {', '.join(known)}")
    if known.index(to) > known.index(before):
        raise ProviderError(f"schema version {to} is not older than {before}")
    if to == before:
        return False
    await _migrate(database, options, "down", "base" if to == "0" else to)
    return True


def refuse_newer(version: str) -> None:
    """Stop before a schema that this code does not know.

    Raises:
        ProviderError: the version is not one of ours.
    """
    if version != "0" and version not in VERSIONS:
        raise ProviderError(
            f"the database has schema version {version}, newer than {latest()}, the newest this version of "
            "Tidegate knows; upgrade Tidegate, or take the schema back with the version that made it"
        )


async def verify(database: Database, tables: Tables) -> None:
    """Compare the tables there are with those that the code expects.

    Raises:
        ProviderError: naming each missing table or column.
    """

    async def work(connection: AsyncConnection) -> list[str]:
        return await connection.run_sync(_missing, tables)

    missing = await database.read(work)
    if missing:
        raise ProviderError(f"the database schema is incomplete, missing: {', '.join(missing[:10])}")


def _missing(connection: Connection, tables: Tables) -> list[str]:
    inspector = sqla.inspect(connection)
    missing: list[str] = []
    for table in tables.metadata.sorted_tables:
        # The server is asked, since it decides about upper and lower case of names.
        if not inspector.has_table(table.name):
            missing.append(f"table {table.name}")
            continue
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        missing.extend(
            f"column {table.name}.{name}" for column in table.c if (name := column.name) not in columns
        )
    return missing


def versions_table(options: ProviderOptions) -> sqla.Table:
    """The table of the schema version. Alembic would name its primary key, about which MySQL warns."""
    number = sqla.Column("version_num", sqla.String(32), primary_key=True)
    return sqla.Table(f"{options.sql_tables_prefix}schema_version", sqla.MetaData(), number)


def _current(connection: Connection, options: ProviderOptions) -> str:
    table = versions_table(options)
    users = (
        ""
        if options.external_table
        else users_table_name(options.sql_tables_prefix, options.users_table, external_users=False)
    )
    if foreign := foreign_schema(connection, table.name, users):
        raise ProviderError(foreign)
    if not sqla.inspect(connection).has_table(table.name):
        return "0"
    return connection.execute(sqla.select(table.c.version_num)).scalar() or "0"


async def _make_newest(database: Database, options: ProviderOptions, tables: Tables) -> None:
    """Make the tables of an empty database as this version expects them."""

    def make(connection: Connection) -> None:
        if _current(connection, options) != "0":
            return  # another process has been faster
        tables.metadata.create_all(connection, checkfirst=False)
        table = versions_table(options)
        table.create(connection, checkfirst=True)
        connection.execute(table.insert().values(version_num=latest()))

    async with _turn(), database.raw() as connection, _alone(connection, database.driver):
        await connection.run_sync(make)


async def _migrate(database: Database, options: ProviderOptions, direction: str, to: str) -> None:
    async with _turn(), database.raw() as connection, _alone(connection, database.driver):
        await connection.run_sync(_run, options, direction, to)


def _turn() -> asyncio.Lock:
    return _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def _run(connection: Connection, options: ProviderOptions, direction: str, to: str) -> None:
    from tidegate.store.sql import migrate

    table = versions_table(options)
    users = users_table_name(
        options.sql_tables_prefix, options.users_table, external_users=bool(options.external_table)
    )
    if direction == "up":
        # Another node may have been faster while we waited for the lock.
        if _current(connection, options) == to:
            return
        table.create(connection, checkfirst=True)
    migrate.run(
        connection,
        direction,
        to,
        version_table=table.name,
        prefix=options.sql_tables_prefix,
        users_table=users,
    )


@contextlib.asynccontextmanager
async def _alone(connection: AsyncConnection, driver: str) -> AsyncIterator[None]:
    """One transaction, while no other node migrates."""
    if driver == "mysql":
        # MySQL ends the transaction at each change of a table, so the lock is the connection's.
        query = text("SELECT GET_LOCK(:name, :seconds)")
        got = (await connection.execute(query, {"name": _LOCK_NAME, "seconds": LOCK_SECONDS})).scalar()
        await connection.commit()
        if got != 1:
            raise ProviderError("another node has been migrating this database for too long")
    try:
        async with connection.begin():
            if driver == "postgresql":
                # The transaction's, since a pooler may give the next one to another connection.
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER}
                )
            yield
    finally:
        if driver == "mysql" and not (connection.invalidated or connection.closed):
            await connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _LOCK_NAME})
            await connection.commit()
