# SPDX-License-Identifier: Apache-2.0
"""Browser sessions in SQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, update

from tidegate.errors import ProviderUnavailable
from tidegate.store.browser_sessions import MAX_OF_ONE, MAX_SHOWN_CHARS, BrowserSession, now_ms, short
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.tables import Tables


class SqlSessions:
    """See `tidegate.store.browser_sessions.BrowserSessionStore`."""

    def __init__(
        self,
        database: Database,
        tables: Tables,
        usable: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._rows = tables.browser_sessions
        self._usable = usable
        self._clock = clock

    async def add(self, row: BrowserSession) -> None:
        """See `BrowserSessionStore`."""
        if not self._usable():
            raise ProviderUnavailable("sessions of browsers need the tables of this version in the database")
        table, now = self._rows, now_ms(self._clock)
        theirs = self._theirs(row.kind, row.username)
        over = or_(table.c.idle_until <= now, table.c.expires_at <= now)
        used = select(table.c.id).where(theirs).order_by(table.c.seen_at.desc(), table.c.id)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(over))
            last = used.offset(MAX_OF_ONE - 1).limit(MAX_OF_ONE)
            surplus = (await connection.execute(last)).scalars().all()
            if surplus:
                await connection.execute(delete(table).where(table.c.id.in_(surplus)))
            await connection.execute(insert(table).values(asdict(short(row))))

        await self._database.write(work)

    async def find(self, session_id: str) -> BrowserSession | None:
        """See `BrowserSessionStore`."""
        found = await self._read(self._rows.c.id == session_id)
        return found[0] if found else None

    async def use(self, session_id: str, *, seen_at: int, idle_until: int, ip: str) -> None:
        """See `BrowserSessionStore`."""
        values = {"seen_at": seen_at, "idle_until": idle_until, "ip": ip[:MAX_SHOWN_CHARS]}
        await self._write(update(self._rows).where(self._rows.c.id == session_id).values(values))

    async def of(self, kind: str, username: str) -> list[BrowserSession]:
        """See `BrowserSessionStore`."""
        return await self._read(self._theirs(kind, username))

    async def remove(self, session_id: str) -> bool:
        """See `BrowserSessionStore`."""
        return await self._write(delete(self._rows).where(self._rows.c.id == session_id)) > 0

    async def remove_of(self, kind: str, username: str, *, but: str = "") -> int:
        """See `BrowserSessionStore`."""
        return await self._write(
            delete(self._rows).where(self._theirs(kind, username), self._rows.c.id != but)
        )

    def _theirs(self, kind: str, username: str) -> ColumnElement[bool]:
        return and_(self._rows.c.username == username, self._rows.c.kind == kind)

    async def _read(self, where: ColumnElement[bool]) -> list[BrowserSession]:
        if not self._usable():
            return []
        table, now = self._rows, now_ms(self._clock)
        query = (
            select(table)
            .where(where, table.c.idle_until > now, table.c.expires_at > now)
            .order_by(table.c.seen_at.desc(), table.c.id)
            .limit(2 * MAX_OF_ONE)
        )

        async def work(connection: AsyncConnection) -> list[BrowserSession]:
            rows = (await connection.execute(query)).mappings()
            return [BrowserSession(**{str(name): value for name, value in row.items()}) for row in rows]

        return await self._database.read(work)

    async def _write(self, statement: Any) -> int:
        if not self._usable():
            return 0

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).rowcount)

        return await self._database.write(work)
