# SPDX-License-Identifier: Apache-2.0
"""Statements on the small values that servers keep for themselves."""

from __future__ import annotations

from urllib.parse import unquote

from sqlalchemy import delete, insert, select, update

from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.tables import Tables


async def get(connection: AsyncConnection, tables: Tables, name: str) -> str | None:
    """A value, None if there is none."""
    query = select(tables.settings.c.value).where(tables.settings.c.name == name)
    return (await connection.execute(query)).scalar_one_or_none()


async def put(connection: AsyncConnection, tables: Tables, name: str, value: str | None) -> None:
    """Store a value, or forget it."""
    table = tables.settings
    if value is None:
        await connection.execute(delete(table).where(table.c.name == name))
        return
    changed = await connection.execute(update(table).where(table.c.name == name).values(value=value))
    if changed.rowcount == 0:
        await connection.execute(insert(table).values(name=name, value=value))


async def property_roots(connection: AsyncConnection, tables: Tables) -> set[str]:
    """Storage roots that have properties."""
    found = (await connection.execute(select(tables.property_roots.c.root))).scalars()
    return {unquote(root, errors="surrogateescape") for root in found}
