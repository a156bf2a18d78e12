# SPDX-License-Identifier: Apache-2.0
"""The ledger of a move: what is at the target because of it, and the digest by which it was compared.

An SQLite file, so that memory is bounded whatever is moved. What is about to be copied is entered first,
without a digest: after a kill -9 it is known what the move has put at the target. What a power failure takes
of the last entries is copied again.

Methods are coroutines; the file is used in a thread, one call at a time.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

FILE: Final = "f"
DIRECTORY: Final = "d"
LINK: Final = "l"
_LAST: Final = b"\xff" * 8192
"""Behind every key."""
_ONE: Final = "SELECT * FROM names WHERE key = ?"
_BELOW: Final = "SELECT * FROM names WHERE key > ? AND key < ? ORDER BY key DESC LIMIT 1000"
_BACK: Final = (
    "SELECT * FROM names WHERE key < ?1 AND (?2 = 0 OR seen <> ?2) AND (?3 = '' OR kind = ?3) "
    "ORDER BY key DESC LIMIT 1000"
)


class Row(NamedTuple):
    """One name below the root.

    Attributes:
        key: of the name.
        kind: `FILE`, `DIRECTORY` or `LINK`.
        size: bytes of a file; permission bits of a directory.
        digest: of the content, or the bytes of a link's text; empty until the copy was compared.
        source: time of the original, nanoseconds since the epoch; `target` that of the copy.
        settled: the original was older than a change can go unnoticed.
        seen: number of the pass that saw it last.
    """

    key: str
    kind: str
    size: int
    digest: bytes
    source: int
    target: int
    settled: bool
    seen: int


class Ledger:
    """The ledger of one move.

    Args:
        path: of its file, made if it is missing.
        swapped: the move goes back: what was its source is its target.
    """

    def __init__(self, path: Path, *, swapped: bool = False) -> None:
        self._path = path
        self._swapped = swapped
        self._one = threading.Lock()
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file.

        Raises:
            sqlite3.Error: it cannot be used.
        """
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Close it."""
        await asyncio.to_thread(self._close)

    async def find(self, keys: Sequence[str]) -> dict[str, Row]:
        """The rows of these keys, as far as there are some."""
        return await self._run(lambda db: {row.key: row for key in keys for row in self._one_row(db, key)})

    async def put(self, rows: Iterable[Row]) -> None:
        """Enter or replace rows, durably for a kill of the process."""
        values = [self._values(row) for row in rows]
        if values:
            await self._run(lambda db: _written(db, values))

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget rows."""
        values = [(_raw(key),) for key in keys]
        await self._run(lambda db: _dropped(db, values))

    async def page_back(self, *, before: str = "", unseen: int = 0, kind: str = "") -> list[Row]:
        """Up to 1,000 rows in reverse order, so that what is in a directory comes before it.

        Args:
            before: only rows before this key; empty for all.
            unseen: only rows that this pass has not seen; 0 for all.
            kind: only rows of this kind; empty for all.
        """
        values = (_raw(before) if before else _LAST, unseen, kind)
        return await self._run(lambda db: [self._row(found) for found in db.execute(_BACK, values)])

    async def below(self, key: str) -> list[Row]:
        """Up to 1,000 rows of what is in a directory, in reverse order."""
        values = _raw(key) + b"/", _raw(key) + b"0"  # which follows the slash
        return await self._run(lambda db: [self._row(found) for found in db.execute(_BELOW, values)])

    async def totals(self, seen: int) -> tuple[int, int, int]:
        """Names, files and bytes that a pass has seen."""
        sql = (
            "SELECT count(*), coalesce(sum(kind = 'f'), 0), coalesce(sum(size * (kind = 'f')), 0) "
            "FROM names WHERE seen = ?"
        )
        return await self._run(lambda db: tuple(db.execute(sql, (seen,)).fetchone()))

    # -- in the thread ---------------------------------------------------------------------------------------

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def locked() -> T:
            with self._one:
                assert self._db is not None, "the ledger is not open"
                return work(self._db)

        return await asyncio.to_thread(locked)

    def _open(self) -> None:
        with self._one:
            db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS names (key BLOB PRIMARY KEY, kind TEXT, size INTEGER, "
                "digest BLOB, old INTEGER, new INTEGER, settled INTEGER, seen INTEGER) WITHOUT ROWID"
            )
            self._db = db

    def _close(self) -> None:
        with self._one:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _one_row(self, db: sqlite3.Connection, key: str) -> list[Row]:
        return [self._row(found) for found in db.execute(_ONE, (_raw(key),))]

    def _row(self, found: tuple[bytes, str, int, bytes, int, int, int, int]) -> Row:
        key, kind, size, digest, old, new, settled, seen = found
        source, target = (new, old) if self._swapped else (old, new)
        return Row(
            key.decode("utf-8", "surrogateescape"), kind, size, digest, source, target, bool(settled), seen
        )

    def _values(self, row: Row) -> tuple[object, ...]:
        old, new = (row.target, row.source) if self._swapped else (row.source, row.target)
        return _raw(row.key), row.kind, row.size, row.digest, old, new, int(row.settled), row.seen


def _written(db: sqlite3.Connection, values: Sequence[tuple[object, ...]]) -> None:
    db.execute("BEGIN")
    try:
        db.executemany("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    finally:
        db.execute("COMMIT")


def _dropped(db: sqlite3.Connection, values: Sequence[tuple[bytes]]) -> None:
    db.execute("BEGIN")
    try:
        db.executemany("DELETE FROM names WHERE key = ?", values)
    finally:
        db.execute("COMMIT")


def _raw(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
