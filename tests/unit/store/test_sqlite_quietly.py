# SPDX-License-Identifier: Apache-2.0
"""Somebody else's SQLite file is read whatever state it is in, and nothing is written to it or beside it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sqla
from tests.support.moved import HASH, Moved, move_stream
from tests.support.sftpgo_database import Filler

from tidegate.errors import InvalidArgument, ProviderError, ProviderUnavailable
from tidegate.store.imports import sqlite_quietly
from tidegate.store.imports.sftpgo_tables import read_sftpgo


def person(name: str) -> dict[str, object]:
    return {
        "username": name,
        "status": 1,
        "password": HASH,
        "home_dir": "/srv/x",
        "permissions": {"/": ["*"]},
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with one user, in a directory of its own with an awkward name."""
    place = tmp_path / "a b%20?#é"
    place.mkdir()
    file = place / "sftpgo.db"
    engine = sqla.create_engine(f"sqlite:///{tmp_path}/made.db")
    with engine.begin() as connection:
        Filler(connection, 33).fill({"users": [person("ana")]})
    engine.dispose()
    (tmp_path / "made.db").rename(file)
    return file


@contextlib.contextmanager
def opened(file: Path, *statements: str) -> Iterator[sqlite3.Connection]:
    """A connection of the database's own server."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection


def state(file: Path) -> dict[str, tuple[bytes, int]]:
    """The files of the directory, with their times."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in file.parent.iterdir()}


async def moved(file: Path) -> Moved:
    found = await read_sftpgo(f"sqlite:{file}")
    with found.dump as dump:
        return await move_stream(dump)


RENAME = "UPDATE users SET username = 'bea'"


async def test_a_file_at_rest(file: Path) -> None:
    before = state(file)
    assert set((await moved(file)).users) == {"ana"}
    assert state(file) == before


async def test_a_file_that_a_server_has_open_and_is_about_to_change(file: Path) -> None:
    with opened(file, "BEGIN IMMEDIATE", RENAME):
        before = state(file)
        assert set((await moved(file)).users) == {"ana"}
        assert state(file) == before


async def test_a_live_file_with_a_write_ahead_log(file: Path) -> None:
    with opened(file, "PRAGMA journal_mode=WAL", RENAME) as server:
        server.execute("BEGIN IMMEDIATE")
        server.execute("UPDATE users SET username = 'cyd'")
        before = state(file)
        assert set(before) == {"sftpgo.db", "sftpgo.db-wal", "sftpgo.db-shm"}
        assert set((await moved(file)).users) == {"bea"}
        assert state(file) == before


async def test_a_file_with_a_write_ahead_log_that_was_closed(file: Path) -> None:
    with opened(file, "PRAGMA journal_mode=WAL", RENAME):
        pass
    before = state(file)
    assert set(before) == {"sftpgo.db"}
    assert set((await moved(file)).users) == {"bea"}
    assert state(file) == before


async def test_a_log_without_a_server(file: Path) -> None:
    """As after a crash: the log holds what the file does not."""
    code = f"import sqlite3, os; c = sqlite3.connect({str(file)!r}, isolation_level=None)\n"
    code += f'c.execute("PRAGMA journal_mode=WAL"); c.execute("{RENAME}"); os._exit(0)'
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    before = state(file)
    assert {"sftpgo.db", "sftpgo.db-wal"} <= set(before)
    assert set((await moved(file)).users) == {"bea"}
    assert state(file) == before


async def test_a_copy_with_the_log_and_without_the_index(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "sftpgo.db"
    copy.parent.mkdir()
    with opened(file, "PRAGMA journal_mode=WAL", RENAME):
        shutil.copy(file, copy)
        shutil.copy(f"{file}-wal", f"{copy}-wal")
    before = state(copy)
    assert set((await moved(copy)).users) == {"bea"}
    assert state(copy) == before


async def test_a_file_that_is_locked_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_quietly, "BUSY_MS", 50)
    with (
        opened(file, "BEGIN EXCLUSIVE", RENAME),
        pytest.raises(ProviderUnavailable, match=r"sftpgo.db: is locked by a writer"),
    ):
        await moved(file)


async def test_a_change_that_was_cut_off_is_not_taken_for_the_truth(file: Path) -> None:
    code = f"import sqlite3, os; c = sqlite3.connect({str(file)!r}, isolation_level=None)\n"
    code += (
        'c.execute("PRAGMA cache_size=1"); c.execute("PRAGMA cache_spill=1"); c.execute("BEGIN IMMEDIATE")\n'
    )
    code += (
        "c.execute(\"UPDATE users SET username = 'bea', home_dir = hex(randomblob(200000))\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    before = state(file)
    assert "sftpgo.db-journal" in before
    with pytest.raises(ProviderError, match="has to be rolled back, which is writing"):
        await moved(file)
    assert state(file) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "bolt.db",
            b"\0" * 16 + b"\xed\xda\x0c\xed" + b"\0" * 4096,
            "is a bolt database, which only SFTPGo reads; make",
        ),
        ("text", b"hello", "text is not an SQLite database"),
        ("empty", b"", "empty is not an SQLite database"),
    ],
)
async def test_other_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidArgument, match=said):
        await read_sftpgo(f"sqlite:{tmp_path / name}")


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"none\.db: No such file"):
        await read_sftpgo(f"sqlite:{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


async def test_our_own_and_strange_databases_are_not_taken_for_sftpgo(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours.db", tmp_path / "other.db"
    with opened(ours, "CREATE TABLE schema_version (version_num varchar(32))"):
        pass
    with opened(other, "CREATE TABLE users (id integer, username text)"):
        pass
    with pytest.raises(ProviderError, match="is a database of Tidegate"):
        await read_sftpgo(f"sqlite:{ours}")
    with pytest.raises(ProviderError, match=r"has no column password, public_keys.* not of SFTPGo"):
        await read_sftpgo(f"sqlite:{other}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("oracle://x", "is not sqlite:FILE, postgresql"),
        ("sqlite:", "is not sqlite:FILE, postgresql"),
        ("bolt:/x/sftpgo.db", "/x/sftpgo.db is a bolt database, which only SFTPGo reads"),
        ("mysql://u:hidden@host:port/x", "is not mysql://user"),
        ("postgresql://u:hidden@h/x?nonsense=1", "is not a postgresql URL"),
    ],
)
async def test_what_names_no_database_is_refused_without_its_password(source: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as caught:
        await read_sftpgo(source)
    assert "hidden" not in str(caught.value)
