# SPDX-License-Identifier: Apache-2.0
"""Recognises a database of SFTPGo, so that the operator hears what it is and not which column is missing."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import sqlalchemy as sqla
from sqlalchemy import Connection

_BBOLT: Final = 0xED0CDAED
"""Magic number of a bbolt file, in the first meta page behind a page header of 16 bytes."""

WAY_OUT: Final = (
    "it is left untouched; give Tidegate a database of its own (data_provider.name) and bring the accounts "
    "over: a dump made by SFTPGo, then tidegate loaddata FILE"
)


def foreign_schema(connection: Connection, version_table: str) -> str:
    """The sentence about an SQL database with SFTPGo's tables; empty for any other."""
    inspector = sqla.inspect(connection)
    if not inspector.has_table(version_table):
        return ""
    columns = {column["name"] for column in inspector.get_columns(version_table)}
    if "version_num" in columns or "version" not in columns:
        return ""
    return f"this is an SFTPGo database (it has SFTPGo's table {version_table}): {WAY_OUT}"


def foreign_file(path: Path) -> str:
    """The sentence about a bbolt file, which is what SFTPGo's driver `bolt` writes; empty for any other."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return ""
    if len(head) < 20 or struct.unpack_from("<I", head, 16)[0] != _BBOLT:
        return ""
    return f"this is an SFTPGo database (a bbolt file): {WAY_OUT}"
