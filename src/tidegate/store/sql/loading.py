# SPDX-License-Identifier: Apache-2.0
"""Storing many records in one transaction, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.contract import ADD_ONLY, LoadGuard, LoadRow, Record
from tidegate.store.records import now_ms
from tidegate.store.sql import accounts, groups, lists, rows
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.record_table import (
    RecordTable,
    admin_table,
    api_key_table,
    event_action_table,
    event_rule_table,
    folder_table,
    group_table,
    list_table,
    role_table,
)
from tidegate.store.sql.tables import Tables


async def store(
    connection: AsyncConnection,
    tables: Tables,
    batch: Sequence[Record],
    mode: int,
    guard: LoadGuard | None = None,
) -> list[LoadRow]:
    """Store one batch of records, of one kind or several; the guard is called for each that is replaced."""
    one = partial(_one, connection, mode=mode, guard=guard)
    report: list[LoadRow] = []
    if entries := [record.name for record in batch if isinstance(record, ListEntry)]:
        await lists.note(connection, tables, entries)
    users = [record for record in batch if isinstance(record, Account)]
    for record in batch:
        if isinstance(record, Folder):
            table = folder_table(tables)
            report.append(await one(table, record, record.name, kind="folder"))
        elif isinstance(record, Group):
            report.append(await _group(connection, tables, record, mode, guard))
        elif isinstance(record, Role):
            report.append(await one(role_table(tables), record, record.name, kind="role"))
        elif isinstance(record, Admin):
            await groups.require_roles(connection, tables, [record])
            admins = admin_table(tables)
            report.append(await one(admins, record, record.username, kind="admin"))
    if users:
        report.extend(await _users(connection, tables, users, mode, guard))
    for record in batch:
        if isinstance(record, ApiKey):
            keys = api_key_table(tables)
            report.append(await one(keys, record, record.id, kind="api_key"))
        elif isinstance(record, EventAction):
            actions = event_action_table(tables)
            report.append(await one(actions, record, record.name, kind="event_action"))
        elif isinstance(record, EventRule):
            rules = event_rule_table(tables)
            report.append(await one(rules, record, record.name, kind="event_rule"))
        elif isinstance(record, ListEntry):
            table_of_lists = list_table(tables)
            report.append(await one(table_of_lists, record, record.name, kind="ip_list"))
    return report


async def _group(
    connection: AsyncConnection, tables: Tables, group: Group, mode: int, guard: LoadGuard | None
) -> LoadRow:
    if await group_table(tables).get(connection, group.name) is None:
        await groups.add(connection, tables, group, keep_times=True)
        return "group", group.name, "added"
    if mode == ADD_ONLY:
        return "group", group.name, "kept"
    ask = None if guard is None else lambda stored: guard(stored, group)
    await groups.change(connection, tables, group, guard=ask)
    return "group", group.name, "updated"


async def _one(
    connection: AsyncConnection,
    table: RecordTable[Any],
    record: Record,
    name: str,
    *,
    kind: str,
    mode: int,
    guard: LoadGuard | None,
) -> LoadRow:
    if await table.get(connection, name) is None:
        await table.add(connection, record, keep_times=True)
        return kind, name, "added"
    if mode == ADD_ONLY:
        return kind, name, "kept"
    await table.change(
        connection, record, guard=None if guard is None else lambda stored: guard(stored, record)
    )
    return kind, name, "updated"


async def _users(
    connection: AsyncConnection,
    tables: Tables,
    batch: Sequence[Account],
    mode: int,
    guard: LoadGuard | None,
) -> list[LoadRow]:
    # A name may come twice in one file: the later record then updates the earlier one.
    report: list[LoadRow] = []
    pending = list(batch)
    while pending:
        seen: set[str] = set()
        now: list[Account] = []
        later: list[Account] = []
        for account in pending:
            (later if account.username in seen else now).append(account)
            seen.add(account.username)
        report.extend(await _distinct_users(connection, tables, now, mode, guard))
        pending = later
    return report


async def _distinct_users(
    connection: AsyncConnection,
    tables: Tables,
    batch: Sequence[Account],
    mode: int,
    guard: LoadGuard | None,
) -> list[LoadRow]:
    users = tables.users
    known = await _ids(connection, tables, [account.username for account in batch])
    fresh = [account for account in batch if account.username not in known]
    stale = [] if mode == ADD_ONLY else [account for account in batch if account.username in known]
    if guard is not None and stale:
        wanted = {account.username: account for account in stale}
        for stored in await accounts.locked(connection, tables, sorted(wanted)):
            guard(stored, wanted[stored.username])
    now = now_ms()
    if fresh:
        values = [
            {
                **rows.account_values(account),
                "created_at": account.created_at or now,
                "updated_at": account.updated_at or now,
            }
            for account in fresh
        ]
        await connection.execute(insert(users), values)
    if stale:
        changes = [
            {
                **accounts.change_values(account, keep_usage=True),
                "row_id": known[account.username],
                "updated_at": now,
            }
            for account in stale
        ]
        await connection.execute(update(users).where(users.c.id == bindparam("row_id")), changes)
        numbers = [known[account.username] for account in stale]
        await connection.execute(delete(tables.mounts).where(tables.mounts.c.user_id.in_(numbers)))
    mounted = [account for account in (*fresh, *stale) if account.virtual_folders]
    if mounted:
        ids = await _ids(connection, tables, [account.username for account in mounted])
        await accounts.put_mounts(
            connection, tables, {ids[account.username]: account.virtual_folders for account in mounted}
        )
    members = [account for account in (*fresh, *stale) if account.groups or account.role]
    if members or stale:
        ids = await _ids(connection, tables, [account.username for account in (*members, *stale)])
        whole = {ids[account.username]: account for account in (*members, *stale)}
        await groups.put_memberships(connection, tables, whole)
    added = {account.username for account in fresh}
    word = "kept" if mode == ADD_ONLY else "updated"
    return [("user", account.username, "added" if account.username in added else word) for account in batch]


async def _ids(connection: AsyncConnection, tables: Tables, names: Sequence[str]) -> dict[str, int]:
    users = tables.users.c
    found: dict[str, int] = {}
    for start in range(0, len(names), accounts.BATCH):
        query = select(users.username, users.id).where(
            users.username.in_(names[start : start + accounts.BATCH])
        )
        for row in await connection.execute(query):
            found[row.username] = row.id
    return found
