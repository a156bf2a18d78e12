# SPDX-License-Identifier: Apache-2.0
"""Recognises a database of SFTPGo, so that the operator hears what it is and not which column is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sqla
from sqlalchemy import Connection

from tidegate.store.file_kind import DUMP_IT, kind_of_file

_OWN: Final = (
    "it is left untouched; give Tidegate a database of its own (data_provider.name) and bring the accounts "
    "over"
)

_OLD_USERS: Final = frozenset({"username", "public_keys", "home_dir", "permissions", "last_quota_update"})
"""Columns of SFTPGo's table of users in all releases."""
_OUR_USERS: Final = "usage_dirty"
"""A column of our own table, which has the others too."""


def foreign_schema(connection: Connection, version_table: str, users_table: str = "") -> str:
    """The sentence about an SQL database with SFTPGo's tables; empty for any other.

    Args:
        connection: to the database.
        version_table: name of the table of the schema version, SFTPGo's and ours.
        users_table: name of the table of users, by which a database older than such numbers is known; empty
            if that may be somebody else's.
    """
    inspector = sqla.inspect(connection)
    if inspector.has_table(version_table):
        columns = {column["name"] for column in inspector.get_columns(version_table)}
        foreign, which = "version" in columns and "version_num" not in columns, version_table
    elif users_table and inspector.has_table(users_table):
        columns = {column["name"] for column in inspector.get_columns(users_table)}
        foreign, which = columns >= _OLD_USERS and _OUR_USERS not in columns, users_table
    else:
        return ""
    if not foreign:
        return ""
    return (
        f"this is an SFTPGo database (it has SFTPGo's table {which}): {_OWN}: "
        f"tidegate import sftpgo --from {_source(connection)}"
    )


def _source(connection: Connection) -> str:
    """The database as ``import sftpgo --from`` takes it, without a password."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return f"sqlite:{connection.engine.url.database}"
    return f"{'postgresql' if dialect == 'postgresql' else 'mysql'}://USER@HOST/NAME"


def foreign_file(path: Path) -> str:
    """The sentence about a bbolt file, which is what SFTPGo's driver `bolt` writes; empty for any other."""
    try:
        foreign = kind_of_file(path) == "bolt"
    except OSError:
        return ""
    return f"this is an SFTPGo database (a bbolt file): {_OWN}: {DUMP_IT}" if foreign else ""
