# SPDX-License-Identifier: Apache-2.0
"""Searches for accounts in SQL: names first, from few columns, then the accounts of the page."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, or_, select

from tidegate.model import Account
from tidegate.store.sql import accounts
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.tables import Tables
from tidegate.store.user_query import NEAR_PERCENT, UserQuery


async def find(connection: AsyncConnection, tables: Tables, query: UserQuery) -> list[Account]:
    """The accounts of a page."""
    users = tables.users
    name, value = users.c.username, users.c[query.sort]
    wanted = select(name).where(*conditions(query, users)).limit(query.limit)
    if query.sort == "username":
        wanted = wanted.order_by(name.desc() if query.falling else name)
    elif query.falling:
        wanted = wanted.order_by(value.desc(), name.desc())
    else:
        wanted = wanted.order_by(value, name)
    names = list((await connection.execute(wanted)).scalars())
    found = {one.username: one for one in await accounts.named(connection, tables, names)}
    page = [found[one] for one in names if one in found]
    return page[::-1] if query.backwards else page


def conditions(query: UserQuery, users: Table) -> list[ColumnElement[bool]]:
    """The conditions of a search."""
    found: list[ColumnElement[bool]] = []
    column = users.c
    if query.text:
        text = query.text.lower()
        parts = [column.username, column.email] if "@" in text else [column.username]
        found.append(or_(*(func.lower(part).contains(text, autoescape=True) for part in parts)))
    if query.role:
        found.append(column.role == query.role)
    if query.number:
        found.append(column.id == query.number)
    match query.only:
        case "enabled":
            found.append(column.status == 1)
        case "disabled":
            found.append(column.status != 1)
        case "expired":
            found.append(and_(column.expiration_date > 0, column.expiration_date <= query.now_ms))
        case "near_quota":
            found.append(
                or_(
                    _near(column.used_quota_size, column.quota_size),
                    _near(column.used_quota_files, column.quota_files),
                )
            )
    if query.after is not None:
        found.append(_follows(query, column[query.sort], column.username))
    return found


def _near(used: ColumnElement[Any], limit: ColumnElement[Any]) -> ColumnElement[bool]:
    # Sizes times 100 would leave 64 bits from 92 PB on.
    return and_(limit > 0, used >= limit / 100.0 * NEAR_PERCENT)


def _follows(query: UserQuery, value: ColumnElement[Any], name: ColumnElement[str]) -> ColumnElement[bool]:
    assert query.after is not None
    at, last = query.after
    if query.sort == "username":
        return name < last if query.falling else name > last
    if query.falling:
        return or_(value < at, and_(value == at, name < last))
    return or_(value > at, and_(value == at, name > last))
