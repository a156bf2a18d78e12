# SPDX-License-Identifier: Apache-2.0
"""Opens somebody else's SQLite file for reading so that nothing is written to it or beside it.

Its server may run meanwhile. https://www.sqlite.org/wal.html, "Read-Only Databases", and
https://www.sqlite.org/uri.html say which option does what.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import urllib.parse
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, event
from sqlalchemy import exc as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from tidegate.errors import InvalidArgument, ProviderError, ProviderUnavailable
from tidegate.store.file_kind import kind_of_file, only_sftpgo
from tidegate.store.sql.async_engine import AsyncConnection, create_async_engine

BUSY_MS: Final = 5_000
"""Time for which a writer of the file is waited for."""

_WAL: Final = 2
"""Format number in bytes 18 and 19 of a file whose journal is a write-ahead log."""


@contextlib.asynccontextmanager
async def quietly(file: Path) -> AsyncIterator[AsyncConnection]:
    """A connection whose transaction sees one moment of the file.

    Raises:
        InvalidArgument: the file cannot be read, or is none of SQLite.
        ProviderUnavailable: a writer keeps it locked, or it changed where a change cannot be kept out.
        ProviderError: it cannot be read without writing to it.
    """
    label = f"sqlite file {file.name}"
    async with _opened(file) as (opened, options, unchanged):
        name = "file:" + urllib.parse.quote(str(opened.absolute()))
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=name, query={**options, "uri": "true"}),
            poolclass=NullPool,
        )
        event.listen(engine.sync_engine, "connect", _prepare)
        event.listen(engine.sync_engine, "begin", _begin)
        try:
            async with engine.connect() as connection:
                yield connection
        except sa.DatabaseError as error:
            raise _translated(error, label) from None
        finally:
            await engine.dispose()
        if not unchanged():
            raise ProviderUnavailable(f"{label}: was written to while it was read; try again")


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins no transaction for a SELECT by itself
    # Text that is no UTF-8 is a mistake of its record. The driver would refuse the table, and show the text,
    # which may be a secret.
    connection.driver_connection.text_factory = _text
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        cursor.execute("PRAGMA query_only=ON")
        cursor.execute("PRAGMA trusted_schema=OFF")
    finally:
        cursor.close()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _translated(error: sa.DatabaseError, label: str) -> ProviderError:
    name = getattr(error.orig, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ProviderUnavailable(f"{label}: is locked by a writer for longer than {BUSY_MS // 1000} s")
    if name in ("SQLITE_READONLY_ROLLBACK", "SQLITE_CANTOPEN"):
        return ProviderError(
            f"{label}: a change of it was cut off and has to be rolled back, which is writing; start SFTPGo "
            "once, or read a copy of the file and of what lies beside it"
        )
    return ProviderError(f"{label}: {error.orig}")


@contextlib.asynccontextmanager
async def _opened(file: Path) -> AsyncIterator[tuple[Path, dict[str, str], Callable[[], bool]]]:
    """The file to open, the options that open it without a trace, and a check to be made at the end."""
    try:
        kind, head = await asyncio.to_thread(kind_of_file, file), await asyncio.to_thread(_head, file)
    except OSError as error:
        raise InvalidArgument(f"--from: {file}: {error.strerror}") from None
    if kind == "bolt":
        raise InvalidArgument(f"--from: {only_sftpgo(file)}")
    if kind != "sqlite":
        raise InvalidArgument(f"--from: {file} is not an SQLite database")
    log, index = file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")
    if _WAL not in head[18:20]:
        yield file, {"mode": "ro"}, lambda: True
    elif log.exists() and index.exists():
        # Without the option SQLite would write to the index, which all readers share.
        yield file, {"mode": "ro", "readonly_shm": "1"}, lambda: True
    elif log.exists():
        # The index is gone, as after a copy, and SQLite would make one beside the file.
        with tempfile.TemporaryDirectory(prefix="tidegate-") as directory:
            copy = Path(directory) / "copy.db"
            before = _state(file, log)
            await asyncio.to_thread(_copy, file, log, copy)
            yield copy, {"mode": "rw"}, lambda: _state(file, log) == before
    else:
        before = _state(file, log)
        yield file, {"mode": "ro", "immutable": "1"}, lambda: _state(file, log) == before


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(100)


def _copy(file: Path, log: Path, copy: Path) -> None:
    shutil.copyfile(file, copy)
    shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))


def _state(*files: Path) -> list[tuple[int, int, int]]:
    found = []
    for file in files:
        try:
            state = file.stat()
        except FileNotFoundError:
            continue
        found.append((state.st_ino, state.st_size, state.st_mtime_ns))
    return found
