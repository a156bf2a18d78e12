# SPDX-License-Identifier: Apache-2.0
"""One database and several processes or callers: migrations at once, changes by others, callers that leave."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.contract.conftest import Opened, OptionsOf
from tests.contract.test_providers_schema import run, tables
from tests.support.accounts import full_account, full_admin, plain_account

from tidegate.errors import AlreadyExists, ProviderError, ProviderUnavailable
from tidegate.model import Folder, FolderMount
from tidegate.store.contract import Provider, Snapshot, UsageDelta
from tidegate.store.factory import ProviderOptions, create_provider, initialise, revert
from tidegate.store.sql import schema
from tidegate.store.sql.database import Database

PROCESS = """
import asyncio, json, sys
from pathlib import Path
from tidegate.model import Account
from tidegate.store.factory import ProviderOptions, create_provider, initialise
from tidegate.store.sql import migrate, provider  # loaded before the start is given
from tidegate.store.sql import database as link  # loaded before the start is given
values = json.loads(sys.argv[1])
options = ProviderOptions(**{**values, "base_dir": Path(values["base_dir"])})
async def change(names):
    provider = create_provider(options)
    await provider.open()
    for name in names:
        if name[0] == "-":
            await provider.delete_user(name[1:])
        else:
            await provider.add_user(Account(username=name[1:], home_dir="/x", permissions={"/": ("*",)}))
    await provider.close()
    return "changed"
print("ready", flush=True)
for line in sys.stdin:
    work = initialise(options) if line == "migrate\\n" else change(line.split())
    print(asyncio.run(work), flush=True)
"""


class Process:
    """Another process with the same options; it does what it is told in lines, and answers each with one."""

    def __init__(self, options: ProviderOptions) -> None:
        values = {
            name: str(value) if name == "base_dir" else value
            for name, value in asdict(options).items()
            if name
            in {"driver", "name", "base_dir", "host", "port", "username", "password", "sql_tables_prefix"}
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, json.dumps(values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def ready(self) -> None:
        assert await self._answer() == "ready"

    async def do(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return await self._answer()

    async def _answer(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        if not line:
            raise AssertionError((await asyncio.to_thread(self._process.communicate))[1])
        return line.strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
async def processes() -> AsyncIterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()


@pytest.mark.parametrize(
    ("driver", "before"),
    [
        ("sqlite", "0"),
        pytest.param("postgresql", "1", marks=pytest.mark.soak),
        pytest.param("mysql", "0", marks=pytest.mark.soak),
    ],
)
async def test_two_processes_migrate_at_once(
    driver: str, before: str, options_of: OptionsOf, processes: list[Process]
) -> None:
    options = options_of(driver)
    if before == "1":
        await initialise(options)
        provider = create_provider(options)
        await provider.open()
        await provider.add_user(full_account())
        await provider.close()
        await revert(options, "1")
    processes += [Process(options) for _ in range(2)]
    for process in processes:
        await process.ready()
    said = await asyncio.gather(*(process.do("migrate") for process in processes))
    assert any(f"from version {before} to {schema.latest()}" in line for line in said), said
    assert "already up to date" in await initialise(options)
    found = await tables(options)
    assert {"users", "folders", "schema_version"} <= {
        n.removeprefix(options.sql_tables_prefix) for n in found
    }
    rows = await run(options, f"SELECT version_num FROM {options.sql_tables_prefix}schema_version")
    assert rows == [(schema.latest(),)]
    provider = create_provider(options)
    await provider.open(migrate=False)
    assert await provider.count_users() == int(before)
    await provider.close()


HOLD = {
    "postgresql": f"SELECT pg_advisory_lock({schema._LOCK_NUMBER})",
    "mysql": f"SELECT GET_LOCK('{schema._LOCK_NAME}', 30)",
}
LET_GO = {
    "postgresql": f"SELECT pg_advisory_unlock({schema._LOCK_NUMBER})",
    "mysql": f"SELECT RELEASE_LOCK('{schema._LOCK_NAME}')",
}
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'User lock%'",
}


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_migration_waits_for_the_node_that_is_at_it(
    driver: str, way: str, options_of: OptionsOf
) -> None:
    options = options_of(driver)
    if way == "down":
        await initialise(options)
    link = Database(options)
    link.start()
    try:
        async with asyncio.timeout(60), link.raw() as other:
            await other.execute(text(HOLD[driver]))
            await other.commit()
            task = asyncio.create_task(initialise(options) if way == "up" else revert(options, "0"))
            while not (await other.execute(text(WAITING[driver]))).scalar():
                await other.commit()
                assert not task.done()
                await asyncio.sleep(0.01)
            await other.commit()
            there = await tables(options)
            assert (f"{options.sql_tables_prefix}users" in there) is (way == "down")
            assert not task.done()
            await other.execute(text(LET_GO[driver]))
            await other.commit()
            await task
    finally:
        await link.stop()
    there = await tables(options)
    assert (f"{options.sql_tables_prefix}users" in there) is (way == "up")


async def test_pages_are_right_after_another_process_changed_names(
    options_of: OptionsOf, opened: Opened, processes: list[Process]
) -> None:
    """The bolt driver remembers where pages begin."""
    options = options_of("bolt")
    provider = await opened(options)
    names = [f"u{n:04}" for n in range(600)]
    await provider.load(Snapshot(users=[plain_account(name) for name in names]))

    async def check() -> None:
        for offset in (0, 1, 255, 256, 257, 300, 511, 512, 597, 600):
            page = await provider.users(offset=offset, limit=3)
            assert [account.username for account in page] == names[offset : offset + 3]
            page = await provider.users(offset=offset, limit=3, order="DESC")
            assert [account.username for account in page] == names[::-1][offset : offset + 3]

    await check()
    process = Process(options)
    processes.append(process)
    await process.ready()
    for change in ("-u0000", "+u0001x", "-u0400 +u9999"):
        assert await process.do(change) == "changed"
        for word in change.split():
            (names.remove if word[0] == "-" else names.append)(word[1:])
        names.sort()
        await check()
    assert await provider.count_users() == 600


# -- several callers -----------------------------------------------------------------------------------------


async def test_one_of_many_callers_adds_a_name(provider: Provider) -> None:
    ends = await asyncio.gather(
        *(provider.add_user(plain_account("ana")) for _ in range(8)), return_exceptions=True
    )
    refused = [end for end in ends if isinstance(end, BaseException)]
    assert len(refused) == 7
    for end in refused:
        assert isinstance(end, AlreadyExists)
        assert str(end) == "user 'ana' already exists"
    assert await provider.count_users() == 1


@pytest.mark.parametrize(
    ("first", "then", "left"), [(5, -4, 1), (5, -5, 0), (5, -6, 0), (0, -1, 0), (5, 2, 7)]
)
async def test_usage_ends_at_zero(provider: Provider, first: int, then: int, left: int) -> None:
    await provider.add_user(
        plain_account(
            "ana", virtual_folders=(FolderMount(name="box", virtual_path="/b", mapped_path="/srv/b"),)
        )
    )
    for amount in (first, then):
        await provider.add_usage("ana", UsageDelta(size=amount, files=amount))
        await provider.add_folder_usage("box", size=amount, files=amount)
    account, folder = await provider.user("ana"), await provider.folder("box")
    assert account is not None and folder is not None
    assert (account.used_quota_size, account.used_quota_files) == (left, left)
    assert (folder.used_quota_size, folder.used_quota_files) == (left, left)


async def test_folders_whose_names_begin_alike_have_their_own_users(provider: Provider) -> None:
    for user, folder in (("ana", "box"), ("bob", "box2"), ("cyd", "bo"), ("dan", "box")):
        mount = FolderMount(name=folder, virtual_path="/b", mapped_path=f"/srv/{folder}")
        await provider.add_user(plain_account(user, virtual_folders=(mount,)))
    await provider.update_folder(Folder(name="box", mapped_path="/srv/other"))
    for user, path in (
        ("ana", "/srv/other"),
        ("bob", "/srv/box2"),
        ("cyd", "/srv/bo"),
        ("dan", "/srv/other"),
    ):
        account = await provider.user(user)
        assert account is not None
        assert account.virtual_folders[0].mapped_path == path
    await provider.delete_folder("box")
    for user, mounts in (("ana", 0), ("bob", 1), ("cyd", 1), ("dan", 0)):
        account = await provider.user(user)
        assert account is not None
        assert len(account.virtual_folders) == mounts


@pytest.mark.parametrize("driver", ["bolt", "memory"])
async def test_accounts_are_not_loaded_where_they_are_managed_elsewhere(
    driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    provider = await opened(options_of(driver, manage_users=False))
    with pytest.raises(ProviderError, match="manage_users is 0"):
        await provider.load(Snapshot(users=[plain_account("ana")], admins=[full_admin()]))
    assert await provider.count_users() == 0
    await provider.load(Snapshot(admins=[full_admin()]))
    assert await provider.admin("root") is not None


# -- callers that leave, work that hangs ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "too late"])
async def test_work_that_nobody_waits_for_any_more_is_ended(how: str, options_of: OptionsOf) -> None:
    options = options_of("sqlite")
    await initialise(options)
    link = Database(options)
    link.start()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(_: AsyncConnection) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(20):
        if how == "cancelled":
            task = asyncio.create_task(link.write(work))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(ProviderUnavailable, match="no answer in time"):
                await link.write(work, seconds=0.05)
        await ended.wait()
        # The place of the one writer of SQLite is free again.
        assert await link.write(lambda connection: _one(connection)) == 1
        await link.stop()
    assert not link._leaving


async def _one(connection: AsyncConnection) -> Any:
    return (await connection.execute(text("SELECT 1"))).scalar()


@pytest.mark.parametrize(
    ("statement", "ask", "said"),
    [
        ("UPDATE admins SET permissions = '{'", "admin", "admin 'root': the stored record is unreadable"),
        (
            "UPDATE admins SET permissions = '[1]'",
            "admin",
            "admin 'root': the stored record is unreadable at 0",
        ),
        ("UPDATE users SET filters = '[]'", "user", "user 'zoë': the stored record is unreadable"),
        (
            """UPDATE users SET filters = '{"max_upload_file_size": "x"}'""",
            "user",
            "user 'zoë': the stored record is unreadable at max_upload_file_size",
        ),
        ("UPDATE folders SET filesystem = 'x'", "folder", "folder 'box': the stored record is unreadable"),
    ],
)
async def test_a_record_that_was_damaged_by_hand_is_named(
    statement: str, ask: str, said: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of("sqlite")
    provider = await opened(options)
    await provider.add_user(full_account())
    await provider.add_admin(full_admin())
    await provider.add_folder(Folder(name="box", mapped_path="/srv/b"))
    await run(options, statement)
    with pytest.raises(ProviderError) as caught:
        await {"admin": provider.admin, "user": provider.user, "folder": provider.folder}[ask](
            {"admin": "root", "user": "zoë", "folder": "box"}[ask]
        )
    assert str(caught.value) == said
