# SPDX-License-Identifier: Apache-2.0
"""Statements on entries of lists of addresses, each change of which is noted (`store.list_changes`)."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from tidegate.model.listed import ListEntry
from tidegate.store import list_changes
from tidegate.store.contract import Guard, ListChanges
from tidegate.store.records import now_ms
from tidegate.store.sql import settings
from tidegate.store.sql.accounts import BATCH
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.record_table import list_table, state
from tidegate.store.sql.tables import Tables


async def add(connection: AsyncConnection, tables: Tables, entry: ListEntry) -> ListEntry:
    """Store a new entry."""
    await note(connection, tables, (entry.name,))
    return await list_table(tables).add(connection, entry)


async def change(
    connection: AsyncConnection, tables: Tables, entry: ListEntry, guard: Guard[ListEntry] | None
) -> ListEntry:
    """Replace an entry by name."""
    await note(connection, tables, (entry.name,))
    return await list_table(tables).change(connection, entry, guard=guard)


async def remove(
    connection: AsyncConnection, tables: Tables, name: str, guard: Guard[ListEntry] | None
) -> None:
    """Remove an entry."""
    list_table(tables).require_name(name)
    await note(connection, tables, (name,))
    await list_table(tables).remove(connection, name, guard=guard)


async def note(connection: AsyncConnection, tables: Tables, names: Collection[str]) -> None:
    """Note that entries are changed by this transaction; before they are, so that its turn has begun."""
    table = tables.settings.c
    query = select(table.value).where(table.name == list_changes.NUMBER).with_for_update()
    stored = (await connection.execute(query)).scalar_one_or_none()
    for name, value in list_changes.notes(stored, names, now_ms()).items():
        await settings.put(connection, tables, name, value)


async def changes(connection: AsyncConnection, tables: Tables, since: str) -> ListChanges:
    """See `Provider.list_changes`."""
    stored = await settings.get(connection, tables, list_changes.NUMBER)
    now, slots = stored or list_changes.NOTHING, list_changes.wanted(since, stored)
    if slots is None:
        return ListChanges(now)
    values: dict[str, str] = {}
    columns = tables.settings.c
    for at in range(0, len(slots), BATCH):
        query = select(columns.name, columns.value).where(columns.name.in_(slots[at : at + BATCH]))
        values |= {row.name: row.value for row in await connection.execute(query)}
    names = list_changes.changed(since, stored, values)
    if names is None:
        return ListChanges(now)
    found: dict[str, ListEntry | None] = dict.fromkeys(names)
    table, ordered = list_table(tables), sorted(names)
    for at in range(0, len(ordered), BATCH):
        entries = select(table.table).where(table.key.in_(ordered[at : at + BATCH]))
        for row in (await connection.execute(entries)).mappings():
            found[row[table.key]] = table.record_of(row)
    return ListChanges(now, found)


async def list_state(connection: AsyncConnection, tables: Tables) -> str:
    """See `Provider.list_state`."""
    return await state(connection, tables.ip_lists)
