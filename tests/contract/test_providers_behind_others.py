# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL as operators have it: with a replica that is behind, and behind PgBouncer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import plain_account
from tests.support.databases import Server, pgbouncer, postgresql_replica

from tidegate.model import Folder, UsageDelta
from tidegate.store.factory import create_provider
from tidegate.store.sql import database as link_module
from tidegate.store.sql.provider import SqlProvider

TASKS = 10
OPERATIONS = 40


async def told(server: Server, question: str) -> object:
    """The one value of an answer."""
    async with await psycopg.AsyncConnection.connect(
        host="127.0.0.1",
        port=server.port,
        user=server.username,
        password=server.password,
        dbname=server.database,
        autocommit=True,
    ) as connection:
        row = await (await connection.execute(question)).fetchone()
        return None if row is None else row[0]


async def caught_up(primary: Server, replica: Server) -> None:
    """Wait until the replica has replayed everything that the primary has written."""
    position = await told(primary, "SELECT pg_current_wal_lsn()::text")
    async with asyncio.timeout(20):
        while not await told(replica, f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"):
            await asyncio.sleep(0.01)


@pytest.fixture
async def paused(postgresql_server: Server, options_of: OptionsOf) -> AsyncIterator[tuple[Server, Server]]:
    with postgresql_replica(postgresql_server) as replica:
        yield postgresql_server, replica


async def test_what_a_paused_replica_still_has_lets_nobody_in(
    paused: tuple[Server, Server],
    options_of: OptionsOf,
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "REPLICA_LAG_SECONDS", 0.0)
    primary, replica = paused
    options = options_of("postgresql", read_host=f"127.0.0.1:{replica.port}")
    provider = await opened(options)
    for name in ("ana", "bob"):
        await provider.add_user(plain_account(name))
    await provider.add_folder(Folder(name="shared", mapped_path="/srv/shared"))
    await caught_up(primary, replica)
    await told(replica, "SELECT pg_wal_replay_pause()::text")

    await provider.update_user(replace(plain_account("ana"), status=0))
    await provider.add_usage("ana", UsageDelta(size=5))
    await provider.add_folder_usage("shared", size=7, files=1)
    await provider.delete_user("bob")

    ana = await provider.user("ana")
    assert ana is not None
    assert (ana.status, ana.used_quota_size) == (0, 5)
    assert await provider.user("bob") is None
    folder = await provider.folder("shared")
    assert folder is not None
    assert folder.used_quota_size == 7
    # Only listings and dumps show the past.
    assert [account.username for account in await provider.users()] == ["ana", "bob"]
    assert [account.username async for account in provider.iter_users()] == ["ana", "bob"]
    assert await provider.count_users() == 2
    assert (await provider.folders())[0].used_quota_size == 0


async def work_in_parallel(provider: SqlProvider, number: int) -> None:
    name = f"user{number}"
    await provider.add_user(plain_account(name))
    for step in range(OPERATIONS):
        await provider.add_usage(name, UsageDelta(size=1))
        await provider.mark_usage(name, dirty=step % 2 == 0)
        found = await provider.user(name)
        assert found is not None
        assert (found.username, found.used_quota_size) == (name, step + 1)
        await provider.users(limit=3)
        await provider.setting(name)


@pytest.mark.parametrize("setting", ["auto", "never"])
async def test_pgbouncer_with_transaction_pooling(
    setting: str, postgresql_server: Server, options_of: OptionsOf
) -> None:
    # Fewer connections to the server than tasks: each transaction may meet another server process.
    with pgbouncer(postgresql_server, pool_size=3) as pooler:
        options = options_of("postgresql", port=pooler.port, pool_size=10, prepared_statements=setting)
        several = [create_provider(options) for _ in range(2)]
        try:
            # Two servers start at once: one makes the tables, and no lock stays behind.
            await asyncio.gather(*(provider.open() for provider in several))
            async with asyncio.TaskGroup() as group:
                for number in range(TASKS):
                    provider = several[number % 2]
                    assert isinstance(provider, SqlProvider)
                    group.create_task(work_in_parallel(provider, number))
            assert sum([account.used_quota_size async for account in several[0].iter_users()]) == (
                TASKS * OPERATIONS
            )
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert await told(postgresql_server, locks) == 0
        finally:
            for provider in several:
                await provider.close()


async def test_statements_are_prepared_where_no_pooler_is(options_of: OptionsOf, opened: Opened) -> None:
    provider = await opened(options_of("postgresql", pool_size=1))
    assert isinstance(provider, SqlProvider)
    for _ in range(10):
        await provider.user("nobody")

    async def prepared(connection: AsyncConnection) -> int:
        query = text("SELECT count(*) FROM pg_prepared_statements")
        return int((await connection.execute(query)).scalar_one())

    assert await provider._database.read(prepared) > 0
