# SPDX-License-Identifier: Apache-2.0
"""The outbox of the `bolt` driver: rows by id, big end first, and cursors by sink."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol, TypeVar

from tidegate.store.outbox import Cursor, OutboxRow

T = TypeVar("T")

OUTBOX: Final = "outbox"
CURSORS: Final = "outbox_cursors"
DELIVERIES_DUE: Final = "deliveries_due"
DELIVERIES: Final = "deliveries"
"""Both of `tidegate.store.kv_deliveries`."""
SESSIONS: Final = "browser_sessions"
"""Of `tidegate.store.kv_sessions`."""

_HEAD_KEY: Final = b"\0head"
"""Key of the last id in the table of cursors; no name of a sink begins with a NUL."""


class _Events:
    """Outbox and cursors in one LMDB transaction."""

    def __init__(self, transaction: Any, tables: dict[str, Any]) -> None:
        self._transaction = transaction
        self._rows = tables[OUTBOX]
        self._cursors = tables[CURSORS]

    def head(self) -> int:
        return int(self._transaction.get(_HEAD_KEY, db=self._cursors, default=b"0"))

    def append(self, documents: Sequence[str]) -> int:
        head = self.head()
        for document in documents:
            head += 1
            self._transaction.put(head.to_bytes(8, "big"), document.encode(), db=self._rows, append=True)
        self._transaction.put(_HEAD_KEY, str(head).encode(), db=self._cursors)
        return head

    def cursor(self, sink: str) -> Cursor | None:
        value = self._transaction.get(sink.encode(), db=self._cursors)
        return None if value is None else Cursor(**json.loads(bytes(value)))

    def put_cursor(self, sink: str, cursor: Cursor) -> None:
        self._transaction.put(sink.encode(), json.dumps(asdict(cursor)).encode(), db=self._cursors)

    def after(self, position: int, limit: int) -> list[OutboxRow]:
        found: list[OutboxRow] = []
        with self._transaction.cursor(db=self._rows) as cursor:
            if cursor.set_range((position + 1).to_bytes(8, "big")):
                for key, value in cursor.iternext():
                    if len(found) == limit:
                        break
                    found.append(OutboxRow(int.from_bytes(key, "big"), bytes(value).decode()))
        return found

    def trim(self, least: int) -> int:
        with self._transaction.cursor(db=self._rows) as cursor:
            more = cursor.first()
            while more and int.from_bytes(cursor.key(), "big") <= least:
                more = cursor.delete()
        return int(self._transaction.stat(self._rows)["entries"])


Work = Callable[[_Events], T]


class Transactions(Protocol):
    """Runs work in a transaction: ``(transaction, tables)`` is what it gets."""

    def __call__(self, work: Callable[[Any, dict[str, Any]], T], *, writes: bool) -> Awaitable[T]:
        """Run it; all of it is stored, or none."""
        ...


class LmdbOutbox:
    """See `tidegate.store.outbox.OutboxStore`."""

    def __init__(self, run: Transactions, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock

    async def _do(self, work: Work[T], *, writes: bool = True) -> T:
        return await self._run(lambda transaction, tables: work(_Events(transaction, tables)), writes=writes)

    async def register(self, sinks: Collection[str]) -> None:
        """See `OutboxStore`."""

        def work(events: _Events) -> None:
            for sink in sinks:
                if events.cursor(sink) is None:
                    events.put_cursor(sink, Cursor(events.head()))

        await self._do(work)

    async def append(self, documents: Sequence[str]) -> int:
        """See `OutboxStore`."""
        return await self._do(lambda events: events.append(documents))

    async def claim(self, sink: str, server: str, *, seconds: float) -> int | None:
        """See `OutboxStore`."""

        def work(events: _Events) -> int | None:
            cursor = events.cursor(sink) or Cursor(events.head())
            if not cursor.claim(server, self._clock(), seconds):
                return None
            events.put_cursor(sink, cursor)
            return cursor.position

        return await self._do(work)

    async def after(self, position: int, limit: int) -> list[OutboxRow]:
        """See `OutboxStore`."""
        return await self._do(lambda events: events.after(position, limit), writes=False)

    async def advance(self, sink: str, server: str, position: int) -> bool:
        """See `OutboxStore`."""

        def work(events: _Events) -> bool:
            cursor = events.cursor(sink)
            if cursor is None or cursor.server != server:
                return False
            cursor.position = position
            events.put_cursor(sink, cursor)
            return True

        return await self._do(work)

    async def release(self, sink: str, server: str) -> None:
        """See `OutboxStore`."""

        def work(events: _Events) -> None:
            cursor = events.cursor(sink)
            if cursor is not None and cursor.server == server:
                cursor.server = ""
                events.put_cursor(sink, cursor)

        await self._do(work)

    async def trim(self, sinks: Collection[str]) -> int:
        """See `OutboxStore`."""

        def work(events: _Events) -> int:
            places = [cursor.position for sink in sinks if (cursor := events.cursor(sink)) is not None]
            return events.trim(min(places, default=0))

        return await self._do(work)
