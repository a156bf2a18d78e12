# SPDX-License-Identifier: Apache-2.0
"""Shared by all importers: results, bounded reading, lines of colon-separated fields, foreign hashes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord
from tidegate.model import Account
from tidegate.model.group import Group
from tidegate.store.validate import MAX_ID, check_account, looks_hashed

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""Largest file read; about half a million accounts."""
MAX_LINE_CHARS: Final = 16 * 1024
"""Longest line."""
MAX_PROBLEMS: Final = 1000
"""Mistakes reported from one source; reading stops there."""
DAY_MS: Final = 86_400_000

ALL_PERMISSIONS: Final = {"/": ("*",)}
"""For sources that leave permissions to file modes: the gate grants everything below the home."""

_DES: Final = re.compile(r"[./A-Za-z0-9]{13}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNCHECKABLE: Final = ("$2x$", "$scrypt$", "$argon2d$")


@dataclass(frozen=True, slots=True)
class Imported:
    """One account of a source.

    Attributes:
        account: checked, as it would be added.
        says: fields that the source determines, ``filters.x`` for those of filters; an update of an
            existing account changes these and no others.
        notes: what the source says and Tidegate does not keep, one sentence each.
        where: place in the source, for instance ``passwd:12``.
    """

    account: Account
    says: frozenset[str]
    notes: tuple[str, ...] = ()
    where: str = ""


@dataclass(slots=True)
class Harvest:
    """The content of a source.

    Attributes:
        accounts: in the order of the source.
        groups: checked; each account's `groups` names some of them.
        problems: mistakes, each with its place. An import with problems is not stored.
        notes: about the source as a whole.
        skipped: records left out on purpose (outside the range of ids, for instance).
        source: kind of the source, kept with each account that comes from it.
    """

    accounts: list[Imported] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    problems: list[BadRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    source: str = ""
    _names: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def full(self) -> bool:
        """True if so much is wrong that reading on is pointless."""
        return len(self.problems) >= MAX_PROBLEMS

    def problem(self, where: str, what: str) -> None:
        """Report a mistake."""
        if not self.full:
            self.problems.append(BadRecord(where, what))

    def add(self, where: str, account: Account, says: set[str], notes: list[str], rules: Rules) -> None:
        """Take an account, or report what is wrong with it."""
        try:
            checked = check_account(account, rules)
        except BadRecord as error:
            self.problem(where, str(error))
            return
        if checked.home_dir == "/":
            self.problem(where, f"user {checked.username!r} has the home '/': that is the whole host")
        elif checked.username in self._names:
            self.problem(
                where, f"user {checked.username!r} stands in {self._names[checked.username]} already"
            )
        else:
            self._names[checked.username] = where
            self.accounts.append(Imported(checked, frozenset(says), tuple(notes), where))


class Adopted(NamedTuple):
    """A foreign password field: the hash to store (may be empty), whether it was locked, and a note."""

    stored: str
    locked: bool = False
    note: str = ""


def adopt_hash(text: str) -> Adopted:
    """The stored form of the password field of a passwd-like file. Never takes a field for plain text.

    Raises:
        BadRecord: the field is neither a known hash nor a known way to say that there is none.
    """
    if text.startswith("!"):
        return Adopted("", locked=True, note="locked: imported disabled and without its password")
    if text in ("", "x", "*", "*LK*", "NP", "*NP*"):
        return Adopted("", note="has no password")
    if text.startswith("*"):
        return Adopted("", locked=True, note="locked: imported disabled and without its password")
    if text.startswith(_UNCHECKABLE):
        return Adopted(
            "", note=f"hashes of kind {text[: text.index('$', 1) + 1]} cannot be checked: no password"
        )
    if looks_hashed(text):
        return Adopted(text)
    if _DES.fullmatch(text):
        return Adopted("{CRYPT}" + text, note="traditional DES hash: only 8 characters of the password count")
    raise BadRecord("password", "neither a hash of a known kind nor a locked password")


def read_text(path: Path) -> str:
    """The content of a file to import. Blocks.

    Raises:
        BadRecord: it cannot be read, is too large or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadRecord(str(path), f"larger than {MAX_FILE_BYTES} bytes")
        return data.decode()
    except OSError as error:
        raise BadRecord(str(path), error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise BadRecord(str(path), f"not UTF-8 at byte {error.start}") from None


def records(
    text: str, name: str, least: int, most: int, harvest: Harvest, *, form: str
) -> Iterator[tuple[str, list[str]]]:
    """The colon-separated lines of a file that have a right number of fields; others become problems.

    Args:
        name: of the file, for places.
        least: fields a line must have.
        most: fields a line may have.
        form: the fields by name, for the problem's text.

    Yields:
        place and fields.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if harvest.full:
            return
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{name}:{number}"
        fields = line.split(":")
        if len(line) > MAX_LINE_CHARS:
            harvest.problem(where, f"longer than {MAX_LINE_CHARS} characters")
        elif _CONTROL.search(line):
            harvest.problem(where, "holds control characters")
        elif not least <= len(fields) <= most:
            harvest.problem(where, f"has {len(fields)} fields; expected {form}")
        elif fields[0].startswith(("+", "-")):
            harvest.problem(where, "NIS lines cannot be imported: they name users of another machine")
        else:
            yield where, fields


def number_of(text: str, what: str, *, most: int = 2**63 - 1) -> int:
    """A number that is not negative; an empty text is 0.

    Raises:
        BadRecord: it is no such number.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= most):
        raise BadRecord(what, f"{text[:40]!r} is not a number from 0 to {most}")
    return int(text)


def ids_of(uid: str, gid: str) -> tuple[int, int]:
    """User and group id.

    Raises:
        BadRecord: one is missing or out of range.
    """
    for text, what in ((uid, "uid"), (gid, "gid")):
        if not text:
            raise BadRecord(what, "is missing")
    return number_of(uid, "uid", most=MAX_ID), number_of(gid, "gid", most=MAX_ID)


def with_password(account: Account, says: set[str], notes: list[str], text: str) -> Account:
    """Put a foreign password field into an account; notes and `says` follow.

    Raises:
        BadRecord: see `adopt_hash`.
    """
    adopted = adopt_hash(text)
    if adopted.note:
        notes.append(adopted.note)
    changes: dict[str, Any] = {}
    if adopted.stored:
        changes["password"] = adopted.stored
    if adopted.locked:
        changes["status"] = 0
    says.update(changes)
    return replace(account, **changes)


__all__ = [
    "ALL_PERMISSIONS",
    "DAY_MS",
    "DEFAULT_RULES",
    "Adopted",
    "Harvest",
    "Imported",
    "Rules",
    "adopt_hash",
    "ids_of",
    "number_of",
    "read_text",
    "records",
    "with_password",
]
