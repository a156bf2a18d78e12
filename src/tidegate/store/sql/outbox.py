# SPDX-License-Identifier: Apache-2.0
"""The outbox in SQL.

The cursor of the empty name holds the last id. Who appends raises it first, which locks its row until the
transaction ends, so ids become visible in their order: a sequence of the database would not do that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, insert, or_, select, update

from tidegate.errors import ProviderError
from tidegate.store.outbox import OutboxRow
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.tables import Tables

if TYPE_CHECKING:
    from tidegate.store.sql.quick_writes import Execute

_HEAD: Final = ""
_ROWS: Final = 400
"""Rows of one statement; SQLite before 3.32 takes 999 values."""


class SqlOutbox:
    """See `tidegate.store.outbox.OutboxStore`.

    Args:
        database: it is in.
        tables: the provider's.
        usable: False while only a foreign table can be read.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        tables: Tables,
        usable: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._rows = tables.outbox
        self._cursors = tables.cursors
        self._usable = usable
        self._clock = clock

    async def register(self, sinks: Collection[str]) -> None:
        """See `OutboxStore`.

        Raises:
            ProviderError: the database cannot be written.
        """
        if not self._usable():
            raise ProviderError("events cannot be kept: the database may not be written")
        cursors = self._cursors

        async def work(connection: AsyncConnection) -> None:
            known = set((await connection.execute(select(cursors.c.sink))).scalars())
            if _HEAD not in known:
                await connection.execute(insert(cursors).values(sink=_HEAD))
            head = select(cursors.c.position).where(cursors.c.sink == _HEAD)
            position = (await connection.execute(head)).scalar_one()
            for sink in sorted(set(sinks) - known):
                await connection.execute(insert(cursors).values(sink=sink, position=position))

        await self._database.write(work)

    async def append(self, documents: Sequence[str]) -> int:
        """See `OutboxStore`."""
        quick = await self._database.write_quickly(lambda execute: self._append(execute, documents))
        if quick is not None:
            return quick[0]
        cursors, count = self._cursors, len(documents)
        at_head = cursors.c.sink == _HEAD
        raised = update(cursors).where(at_head).values(position=cursors.c.position + count)

        async def work(connection: AsyncConnection) -> int:
            await connection.execute(raised)
            last = int((await connection.execute(select(cursors.c.position).where(at_head))).scalar_one())
            rows = [
                {"id": last - count + index, "document": text}
                for index, text in enumerate(documents, start=1)
            ]
            if rows:
                await connection.execute(insert(self._rows), rows)
            return last

        return await self._database.write(work)

    def _append(self, execute: Execute, documents: Sequence[str]) -> int:
        count = len(documents)
        head = f'"{self._cursors.name}"'
        execute(f"UPDATE {head} SET position = position + ? WHERE sink = ?", count, _HEAD)  # noqa: S608  our name
        found = execute(f"SELECT position FROM {head} WHERE sink = ?", _HEAD)  # noqa: S608
        last = int(found[0][0])
        # One statement for all rows: each one gives the interpreter's lock away and waits to have it again.
        for first in range(0, count, _ROWS):
            part = documents[first : first + _ROWS]
            values: list[object] = []
            for index, text in enumerate(part, start=last - count + first + 1):
                values += (index, text)
            marks = ", ".join(("(?, ?)",) * len(part))
            execute(f'INSERT INTO "{self._rows.name}" (id, document) VALUES {marks}', *values)  # noqa: S608
        return last

    async def claim(self, sink: str, server: str, *, seconds: float) -> int | None:
        """See `OutboxStore`."""
        cursors, now = self._cursors, int(self._clock() * 1000)
        until = now + int(seconds * 1000)
        taken = (
            update(cursors)
            .where(
                cursors.c.sink == sink,
                or_(cursors.c.server.in_(("", server)), cursors.c.claimed_until <= now),
            )
            .values(server=server, claimed_until=until)
        )
        holder = select(cursors.c.position, cursors.c.server).where(cursors.c.sink == sink)

        async def work(connection: AsyncConnection) -> int | None:
            await connection.execute(taken)
            position, holding = (await connection.execute(holder)).one()
            return int(position) if holding == server else None

        return await self._database.write(work)

    async def after(self, position: int, limit: int) -> list[OutboxRow]:
        """See `OutboxStore`."""
        rows = self._rows
        query = (
            select(rows.c.id, rows.c.document).where(rows.c.id > position).order_by(rows.c.id).limit(limit)
        )

        async def work(connection: AsyncConnection) -> list[OutboxRow]:
            return [OutboxRow(int(number), document) for number, document in await connection.execute(query)]

        return await self._database.read(work)

    async def advance(self, sink: str, server: str, position: int) -> bool:
        """See `OutboxStore`."""
        cursors = self._cursors

        def quickly(execute: Execute) -> bool:
            text = f'UPDATE "{cursors.name}" SET position = ? WHERE sink = ? AND server = ?'  # noqa: S608
            execute(text, position, sink, server)
            return bool(execute("SELECT changes()")[0][0])

        if (quick := await self._database.write_quickly(quickly)) is not None:
            return quick[0]
        mine = (cursors.c.sink == sink) & (cursors.c.server == server)

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(update(cursors).where(mine).values(position=position))
            return (await connection.execute(select(cursors.c.sink).where(mine))).first() is not None

        return await self._database.write(work)

    async def release(self, sink: str, server: str) -> None:
        """See `OutboxStore`."""
        cursors = self._cursors
        mine = (cursors.c.sink == sink) & (cursors.c.server == server)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(update(cursors).where(mine).values(server="", claimed_until=0))

        await self._database.write(work)

    async def trim(self, sinks: Collection[str]) -> int:
        """See `OutboxStore`."""
        cursors, rows = self._cursors, self._rows
        places = select(func.min(cursors.c.position)).where(cursors.c.sink.in_(list(sinks)))

        async def work(connection: AsyncConnection) -> int:
            least = (await connection.execute(places)).scalar()
            if least:
                await connection.execute(delete(rows).where(rows.c.id <= int(least)))
            return int((await connection.execute(select(func.count()).select_from(rows))).scalar_one())

        return await self._database.write(work)
