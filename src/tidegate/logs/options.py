# SPDX-License-Identifier: Apache-2.0
"""Options of the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["trace", "debug", "info", "warn", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Target and form of the log.

    Attributes:
        file_path: the log file; ``-`` is standard error, empty logs nothing.
        max_size: megabytes after which the file is rotated; 0 never by size.
        max_backups: rotated files that are kept; 0 keeps all.
        max_age: days that rotated files are kept; 0 for ever.
        compress: gzip rotated files.
        level: least level that is written; ``trace`` is ``debug`` and a line for each request of a protocol.
            Lines about logins are written at level ``info`` too, though they are marked ``debug`` for the
            tools that look for them.
    """

    file_path: str = ""
    max_size: int = 10
    max_backups: int = 5
    max_age: int = 28
    compress: bool = False
    level: Level = "info"
