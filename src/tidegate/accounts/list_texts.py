# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses as texts: CSV, one network a line, and files of TCP wrappers (hosts_access(5))."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.accounts.lists import decode_entry, ends_at
from tidegate.errors import BadRecord, BadRecords, InvalidArgument
from tidegate.model.host_patterns import networks_of_pattern
from tidegate.model.listed import PROTOCOLS, ListEntry, ListKind, ListMode

KINDS: Final = {"allow": 1, "safe": 2, "block": 2, "rate-safe": 3}
"""Names of lists, each with the number of its kind."""
COLUMNS: Final = ("list", "network", "protocols", "until", "description")
"""Columns of the CSV form."""
MAX_LINES: Final = 1_000_000
DAEMONS: Final = {
    "ALL": "",
    "sshd": "SSH",
    "sftpd": "SSH",
    "ftpd": "FTP",
    "in.ftpd": "FTP",
    "proftpd": "FTP",
    "pure-ftpd": "FTP",
    "vsftpd": "FTP",
    "wu-ftpd": "FTP",
}
"""Programs that files of TCP wrappers name, each with the protocol here; empty is all."""

Numbered = tuple[int, Mapping[str, Any]]
"""A document of an entry and the number of its line."""

_COLON: Final = re.compile(r"(?<!\\):(?![^\[]*\])")
"""A colon that separates fields: not behind a backslash, not in the brackets of an IPv6 address."""


@dataclass(frozen=True, slots=True)
class ReadList:
    """Entries of a text.

    Attributes:
        entries: that are checked, by name.
        left_out: of a file of TCP wrappers, what lists of addresses cannot say, each with its line.
    """

    entries: tuple[ListEntry, ...]
    left_out: tuple[str, ...] = ()


def kind_of(which: str) -> int:
    """The number of a list.

    Raises:
        InvalidArgument: there is none of this name.
    """
    if which not in KINDS:
        raise InvalidArgument(f"{which!r} is no list; there are {', '.join(KINDS)}")
    return KINDS[which]


def document_of(row: tuple[str, ...]) -> dict[str, Any]:
    """The document of an entry, from the columns of the CSV form.

    Raises:
        InvalidArgument, BadRecord: list, protocol or date are none.
    """
    which, network, protocols, until, description = row
    bits = 0
    for name in filter(None, (part.strip() for part in protocols.split(","))):
        if name.upper() not in PROTOCOLS:
            raise InvalidArgument(f"{name!r} is no protocol; there are {', '.join(PROTOCOLS)}")
        bits |= PROTOCOLS[name.upper()]
    return {
        "type": kind_of(which),
        "ipornet": network,
        "mode": 2 if which == "block" else 1,
        "protocols": bits,
        "description": description,
        "expires_at": ends_at(until, "until"),
    }


def row_of(entry: ListEntry) -> tuple[str, ...]:
    """The columns of an entry."""
    names = {int(ListKind.ALLOW): "allow", int(ListKind.RATE_SAFE): "rate-safe"}
    which = names.get(entry.type) or ("block" if entry.mode == ListMode.DENY else "safe")
    protocols = ",".join(name for name, bit in PROTOCOLS.items() if entry.protocols & bit)
    return which, entry.ipornet, protocols, date_of(entry.expires_at), entry.description


def date_of(milliseconds: int) -> str:
    """A time as `ends_at` reads it; empty for 0."""
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_csv(entries: Iterable[ListEntry]) -> Iterator[str]:
    """The lines of the CSV form, the heading first; bans are left out. No cell is a formula."""
    from tidegate.model.spreadsheet import escape_cell  # no server needs it to start

    out = io.StringIO()
    writer = csv.writer(out)
    for row in (COLUMNS, *(row_of(entry) for entry in entries if entry.type != ListKind.BAN)):
        writer.writerow([escape_cell(text) for text in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def read_csv(text: str) -> ReadList:
    """Entries of a text in the CSV form.

    Raises:
        BadRecords: with every wrong line.
    """
    from tidegate.model.spreadsheet import unescape_cell

    rows = csv.reader(io.StringIO(text))
    head = tuple(name.strip().lower() for name in next(rows, []))
    if head != COLUMNS:
        raise BadRecord("line 1", f"should be {','.join(COLUMNS)}")

    def documents() -> Iterator[Numbered | BadRecord]:
        try:
            for row in rows:
                if not row:
                    continue
                if len(row) != len(COLUMNS):
                    yield BadRecord(f"line {rows.line_num}", f"{len(COLUMNS)} columns are needed")
                    continue
                try:
                    yield rows.line_num, document_of(tuple(unescape_cell(text.strip()) for text in row))
                except (BadRecord, InvalidArgument) as error:
                    yield BadRecord(f"line {rows.line_num}", str(error))
        except csv.Error as error:
            yield BadRecord(f"line {rows.line_num}", str(error))

    return ReadList(_checked(documents()))


def read_networks(text: str, which: str) -> ReadList:
    """Entries of a text with one network a line; ``#`` and ``;`` begin comments.

    Raises:
        InvalidArgument: there is no such list.
        BadRecords: with every wrong line.
    """
    kind_of(which)
    lines = (
        (number, line.partition("#")[0].partition(";")[0].strip())
        for number, line in enumerate(text.splitlines(), 1)
    )
    return ReadList(
        _checked((number, document_of((which, line, "", "", ""))) for number, line in lines if line)
    )


def _checked(documents: Iterable[Numbered | BadRecord]) -> tuple[ListEntry, ...]:
    problems: list[BadRecord] = []
    entries: dict[str, ListEntry] = {}
    for count, found in enumerate(documents, 1):
        if count > MAX_LINES:
            problems.append(BadRecord("", f"there are more than {MAX_LINES} entries"))
            break
        if isinstance(found, BadRecord):
            problems.append(found)
            continue
        try:
            entry = decode_entry(found[1], where=f"line {found[0]}: ")
        except BadRecord as error:
            problems.append(error)
        else:
            entries[entry.name] = entry
    if problems:
        raise BadRecords(problems[0].field, problems[0].what, [str(one) for one in problems])
    return tuple(entries.values())


# -- TCP wrappers ------------------------------------------------------------------------------------------


def read_wrappers(text: str, which: str) -> ReadList:
    """Entries of a hosts.allow or hosts.deny; what addresses cannot say is left out and told.

    Raises:
        InvalidArgument: there is no such list.
    """
    kind_of(which)
    entries: dict[str, ListEntry] = {}
    left_out: list[str] = []
    for number, line in _joined(text):
        fields = [field.strip() for field in _COLON.split(line)]
        if len(fields) < 2:
            left_out.append(f"line {number}: there is no client list")
            continue
        wanted = "DENY" if which == "block" else "ALLOW"
        for option in fields[2:]:
            word = option.split(maxsplit=1)[0].upper() if option else ""
            if word in ("ALLOW", "DENY") and word != wanted:
                left_out.append(f"line {number}: {word} is not for the list {which}")
                break
            if word and word != wanted:
                left_out.append(f"line {number}: {option[:80]!r} is not done; the addresses are taken")
        else:
            protocols = _protocols(fields[0], number, left_out)
            for network in _clients(fields[1], number, left_out) if protocols is not None else ():
                description = f"{fields[0]} : {fields[1]}"[:200]
                document = document_of((which, network, protocols or "", "", description))
                entry = decode_entry(document)
                entries[entry.name] = entry
    return ReadList(tuple(entries.values()), tuple(left_out))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with a number, those that go on after a backslash joined; without comments and empty ones."""
    begun, number = "", 0
    for current, line in enumerate(text.splitlines(), 1):
        if not begun:
            number = current
        begun += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        stripped = begun.strip()
        begun = ""
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _protocols(daemons: str, number: int, left_out: list[str]) -> str | None:
    """Protocols of a list of daemons, empty for all; None if none of ours is among them."""
    words = daemons.replace(",", " ").split()
    if any(word.upper() == "EXCEPT" for word in words):
        left_out.append(f"line {number}: EXCEPT among daemons")
        return None
    found: set[str] = set()
    for word in words:
        name = "ALL" if word.upper() == "ALL" else word
        if name in DAEMONS:
            found.add(DAEMONS[name])
        else:
            left_out.append(f"line {number}: {word[:80]!r} is no server of files")
    if not found:
        return None
    return "" if "" in found else ",".join(sorted(found))


def _clients(clients: str, number: int, left_out: list[str]) -> list[str]:
    """Networks of a client list, in CIDR notation."""
    words = clients.replace(",", " ").split()
    if any(word.upper() == "EXCEPT" for word in words):
        left_out.append(f"line {number}: EXCEPT among clients")
        return []
    found: list[str] = []
    for word in words:
        try:
            found += map(str, networks_of_pattern(word))
        except ValueError as error:
            left_out.append(f"line {number}: {error}")
    return found
