# SPDX-License-Identifier: Apache-2.0
"""Small transactions of an SQLite file in one trip to a thread; every kept event is one.

SQLAlchemy takes eight trips for it, which cost thirty times what SQLite itself does. Whatever goes wrong is
rolled back and left to the ordinary way, which tries again and knows what to tell the caller.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from tidegate.store.sql.engines import SQLITE_BUSY_MS
from tidegate.store.watched_file import WatchedFile

T = TypeVar("T")


class Execute:
    """Runs statements of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, statement: str, *values: object) -> list[Any]:
        """The rows that a statement returns."""
        return self._connection.execute(statement, values).fetchall()


class QuickWrites:
    """A writing connection to an SQLite file, with a thread of its own.

    A transaction is waited for to its end, however long the disk takes: who gave up on one and tried again
    could store it twice.

    Life: constructed, `run`..., `close`.

    Args:
        path: the database file; never made here.
        watched: proves that the path still leads to the file that was opened.
    """

    def __init__(self, path: str, watched: WatchedFile) -> None:
        self._uri: Final = f"{Path(path).absolute().as_uri()}?mode=rw"
        self._watched: Final = watched
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[Execute], T]) -> tuple[T] | None:
        """Run work in one transaction; whoever calls holds the lock of writers.

        Returns:
            what the work returned; None if it is to be done in the ordinary way, and nothing is stored.

        Raises:
            ProviderUnavailable: the file was replaced or removed.
        """
        self._watched.check()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sqlite writes")
        job = asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)
        try:
            return (await asyncio.shield(job),)
        except (sqlite3.Error, OSError, ValueError, LookupError):
            return None
        except asyncio.CancelledError:
            await asyncio.wait((job,))  # the lock is kept until the thread is done
            raise

    def _do(self, work: Callable[[Execute], T]) -> T:
        connection = self._connection
        if connection is None:
            connection = sqlite3.connect(
                self._uri,
                uri=True,
                timeout=SQLITE_BUSY_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
            # FULL: what was acknowledged survives a power failure too.
            connection.execute("PRAGMA synchronous=FULL")
            self._connection = connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            found = work(Execute(connection))
            connection.execute("COMMIT")
        except BaseException:
            self._connection = None
            connection.close()  # rolls back
            raise
        return found

    async def close(self) -> None:
        """Close the connection and end its thread. It opens again when it is needed."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=False)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
