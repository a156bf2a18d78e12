# SPDX-License-Identifier: Apache-2.0
"""The output of `loaddata` about a dump: a comparison with what is stored, and a report to tick off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tidegate.cli import reports

if TYPE_CHECKING:
    from tidegate.cli.provider import AdminContext
    from tidegate.store.dump_reading import HowFar
    from tidegate.store.legacy.mover import MoveOptions
    from tidegate.store.legacy.remarks import Remarks

Row = tuple[str, str, str]

KINDS: Final = {
    "users": "user",
    "admins": "admin",
    "folders": "folder",
    "groups": "group",
    "roles": "role",
    "api_keys": "api_key",
    "event_actions": "event_action",
    "event_rules": "event_rule",
    "ip_lists": "ip_list",
}
COLUMNS: Final = ("kind", "name", "place", "action", "state", "remarks")


async def compare(
    context: AdminContext,
    dump: Path | BinaryIO,
    mode: int,
    move: MoveOptions,
    remarks: Remarks,
    *,
    how_far: HowFar,
) -> list[Row]:
    """Rehearse a load: records are decoded and checked as in a load, and names asked for in bulk.

    Raises:
        BadRecords: the load would be refused.
    """
    from tidegate.server import wiring
    from tidegate.store.dump_reading import file_batches

    options = wiring.provider_options(context.loaded)
    async with contextlib.aclosing(
        file_batches(dump, options, [], move=move, remarks=remarks, how_far=how_far)
    ) as batches:
        return await context.administration.loads.rehearse(batches, mode=mode)


def write_report(path: Path, rows: Iterable[Row], remarks: Remarks) -> None:
    """One row a record, and one for each that was left out or is no record.

    Raises:
        InvalidArgument: the file cannot be written.
    """
    documents = list(_rows(rows, remarks))
    cells = ({**document, "remarks": " | ".join(document["remarks"])} for document in documents)
    reports.write_report(path, documents, COLUMNS, ([str(row[name]) for name in COLUMNS] for row in cells))


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
