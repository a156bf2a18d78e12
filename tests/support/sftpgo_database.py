# SPDX-License-Identifier: Apache-2.0
"""Databases as SFTPGo's releases lay them out, filled with the records of a dump.

`COLUMNS` holds facts about each release: which tables and columns there are since which schema. The tables
are made on whatever database is there.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sqla
from sqlalchemy.dialects import mysql

Document = dict[str, Any]

KEY, NAME, NUMBER, BIG, LONG, BLOB = "key", "name", "number", "big", "long", "blob"

COLUMNS: dict[str, list[tuple[str, str, int]]] = {
    # table: (column, kind, first schema that has it); 0 is 0.9.4, which has no number
    "users": [
        ("id", KEY, 0), ("username", NAME, 0), ("password", LONG, 0), ("public_keys", LONG, 0), ("home_dir", LONG, 0),
        ("uid", BIG, 0), ("gid", BIG, 0), ("max_sessions", NUMBER, 0), ("quota_size", BIG, 0), ("quota_files", NUMBER, 0),
        ("permissions", LONG, 0), ("used_quota_size", BIG, 0), ("used_quota_files", NUMBER, 0),
        ("last_quota_update", BIG, 0), ("upload_bandwidth", NUMBER, 0), ("download_bandwidth", NUMBER, 0),
        ("expiration_date", BIG, 0), ("last_login", BIG, 0), ("status", NUMBER, 0),
        ("filters", LONG, 1), ("filesystem", LONG, 1), ("additional_info", LONG, 6), ("description", LONG, 9),
        ("created_at", BIG, 12), ("updated_at", BIG, 12), ("email", LONG, 13),
        ("upload_data_transfer", NUMBER, 16), ("download_data_transfer", NUMBER, 16), ("total_data_transfer", NUMBER, 16),
        ("used_upload_data_transfer", BIG, 16), ("used_download_data_transfer", BIG, 16), ("deleted_at", BIG, 20),
        ("first_download", BIG, 21), ("first_upload", BIG, 21), ("role_id", NUMBER, 24), ("last_password_change", BIG, 25),
    ],
    "folders": [
        ("id", KEY, 4), ("path", LONG, 4), ("used_quota_size", BIG, 4), ("used_quota_files", NUMBER, 4),
        ("last_quota_update", BIG, 4), ("name", NAME, 8), ("description", LONG, 9), ("filesystem", LONG, 9),
    ],
    "admins": [
        ("id", KEY, 7), ("username", NAME, 7), ("password", LONG, 7), ("email", LONG, 7), ("status", NUMBER, 7),
        ("permissions", LONG, 7), ("filters", LONG, 7), ("additional_info", LONG, 7), ("description", LONG, 9),
        ("created_at", BIG, 12), ("updated_at", BIG, 12), ("last_login", BIG, 12), ("role_id", NUMBER, 24),
    ],
    "api_keys": [
        ("id", KEY, 11), ("name", LONG, 11), ("key_id", NAME, 11), ("api_key", LONG, 11), ("scope", NUMBER, 11),
        ("created_at", BIG, 11), ("updated_at", BIG, 11), ("last_use_at", BIG, 11), ("expires_at", BIG, 11),
        ("description", LONG, 11), ("admin_id", NUMBER, 11), ("user_id", NUMBER, 11),
    ],
    "shares": [("id", KEY, 14), ("share_id", NAME, 14), ("name", LONG, 14), ("password", LONG, 14), ("user_id", NUMBER, 14)],
    "groups": [
        ("id", KEY, 17), ("name", NAME, 17), ("description", LONG, 17), ("created_at", BIG, 17),
        ("updated_at", BIG, 17), ("user_settings", LONG, 17),
    ],
    "groups_folders_mapping": [
        ("id", KEY, 17), ("group_id", NUMBER, 17), ("folder_id", NUMBER, 17), ("virtual_path", LONG, 17),
        ("quota_size", BIG, 17), ("quota_files", NUMBER, 17), ("sort_order", NUMBER, 31),
    ],
    "users_groups_mapping": [
        ("id", KEY, 17), ("user_id", NUMBER, 17), ("group_id", NUMBER, 17), ("group_type", NUMBER, 17),
        ("sort_order", NUMBER, 31),
    ],
    "users_folders_mapping": [
        ("id", KEY, 17), ("user_id", NUMBER, 17), ("folder_id", NUMBER, 17), ("virtual_path", LONG, 17),
        ("quota_size", BIG, 17), ("quota_files", NUMBER, 17), ("sort_order", NUMBER, 31),
    ],
    "events_rules": [
        ("id", KEY, 20), ("name", NAME, 20), ("description", LONG, 20), ("created_at", BIG, 20), ("updated_at", BIG, 20),
        ("trigger", NUMBER, 20), ("conditions", LONG, 20), ("deleted_at", BIG, 20), ("status", NUMBER, 22),
    ],
    "events_actions": [
        ("id", KEY, 20), ("name", NAME, 20), ("description", LONG, 20), ("type", NUMBER, 20), ("options", LONG, 20),
    ],
    "rules_actions_mapping": [
        ("id", KEY, 20), ("rule_id", NUMBER, 20), ("action_id", NUMBER, 20), ("order", NUMBER, 20), ("options", LONG, 20),
    ],
    "admins_groups_mapping": [
        ("id", KEY, 22), ("admin_id", NUMBER, 22), ("group_id", NUMBER, 22), ("options", LONG, 22), ("sort_order", NUMBER, 31),
    ],
    "roles": [("id", KEY, 24), ("name", NAME, 24), ("description", LONG, 24)],
    "ip_lists": [
        ("id", KEY, 26), ("type", NUMBER, 26), ("ipornet", NAME, 26), ("mode", NUMBER, 26), ("description", LONG, 26),
        ("first", BLOB, 26), ("last", BLOB, 26), ("protocols", NUMBER, 26), ("deleted_at", BIG, 26),
    ],
    "configs": [("id", KEY, 28), ("configs", LONG, 28)],
}  # fmt: skip
OLD_MOUNTS = [
    ("id", KEY, 4), ("virtual_path", LONG, 4), ("quota_size", BIG, 4), ("quota_files", NUMBER, 4),
    ("folder_id", NUMBER, 4), ("user_id", NUMBER, 4),
]  # fmt: skip
"""Of `folders_mapping`, which 4 to 16 have in the place of `users_folders_mapping`."""

ENCODED = {
    "permissions",
    "public_keys",
    "filters",
    "filesystem",
    "virtual_folders",
    "user_settings",
    "options",
    "conditions",
}


def _type(kind: str) -> Any:
    if kind == NAME:
        return sqla.String(255).with_variant(
            mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
        )
    if kind == LONG:
        return sqla.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")
    if kind == BLOB:
        return sqla.LargeBinary()
    return sqla.BigInteger() if kind == BIG else sqla.Integer()


def tables_of(schema: int | None, prefix: str = "") -> sqla.MetaData:
    """The tables of a schema; None is 0.9.4."""
    number = schema or 0
    tables = dict(COLUMNS)
    if 4 <= number <= 16:
        tables["folders_mapping"] = OLD_MOUNTS
    if number in (2, 3):
        tables["users"] = [*COLUMNS["users"], ("virtual_folders", LONG, 2)]
    made = sqla.MetaData()
    for name, columns in tables.items():
        kept = [
            sqla.Column(column, _type(kind), primary_key=kind == KEY, quote=True)
            for column, kind, since in columns
            if since <= number
        ]
        if kept:
            sqla.Table(prefix + name, made, *kept, quote=True)
    if schema is not None:
        key = sqla.Column("id", sqla.Integer, primary_key=True)
        sqla.Table(f"{prefix}schema_version", made, key, sqla.Column("version", sqla.Integer, nullable=False))
    return made


class Filler:
    """Writes the records of a dump as the rows of a release."""

    def __init__(self, connection: sqla.Connection, schema: int | None, prefix: str = "") -> None:
        self.connection, self.schema, self.prefix = connection, schema, prefix
        self.tables = tables_of(schema, prefix)
        self._ids: dict[tuple[str, str], int] = {}

    def fill(self, dump: Document) -> None:
        """Make the tables and all rows."""
        self.tables.create_all(self.connection)
        if self.schema is not None:
            self._insert("schema_version", {"version": self.schema})
        for role in dump.get("roles") or ():
            self._insert("roles", role, name=role["name"])
        for folder in dump.get("folders") or ():
            self._insert(
                "folders",
                {**folder, "path": folder["mapped_path"]},
                name=folder.get("name") or folder["mapped_path"],
            )
        for group in dump.get("groups") or ():
            number = self._insert("groups", group, name=group["name"])
            self._mounts("groups_folders_mapping", "group_id", number, group)
        for user in dump.get("users") or ():
            self._user(user)
        for admin in dump.get("admins") or ():
            role = self._ids.get(("roles", admin.get("role") or ""))
            number = self._insert("admins", {**admin, "role_id": role}, name=admin["username"])
            for order, group in enumerate(admin.get("groups") or (), 1):
                to = self._ids["groups", group["name"]]
                options = group.get("options") or {}
                row = {"admin_id": number, "group_id": to, "options": options, "sort_order": order}
                self._insert("admins_groups_mapping", row)
        for key in dump.get("api_keys") or ():
            row = {
                **key,
                "key_id": key["id"],
                "api_key": key["key"],
                "user_id": self._ids.get(("users", key.get("user") or "")),
                "admin_id": self._ids.get(("admins", key.get("admin") or "")),
            }
            self._insert("api_keys", row)
        for share in dump.get("shares") or ():
            owner = self._ids["users", share["username"]]
            self._insert("shares", {**share, "share_id": share["id"], "user_id": owner})
        for action in dump.get("event_actions") or ():
            self._insert("events_actions", action, name=action["name"])
        for rule in dump.get("event_rules") or ():
            number = self._insert("events_rules", rule, name=rule["name"])
            for use in reversed(rule["actions"]):
                to = self._ids["events_actions", use["name"]]
                row = {
                    "rule_id": number,
                    "action_id": to,
                    "order": use["order"],
                    "options": use["relation_options"],
                }
                self._insert("rules_actions_mapping", row)
        for entry in dump.get("ip_lists") or ():
            self._insert("ip_lists", {**entry, "first": b"\xff\x00", "last": b"\xff\x01"})
        if "configs" in dump:
            self._insert("configs", {"configs": json.dumps(dump["configs"])})

    def _user(self, user: Document) -> None:
        role = self._ids.get(("roles", user.get("role") or ""))
        number = self._insert("users", {**user, "role_id": role}, name=user["username"])
        self._mounts("users_folders_mapping", "user_id", number, user)
        self._mounts("folders_mapping", "user_id", number, user)
        for order, group in enumerate(user.get("groups") or (), 1):
            to = self._ids["groups", group["name"]]
            row = {"user_id": number, "group_id": to, "group_type": group["type"], "sort_order": order}
            self._insert("users_groups_mapping", row)

    def _mounts(self, table: str, column: str, number: int, holder: Document) -> None:
        if self.prefix + table not in self.tables.tables:
            return
        for order, mount in enumerate(holder.get("virtual_folders") or (), 1):
            folder = self._ids["folders", mount.get("name") or mount["mapped_path"]]
            self._insert(table, {**mount, "folder_id": folder, column: number, "sort_order": order})

    def _insert(self, table: str, document: Document, *, name: str = "") -> int:
        made = self.tables.tables.get(self.prefix + table)
        if made is None:
            return 0
        row: Document = {}
        for column in made.columns:
            if column.name == "id":
                continue
            value = document.get(column.name)
            if value is None and isinstance(column.type, (sqla.BigInteger, sqla.Integer)):
                value = None if column.name.endswith("_id") else 0
            row[column.name] = json.dumps(value) if column.name in ENCODED and value is not None else value
        number = self.connection.execute(made.insert().values(row)).inserted_primary_key[0]
        self._ids[table, name] = number
        return int(number)
