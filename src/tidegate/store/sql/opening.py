# SPDX-License-Identifier: Apache-2.0
"""Opening a database: its file, its schema, and what can be done while it is not open otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tidegate import hints
from tidegate.errors import ProviderError
from tidegate.store.options import ProviderOptions
from tidegate.store.sql import schema
from tidegate.store.sql.database import Database
from tidegate.store.sql.engines import sqlite_file
from tidegate.store.sql.shape import RightMissing
from tidegate.store.sql.tables import Tables


class Opening:
    """Connects and settles the schema.

    Args:
        database: not started.
        tables: the schema as this version expects it.
        options: of the provider.

    Attributes:
        complete: False while only a foreign table can be read, in a database that we may not write.
        pending: see `SqlProvider.pending`.
    """

    def __init__(self, database: Database, tables: Tables, options: ProviderOptions) -> None:
        self._database: Final = database
        self._tables: Final = tables
        self._options: Final = options
        self.complete = True
        self.pending = False

    async def open(self, *, migrate: bool, rehearse: bool) -> None:
        """Connect; what cannot be settled disconnects again.

        Raises:
            ProviderError, ProviderUnavailable: it cannot be used, or not now.
        """
        await self._start()
        try:
            await self._settle_schema(migrate=migrate, rehearse=rehearse)
        except BaseException:
            await self._database.stop()
            raise

    async def schema_version(self) -> str:
        """The schema version that the database has now, ``0`` for none."""
        async with self._briefly():
            return await schema.current(self._database, self._options)

    async def revert(self, to: str) -> bool:
        """Take the schema back; False if it was at that version already."""
        async with self._briefly():
            return await schema.downgrade(self._database, self._options, to)

    async def _start(self) -> None:
        if self._database.driver == "sqlite":
            await asyncio.to_thread(_make_private_file, sqlite_file(self._database.target))
        self._database.start()

    @contextlib.asynccontextmanager
    async def _briefly(self) -> AsyncIterator[None]:
        await self._start()
        try:
            yield
        finally:
            await self._database.stop()

    async def _settle_schema(self, *, migrate: bool, rehearse: bool) -> None:
        if migrate:
            try:
                if not rehearse:
                    await schema.upgrade(self._database, self._options, self._tables)
                elif await schema.rehearse(self._database, self._options, self._tables):
                    self.pending, self.complete = True, False
            except RightMissing:
                if not self._options.external_table or await self._has_tables():
                    raise
                self.complete = False
            return
        if rehearse:
            await schema.rehearse(self._database, self._options, self._tables)
        version = await schema.current(self._database, self._options)
        schema.refuse_newer(version)
        if version != schema.latest():
            raise ProviderError(
                f"the database has schema version {version}, but {schema.latest()} is needed: "
                f"run {hints.typed('initprovider')}"
            )

    async def _has_tables(self) -> bool:
        try:
            return await schema.current(self._database, self._options) != "0"
        except RightMissing:
            return False


def _make_private_file(path: str) -> None:
    """Make an SQLite file that only the server's user can read: it holds password hashes."""
    if not Path(path).parent.is_dir():
        raise ProviderError(f"data_provider.name: the directory {Path(path).parent} does not exist")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise ProviderError(f"data_provider.name: cannot create {path}: {error.strerror}") from None
