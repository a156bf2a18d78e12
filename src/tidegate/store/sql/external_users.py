# SPDX-License-Identifier: Apache-2.0
"""Accounts that are read from somebody else's table or view (`users_table` with manage_users 0).

The view needs a column ``username``; every other column that is named like a field of the account is used
if it is there. JSON columns may hold documents of any version, ``virtual_folders`` among them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, MetaData, Select, String, Table, func, select

from tidegate.errors import ProviderError
from tidegate.model import Account
from tidegate.store.contract import Order
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.rows import OUTSIDE_COLUMNS, outside_account_of
from tidegate.store.sql.shape import RightMissing, columns_of


class ExternalUsers:
    """Reads accounts from a foreign table or view."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._table: Table | None = None

    async def learn(self, connection: AsyncConnection) -> None:
        """Find out which columns there are.

        Raises:
            ProviderError: there is no such table or view, or it has no usable names.
        """
        try:
            columns = await columns_of(connection, self._name)
        except RightMissing as error:
            raise RightMissing(f"data_provider.users_table: {error}") from None
        if not columns:
            raise ProviderError(f"data_provider.users_table: there is no table or view {self._name!r}")
        if "username" not in columns:
            raise ProviderError(f"data_provider.users_table: {self._name!r} has no column username")
        known = [name for name in columns if name in OUTSIDE_COLUMNS]
        self._table = Table(
            self._name,
            MetaData(),
            *(Column(name, String() if name == "username" else None) for name in known),
        )

    async def get(self, connection: AsyncConnection, name: str) -> Account | None:
        """One account."""
        users = self._users
        query = select(users).where(users.c.username == name).limit(2)
        found = (await connection.execute(query)).mappings().all()
        # A foreign collation may ignore case; the account that was asked for is the exact one.
        exact = [row for row in found if row["username"] == name]
        if len(exact) > 1:
            raise ProviderError(f"data_provider.users_table: {self._name!r} has {name!r} more than once")
        return outside_account_of(exact[0]) if exact else None

    async def page(
        self, connection: AsyncConnection, *, offset: int, limit: int, order: Order
    ) -> list[Account]:
        """A page by name."""
        name = self._users.c.username
        query = select(self._users).order_by(name.desc() if order == "DESC" else name)
        return await self._all(connection, query.limit(limit).offset(offset))

    async def after(self, connection: AsyncConnection, last: str, limit: int) -> list[Account]:
        """The accounts that follow a name."""
        name = self._users.c.username
        return await self._all(connection, select(self._users).where(name > last).order_by(name).limit(limit))

    async def count(self, connection: AsyncConnection) -> int:
        """The number of rows."""
        return int((await connection.execute(select(func.count()).select_from(self._users))).scalar_one())

    async def _all(self, connection: AsyncConnection, query: Select[Any]) -> list[Account]:
        return [outside_account_of(row) for row in (await connection.execute(query)).mappings()]

    @property
    def names(self) -> ColumnElement[str]:
        """The column of names."""
        return self._users.c.username

    @property
    def _users(self) -> Table:
        if self._table is None:
            raise ProviderError("data provider is not open")
        return self._table
