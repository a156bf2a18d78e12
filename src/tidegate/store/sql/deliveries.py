# SPDX-License-Identifier: Apache-2.0
"""Deliveries in SQL.

A row is claimed by an update that finds it free, so two servers never get the same one, on any database.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, case, delete, func, insert, select, update

from tidegate.store.deliveries import Delivery, State, free, now_ms
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.tables import Tables


class SqlDeliveries:
    """See `tidegate.store.deliveries.DeliveryStore`."""

    def __init__(
        self,
        database: Database,
        tables: Tables,
        usable: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._rows = tables.deliveries
        self._usable = usable
        self._clock = clock

    async def add(self, rows: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        if not rows:
            return
        table = self._rows
        wanted = {row.id: row for row in rows}

        async def work(connection: AsyncConnection) -> None:
            known = select(table.c.id).where(table.c.id.in_(list(wanted)))
            there = set((await connection.execute(known)).scalars())
            fresh = [_values(row) for name, row in wanted.items() if name not in there]
            if fresh:
                await connection.execute(insert(table), fresh)

        await self._database.write(work)

    async def take(self, server: str, *, limit: int, seconds: float) -> list[Delivery]:
        """See `DeliveryStore`."""
        if not self._usable():
            return []
        table, now = self._rows, now_ms(self._clock)
        open_now = and_(table.c.state == "waiting", table.c.due <= now, table.c.until <= now)
        query = select(table).where(open_now).order_by(table.c.due, table.c.id).limit(limit)
        until = now + int(seconds * 1000)

        async def look(connection: AsyncConnection) -> list[Delivery]:
            return [_row(row) for row in (await connection.execute(query)).mappings()]

        found = await self._database.read(look)
        if not found:
            return []

        async def work(connection: AsyncConnection) -> list[Delivery]:
            taken: list[Delivery] = []
            for row in found:
                mine = update(table).where(table.c.id == row.id, open_now).values(server=server, until=until)
                if (await connection.execute(mine)).rowcount:
                    taken.append(replace(row, server=server, until=until))
            return taken

        return await self._database.write(work)

    async def renew(self, server: str, ids: Collection[str], *, seconds: float) -> None:
        """See `DeliveryStore`."""
        table, until = self._rows, now_ms(self._clock) + int(seconds * 1000)
        mine = table.c.id.in_(list(ids)) & (table.c.server == server)
        await self._write(update(table).where(mine).values(until=until))

    async def settle(self, done: Collection[str], again: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        table = self._rows

        async def work(connection: AsyncConnection) -> None:
            if done:
                await connection.execute(delete(table).where(table.c.id.in_(list(done))))
            for row in map(free, again):
                changed = await connection.execute(
                    update(table).where(table.c.id == row.id).values(_values(row))
                )
                if (
                    not changed.rowcount
                    and not (await connection.execute(select(table.c.id).where(table.c.id == row.id))).first()
                ):
                    await connection.execute(insert(table).values(_values(row)))

        await self._database.write(work)

    async def release(self, server: str) -> None:
        """See `DeliveryStore`."""
        if self._usable():
            table = self._rows
            await self._write(update(table).where(table.c.server == server).values(server="", until=0))

    async def find(self, delivery_id: str) -> Delivery | None:
        """See `DeliveryStore`."""
        found = await self._read(self._rows.c.id == delivery_id)
        return found[0] if found else None

    async def listing(self, state: State | None, *, offset: int = 0, limit: int = 100) -> list[Delivery]:
        """See `DeliveryStore`."""
        return await self._read(None if state is None else self._rows.c.state == state, offset, limit)

    async def count(self, state: State) -> int:
        """See `DeliveryStore`."""
        query = select(func.count()).select_from(self._rows).where(self._rows.c.state == state)

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(query)).scalar_one())

        return await self._database.read(work) if self._usable() else 0

    async def next_due(self) -> int | None:
        """See `DeliveryStore`."""
        table = self._rows
        later = case((table.c.until > table.c.due, table.c.until), else_=table.c.due)
        query = select(func.min(later)).where(table.c.state == "waiting")

        async def work(connection: AsyncConnection) -> int | None:
            found = (await connection.execute(query)).scalar()
            return None if found is None else int(found)

        return await self._database.read(work) if self._usable() else None

    async def retry(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return await self._write(
            update(self._rows).where(self._meant(ids)).values(state="waiting", due=0, tries=0)
        )

    async def drop(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return await self._write(delete(self._rows).where(self._meant(ids)))

    async def trim(self, *, keep: int) -> int:
        """See `DeliveryStore`."""
        more = await self.count("dead") - keep
        if more <= 0:
            return 0
        return await self.drop([row.id for row in await self.listing("dead", limit=min(more, 1_000))])

    def _meant(self, ids: Collection[str] | None) -> ColumnElement[bool]:
        return self._rows.c.state == "dead" if ids is None else self._rows.c.id.in_(list(ids))

    async def _read(
        self, where: ColumnElement[bool] | None, offset: int = 0, limit: int = 1
    ) -> list[Delivery]:
        table = self._rows
        query = select(table).order_by(table.c.created_at, table.c.id).offset(offset).limit(limit)
        if where is not None:
            query = query.where(where)

        async def work(connection: AsyncConnection) -> list[Delivery]:
            return [_row(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work) if self._usable() else []

    async def _write(self, statement: Any) -> int:
        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).rowcount)

        return await self._database.write(work)


def _values(row: Delivery) -> dict[str, Any]:
    values = {item.name: getattr(row, item.name) for item in fields(row)}
    return {**values, "done": json.dumps(row.done)}


def _row(row: RowMapping) -> Delivery:
    return Delivery(**{**row, "done": tuple(json.loads(row["done"]))})
