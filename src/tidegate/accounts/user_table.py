# SPDX-License-Identifier: Apache-2.0
"""Tables of users as CSV (RFC 4180): read with bounds, each mistake by its row and column.

Rows are numbered as a spreadsheet shows them, the heading being row 1. Nothing here is judged against records
that exist; `accounts.bulk` does that.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.accounts.typed_values import read_end, read_size
from tidegate.errors import BadRecord

MAX_ROWS: Final = 2_000
"""Users of one table."""
MAX_TABLE_BYTES: Final = 512 * 1024
"""Longest table."""
MAX_MISTAKES: Final = 1_000
"""Mistakes that are told; reading ends there."""
MAX_CELL_CHARS: Final = 16_384

Document = dict[str, Any]

_STATES: Final = {
    "": 1, "1": 1, "yes": 1, "true": 1, "enabled": 1, "0": 0, "no": 0, "false": 0, "disabled": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake.

    Attributes:
        row: as a spreadsheet numbers it; 0 for the table as a whole.
        column: name in the heading, empty for the row as a whole.
        what: what is wrong.
    """

    row: int
    column: str
    what: str

    def __str__(self) -> str:
        place = f"row {self.row}" if self.row else "the table"
        return f"{place}, {self.column}: {self.what}" if self.column else f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One user of a table.

    Attributes:
        number: of the row.
        document: fields that the row gives.
        filters: likewise of ``filters``.
        template: name of the account whose settings are taken; empty for none.
        given: columns that have a value.
    """

    number: int
    document: Document
    filters: Document
    template: str
    given: frozenset[str]


@dataclass(slots=True)
class UserTable:
    """A table that was read.

    Attributes:
        rows: users without a mistake so far.
        mistakes: found by reading.
    """

    rows: list[TableRow] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


# --- cells --------------------------------------------------------------------------------------------------


def _number(text: str) -> int:
    plain = text.replace(",", "").replace("_", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 19):
        raise ValueError("is no whole number")
    return int(plain)


def _state(text: str) -> int:
    if text.lower() not in _STATES:
        raise ValueError("is neither enabled (1, yes) nor disabled (0, no)")
    return _STATES[text.lower()]


def _parts(text: str) -> list[str]:
    """The parts of a cell that holds several: one a line, or divided by ``|``."""
    return [part.strip() for part in text.replace("\n", "|").split("|") if part.strip()]


def _networks(text: str) -> list[str]:
    return text.replace(",", " ").replace("|", " ").split()


def _permissions(text: str) -> dict[str, list[str]]:
    """``/:list,download|/in:upload``; names alone are those of ``/``."""
    found: dict[str, list[str]] = {}
    for part in _parts(text):
        path, colon, names = part.rpartition(":")
        if not colon:
            path = "/"
        if path in found:
            raise ValueError(f"names {path} twice")
        found[path] = [name.strip() for name in names.split(",") if name.strip()]
    return found


def _groups(kind: int) -> Callable[[str], list[dict[str, Any]]]:
    return lambda text: [{"name": name, "type": kind} for name in _parts(text)]


def _text(text: str) -> str:
    return text


_Reader = Callable[[str], Any]
_COLUMNS: Final[dict[str, tuple[str, _Reader, str]]] = {
    "username": ("username", _text, "the name; the only column that has to be there"),
    "password": ("password", _text, "plain, or a hash that is known here; empty for none"),
    "public_keys": ("public_keys", _parts, "keys as OpenSSH writes them"),
    "template": ("", _text, "an account whose settings are taken, but for name, password, keys, home"),
    "group": ("groups", _groups(1), "the primary group"),
    "groups": ("groups", _groups(2), "further groups"),
    "role": ("role", _text, "the role"),
    "email": ("email", _text, "a mail address"),
    "description": ("description", _text, "a text"),
    "status": ("status", _state, "enabled (also 1, yes; so is an empty cell) or disabled (0, no)"),
    "expires": ("expiration_date", read_end, "the last day, such as 2027-03-31, or a time in UTC"),
    "home_dir": ("home_dir", _text, "the home; empty for the usual place"),
    "permissions": ("permissions", _permissions, "such as /:list,download and /in:upload; empty for all"),
    "quota_size": ("quota_size", read_size, "such as 10 GB or 512 MiB"),
    "quota_files": ("quota_files", _number, "files"),
    "max_sessions": ("max_sessions", _number, "connections at a time"),
    "upload_bandwidth": ("upload_bandwidth", _number, "KB/s"),
    "download_bandwidth": ("download_bandwidth", _number, "KB/s"),
    "uid": ("uid", _number, "owner of new files"),
    "gid": ("gid", _number, "group of new files"),
    "allowed_ip": ("filters.allowed_ip", _networks, "networks that may log in"),
}  # fmt: skip
"""Columns: the field, how a cell is read, and what it holds."""

COLUMNS: Final = {name: help_ for name, (_, _, help_) in _COLUMNS.items()}
"""Names of columns, each with what its cells hold."""
SEVERAL: Final = frozenset(name for name, (_, read, _) in _COLUMNS.items() if read in (_parts, _permissions))
"""Columns whose cells hold several things, one a line or divided by ``|``."""


def column_of(place: str) -> str:
    """The column that a field of a document comes from; the field itself if it is none of a column."""
    best = ""
    for name, (path, _, _) in _COLUMNS.items():
        inside = place == path or place.startswith((f"{path}.", f"{path}["))
        if path and inside and (not best or name == place):
            best = name
    return best or place


def fields_of(column: str) -> str:
    """The field that a column gives, empty for none."""
    return _COLUMNS[column][0] if column in _COLUMNS else ""


# --- reading ------------------------------------------------------------------------------------------------


def decode_table(content: bytes) -> str:
    """The text of a table.

    Raises:
        BadRecord: it is too long, or no UTF-8: says where.
    """
    if len(content) > MAX_TABLE_BYTES:
        raise BadRecord("", f"the table is longer than {MAX_TABLE_BYTES} bytes")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadRecord("", "the table is UTF-16; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise BadRecord(
            f"line {line}", f"the byte 0x{byte:02x} is no UTF-8; save the table as CSV in UTF-8"
        ) from None


def read_table(text: str) -> UserTable:
    """The users of a table. Its first row names the columns; ``,`` or ``;`` divides them."""
    found = UserTable()
    if len(text.encode("utf-8", "replace")) > MAX_TABLE_BYTES:
        found.mistakes.append(Mistake(0, "", f"longer than {MAX_TABLE_BYTES} bytes"))
        return found
    text = text.removeprefix("\ufeff")
    heading = text.partition("\n")[0]
    separator = ";" if heading.count(";") > heading.count(",") else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 1
    try:
        columns = _heading(next(rows, []), found)
        if not columns:
            return found
        for number, cells in enumerate(rows, 2):
            if len(found.mistakes) >= MAX_MISTAKES:
                found.mistakes.append(Mistake(0, "", "there are more mistakes; they are not told"))
                break
            if not any(cell.strip() for cell in cells):
                continue
            if len(found.rows) >= MAX_ROWS:
                found.mistakes.append(Mistake(number, "", f"is more than {MAX_ROWS} users"))
                break
            if len(cells) != len(columns):
                what = f"has {len(cells)} cells, the heading has {len(columns)}"
                found.mistakes.append(Mistake(number, "", what))
            else:
                _row(number, dict(zip(columns, cells, strict=True)), found)
    except csv.Error as error:
        found.mistakes.append(Mistake(number + 1, "", f"is no CSV: {error}"))
    if not found.rows and not found.mistakes:
        found.mistakes.append(Mistake(0, "", "has no users"))
    return found


def _heading(cells: list[str], found: UserTable) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if not any(names):
        found.mistakes.append(Mistake(1, "", "should name the columns"))
        return []
    if len(names) > len(_COLUMNS):
        what = f"has {len(names)} columns; there are {len(_COLUMNS)}: {', '.join(_COLUMNS)}"
        found.mistakes.append(Mistake(1, "", what))
        return []
    for index, name in enumerate(names):
        if name not in _COLUMNS:
            near = difflib.get_close_matches(name, _COLUMNS, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; there are {', '.join(_COLUMNS)}"
            found.mistakes.append(Mistake(1, name[:60], f"is no column{hint}"))
        elif name in names[:index]:
            found.mistakes.append(Mistake(1, name, "stands here twice"))
    if "username" not in names:
        found.mistakes.append(Mistake(1, "username", "is missing"))
    return names


def _row(number: int, cells: dict[str, str], found: UserTable) -> None:
    before = len(found.mistakes)
    made = TableRow(number, {}, {}, cells.get("template", "").strip(), _given(cells))
    if not cells.get("username", "").strip():
        found.mistakes.append(Mistake(number, "username", "is empty"))
    for name, value in _values(number, cells, found):
        path = _COLUMNS[name][0]
        if not path:
            continue
        if path.startswith("filters."):
            made.filters[path.removeprefix("filters.")] = value
        elif path == "groups":
            made.document.setdefault("groups", []).extend(value)
        else:
            made.document[path] = value
    if len(found.mistakes) == before:
        found.rows.append(made)


def _given(cells: dict[str, str]) -> frozenset[str]:
    return frozenset(name for name, cell in cells.items() if cell.strip())


def _values(number: int, cells: dict[str, str], found: UserTable) -> Iterator[tuple[str, Any]]:
    for name, cell in cells.items():
        if name not in _COLUMNS or not cell.strip():
            continue
        if len(cell) > MAX_CELL_CHARS:
            found.mistakes.append(Mistake(number, name, f"is longer than {MAX_CELL_CHARS} characters"))
            continue
        # Blanks around a password are a part of it.
        text = cell.replace("\r\n", "\n") if name == "password" else cell.replace("\r\n", "\n").strip()
        try:
            yield name, _COLUMNS[name][1](text)
        except ValueError as error:
            shown = f"{text[:40]!r} " if name != "password" else ""
            found.mistakes.append(Mistake(number, name, f"{shown}{error}"))
