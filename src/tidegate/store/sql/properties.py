# SPDX-License-Identifier: Apache-2.0
"""Dead properties in SQL: one row for each place that has any.

Places are longer than what databases index. So a row is found by a digest of its place, by that of the
directory above, and what lies below a directory by the first characters of its place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from tidegate.errors import AlreadyExists, ProviderError
from tidegate.model.properties import PropertyLimits, PropertyName, PropertyPatch, PropertyStore
from tidegate.store.properties import (
    StoredProperties,
    digest,
    document_of,
    escaped,
    is_within,
    parent_of,
    patched,
    properties_of,
    require_account,
    unescaped,
)
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.tables import NAME_CHARS, Tables

T = TypeVar("T")

ATTEMPTS: Final = 8
"""Attempts at a change whose row somebody else adds at the same moment."""
ROWS_AT_ONCE: Final = 200
"""Rows of a tree that is moved which are in memory at a time."""


class SqlProperties:
    """See `tidegate.model.properties.PropertyStore`.

    Args:
        database: it is in.
        tables: the provider's.
        usable: False while only a foreign table can be read.
    """

    def __init__(self, database: Database, tables: Tables, usable: Callable[[], bool] = lambda: True) -> None:
        self._database = database
        self._table = tables.properties
        self._roots = tables.property_roots
        self._usable = usable

    async def get(self, place: str) -> dict[PropertyName, bytes]:
        """See `PropertyStore`."""
        row = await self._database.read(lambda connection: _row(connection, self._table, place))
        return {} if row is None else dict(row.properties)

    async def of_children(self, place: str) -> dict[str, dict[PropertyName, bytes]]:
        """See `PropertyStore`."""
        table = self._table
        query = select(table.c.place, table.c.document).where(table.c.parent_key == digest(place))

        async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
            return [(unescaped(at), document) for at, document in await connection.execute(query)]

        found = await self._database.read(work)
        return {at[len(place) + 1 :]: properties_of(document) for at, document in found}

    async def patch(self, change: PropertyPatch, limits: PropertyLimits) -> None:
        """See `PropertyStore`."""
        table = self._table

        async def work(connection: AsyncConnection) -> None:
            old = await _row(connection, table, change.place, lock=True)
            found = patched({} if old is None else old.properties, change, limits)
            row = StoredProperties(change.place, change.account, found)
            if change.sets:
                before = old.size if old is not None and old.account == change.account else 0
                require_account(await self._used(connection, change.account) - before + row.size, limits)
            if not found:
                await connection.execute(delete(table).where(_is(table, change.place)))
                return
            if old is None:
                await _insert(connection, table, [row])
            else:
                await connection.execute(update(table).where(_is(table, change.place)).values(_values(row)))
            await self._note(connection, change.root)

        await self._write(work)

    async def move(self, source: str, target: str, root: str) -> None:
        """See `PropertyStore`."""
        table = self._table
        within = _within(table, source)
        if is_within(target, source):
            return

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(_within(table, target)))
            moved = False
            while rows := await _rows(connection, table, within, ROWS_AT_ONCE):
                keys = [digest(row.place) for row in rows]
                await connection.execute(delete(table).where(table.c.place_key.in_(keys)))
                await _insert(
                    connection,
                    table,
                    [replace(row, place=f"{target}{row.place[len(source) :]}") for row in rows],
                )
                moved = True
            if moved:
                await self._note(connection, root)

        await self._write(work)

    async def copy(self, source: str, target: str, root: str, account: str, limits: PropertyLimits) -> None:
        """See `PropertyStore`."""
        table = self._table

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(_is(table, target)))
            row = await _row(connection, table, source)
            if row is None or await self._used(connection, account) + row.size > limits.account_bytes:
                return
            await _insert(connection, table, [StoredProperties(target, account, row.properties)])
            await self._note(connection, root)

        await self._write(work)

    async def copy_tree(self, source: str, target: str, root: str) -> None:
        """See `PropertyStore`."""
        table = self._table
        if is_within(target, source) or is_within(source, target):
            return

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(_within(table, target)))
            last = ""
            while rows := await _rows(connection, table, _within(table, source), ROWS_AT_ONCE, after=last):
                last = digest(rows[-1].place)
                made = [replace(row, place=f"{target}{row.place[len(source) :]}") for row in rows]
                await _insert(connection, table, made)
            if last:
                await self._note(connection, root)

        await self._write(work)

    async def remove(self, place: str) -> None:
        """See `PropertyStore`."""
        table = self._table

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(_within(table, place)))

        await self._write(work)

    async def places(self, root: str, after: str, limit: int) -> list[str]:
        """See `PropertyStore`."""
        table = self._table
        query = (
            select(table.c.place)
            .where(_within(table, root), table.c.place_key > (digest(after) if after else ""))
            .order_by(table.c.place_key)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return [unescaped(at) for at in (await connection.execute(query)).scalars()]

        return await self._database.read(work)

    # -- pieces ----------------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if not self._usable():
            raise ProviderError("properties cannot be kept: the database may not be written")
        for _ in range(ATTEMPTS - 1):
            with suppress(AlreadyExists):  # another one added the same row at this moment
                return await self._database.write(work)
        return await self._database.write(work)

    async def _used(self, connection: AsyncConnection, account: str) -> int:
        table = self._table
        query = select(func.coalesce(func.sum(table.c.size), 0)).where(table.c.account == account)
        return int((await connection.execute(query)).scalar_one())

    async def _note(self, connection: AsyncConnection, root: str) -> None:
        table, key = self._roots, digest(root)
        query = select(table.c.root_key).where(table.c.root_key == key)
        if (await connection.execute(query)).first() is None:
            await _add(connection, table, [{"root_key": key, "root": escaped(root)}])


def _is(table: Table, place: str) -> ColumnElement[bool]:
    return table.c.place_key == digest(place)


def _within(table: Table, place: str) -> ColumnElement[bool]:
    """The place itself, and what lies below it."""
    start = f"{escaped(place)}/"
    head = table.c.head
    if len(start) <= NAME_CHARS:
        likely = and_(head >= start, head < f"{start[:-1]}0")  # 0 follows the slash
    else:
        likely = head == start[:NAME_CHARS]
    return or_(_is(table, place), and_(likely, func.substr(table.c.place, 1, len(start)) == start))


async def _row(
    connection: AsyncConnection, table: Table, place: str, *, lock: bool = False
) -> StoredProperties | None:
    query = select(table.c.account, table.c.document).where(_is(table, place))
    found = (await connection.execute(query.with_for_update() if lock else query)).first()
    return None if found is None else StoredProperties(place, found[0], properties_of(found[1]))


async def _rows(
    connection: AsyncConnection, table: Table, where: ColumnElement[bool], limit: int, *, after: str = ""
) -> list[StoredProperties]:
    """Rows in the order of their digests, behind the digest `after`."""
    columns = table.c.place, table.c.account, table.c.document
    query = select(*columns).where(where, table.c.place_key > after).order_by(table.c.place_key).limit(limit)
    return [
        StoredProperties(unescaped(at), account, properties_of(document))
        for at, account, document in await connection.execute(query)
    ]


async def _insert(connection: AsyncConnection, table: Table, rows: Sequence[StoredProperties]) -> None:
    await _add(connection, table, [_values(row) for row in rows])


def _values(row: StoredProperties) -> dict[str, Any]:
    return {
        "place_key": digest(row.place),
        "parent_key": digest(parent_of(row.place)),
        "head": escaped(row.place)[:NAME_CHARS],
        "place": escaped(row.place),
        "account": row.account,
        "size": row.size,
        "document": document_of(row.properties),
    }


async def _add(connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
    try:
        await connection.execute(insert(table), rows)
    except IntegrityError:
        raise AlreadyExists("properties were set by another server") from None


def _keeps_contract(store: SqlProperties) -> PropertyStore:
    return store
