# SPDX-License-Identifier: Apache-2.0
"""Providers of every driver, on real servers that the session starts once."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.support.databases import Server, mariadb, postgresql

from tidegate.store.contract import Provider
from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.store.sql.provider import SqlProvider

DRIVERS = ("sqlite", "postgresql", "mysql", "bolt", "memory")

OptionsOf = Callable[..., ProviderOptions]
Opened = Callable[..., Awaitable[Provider]]


def _shared_root(factory: pytest.TempPathFactory) -> Path:
    """A directory that all parallel workers of one run see."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgresql(_shared_root(tmp_path_factory)) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mariadb(_shared_root(tmp_path_factory)) as server:
        yield server


@pytest.fixture
def options_of(request: pytest.FixtureRequest, tmp_path: Path) -> OptionsOf:
    """Options of a driver for a store of this test's own; more options may be given."""

    def make(driver: str, **more: object) -> ProviderOptions:
        values: dict[str, object] = {"driver": driver, "base_dir": tmp_path, "name": f"{driver}.db"}
        if driver == "memory":
            values["name"] = ""
        elif driver in ("postgresql", "mysql"):
            server: Server = request.getfixturevalue(f"{driver}_server")
            values |= {
                "name": server.database,
                "host": "127.0.0.1",
                "port": server.port,
                "username": server.username,
                "password": server.password,
                "sql_tables_prefix": f"t{uuid.uuid4().hex[:12]}_",
                "pool_size": 4,
            }
        return ProviderOptions(**{**values, **more})

    return make


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens providers and closes them when the test is over."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(options: ProviderOptions) -> Provider:
            provider = create_provider(options)
            await provider.open()
            stack.push_async_callback(provider.close)
            return provider

        yield make


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def own_prefix() -> str:
    """Prefix of the tables that one worker uses again and again; making tables is slow on servers."""
    return f"w{uuid.uuid4().hex[:10]}_"


@pytest.fixture
async def provider(driver: str, options_of: OptionsOf, opened: Opened, own_prefix: str) -> Provider:
    """An empty, open provider of each driver."""
    if driver not in ("postgresql", "mysql"):
        return await opened(options_of(driver))
    provider = await opened(options_of(driver, sql_tables_prefix=own_prefix))
    assert isinstance(provider, SqlProvider)

    async def empty(connection: AsyncConnection) -> None:
        for table in reversed(provider._tables.metadata.sorted_tables):
            await connection.execute(delete(table))

    await provider._database.write(empty)
    return provider
