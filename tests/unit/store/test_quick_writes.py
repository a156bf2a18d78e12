# SPDX-License-Identifier: Apache-2.0
"""Small transactions of an SQLite file: all of one or nothing, and what goes wrong is left to others."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.errors import ProviderUnavailable
from tidegate.store.sql.quick_writes import Execute, QuickWrites
from tidegate.store.watched_file import WatchedFile


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "a #1.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        yield path


def rows(path: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT n FROM t ORDER BY n")]


def insert(*numbers: int) -> Callable[[Execute], int]:
    def work(execute: Execute) -> int:
        for number in numbers:
            execute("INSERT INTO t (n) VALUES (?)", number)
        return sum(numbers)

    return work


async def test_all_or_nothing(file: Path) -> None:
    watched = WatchedFile(str(file), "file")
    watched.opened()
    quick = QuickWrites(str(file), watched)
    assert await quick.run(insert(1, 2)) == (3,)
    assert await quick.run(insert(3, 1)) is None
    assert rows(file) == [1, 2]
    assert await quick.run(insert(4)) == (4,)
    assert rows(file) == [1, 2, 4]
    file.rename(file.with_name("elsewhere"))
    with pytest.raises(ProviderUnavailable):
        await quick.run(insert(5))
    await quick.close()


async def test_who_gives_up_waits_for_the_end_of_the_transaction(file: Path) -> None:
    watched = WatchedFile(str(file), "file")
    quick = QuickWrites(str(file), watched)
    begun, go_on = threading.Event(), threading.Event()

    def slow(execute: Execute) -> None:
        begun.set()
        go_on.wait(10)
        execute("INSERT INTO t (n) VALUES (1)")

    task = asyncio.create_task(quick.run(slow))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rows(file) == [1]
    await quick.close()
