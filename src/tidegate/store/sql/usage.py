# SPDX-License-Identifier: Apache-2.0
"""Statements on usage, marks and times of accounts: those that are stored, and what is kept of others.

An account that only an authenticator knows has a row in ``external_users``. Each statement acts on the stored
account of the name, and on that row if there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tidegate.errors import AlreadyExists, NotFound
from tidegate.model import TALLY_NAMES, Account, Tally
from tidegate.store.contract import UsageDelta
from tidegate.store.records import now_ms
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.rows import USAGE
from tidegate.store.sql.tables import Tables

Values = dict[str, Any]


async def set_columns(
    connection: AsyncConnection, tables: Tables, name: str, values: Callable[[Table], Values]
) -> None:
    """Set columns of an account, or of what is kept of one that is not stored.

    Raises:
        NotFound: neither has that name.
    """
    for table in (tables.users, tables.external):
        statement = update(table).where(table.c.username == name).values(values(table))
        if (await connection.execute(statement)).rowcount:
            return
    raise _missing(name)


async def touch_first(
    connection: AsyncConnection, tables: Tables, name: str, column: str, when_ms: int
) -> None:
    """Set a time that is not set yet."""

    def values(table: Table) -> Values:
        field = table.c[column]
        return {column: case((field == 0, when_ms), else_=field)}

    await set_columns(connection, tables, name, values)


async def touch_login(
    connection: AsyncConnection, tables: Tables, name: str, when_ms: int, logins: int
) -> None:
    """Set the time of the last login, and count logins in the database, so that several servers add up."""

    def values(table: Table) -> Values:
        return {"last_login": when_ms, "login_count": table.c.login_count + logins}

    await set_columns(connection, tables, name, values)


async def add_usage(connection: AsyncConnection, tables: Tables, name: str, delta: UsageDelta) -> None:
    """Add to counters in the database, so that concurrent writers add up."""
    changes = {
        "used_quota_size": delta.size,
        "used_quota_files": delta.files,
        "used_upload_data_transfer": delta.upload,
        "used_download_data_transfer": delta.download,
        **{f"tally_{label}": getattr(delta.tally, label) for label in TALLY_NAMES},
    }
    if not any(changes.values()):
        return

    def values(table: Table) -> Values:
        found: Values = {
            column: raised(table.c[column], amount) for column, amount in changes.items() if amount
        }
        if delta.size or delta.files:
            found["last_quota_update"] = now_ms()
        return found

    await set_columns(connection, tables, name, values)


def raised(column: Column[Any], amount: int) -> ColumnElement[int]:
    """The column plus an amount, but never below zero."""
    if amount >= 0:
        return column + amount
    return case((column < -amount, 0), else_=column - (-amount))


# -- marks ---------------------------------------------------------------------------------------------------


async def mark(connection: AsyncConnection, tables: Tables, name: str, server: str, *, dirty: bool) -> None:
    """Set or clear a server's mark of counters that may be behind."""
    query = select(tables.users.c.id).where(tables.users.c.username == name)
    number = (await connection.execute(query)).scalar()
    if number is None:
        if await external(connection, tables, name) is None:
            raise _missing(name)
        await _mark(connection, tables.external_marks, {"username": name, "server": server}, dirty=dirty)
    elif not server:
        users = tables.users
        await connection.execute(update(users).where(users.c.id == number).values(usage_dirty=int(dirty)))
    else:
        await _mark(connection, tables.marks, {"user_id": number, "server": server}, dirty=dirty)


async def _mark(connection: AsyncConnection, table: Table, row: Values, *, dirty: bool) -> None:
    first, second = row.items()
    mine = (table.c[first[0]] == first[1]) & (table.c[second[0]] == second[1])
    if not dirty:
        await connection.execute(delete(table).where(mine))
    elif (await connection.execute(select(table.c.server).where(mine))).first() is None:
        await connection.execute(insert(table).values(row))


async def dirty(connection: AsyncConnection, tables: Tables) -> list[tuple[str, str]]:
    """Accounts whose counters may be behind, with the servers that marked them."""
    users, marks, external_users = tables.users, tables.marks, tables.external_marks
    query = select(users.c.username).where(users.c.usage_dirty == 1)
    found = {(str(name), "") for name in (await connection.execute(query)).scalars()}
    stored = select(users.c.username, marks.c.server).join(marks, marks.c.user_id == users.c.id)
    for marked in (stored, select(external_users.c.username, external_users.c.server)):
        found |= {(str(name), str(server)) for name, server in await connection.execute(marked)}
    return sorted(found)


# -- accounts that are not stored ----------------------------------------------------------------------------


async def external(connection: AsyncConnection, tables: Tables, name: str) -> Account | None:
    """The kept part of an account that is not stored."""
    table = tables.external
    row = (await connection.execute(select(table).where(table.c.username == name))).mappings().first()
    if row is None:
        return None
    plain = {column: row[column] for column in USAGE if not column.startswith("tally_")}
    tally = Tally(**{label: row[f"tally_{label}"] for label in TALLY_NAMES})
    return Account(username=name, created_at=row["created_at"], tally=tally, **plain)


async def keep_external(connection: AsyncConnection, tables: Tables, name: str) -> None:
    """Begin to keep usage under a name.

    Raises:
        AlreadyExists: it is kept already.
    """
    try:
        await connection.execute(insert(tables.external).values(username=name, created_at=now_ms()))
    except IntegrityError:
        raise AlreadyExists(f"usage of {name!r} is kept already") from None


def _missing(name: str) -> NotFound:
    return NotFound(f"user {name!r} does not exist")
