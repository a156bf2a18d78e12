# SPDX-License-Identifier: Apache-2.0
"""Reads the Openbridge tables from their MySQL or MariaDB server. Reads only, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Executable, column, inspect, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.model import TALLY_NAMES
from tidegate.store.imports.openbridge import OpenbridgeTables, Row
from tidegate.store.options import ProviderOptions
from tidegate.store.sql.link import Link

MAX_ROWS: Final = 1_000_000
"""Rows read of one table."""
READ_SECONDS: Final = 300.0
"""Longest time for all tables."""

_USER: Final = (
    "userid", "passwd", "subscriptionid", "uid", "gid", "homedir", "status", "count", "accessed",
)  # fmt: skip
_TABLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
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
_NEEDED: Final = ("userid", "passwd", "uid", "gid", "homedir", "status")


async def read_openbridge(url: str) -> OpenbridgeTables:
    """Every row of the tables that exist.

    Args:
        url: ``mysql://user:password@host:3306/database``, with ``?tls=true`` (checked),
            ``skip-verify`` or ``preferred``.

    Raises:
        ProviderUnavailable: the server cannot be reached, or took too long.
        ProviderError: the URL is wrong, or the database has no user table or one without the columns.
    """
    link = Link(ProviderOptions(driver="mysql", connection_string=url, pool_size=1))
    link.start()
    try:
        async with asyncio.timeout(READ_SECONDS), link.raw() as connection:
            return await _read(connection)
    except TimeoutError:
        raise ProviderUnavailable(f"{link.target.label}: took longer than {READ_SECONDS:.0f} s") from None
    finally:
        await link.stop()


async def _read(connection: AsyncConnection) -> OpenbridgeTables:
    found: dict[str, Sequence[Row]] = {}
    missing: list[str] = []
    for attribute, (names, wanted) in _TABLES.items():
        name, columns = await connection.run_sync(_look, names)
        if not name:
            if attribute == "user":
                raise ProviderError(f"the database has no table {' or '.join(names)}")
            missing.append(names[0])
            continue
        if attribute == "user" and (lacking := [one for one in _NEEDED if one not in columns]):
            raise ProviderError(f"the table {name} has no column {', '.join(lacking)}")
        found[attribute] = await _rows(connection, name, [one for one in wanted if one in columns])
    return OpenbridgeTables(**found, missing=missing)


def _look(connection: Connection, names: Sequence[str]) -> tuple[str, frozenset[str]]:
    """The first of `names` that is a table or view here, with its columns; ``""`` if none is."""
    inspector = inspect(connection)
    there = {*inspector.get_table_names(), *inspector.get_view_names()}
    name = next((one for one in names if one in there), "")
    columns = inspector.get_columns(name) if name else []
    return name, frozenset(one["name"] for one in columns)


async def _rows(connection: AsyncConnection, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    if not columns:
        return []
    query: Executable = select(*(column(one) for one in columns)).select_from(table(name)).limit(MAX_ROWS + 1)
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    if len(rows) > MAX_ROWS:
        raise ProviderError(f"the table {name} has more than {MAX_ROWS} rows")
    return rows
