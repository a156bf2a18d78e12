# SPDX-License-Identifier: Apache-2.0
"""Statements on groups, on who has them, and on who has a role. Each function is work for one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import delete, insert, select

from tidegate.errors import BadRecord
from tidegate.model import Account, Admin
from tidegate.model.group import Group, Role
from tidegate.store.contract import Guard, Order
from tidegate.store.records import require_unused
from tidegate.store.sql import accounts, rows
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.record_table import RecordTable, group_table, role_table
from tidegate.store.sql.tables import Tables

_SHOWN: Final = 20
"""Names of users that are asked for, for the refusal to remove what they use."""


async def get(connection: AsyncConnection, tables: Tables, name: str) -> Group | None:
    """One group."""
    found = await group_table(tables).get(connection, name)
    return None if found is None else (await filled(connection, tables, [found]))[0]


async def named(connection: AsyncConnection, tables: Tables, names: Sequence[str]) -> list[Group]:
    """Those of the groups that exist."""
    table = tables.groups
    query = select(table).where(table.c.name.in_(names))
    wanted = set(names)
    found = [rows.group_of(row) for row in (await connection.execute(query)).mappings()]
    return await filled(connection, tables, [group for group in found if group.name in wanted])


async def page(
    connection: AsyncConnection, tables: Tables, offset: int, limit: int, order: Order
) -> list[Group]:
    """A page by name."""
    return await filled(connection, tables, await group_table(tables).page(connection, offset, limit, order))


async def filled(connection: AsyncConnection, tables: Tables, groups: Sequence[Group]) -> list[Group]:
    """Groups with what the folders of their mounts are; mounts of folders that are gone are left out."""
    wanted = sorted({mount.name for group in groups for mount in group.virtual_folders})
    folders = {}
    for start in range(0, len(wanted), accounts.BATCH):
        query = select(tables.folders).where(
            tables.folders.c.name.in_(wanted[start : start + accounts.BATCH])
        )
        for row in (await connection.execute(query)).mappings():
            folders[row["name"]] = rows.folder_of(row)
    return [
        replace(
            group,
            virtual_folders=tuple(
                replace(
                    mount,
                    mapped_path=folder.mapped_path,
                    description=folder.description,
                    used_quota_size=folder.used_quota_size,
                    used_quota_files=folder.used_quota_files,
                    last_quota_update=folder.last_quota_update,
                    filesystem=folder.filesystem,
                )
                for mount in group.virtual_folders
                if (folder := folders.get(mount.name)) is not None
            ),
        )
        if group.virtual_folders
        else group
        for group in groups
    ]


async def add(
    connection: AsyncConnection, tables: Tables, group: Group, *, keep_times: bool = False
) -> Group:
    """Store a new group and the folders that it describes."""
    await accounts.put_folders(connection, tables, [group.virtual_folders])
    stored = await group_table(tables).add(connection, group, keep_times=keep_times)
    return (await filled(connection, tables, [stored]))[0]


async def change(
    connection: AsyncConnection, tables: Tables, group: Group, *, guard: Guard[Group] | None = None
) -> Group:
    """Replace a group by name."""
    await _lock(connection, tables, group.name, guard)
    await accounts.put_folders(connection, tables, [group.virtual_folders])
    stored = await group_table(tables).change(connection, group)
    return (await filled(connection, tables, [stored]))[0]


async def remove(
    connection: AsyncConnection, tables: Tables, name: str, *, guard: Guard[Group] | None = None
) -> None:
    """Remove a group that no account has."""
    group_table(tables).require_name(name)
    await _lock(connection, tables, name, guard)
    require_unused("group", name, await users(connection, tables, name, limit=_SHOWN))
    await group_table(tables).remove(connection, name)


async def _lock(connection: AsyncConnection, tables: Tables, name: str, guard: Guard[Group] | None) -> None:
    stored = await group_table(tables).lock(connection, name, None)
    if guard is not None:
        guard((await filled(connection, tables, [stored]))[0])


async def users(
    connection: AsyncConnection, tables: Tables, name: str, *, limit: int | None = None
) -> list[str]:
    """Names of the accounts that have a group."""
    accounts_, members = tables.users, tables.memberships
    query = (
        select(accounts_.c.username)
        .join(members, members.c.user_id == accounts_.c.id)
        .where(members.c.group_name == name)
        .order_by(accounts_.c.username)
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


async def mounting(connection: AsyncConnection, tables: Tables, folder: str) -> list[str]:
    """Names of the groups that mount a folder."""
    query = select(tables.groups).order_by(tables.groups.c.name)
    found = [rows.group_of(row) for row in (await connection.execute(query)).mappings()]
    return [one.name for one in found if any(mount.name == folder for mount in one.virtual_folders)]


async def unmount(connection: AsyncConnection, tables: Tables, folder: str) -> None:
    """Remove the mounts of a folder from every group."""
    table = group_table(tables)
    for name in await mounting(connection, tables, folder):
        stored = await table.lock(connection, name, None)
        mounts = tuple(mount for mount in stored.virtual_folders if mount.name != folder)
        await table.change(connection, replace(stored, virtual_folders=mounts))


async def put_memberships(
    connection: AsyncConnection, tables: Tables, members: Mapping[int, Account]
) -> None:
    """Store who has which group, for accounts by number, in the place of what was stored.

    Raises:
        BadRecord: a group or a role does not exist.
    """
    await require_groups(connection, tables, members.values())
    await require_roles(connection, tables, members.values())
    table, numbers = tables.memberships, list(members)
    for start in range(0, len(numbers), accounts.BATCH):
        part = numbers[start : start + accounts.BATCH]
        await connection.execute(delete(table).where(table.c.user_id.in_(part)))
    values = [
        {"user_id": number, "group_name": use.name}
        for number, account in members.items()
        for use in account.groups
    ]
    if values:
        await connection.execute(insert(table), values)


async def require_groups(connection: AsyncConnection, tables: Tables, members: Iterable[Account]) -> None:
    """Return if every group that accounts name exists.

    Raises:
        BadRecord: one does not.
    """
    uses = {use.name: index for account in members for index, use in enumerate(account.groups)}
    missing = set(uses) - await _there(connection, group_table(tables), sorted(uses))
    if missing:
        name = min(missing)
        raise BadRecord(f"groups[{uses[name]}].name", f"there is no group {name!r}")


async def require_roles(
    connection: AsyncConnection, tables: Tables, records: Iterable[Account | Admin]
) -> None:
    """Return if every role that records name exists.

    Raises:
        BadRecord: one does not.
    """
    wanted = sorted({record.role for record in records if record.role})
    missing = set(wanted) - await _there(connection, role_table(tables), wanted)
    if missing:
        raise BadRecord("role", f"there is no role {min(missing)!r}")


async def _there(
    connection: AsyncConnection, table: RecordTable[Group] | RecordTable[Role], names: Sequence[str]
) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(names), accounts.BATCH):
        # Locked, so that nobody removes what is about to be used.
        query = select(table.key).where(table.key.in_(names[start : start + accounts.BATCH]))
        found |= set((await connection.execute(query.with_for_update(read=True))).scalars())
    return found


async def role_page(
    connection: AsyncConnection, tables: Tables, role: str, *, offset: int, limit: int, order: Order
) -> list[Account]:
    """A page of the accounts that have a role."""
    column = tables.users.c.username
    query = (
        select(tables.users)
        .where(tables.users.c.role == role)
        .order_by(column.desc() if order == "DESC" else column.asc())
        .limit(limit)
        .offset(offset)
    )
    return await accounts.with_mounts(connection, tables, query)


async def role_names(
    connection: AsyncConnection, tables: Tables, role: str, of: str, *, limit: int | None = None
) -> list[str]:
    """Names of the accounts (``users``) or administrators (``admins``) that have a role."""
    table = tables.users if of == "users" else tables.admins
    query = select(table.c.username).where(table.c.role == role).order_by(table.c.username).limit(limit)
    return list((await connection.execute(query)).scalars())


async def remove_role(
    connection: AsyncConnection, tables: Tables, name: str, *, guard: Guard[Role] | None = None
) -> None:
    """Remove a role that nobody has."""
    table = role_table(tables)
    table.require_name(name)
    await table.lock(connection, name, guard)
    for of in ("users", "admins"):
        require_unused("role", name, await role_names(connection, tables, name, of, limit=_SHOWN))
    await table.remove(connection, name)
