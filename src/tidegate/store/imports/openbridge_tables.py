# SPDX-License-Identifier: Apache-2.0
"""Reads the Openbridge tables from their MySQL or MariaDB server. Reads only, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Executable, column, literal_column, select, table

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.model import TALLY_NAMES
from tidegate.store.imports.openbridge import OpenbridgeTables, Row
from tidegate.store.options import ProviderOptions
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.shape import RightMissing, columns_of

MAX_ROWS: Final = 1_000_000
"""Rows read of one table."""
READ_SECONDS: Final = 300.0
"""Longest time for all tables."""

_USER: Final = (
    "userid", "passwd", "subscriptionid", "uid", "gid", "homedir", "status", "count", "accessed",
)  # fmt: skip
TABLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    # attribute of OpenbridgeTables: (names of the table, columns to read as far as they are there)
    "user": (("ftpd_user", "ftpusers"), _USER),
    "salt": (("ftpd_salt",), ("userid", "salt")),
    "userkey": (("ftpd_userkey",), ("userid", "publickey")),
    "group": (("ftpd_group",), ("groupname", "gid", "members")),
    "quotalimit": (
        ("ftpd_quotalimit",),
        (
            "name",
            "userid",
            "quota_type",
            "per_session",
            "limit_type",
            *(f"{one}_avail" for one in TALLY_NAMES),
        ),
    ),
    "quotatally": (
        ("ftpd_quotatally",),
        ("name", "userid", "quota_type", *(f"{one}_used" for one in TALLY_NAMES)),
    ),
    "allow": (("ftpd_allow",), ("client_ip", "allowed")),
    "deny": (("ftpd_deny",), ("client_ip", "allowed")),
}
LIVE_TABLES: Final = {
    attribute: (names, ("id", *columns) if attribute == "user" else columns)
    for attribute, (names, columns) in TABLES.items()
}
"""The same for reading one user at a time, in the order of ids."""
_RESTRICTING: Final = ("ftpd_deny", "ftpd_quotalimit", "ftpd_quotatally")
"""Tables without which accounts may do more than there; empty only if it is known that there is none."""
FLOAT: Final = 4
"""MySQL's number for the type FLOAT."""
_NEEDED: Final = ("userid", "passwd", "uid", "gid", "homedir", "status")


async def read_openbridge(
    url: str, *, tls_ca: str = "", client_cert: str = "", client_key: str = ""
) -> OpenbridgeTables:
    """Every row of the tables that exist.

    Args:
        url: ``mysql://user:password@host:3306/database``, with ``?tls=true`` (checked),
            ``skip-verify`` or ``preferred``.
        tls_ca: file of the certificate authority; empty for those that the operating system trusts.
        client_cert: file of a client certificate.
        client_key: file of its key, if it is not in the same file.

    Raises:
        ProviderUnavailable: the server cannot be reached, or took too long.
        ProviderError: the URL is wrong, or the database has no user table or one without the columns.
    """
    database = Database(
        ProviderOptions(
            driver="mysql",
            connection_string=url,
            pool_size=1,
            root_cert=tls_ca,
            client_cert=client_cert,
            client_key=client_key,
        )
    )
    database.start()
    try:
        async with asyncio.timeout(READ_SECONDS), database.raw() as connection:
            return await _read(connection)
    except TimeoutError:
        raise ProviderUnavailable(f"{database.target.label}: took longer than {READ_SECONDS:.0f} s") from None
    finally:
        await database.stop()


async def _read(connection: AsyncConnection) -> OpenbridgeTables:
    found: dict[str, Sequence[Row]] = {}
    missing: list[str] = []
    for attribute, (names, wanted) in TABLES.items():
        name, columns = await look_up_table(connection, names)
        if not name:
            missing.append(names[0])
            continue
        found[attribute] = await _rows(
            connection, name, {one: columns[one] for one in wanted if one in columns}
        )
    return OpenbridgeTables(**found, missing=missing)


async def look_up_table(connection: AsyncConnection, names: Sequence[str]) -> tuple[str, dict[str, int]]:
    """The first of `names` that is a table or view here, with its columns; ``""`` if none is.

    Raises:
        ProviderError: it is the table of users and lacks a column.
        RightMissing: it may not be read, and accounts would be allowed more without it.
    """
    refused: RightMissing | None = None
    for name in names:
        try:
            columns = await columns_of(connection, name)
        except RightMissing as error:
            # MySQL says the same of a table that is not there, unless the user may read the whole database.
            if await _is_there(connection, name):
                raise
            refused = error
            continue
        if columns:
            if names == TABLES["user"][0] and (lacking := [one for one in _NEEDED if one not in columns]):
                raise ProviderError(f"the table {name} has no column {', '.join(lacking)}")
            return name, columns
    if refused is not None and names == TABLES["user"][0]:
        raise refused
    if refused is not None and names[0] in _RESTRICTING:
        raise RightMissing(
            f"the table {names[0]} cannot be read, and accounts would come over without what it restricts: "
            "grant SELECT on it, or on the whole database if there is no such table"
        )
    if names == TABLES["user"][0]:
        raise ProviderError(f"the database has no table {' or '.join(names)}")
    return "", {}


async def _is_there(connection: AsyncConnection, name: str) -> bool:
    """True if the server admits that there is a table which may not be read."""
    tables = table("tables", column("table_name"), column("table_schema"), schema="information_schema")
    query = select(tables.c.table_name).where(
        tables.c.table_name == name, tables.c.table_schema == literal_column("DATABASE()")
    )
    return (await connection.execute(query)).first() is not None


async def _rows(connection: AsyncConnection, name: str, columns: dict[str, int]) -> list[dict[str, Any]]:
    if not columns:
        return []
    # The server writes a FLOAT with 6 digits; as a DOUBLE it is exact.
    wanted: list[ColumnElement[Any]] = [
        literal_column(f"`{one}` + 0e0").label(one) if kind == FLOAT else column(one)
        for one, kind in columns.items()
    ]
    query: Executable = select(*wanted).select_from(table(name)).limit(MAX_ROWS + 1)
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    if len(rows) > MAX_ROWS:
        raise ProviderError(f"the table {name} has more than {MAX_ROWS} rows")
    return rows
