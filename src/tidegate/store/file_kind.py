# SPDX-License-Identifier: Apache-2.0
"""Databases in a file that are told by their first bytes, and what to do with those of SFTPGo."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, Literal

_SQLITE: Final = b"SQLite format 3\0"
_BBOLT: Final = 0xED0CDAED
"""Magic number of a bbolt file, in the first meta page behind a page header of 16 bytes."""

DUMP_IT: Final = (
    "make a dump with the running SFTPGo, GET /api/v2/dumpdata?output-data=1 in 2.x or "
    "/api/v1/dumpdata?output_file=NAME in 0.9.5 to 1.x, then: tidegate import sftpgo DUMP"
)
"""The way to the accounts of a file that only SFTPGo reads."""


def kind_of_file(path: Path) -> Literal["sqlite", "bolt", ""]:
    """``sqlite``, ``bolt`` for what SFTPGo's driver of that name writes, or nothing that is known.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(20)
    if head.startswith(_SQLITE):
        return "sqlite"
    if len(head) == 20 and struct.unpack_from("<I", head, 16)[0] == _BBOLT:
        return "bolt"
    return ""


def only_sftpgo(file: Path) -> str:
    """The sentence about a bolt file."""
    return f"{file} is a bolt database, which only SFTPGo reads; {DUMP_IT}"
