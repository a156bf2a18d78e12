# SPDX-License-Identifier: Apache-2.0
"""Makes the provider that the configuration names, and takes its schema up and down.

What only one kind of provider needs is loaded for it alone: SQLAlchemy takes a third of a start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.errors import ProviderError
from tidegate.store.contract import Provider
from tidegate.store.options import ProviderOptions

if TYPE_CHECKING:
    from tidegate.store.kv import LmdbProvider
    from tidegate.store.sql.provider import SqlProvider

__all__ = [
    "DRIVERS",
    "ProviderOptions",
    "Rehearsal",
    "create_provider",
    "initialise",
    "newest_schema",
    "rehearse",
    "revert",
    "statements",
]

DRIVERS = ("sqlite", "postgresql", "mysql", "bolt", "memory")
_SQL = ("sqlite", "postgresql", "mysql")


def create_provider(options: ProviderOptions) -> Provider:
    """A provider that is not open yet.

    Raises:
        ProviderError: an option is unusable, or the driver does not exist.
    """
    options.check()
    if options.driver == "memory":
        from tidegate.store.memory import MemoryProvider

        return MemoryProvider(options)
    versioned = _versioned(options)
    if versioned is not None:
        return versioned
    raise ProviderError(f"data_provider.driver: {options.driver!r} is not one of {', '.join(DRIVERS)}")


def database_file(options: ProviderOptions) -> Path | None:
    """The file that holds the accounts; None if the driver keeps them elsewhere."""
    if options.driver == "sqlite":
        from tidegate.store.sql.engines import sqlite_file, target_of

        return Path(sqlite_file(target_of(options)))
    return options.file if options.driver == "bolt" else None


async def has_schema(options: ProviderOptions) -> bool:
    """True if the provider has its tables, of whatever version. Makes nothing.

    Raises:
        ProviderUnavailable: the database does not answer.
        ProviderError: it is something else.
    """
    file = database_file(options)
    if file is not None and (not file.is_file() or not file.stat().st_size):
        return False
    options.check()
    versioned = _versioned(options)
    if versioned is None or options.external_table:
        return True
    return await versioned.schema_version() != "0"


async def initialise(options: ProviderOptions) -> str:
    """Make or bring up to date what the provider needs; for `initprovider`.

    Returns:
        one line that says what was done; "already up to date" is not an error.

    Raises:
        ProviderUnavailable: the database does not answer.
        ProviderError: the schema is newer than this version.
    """
    provider = create_provider(options)
    versioned = _versioned(options)
    before = await versioned.schema_version() if versioned is not None else ""
    await provider.open()
    await provider.close()
    if versioned is None:
        return f"{options.driver}: nothing to initialise"
    after = await versioned.schema_version()
    if before == after:
        return f"{options.driver}: schema version {before} is already up to date"
    return f"{options.driver}: schema brought from version {before} to {after}"


def newest_schema() -> str:
    """The schema version of SQL databases that this version of the server works with."""
    from tidegate.store.sql import schema

    return schema.latest()


def statements(options: ProviderOptions, before: str, after: str) -> str:
    """The SQL of schema changes, for somebody who makes them by hand. No database is asked.

    Args:
        before: the version that the database has; ``0`` is an empty database.
        after: the version wanted; empty is the latest, ``0`` removes the tables.

    Raises:
        ProviderError: the driver has no SQL, or there is no such version.
    """
    if options.driver not in _SQL:
        raise ProviderError(f"{options.driver}: has no SQL; that have {', '.join(_SQL)}")
    from tidegate.store.sql import statements as printing

    return printing.statements(options, before, after)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The outcome of a rehearsed opening of a provider.

    Attributes:
        users: accounts there are; None while the tables do not exist.
        pending: the next start brings the schema up to date.
    """

    users: int | None
    pending: bool = False


async def rehearse(options: ProviderOptions, *, migrate: bool) -> Rehearsal:
    """Do what a start of the server does to its data provider, and change nothing; for `check`.

    Args:
        options: of the provider.
        migrate: a start may change the schema.

    Raises:
        ProviderUnavailable: the database does not answer.
        ProviderError: a start would fail; a right that the database user lacks is named.
    """
    if options.driver not in _SQL:
        provider = create_provider(options)
        try:
            await provider.open(migrate=False)
        except ProviderError as error:
            if migrate and "initprovider" in str(error):
                return Rehearsal(None, pending=True)
            raise
        try:
            return Rehearsal(await provider.count_users())
        finally:
            await provider.close()
    from tidegate.store.sql.provider import SqlProvider

    options.check()
    database = SqlProvider(options)
    await database.open(migrate=migrate, rehearse=True)
    try:
        known = not database.pending or options.external_table
        return Rehearsal(await database.count_users() if known else None, database.pending)
    finally:
        await database.close()


async def revert(options: ProviderOptions, to: str) -> str:
    """Take the schema back to an older version; for `revertprovider`. ``0`` removes all data.

    Returns:
        one line that says what was done.

    Raises:
        ProviderError: the driver or the version does not allow it.
    """
    create_provider(options)  # names what is wrong with the options
    versioned = _versioned(options)
    if versioned is None:
        raise ProviderError(f"{options.driver}: there is no schema to revert")
    if await versioned.revert(to):
        return f"{options.driver}: schema taken back to version {to}"
    return f"{options.driver}: schema version {to} is already there"


def _versioned(options: ProviderOptions) -> SqlProvider | LmdbProvider | None:
    """A provider that is not open, if what it keeps has a schema."""
    if options.driver in _SQL:
        from tidegate.store.sql.provider import SqlProvider

        return SqlProvider(options)
    if options.driver == "bolt":
        from tidegate.store.kv import LmdbProvider

        return LmdbProvider(options)
    return None
