# SPDX-License-Identifier: Apache-2.0
"""Files for ``--report``: what became of each record, as JSON or CSV by the name of the file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tidegate.errors import InvalidArgument
from tidegate.model.spreadsheet import cell

SUFFIXES: Final = (".json", ".csv")


def require_report(path: Path | None) -> None:
    """Return if a report can be written there; asked before the work, which may be long.

    Raises:
        InvalidArgument: the name says neither JSON nor CSV, or the directory does not exist.
    """
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise InvalidArgument(f"--report: {path.name} should end in {' or '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise InvalidArgument(f"--report: {path.absolute().parent} is no directory")


def write_report(path: Path, document: Any, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a report for its owner alone.

    Args:
        path: ends in .csv for the rows under their columns, else the document is written as JSON.
        document: for JSON.
        columns: for CSV.
        rows: for CSV.

    Raises:
        InvalidArgument: the file cannot be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if path.suffix == ".csv":
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows([cell(text) for text in row] for row in rows)
            else:
                json.dump(document, file, indent=1)
                file.write("\n")
    except OSError as error:
        raise InvalidArgument(f"--report: {path}: {error.strerror}") from None
