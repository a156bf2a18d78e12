# SPDX-License-Identifier: Apache-2.0
"""Statements on accounts, their mounts and their counters. Each function is work for one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from tidegate.errors import AlreadyExists, NotFound, UnknownFolder
from tidegate.model import LOCAL_DISK, Account, FolderMount, StorageConfig
from tidegate.store.contract import Guard, Order
from tidegate.store.records import now_ms
from tidegate.store.sql import rows
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.tables import Tables
from tidegate.store.storages import decode_storage, storage_text, stricter_storage

if TYPE_CHECKING:
    from tidegate.store.sql.lookup import Lookup

Values = dict[str, Any]

"""The storage document of a local folder, as a column."""
BATCH: Final = 500
"""Records of one statement that handles many."""


def _mount_columns(tables: Tables) -> list[ColumnElement[Any]]:
    folders, mounts = tables.folders.c, tables.mounts.c
    return [
        mounts.user_id.label("user_id"),
        mounts.virtual_path.label("virtual_path"),
        mounts.quota_size.label("mount_quota_size"),
        mounts.quota_files.label("mount_quota_files"),
        folders.name.label("folder_name"),
        folders.mapped_path.label("mapped_path"),
        folders.description.label("folder_description"),
        folders.used_quota_size.label("folder_used_size"),
        folders.used_quota_files.label("folder_used_files"),
        folders.last_quota_update.label("folder_last_update"),
        folders.filesystem.label("folder_filesystem"),
    ]


@lru_cache(maxsize=8)
def _one_account(tables: Tables) -> Select[Any]:
    """One account and its mounts; every login asks for it, and building it costs a third of asking."""
    users = tables.users
    joined = users.outerjoin(tables.mounts, tables.mounts.c.user_id == users.c.id).outerjoin(
        tables.folders, tables.folders.c.id == tables.mounts.c.folder_id
    )
    return (
        select(users, *_mount_columns(tables))
        .select_from(joined)
        .where(users.c.username == bindparam("wanted"))
        .order_by(tables.mounts.c.id)
    )


async def get(connection: AsyncConnection, tables: Tables, name: str) -> Account | None:
    """One account and its mounts in one round trip."""
    return _account(name, (await connection.execute(_one_account(tables), {"wanted": name})).mappings().all())


async def look_up(lookup: Lookup, tables: Tables, name: str) -> tuple[bool, Account | None]:
    """One account, as `get`, by the short way; and if that could be asked."""
    found = await lookup.rows(_one_account(tables), name)
    return (False, None) if found is None else (True, _account(name, found))


def _account(name: str, found: Sequence[Mapping[Any, Any]]) -> Account | None:
    # MySQL compares "a" and "a " as equal whatever the collation.
    if not found or found[0]["username"] != name:
        return None
    mounts = tuple(rows.mount_of(row) for row in found if row["folder_name"] is not None)
    return rows.account_of(found[0], mounts)


async def page(
    connection: AsyncConnection, tables: Tables, *, offset: int, limit: int, order: Order
) -> list[Account]:
    """A page by name.

    The rows before the page are skipped in the index of names. Two statements rather than one join: without
    fresh statistics a planner may read the whole table for the join.
    """
    users = tables.users
    direction = users.c.username.desc() if order == "DESC" else users.c.username.asc()
    wanted = select(users.c.username).order_by(direction).limit(limit).offset(offset)
    names = (await connection.execute(wanted)).scalars().all()
    if not names:
        return []
    first, last = (names[-1], names[0]) if order == "DESC" else (names[0], names[-1])
    query = select(users).where(users.c.username.between(first, last)).order_by(direction).limit(limit)
    return await with_mounts(connection, tables, query)


async def after(connection: AsyncConnection, tables: Tables, name: str, limit: int) -> list[Account]:
    """The accounts that follow a name."""
    users = tables.users
    query = select(users).where(users.c.username > name).order_by(users.c.username).limit(limit)
    return await with_mounts(connection, tables, query)


async def named(connection: AsyncConnection, tables: Tables, names: Sequence[str]) -> list[Account]:
    """Those of the accounts that exist, in no order."""
    query = select(tables.users).where(tables.users.c.username.in_(names))
    return await with_mounts(connection, tables, query) if names else []


async def locked(connection: AsyncConnection, tables: Tables, names: Sequence[str]) -> list[Account]:
    """Those of the accounts that exist, locked until the transaction ends, by name."""
    users = tables.users
    found: list[Account] = []
    for start in range(0, len(names), BATCH):
        query = (
            select(users)
            .where(users.c.username.in_(names[start : start + BATCH]))
            .order_by(users.c.username)
            .with_for_update()
        )
        found += await with_mounts(connection, tables, query)
    return found


async def with_mounts(connection: AsyncConnection, tables: Tables, query: Select[Any]) -> list[Account]:
    """The accounts of a query on the table of users, with their mounts."""
    found = (await connection.execute(query)).mappings().all()
    mounts = await _mounts_of(connection, tables, [row["id"] for row in found])
    return [rows.account_of(row, mounts.get(row["id"], ())) for row in found]


async def _mounts_of(
    connection: AsyncConnection, tables: Tables, users: Sequence[int]
) -> dict[int, tuple[FolderMount, ...]]:
    found: dict[int, tuple[FolderMount, ...]] = {}
    for start in range(0, len(users), BATCH):
        query = (
            select(*_mount_columns(tables))
            .join(tables.folders, tables.folders.c.id == tables.mounts.c.folder_id)
            .where(tables.mounts.c.user_id.in_(users[start : start + BATCH]))
            .order_by(tables.mounts.c.id)
        )
        for row in (await connection.execute(query)).mappings():
            found[row["user_id"]] = (*found.get(row["user_id"], ()), rows.mount_of(row))
    return found


async def mounting(connection: AsyncConnection, tables: Tables, folder: str) -> list[str]:
    """Names of the accounts that mount a folder."""
    users, mounts, folders = tables.users, tables.mounts, tables.folders
    query = (
        select(users.c.username)
        .join(mounts, mounts.c.user_id == users.c.id)
        .join(folders, folders.c.id == mounts.c.folder_id)
        .where(folders.c.name == folder)
        .distinct()
        .order_by(users.c.username)
    )
    return list((await connection.execute(query)).scalars())


async def count(connection: AsyncConnection, table: Table) -> int:
    """Rows of a table."""
    return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def add(connection: AsyncConnection, tables: Tables, account: Account) -> Account:
    """Store a new account."""
    name = account.username
    if await _id(connection, tables, name) is not None:
        raise AlreadyExists(f"user {name!r} already exists")
    now = now_ms()
    values = {**rows.account_values(account), "created_at": now, "updated_at": now}
    try:
        result = await connection.execute(insert(tables.users).values(values))
    except IntegrityError:
        raise AlreadyExists(f"user {name!r} already exists") from None
    key = result.inserted_primary_key
    assert key is not None
    await put_mounts(connection, tables, {key[0]: account.virtual_folders})
    if account.groups or account.role:
        await _memberships(connection, tables, key[0], account)
    return await _again(connection, tables, name)


async def change(
    connection: AsyncConnection,
    tables: Tables,
    account: Account,
    *,
    keep_usage: bool,
    guard: Guard[Account] | None = None,
) -> Account:
    """Replace an account by name."""
    name = account.username
    number = await _id(connection, tables, name, lock=True)
    if number is None:
        raise _missing(name)
    if guard is not None:
        guard(await _again(connection, tables, name))
    values = change_values(account, keep_usage=keep_usage)
    users = tables.users
    await connection.execute(
        update(users).where(users.c.id == number).values(values | {"updated_at": _later(users.c.updated_at)})
    )
    await connection.execute(delete(tables.mounts).where(tables.mounts.c.user_id == number))
    await put_mounts(connection, tables, {number: account.virtual_folders})
    await _memberships(connection, tables, number, account)
    return await _again(connection, tables, name)


def change_values(account: Account, *, keep_usage: bool) -> Values:
    """The columns that replacing an account sets."""
    kept = {"created_at", "updated_at", "username", *(rows.USAGE if keep_usage else ())}
    return {key: value for key, value in rows.account_values(account).items() if key not in kept}


async def remove(
    connection: AsyncConnection, tables: Tables, name: str, *, guard: Guard[Account] | None = None
) -> None:
    """Remove an account, its mounts and its API keys."""
    number = await _id(connection, tables, name, lock=True)
    if number is None:
        raise _missing(name)
    if guard is not None:
        guard(await _again(connection, tables, name))
    await connection.execute(delete(tables.mounts).where(tables.mounts.c.user_id == number))
    await connection.execute(delete(tables.api_keys).where(tables.api_keys.c.user == name))
    await connection.execute(delete(tables.marks).where(tables.marks.c.user_id == number))
    await connection.execute(delete(tables.memberships).where(tables.memberships.c.user_id == number))
    await connection.execute(delete(tables.users).where(tables.users.c.id == number))


async def set_columns(connection: AsyncConnection, tables: Tables, name: str, values: Values) -> None:
    """Set some columns of an account."""
    result = await connection.execute(
        update(tables.users).where(tables.users.c.username == name).values(values)
    )
    if result.rowcount == 0:
        raise _missing(name)


async def set_password(
    connection: AsyncConnection, tables: Tables, name: str, password: str, changed_at: int | None
) -> None:
    """Replace the hash alone."""
    values: Values = {"password": password, "updated_at": _later(tables.users.c.updated_at)}
    if changed_at is not None:
        values |= {"last_password_change": changed_at}
    await set_columns(connection, tables, name, values)


async def put_mounts(
    connection: AsyncConnection, tables: Tables, mounts: dict[int, Sequence[FolderMount]]
) -> None:
    """Store the mounts of accounts that have none, making the folders that they describe.

    Raises:
        UnknownFolder: a mount names a folder that does not exist and does not describe it.
    """
    known = await put_folders(connection, tables, list(mounts.values()))
    values = [
        {
            "user_id": user,
            "folder_id": known[mount.name],
            "virtual_path": mount.virtual_path,
            "quota_size": mount.quota_size,
            "quota_files": mount.quota_files,
        }
        for user, several in mounts.items()
        for mount in several
    ]
    if values:
        await connection.execute(insert(tables.mounts), values)


async def put_folders(
    connection: AsyncConnection, tables: Tables, mounts: Sequence[Sequence[FolderMount]]
) -> dict[str, int]:
    """Make or move the folders that mounts of accounts or groups describe.

    Returns:
        the number of each folder by its name.

    Raises:
        UnknownFolder: a mount names a folder that does not exist and does not describe it.
    """
    wanted: dict[str, tuple[str, StorageConfig]] = {}
    for several in mounts:
        for mount in several:
            mapped, storage = wanted.get(mount.name, ("", LOCAL_DISK))
            given = storage if mount.filesystem == LOCAL_DISK else mount.filesystem
            wanted[mount.name] = (mount.mapped_path or mapped, given)
    if not wanted:
        return {}
    folders = tables.folders
    known: dict[str, tuple[int, str, str]] = {}
    names = list(wanted)
    for start in range(0, len(names), BATCH):
        query = select(folders.c.name, folders.c.id, folders.c.mapped_path, folders.c.filesystem).where(
            folders.c.name.in_(names[start : start + BATCH])
        )
        for row in await connection.execute(query):
            known[row.name] = (row.id, row.mapped_path, row.filesystem)
    for name, (mapped, given) in wanted.items():
        if name in known:
            key_, path, stored = known[name]
            before = decode_storage(json.loads(stored or "{}"))
            storage = stricter_storage(before, given)
            if mapped and (mapped, storage) != (path, before):
                await connection.execute(
                    update(folders)
                    .where(folders.c.id == key_)
                    .values(mapped_path=mapped, filesystem=storage_text(storage))
                )
            continue
        if not mapped:
            index = next(i for several in mounts for i, mount in enumerate(several) if mount.name == name)
            raise UnknownFolder(index, name)
        result = await connection.execute(
            insert(folders).values(
                name=name, mapped_path=mapped, description="", filesystem=storage_text(given)
            )
        )
        key = result.inserted_primary_key
        assert key is not None
        known[name] = (key[0], mapped, storage_text(given))
    return {name: row[0] for name, row in known.items()}


async def _memberships(connection: AsyncConnection, tables: Tables, number: int, account: Account) -> None:
    from tidegate.store.sql import groups  # it stands on this module

    await groups.put_memberships(connection, tables, {number: account})


async def _id(connection: AsyncConnection, tables: Tables, name: str, *, lock: bool = False) -> int | None:
    query = select(tables.users.c.id).where(tables.users.c.username == name)
    found = (await connection.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    return None if found is None else int(found)


async def _again(connection: AsyncConnection, tables: Tables, name: str) -> Account:
    stored = await get(connection, tables, name)
    if stored is None:
        raise _missing(name)
    return stored


def _later(column: Column[Any]) -> ColumnElement[int]:
    """Now, or just after the stored time if the clock has not moved on."""
    now = now_ms()
    return case((column >= now, column + 1), else_=now)


def _missing(name: str) -> NotFound:
    return NotFound(f"user {name!r} does not exist")
