# SPDX-License-Identifier: Apache-2.0
"""One account of an SQLite file in one trip to a thread; every login and every session asks for one.

SQLAlchemy takes five trips for it (cursor, statement, rows, closing, rollback), and touches so much code that
a login which finds the processor's caches cold pays for it more than for its signature. What is asked and
what comes back are the same: the statement is the one of `accounts`, compiled once. Whatever goes wrong is
left to the ordinary way, which asks again and knows what to tell the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiosqlite
from sqlalchemy import Dialect, Select

from tidegate.store.sql.engines import SQLITE_BUSY_MS
from tidegate.store.watched_file import WatchedFile

LOOKUP_SECONDS: Final = 5.0
"""Time that a lookup may take before the ordinary way is tried."""

_TROUBLE: Final = (sqlite3.Error, OSError, ValueError, TimeoutError)
"""Errors that a lookup may end with; ValueError: the connection was closed, or a name that is not UTF-8."""


class Lookup:
    """A reading connection to an SQLite file, with a thread of its own.

    Life: constructed, `rows`..., `close`.

    Args:
        path: the database file; never made here.
        watched: proves that the path still leads to the file that was opened.
        dialect: of the engine that has the file open too.
    """

    def __init__(self, path: str, watched: WatchedFile, dialect: Dialect) -> None:
        self._uri: Final = f"{Path(path).absolute().as_uri()}?mode=ro"
        self._watched: Final = watched
        self._dialect: Final = dialect
        self._connection: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()
        self._statements: dict[Select[Any], tuple[str, tuple[str, ...]]] = {}

    async def rows(self, query: Select[Any], *values: str) -> list[dict[str, Any]] | None:
        """The rows of a SELECT whose columns are numbers and texts, by the names of its columns.

        Args:
            query: the statement; the same object each time.
            values: of its parameters, in order.

        Returns:
            None if that is to be asked in the ordinary way.

        Raises:
            ProviderUnavailable: the file was replaced or removed.
        """
        self._watched.check()
        text, names = self._statements.get(query) or self._compiled(query)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                connection = self._connection or await self._open()
                found: Sequence[Any] = await connection.execute_fetchall(text, values)  # type: ignore[assignment]
        except _TROUBLE:
            self._leave()
            return None
        return [dict(zip(names, row, strict=True)) for row in found]

    def _compiled(self, query: Select[Any]) -> tuple[str, tuple[str, ...]]:
        names = tuple(column.key for column in query.selected_columns if column.key is not None)
        made = self._statements[query] = str(query.compile(dialect=self._dialect)), names
        return made

    async def _open(self) -> aiosqlite.Connection:
        async with self._opening:
            if self._connection is None:
                connection = aiosqlite.connect(
                    self._uri, uri=True, timeout=SQLITE_BUSY_MS / 1000, isolation_level=None
                )
                self._connection = await connection
                self._watched.opened()
            return self._connection

    def _leave(self) -> None:
        """Open another connection next time; this one is closed by its thread once that is free."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.stop()

    async def close(self) -> None:
        """Close the connection and end its thread. It opens again when it is needed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_TROUBLE):
                await connection.close()
