# SPDX-License-Identifier: Apache-2.0
"""Databases of SFTPGo that are damaged, or not quite SFTPGo's: a record's mistake stays its own, no secret shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.moved import move_stream

from tidegate.errors import ProviderError
from tidegate.store.imports.sftpgo_tables import read_sftpgo

USERS = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT, password TEXT, public_keys TEXT, home_dir TEXT, "
    "uid INTEGER, gid INTEGER, permissions TEXT, status INTEGER, expiration_date INTEGER, filesystem TEXT)"
)
PERSON = "INSERT INTO users VALUES (?, ?, '', NULL, '/srv/x', 0, 0, '{\"/\": [\"*\"]}', 1, 0, '')"


def database(tmp_path: Path, schema: int, fill: Callable[[sqlite3.Connection], object]) -> str:
    with closing(sqlite3.connect(tmp_path / "sftpgo.db")) as connection:
        connection.execute("CREATE TABLE schema_version (id INTEGER PRIMARY KEY, version INTEGER)")
        connection.execute("INSERT INTO schema_version VALUES (1, ?)", (schema,))
        connection.execute(USERS)
        connection.executemany(PERSON, [(1, "ana"), (2, "bea")])
        fill(connection)
        connection.commit()
    return f"sqlite:{tmp_path}/sftpgo.db"


async def test_text_that_is_no_utf8_is_a_mistake_of_its_record_and_shows_no_secret(tmp_path: Path) -> None:
    secret = b'{"provider": 1, "s3config": {"access_secret": "hush"}, "\xe9": 1}'
    update = "UPDATE users SET filesystem = CAST(? AS TEXT) WHERE username = 'bea'"
    source = database(tmp_path, 2, lambda connection: connection.execute(update, (secret,)))

    found = await read_sftpgo(source)
    with found.dump as dump:
        moved = await move_stream(dump, leave_out=True)

    assert "ana" in moved.users
    assert "hush" not in str(moved.notes)


async def test_a_table_without_a_column_that_is_needed_is_an_error(tmp_path: Path) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        for table in ("folders", "folders_mapping", "admins", "api_keys", "shares"):
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO folders_mapping VALUES (1)")

    with pytest.raises(ProviderError, match="a table lacks its column user_id"):
        await read_sftpgo(database(tmp_path, 14, fill))


async def test_a_schema_that_no_release_has_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="SFTPGo never made its tables"):
        await read_sftpgo(database(tmp_path, -5, lambda _: None))
