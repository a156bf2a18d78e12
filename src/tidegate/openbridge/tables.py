# SPDX-License-Identifier: Apache-2.0
"""Connections to the gateway's database and its replica, and what tables and rights there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.model import Tally
from tidegate.openbridge.options import MAX_ADDRESSES, MAX_ROWS, POOL, SHAPE_SECONDS
from tidegate.openbridge.statements import Shape, adding, recording, rows_of, select_rows, shape_of, summed
from tidegate.store.imports.openbridge import OpenbridgeTables, Row
from tidegate.store.options import ProviderOptions
from tidegate.store.sql.async_engine import AsyncConnection
from tidegate.store.sql.database import Database
from tidegate.store.sql.shape import code_of, is_denied

T = TypeVar("T")

_CHANGED: Final = frozenset({"1054", "1146"})
"""Unknown column, no such table: somebody has changed the tables since they were looked at."""


class Tables:
    """The gateway's database. Life: constructed (pure), `start`, used, `stop`.

    Args:
        options: the database; `read_host` answers what logins read but for tallies.
        monotonic: seconds.
    """

    def __init__(self, options: ProviderOptions, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = Database(replace(options, pool_size=options.pool_size or POOL))
        self._monotonic = monotonic
        self._shape: Shape | None = None
        self._looked = 0.0
        self._turn = asyncio.Lock()

    @property
    def label(self) -> str:
        """The database for messages, without its password."""
        return self._database.target.label

    def start(self) -> None:
        """Make the engines; they connect when first used."""
        self._database.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._database.stop()

    # -- what there is -----------------------------------------------------------------------------------

    async def shape(self) -> Shape:
        """The tables, columns and rights, looked at again after `SHAPE_SECONDS`.

        Raises:
            ProviderUnavailable: the database does not answer.
            ProviderError: there is no table of users, or one that restricts may not be read.
        """
        async with self._turn:
            if self._shape is None or self._monotonic() - self._looked > SHAPE_SECONDS:
                try:
                    self._shape = await self._database.read(shape_of)
                except ProviderUnavailable:
                    if self._shape is None:
                        raise
                    return self._shape  # the replica may answer what is asked next
                self._looked = self._monotonic()
            return self._shape

    async def _shaped(self, work: Callable[[Shape], Awaitable[T]]) -> T:
        """Run `work`, once more if the tables turn out to be others than they were."""
        try:
            return await work(await self.shape())
        except _TablesChanged:
            self._shape = None
            try:
                return await work(await self.shape())
            except _TablesChanged as error:
                raise ProviderError(f"{self.label}: {error}") from None

    # -- reading -----------------------------------------------------------------------------------------

    async def user(self, name: str) -> OpenbridgeTables:
        """The rows that concern one user; no row of `user` if there is none.

        Raises:
            ProviderUnavailable: neither the replica nor the database answers.
            ProviderError: they cannot be read.
            BadRecord: a text is longer than its bound, or there are too many rows.
        """
        return await self._shaped(lambda shape: self._user(shape, name))

    async def _user(self, shape: Shape, name: str) -> OpenbridgeTables:
        async def rows(connection: AsyncConnection) -> OpenbridgeTables:
            return await rows_of(connection, shape, name)

        found = await self._database.listing(_watching(rows))
        if not found.user or "quotatally" not in shape.names or not found.quotalimit:
            return found
        owners = [name, *(str(row.get("groupname") or "") for row in found.group)]

        async def tallies(connection: AsyncConnection) -> list[Row]:
            key = shape.key("quotatally")
            whole = " OR quota_type = 'all'" if shape.has("quotatally", "quota_type") else ""
            where = f"`{key}` IN :owners{whole}"
            return await select_rows(connection, shape, "quotatally", where, MAX_ROWS, owners=owners)

        # A tally is read where it is written: what a replica has not heard yet would be granted again.
        return replace(found, quotatally=summed(await self._database.read(_watching(tallies))))

    async def addresses(self) -> tuple[list[Row], list[Row]]:
        """The rows of ftpd_allow and of ftpd_deny.

        Raises:
            ProviderUnavailable: neither the replica nor the database answers.
            ProviderError: they cannot be read.
            BadRecord: there are too many.
        """

        async def both(shape: Shape) -> tuple[list[Row], list[Row]]:
            async def rows(connection: AsyncConnection) -> tuple[list[Row], list[Row]]:
                allow = await select_rows(connection, shape, "allow", "1 = 1", MAX_ADDRESSES)
                return allow, await select_rows(connection, shape, "deny", "1 = 1", MAX_ADDRESSES)

            return await self._database.listing(_watching(rows))

        return await self._shaped(both)

    # -- writing -----------------------------------------------------------------------------------------

    async def add_tally(self, kind: str, name: str, change: Tally) -> bool:
        """Add to a tally, which is made if there is none; False if the database user may not.

        Raises:
            ProviderUnavailable: nothing is known to be stored.
            ProviderError: the database refuses.
        """

        async def add(shape: Shape) -> bool:
            if "tally" not in shape.may:
                return False
            await self._database.write(_watching(adding(shape, kind, name, change)), again=True)
            return True

        return await self._shaped(add)

    async def record(self, logins: Mapping[str, int], lines: Sequence[Mapping[str, object]]) -> None:
        """Count logins and write lines of the transfer log, as far as the database user may.

        Raises:
            ProviderUnavailable: nothing is known to be stored.
            ProviderError: the database refuses.
        """

        async def record(shape: Shape) -> None:
            work = recording(shape, logins, lines)
            await self._database.write(_watching(work))

        await self._shaped(record)


class _TablesChanged(Exception):
    """A table or column that was there is not."""


def _watching(work: Callable[[AsyncConnection], Awaitable[T]]) -> Callable[[AsyncConnection], Awaitable[T]]:
    async def watched(connection: AsyncConnection) -> T:
        try:
            return await work(connection)
        except DBAPIError as error:
            if code_of(error) in _CHANGED or is_denied(error):
                raise _TablesChanged(str(error.orig)) from None
            raise

    return watched
