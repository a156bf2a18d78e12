# SPDX-License-Identifier: Apache-2.0
"""What `loaddata` says about a dump: a comparison with what is stored, and a report to tick off."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidegate.errors import InvalidArgument
from tidegate.model import Account, Admin, Folder

if TYPE_CHECKING:
    from tidegate.cli.provider import Desk
    from tidegate.store.contract import Provider, Record
    from tidegate.store.legacy.mover import MoveOptions
    from tidegate.store.legacy.remarks import Remarks

Row = tuple[str, str, str]

ASKED_ONE_BY_ONE: Final = 300
"""Users that a comparison looks up by name before it reads the names of all."""
KINDS: Final = {"users": "user", "admins": "admin", "folders": "folder", "api_keys": "api_key"}
COLUMNS: Final = ("kind", "name", "place", "action", "state", "remarks")


async def compare(desk: Desk, file: Path, mode: int, move: MoveOptions, remarks: Remarks) -> list[Row]:
    """What a load would do, record by record; every record is decoded and checked as in a load.

    Raises:
        BadRecords: the load would be refused.
    """
    from tidegate import wiring
    from tidegate.accounts.administrators import owners, owners_kept
    from tidegate.store.dump import file_batches

    options = wiring.provider_options(desk.loaded)
    known = _Known(desk.provider)
    rows: list[Row] = []
    async with (
        contextlib.aclosing(file_batches(file, options, [], move=move, remarks=remarks)) as read,
        contextlib.aclosing(owners_kept(read, await owners(desk.provider), add_only=mode == 1)) as batches,
    ):
        async for batch in batches:
            for record in batch:
                kind, name, stored = await known.look(record)
                rows.append((kind, name, "added" if not stored else "kept" if mode == 1 else "updated"))
    return rows


class _Known:
    """Which records a provider has; asked for many users it reads all their names at once."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._asked = 0
        self._users: set[str] | None = None

    async def look(self, record: Record) -> tuple[str, str, bool]:
        """(kind, name, stored) of a record."""
        provider = self._provider
        match record:
            case Account():
                return "user", record.username, await self._user(record.username)
            case Folder():
                return "folder", record.name, await provider.folder(record.name) is not None
            case Admin():
                return "admin", record.username, await provider.admin(record.username) is not None
            case _:
                return "api_key", record.id, await provider.api_key(record.id) is not None

    async def _user(self, name: str) -> bool:
        if self._users is None and self._asked < ASKED_ONE_BY_ONE:
            self._asked += 1
            return await self._provider.user(name) is not None
        if self._users is None:
            self._users = {account.username async for account in self._provider.iter_users()}
        return name in self._users


def require_report(path: Path | None) -> None:
    """Return if a report can be written there.

    Raises:
        InvalidArgument: the name says neither JSON nor CSV, or the directory does not exist.
    """
    if path is None:
        return
    if path.suffix not in (".json", ".csv"):
        raise InvalidArgument(f"--report: {path.name} should end in .json or .csv")
    if not path.absolute().parent.is_dir():
        raise InvalidArgument(f"--report: {path.absolute().parent} is no directory")


def write_report(path: Path, rows: Iterable[Row], remarks: Remarks) -> None:
    """One row a record, and one for each that was left out or is no record.

    Raises:
        InvalidArgument: the file cannot be written.
    """
    documents = list(_rows(rows, remarks))
    if path.suffix == ".json":
        text = json.dumps(documents, indent=2) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        for document in documents:
            cells = {**document, "remarks": " | ".join(document["remarks"])}
            writer.writerow([_cell(str(cells[name])) for name in COLUMNS])
        text = buffer.getvalue()
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InvalidArgument(f"--report: {path}: {error.strerror}") from None


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; names come from outside."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _rows(rows: Iterable[Row], remarks: Remarks) -> Iterable[dict[str, Any]]:
    from tidegate.store.legacy.remarks import Weight

    found: dict[tuple[str, str], dict[str, Any]] = {
        (kind, name): {"kind": kind, "name": name, "place": "", "action": action, "state": "", "remarks": []}
        for kind, name, action in rows
    }
    states = {Weight.CLOSED: "closed", Weight.OPENED: "opened", Weight.LEFT_OUT: "left out"}
    for remark in remarks.every():
        subject = remark.subject
        kind = KINDS.get(subject.section, subject.section) if subject.index >= 0 else subject.section
        place = f"{subject.section}[{subject.index}]" if subject.index >= 0 else subject.section
        out = remark.weight is Weight.LEFT_OUT
        key = (kind, place if out or not subject.name else subject.here or subject.name)
        row = found.get(key)
        if row is None:
            row = found[key] = {
                "kind": kind, "name": subject.name, "place": place, "action": "", "state": "", "remarks": [],
            }  # fmt: skip
        row["place"] = place
        row["state"] = states.get(remark.weight, row["state"])
        row["remarks"].append(f"{remark.field}: {remark.what}" if remark.field else remark.what)
    return found.values()
