# SPDX-License-Identifier: Apache-2.0
"""Statements on the kinds of record that are one row each: folders, administrators, API keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, ColumnElement, RowMapping, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tidegate.accounts.names import can_be_stored
from tidegate.errors import AlreadyExists, NotFound
from tidegate.model import Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.contract import Guard, Order
from tidegate.store.records import now_ms
from tidegate.store.sql import rows
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.tables import Tables

R = TypeVar("R", Folder, Group, Role, Admin, ApiKey, EventAction, EventRule, ListEntry)


@dataclass(frozen=True, slots=True)
class RecordTable(Generic[R]):
    """One kind of record.

    Attributes:
        kind: word that messages have for it.
        key: the column that names a record.
        kept: columns that a replacement leaves alone.
        timed: True if rows have `created_at` and `updated_at`.
    """

    kind: str
    table: Table
    key: Column[Any]
    values_of: Callable[[R], dict[str, Any]]
    record_of: Callable[[RowMapping], R]
    kept: frozenset[str]
    timed: bool = True

    async def get(self, connection: AsyncConnection, name: str, *, lock: bool = False) -> R | None:
        """One record; with `lock` no other transaction changes it before this one ends."""
        query = select(self.table).where(self.key == name)
        if lock:
            query = query.with_for_update()
        row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None or row[self.key] != name else self.record_of(row)

    async def page(self, connection: AsyncConnection, offset: int, limit: int, order: Order) -> list[R]:
        """A page by name."""
        direction = self.key.desc() if order == "DESC" else self.key.asc()
        wanted = select(self.key).order_by(direction).limit(limit).offset(offset).subquery()
        query = select(self.table).join(wanted, wanted.c[self.key.name] == self.key).order_by(direction)
        return [self.record_of(row) for row in (await connection.execute(query)).mappings()]

    async def every(self, connection: AsyncConnection) -> list[R]:
        """All records by name, locked until the transaction ends; for kinds of which there are few."""
        query = select(self.table).order_by(self.key).with_for_update()
        return [self.record_of(row) for row in (await connection.execute(query)).mappings()]

    async def add(self, connection: AsyncConnection, record: R, *, keep_times: bool = False) -> R:
        """Store a new record; with `keep_times` the times that it has stay."""
        values = self.values_of(record)
        name = values[self.key.name]
        if self.timed:
            now = now_ms()
            for name_of_time in ("created_at", "updated_at"):
                values[name_of_time] = (values[name_of_time] if keep_times else 0) or now
        try:
            if await self.get(connection, name) is not None:
                raise self.taken(name)
            await connection.execute(insert(self.table).values(values))
        except IntegrityError:
            raise self.taken(name) from None
        return await self._again(connection, name)

    async def change(self, connection: AsyncConnection, record: R, *, guard: Guard[R] | None = None) -> R:
        """Replace a record by name."""
        values = self.values_of(record)
        name = values[self.key.name]
        stored = await self.lock(connection, name, guard)
        values = {key: value for key, value in values.items() if key not in self.kept}
        if not isinstance(stored, Folder):
            values["updated_at"] = max(now_ms(), stored.updated_at + 1)
        await connection.execute(update(self.table).where(self.key == name).values(values))
        return await self._again(connection, name)

    async def set_columns(self, connection: AsyncConnection, name: str, values: dict[str, Any]) -> None:
        """Set some columns of a record."""
        self.require_name(name)
        result = await connection.execute(update(self.table).where(self.key == name).values(values))
        if result.rowcount == 0:
            raise self.missing(name)

    async def lock(self, connection: AsyncConnection, name: str, guard: Guard[R] | None) -> R:
        """The record, locked until the transaction ends, if the guard lets it be changed."""
        stored = await self.get(connection, name, lock=True)
        if stored is None:
            raise self.missing(name)
        if guard is not None:
            guard(stored)
        return stored

    async def remove(self, connection: AsyncConnection, name: str, *, guard: Guard[R] | None = None) -> None:
        """Remove a record."""
        self.require_name(name)
        if guard is not None:
            await self.lock(connection, name, guard)
        result = await connection.execute(delete(self.table).where(self.key == name))
        if result.rowcount == 0:
            raise self.missing(name)

    def require_name(self, name: str) -> None:
        """Say "not found" for what no database would take as a name."""
        if not can_be_stored(name):
            raise self.missing(name)

    def missing(self, name: str) -> NotFound:
        """The error if nothing has this name."""
        return NotFound(f"{self.kind} {name!r} does not exist")

    def taken(self, name: str) -> AlreadyExists:
        """The error if something has this name."""
        return AlreadyExists(f"{self.kind} {name!r} already exists")

    async def _again(self, connection: AsyncConnection, name: str) -> R:
        stored = await self.get(connection, name)
        if stored is None:
            raise self.missing(name)
        return stored


def folder_table(tables: Tables) -> RecordTable[Folder]:
    """Folders; replacing one keeps its counters."""
    return RecordTable(
        "folder",
        tables.folders,
        tables.folders.c.name,
        rows.folder_values,
        rows.folder_of,
        frozenset(("name", "used_quota_size", "used_quota_files", "last_quota_update")),
        timed=False,
    )


def admin_table(tables: Tables) -> RecordTable[Admin]:
    """Administrators."""
    return RecordTable(
        "admin",
        tables.admins,
        tables.admins.c.username,
        rows.admin_values,
        rows.admin_of,
        frozenset(("username", "created_at", "updated_at")),
    )


def api_key_table(tables: Tables) -> RecordTable[ApiKey]:
    """API keys."""
    return RecordTable(
        "API key",
        tables.api_keys,
        tables.api_keys.c.id,
        rows.api_key_values,
        rows.api_key_of,
        frozenset(("id", "created_at", "updated_at")),
    )


def group_table(tables: Tables) -> RecordTable[Group]:
    """Groups; see `tidegate.store.sql.groups` for their mounts."""
    return RecordTable(
        "group",
        tables.groups,
        tables.groups.c.name,
        rows.group_values,
        rows.group_of,
        frozenset(("name", "created_at", "updated_at")),
    )


def role_table(tables: Tables) -> RecordTable[Role]:
    """Roles."""
    return RecordTable(
        "role",
        tables.roles,
        tables.roles.c.name,
        rows.role_values,
        rows.role_of,
        frozenset(("name", "created_at", "updated_at")),
    )


def event_action_table(tables: Tables) -> RecordTable[EventAction]:
    """Event actions."""
    return RecordTable(
        "event action",
        tables.event_actions,
        tables.event_actions.c.name,
        rows.event_values,
        rows.event_action_of,
        frozenset(("name", "created_at", "updated_at")),
    )


def event_rule_table(tables: Tables) -> RecordTable[EventRule]:
    """Event rules."""
    return RecordTable(
        "event rule",
        tables.event_rules,
        tables.event_rules.c.name,
        rows.event_values,
        rows.event_rule_of,
        frozenset(("name", "created_at", "updated_at")),
    )


def list_table(tables: Tables) -> RecordTable[ListEntry]:
    """Entries of lists of addresses, and bans."""
    return RecordTable(
        "list entry",
        tables.ip_lists,
        tables.ip_lists.c.name,
        rows.list_values,
        rows.list_entry_of,
        frozenset(("name", "created_at", "updated_at")),
    )


async def state(connection: AsyncConnection, table: Table) -> str:
    """Number, highest id and sum of times of a table: every change sets a later time (`change`)."""
    query = select(func.count(), func.max(table.c.id), func.sum(table.c.updated_at)).select_from(table)
    return " ".join(str(int(value or 0)) for value in (await connection.execute(query)).one())


async def taken(connection: AsyncConnection, key: ColumnElement[str], names: Sequence[str]) -> set[str]:
    """Those of the names that are in a column."""
    return {str(name) for name in (await connection.execute(select(key).where(key.in_(names)))).scalars()}
