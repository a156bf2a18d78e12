# SPDX-License-Identifier: Apache-2.0
"""The tables of SFTPGo's databases, and the dump that the same release would have made of them.

A database says by the number in its table ``schema_version`` which release made it; 0.9.4 and 0.9.5 have no
such table. Columns are taken over by their names, so that one which nobody knows is judged like an unknown
field of a dump.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from tidegate.errors import BadRecord
from tidegate.nesting import deeper_than

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
"""Rows by table, each in the order of its ids."""
Document = dict[str, Any]

VERSION_TABLE: Final = "schema_version"
NEWEST_SCHEMA: Final = 33
"""The newest layout that is known, of 2.7."""
NEEDED: Final = (
    "id", "username", "password", "public_keys", "home_dir", "uid", "gid", "permissions", "status",
    "expiration_date",
)  # fmt: skip
"""Columns of the table of users from 0.9.4 on."""

MAX_DEPTH: Final = 64
"""Levels of nesting of a JSON column; what is valid has half as many."""

_FORMATS: Final = ((29, 17), (24, 16), (20, 13), (16, 12), (11, 10), (9, 8), (7, 6))
"""(first schema, format of the dumps) of 2.6, 2.5, 2.4, 2.3, 2.2, 2.1 and 2.0."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One table that is read.

    Attributes:
        name: without the prefix of the installation.
        must: first schema of a release that has it.
        may: first schema that may have it; between the two lie states that no release has.
        until: last schema that has it.
        columns: those to read; all of them if empty.
    """

    name: str
    must: int
    may: int = 0
    until: int = 1 << 30
    columns: tuple[str, ...] = ()


USERS: Final = Layout("users", 0)
LAYOUTS: Final = (
    USERS,
    Layout("folders", 4),
    Layout("folders_mapping", 4, until=16),
    Layout("admins", 7),
    Layout("api_keys", 11),
    Layout("shares", 14, columns=("id", "name", "share_id")),
    Layout("users_folders_mapping", 19, may=17),
    Layout("groups", 19, may=17),
    Layout("groups_folders_mapping", 19, may=17),
    Layout("users_groups_mapping", 19, may=17),
    Layout("events_rules", 20),
    Layout("events_actions", 20),
    Layout("rules_actions_mapping", 20),
    Layout("admins_groups_mapping", 22),
    Layout("roles", 24, columns=("id", "name", "description", "created_at", "updated_at")),
    Layout(
        "ip_lists",
        28,
        may=25,
        columns=("id", "type", "ipornet", "mode", "description", "protocols", "deleted_at"),
    ),
    Layout("configs", 28, may=25),
)

_JSON: Final = {
    "users": ("permissions", "public_keys", "filters", "filesystem", "virtual_folders"),
    "admins": ("permissions", "filters"),
    "folders": ("filesystem",),
    "groups": ("user_settings",),
    "events_actions": ("options",),
    "events_rules": ("conditions",),
}
"""Columns that hold JSON."""
_RENAMED: Final = {"folders": {"path": "mapped_path"}, "api_keys": {"key_id": "id", "api_key": "key"}}
_INNER: Final = ("deleted_at", "role_id", "admin_id", "user_id")
"""Columns that no dump shows."""


def layouts(schema: int | None) -> Iterator[tuple[Layout, bool]]:
    """The tables of a schema, and True for each that has to be there; None is a database without a number."""
    number = schema or 0
    for layout in LAYOUTS:
        if (layout.may or layout.must) <= number <= layout.until:
            yield layout, layout.must <= number


def format_of(schema: int | None) -> int | None:
    """The format number of the dumps that the release of a schema makes; None before 2.0."""
    return next((number for first, number in _FORMATS if (schema or 0) >= first), None)


def dump_of(rows: Rows, schema: int | None) -> Iterator[tuple[str, Any]]:
    """The parts of the dump, in an order that holds few of them in memory at a time.

    Yields:
        (section, list or iterator of documents), (section, object), and at the end the format.

    Raises:
        BadRecord: a mapping speaks of a record that is not there.
    """
    folders = {row["id"]: _plain("folders", row) for row in rows.get("folders", ())}
    groups = {row["id"]: row["name"] for row in rows.get("groups", ())}
    roles = {row["id"]: row["name"] for row in rows.get("roles", ())}
    mapping = "users_folders_mapping" if rows.get("users_folders_mapping") else "folders_mapping"
    mounts = _by(rows.get(mapping, ()), "user_id")
    member = _by(rows.get("users_groups_mapping", ()), "user_id")
    group_mounts = _by(rows.get("groups_folders_mapping", ()), "group_id")
    belongs = _by(rows.get("admins_groups_mapping", ()), "admin_id")

    def users() -> Iterator[Document]:
        for row in _alive(rows["users"]):
            user = _plain("users", row)
            if mine := mounts.get(row["id"]):
                user["virtual_folders"] = _mounts(mine, folders, mapping)
            if mine := member.get(row["id"]):
                user["groups"] = [
                    {
                        "name": _named(groups, one["group_id"], "users_groups_mapping"),
                        "type": one["group_type"],
                    }
                    for one in mine
                ]
            if row.get("role_id"):
                user["role"] = _named(roles, row["role_id"], "users")
            yield user

    def made_groups() -> Iterator[Document]:
        for row in rows.get("groups", ()):
            group = _plain("groups", row)
            if mine := group_mounts.get(row["id"]):
                group["virtual_folders"] = _mounts(mine, folders, "groups_folders_mapping")
            yield group

    def admins() -> Iterator[Document]:
        for row in rows.get("admins", ()):
            admin = _plain("admins", row)
            if row.get("role_id"):
                admin["role"] = _named(roles, row["role_id"], "admins")
            if mine := belongs.get(row["id"]):
                admin["groups"] = [
                    {
                        "name": _named(groups, one["group_id"], "admins_groups_mapping"),
                        "options": _decoded(one.get("options")),
                    }
                    for one in mine
                ]
            yield admin

    def api_keys() -> Iterator[Document]:
        users = {row["id"]: row["username"] for row in rows["users"]}
        admins = {row["id"]: row["username"] for row in rows.get("admins", ())}
        for row in rows.get("api_keys", ()):
            key = _plain("api_keys", {name: value for name, value in row.items() if name != "id"})
            for holder, names in (("user", users), ("admin", admins)):
                if row.get(f"{holder}_id"):
                    key[holder] = _named(names, row[f"{holder}_id"], "api_keys")
            yield key

    def event_rules() -> Iterator[Document]:
        names = {row["id"]: row["name"] for row in rows.get("events_actions", ())}
        uses = _by(rows.get("rules_actions_mapping", ()), "rule_id")
        for row in _alive(rows.get("events_rules", ())):
            actions = [
                {
                    "name": _named(names, one["action_id"], "rules_actions_mapping"),
                    "order": one["order"],
                    "relation_options": _decoded(one.get("options")) or {},
                }
                for one in sorted(uses.get(row["id"], ()), key=lambda one: (one["order"], one["id"]))
            ]
            # The column came after the table; rules from before are active, as its default says.
            yield {"status": 1, **_plain("events_rules", row), "actions": actions}

    yield "users", users()
    yield "groups", made_groups()
    yield "folders", iter(folders.values())
    yield "admins", admins()
    yield "api_keys", api_keys()
    yield "event_actions", (_plain("events_actions", row) for row in rows.get("events_actions", ()))
    yield "event_rules", event_rules()
    for section, table in (
        ("shares", "shares"),
        ("roles", "roles"),
        ("ip_lists", "ip_lists"),
    ):
        yield section, (_without_inner(row) for row in _alive(rows.get(table, ())))
    yield "configs", next((_decoded(row.get("configs")) for row in rows.get("configs", ())), {})
    if (number := format_of(schema)) is not None:
        yield "version", number


def _mounts(mine: Iterable[Row], folders: Mapping[int, Document], table: str) -> list[Document]:
    made = []
    for one in mine:
        folder = folders.get(one["folder_id"])
        if folder is None:
            raise BadRecord(table, f"speaks of the folder with id {one['folder_id']}, which is not there")
        own = {
            key: value
            for key, value in one.items()
            if key not in ("id", "folder_id", "user_id", "group_id", "sort_order")
        }
        made.append({**folder, **own})
    return made


def _plain(table: str, row: Row) -> Document:
    """The columns of a row as the fields of a document; what is NULL is left out."""
    renamed, texts = _RENAMED.get(table, {}), _JSON.get(table, ())
    return {
        renamed.get(name, name): _decoded(value) if name in texts else value
        for name, value in row.items()
        if value is not None and name not in _INNER
    }


def _without_inner(row: Row) -> Document:
    return {name: value for name, value in row.items() if value is not None and name not in _INNER}


def _decoded(text: Any) -> Any:
    """The value of a JSON column; a text that is none stays what it is, and is a mistake of its record."""
    if isinstance(text, (bytes, bytearray)):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str):
        return text
    if not text.strip():
        return None
    if deeper_than(text, MAX_DEPTH):
        return text
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(word: str) -> NoReturn:
    """Refuses ``NaN`` and its like, which JSON does not know."""
    raise ValueError(word)


def _alive(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows but for those that SFTPGo has deleted and keeps for its other nodes to see."""
    return (row for row in rows if not row.get("deleted_at"))


def _by(rows: Iterable[Row], column: str) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    for mine in found.values():
        mine.sort(key=lambda row: (row.get("sort_order") or 0, row["id"]))
    return found


def _named(names: Mapping[int, str], number: int, table: str) -> str:
    name = names.get(number)
    if name is None:
        raise BadRecord(table, f"speaks of the id {number}, which is not there")
    return name
