# SPDX-License-Identifier: Apache-2.0
"""The page that tells the fate of every field of SFTPGo's dumps, from the table that an import goes by."""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.store.legacy import table as fates
from tidegate.store.legacy.table import Fate, Row

PARTS = (
    ("Parts of a dump", fates.SECTIONS),
    ("Users", fates.USERS),
    ("`filters` of users and groups", fates.FILTERS),
    ("`file_patterns`", fates.PATTERNS),
    ("`access_time`", fates.WINDOWS),
    ("`bandwidth_limits`", fates.BANDWIDTHS),
    ("`virtual_folders` of users and groups", fates.MOUNTS),
    ("Folders", fates.FOLDERS),
    ("Groups", fates.GROUPS),
    ("`user_settings` of groups", fates.GROUP_SETTINGS),
    ("Roles", fates.ROLES),
    ("Administrators", fates.ADMINS),
    ("`filters` of administrators", fates.ADMIN_FILTERS),
    ("API keys", fates.API_KEYS),
    ("Event actions", fates.EVENT_ACTIONS),
    ("Event rules", fates.EVENT_RULES),
)
MEANINGS = {
    Fate.CARRIED: "means the same here",
    Fate.CONVERTED: "another field here says the same, or something stricter",
    Fate.HARMLESS: "is kept and written again, without effect: it restricts nothing that can be done here",
    Fate.RESTRICTS: "restricts and is not carried: who has it set comes in disabled",
}


def page() -> str:
    """The page, without its first lines."""
    text = (
        "# Fields of SFTPGo's dumps\n\n"
        "The fate of every field of a dump of SFTPGo 0.9 to 2.7, or of its database, when "
        "[it is imported](../how_to/move-from-sftpgo.md). A field that is not set asks for nothing. A field "
        "that is not here is taken for one that restricts.\n\n"
    )
    text += _table(("fate", "the field"), ((fate.value, told) for fate, told in MEANINGS.items()))
    for title, rows in PARTS:
        text += f"\n## {title}\n\n"
        text += _table(("field", "since", "fate", "remark"), _lines(rows))
    return text


def _lines(rows: dict[str, Row]) -> Iterable[tuple[str, ...]]:
    grouped: dict[Row, list[str]] = {}
    for name, row in rows.items():
        grouped.setdefault(row, []).append(f"`{name}`")
    return ((", ".join(names), row.since, row.fate.value, row.todo) for row, names in grouped.items())


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
