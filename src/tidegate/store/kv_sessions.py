# SPDX-License-Identifier: Apache-2.0
"""Browser sessions of the `bolt` driver: one JSON text for each, under its id.

Looking one up reads one row; other calls read all rows, in one transaction, and there are as many as people
who manage the server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from tidegate.store.browser_sessions import BrowserSession, RowSessions
from tidegate.store.kv_outbox import SESSIONS, Transactions

T = TypeVar("T")


class LmdbSessions:
    """See `tidegate.store.browser_sessions.BrowserSessionStore`."""

    def __init__(self, run: Transactions, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock

    async def _do(self, work: Callable[[RowSessions], T], *, writes: bool = True, only: str = "") -> T:
        def within(transaction: Any, tables: dict[str, Any]) -> T:
            table = tables[SESSIONS]
            if only:
                value = transaction.get(only.encode(), db=table)
                texts = [] if value is None else [bytes(value)]
            else:
                with transaction.cursor(db=table) as cursor:
                    texts = [bytes(value) for value in cursor.iternext(keys=False, values=True)]
            rows = [BrowserSession(**json.loads(text)) for text in texts]
            state = RowSessions({row.id: row for row in rows}, self._clock)
            done = work(state)
            for one in state.changed:
                row = state.rows.get(one)
                if row is None:
                    transaction.delete(one.encode(), db=table)
                else:
                    transaction.put(one.encode(), json.dumps(asdict(row)).encode(), db=table)
            return done

        return await self._run(within, writes=writes)

    async def add(self, row: BrowserSession) -> None:
        """See `BrowserSessionStore`."""
        await self._do(lambda state: state.add(row))

    async def find(self, session_id: str) -> BrowserSession | None:
        """See `BrowserSessionStore`."""
        return await self._do(lambda state: state.find(session_id), writes=False, only=session_id)

    async def use(self, session_id: str, *, seen_at: int, idle_until: int, ip: str) -> None:
        """See `BrowserSessionStore`."""
        await self._do(lambda state: state.use(session_id, seen_at, idle_until, ip), only=session_id)

    async def of(self, kind: str, username: str) -> list[BrowserSession]:
        """See `BrowserSessionStore`."""
        return await self._do(lambda state: state.of(kind, username), writes=False)

    async def remove(self, session_id: str) -> bool:
        """See `BrowserSessionStore`."""
        return await self._do(lambda state: state.remove(session_id), only=session_id)

    async def remove_of(self, kind: str, username: str, *, but: str = "") -> int:
        """See `BrowserSessionStore`."""
        return await self._do(lambda state: state.remove_of(kind, username, but))
