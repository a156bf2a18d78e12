# SPDX-License-Identifier: Apache-2.0
"""The short way to one account of an SQLite file: the same answer, and the ordinary way when it cannot answer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from tests.support.accounts import full_account, full_folder, plain_account

from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.store.sql import lookup
from tidegate.store.sql.provider import SqlProvider


@contextlib.asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[SqlProvider]:
    provider = create_provider(ProviderOptions(driver="sqlite", base_dir=path, name="a.db"))
    assert isinstance(provider, SqlProvider)
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture
def statements():
    """SELECTs that went the ordinary way."""
    found: list[str] = []

    def note(_c: object, _cursor: object, text: str, *_: object) -> None:
        found.append(text)

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


async def test_both_ways_say_the_same(tmp_path: Path, statements: list[str]):
    async with sqlite(tmp_path) as provider:
        await provider.add_folder(full_folder())
        full = full_account()
        for account in (full, plain_account("anna"), replace(full, username="two", virtual_folders=())):
            await provider.add_user(account)
        short = provider._database.lookup
        for name in ("zoë", "anna", "two", "nobody", "Anna", "anna "):
            statements.clear()
            quick = await provider.user(name)
            assert statements == []
            provider._database.lookup = None
            assert await provider.user(name) == quick
            assert len(statements) == 1
            provider._database.lookup = short
        assert (await provider.user("zoë")).virtual_folders
        assert await provider.user("nobody") is None


async def test_what_was_written_is_seen_at_once(tmp_path: Path):
    async with sqlite(tmp_path) as provider:
        await provider.add_user(plain_account("anna"))
        for number in range(20):
            stored = await provider.user("anna")
            await provider.update_user(replace(stored, description=f"{number}"))
            assert (await provider.user("anna")).description == f"{number}"
        # Also by another process.
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as other, other:
            other.execute("UPDATE users SET status = 0 WHERE username = 'anna'")
        assert (await provider.user("anna")).status == 0


async def test_many_at_once(tmp_path: Path):
    async with sqlite(tmp_path) as provider:
        for number in range(20):
            await provider.add_user(plain_account(f"u{number}"))
        found = await asyncio.gather(*(provider.user(f"u{number}") for number in range(20)))
        assert [account.username for account in found] == [f"u{number}" for number in range(20)]


async def test_trouble_goes_the_ordinary_way_and_ends_with_the_trouble(tmp_path: Path, statements: list[str]):
    async with sqlite(tmp_path) as provider:
        await provider.add_user(plain_account("anna"))
        assert await provider.user("anna")
        lost = provider._database.lookup._connection
        await lost.close()
        statements.clear()
        assert (await provider.user("anna")).username == "anna"
        assert len(statements) == 1
        assert (await provider.user("anna")).username == "anna"
        assert len(statements) == 1  # by a connection that was opened again
        assert provider._database.lookup._connection is not lost


async def test_a_lookup_that_takes_too_long_is_left_behind(
    tmp_path: Path, monkeypatch, statements: list[str]
):
    go_on = threading.Event()
    async with sqlite(tmp_path) as provider:
        await provider.add_user(plain_account("anna"))
        assert await provider.user("anna")
        monkeypatch.setattr(lookup, "LOOKUP_SECONDS", 0.05)
        stuck = asyncio.ensure_future(provider._database.lookup._connection._execute(go_on.wait))
        await asyncio.sleep(0)
        statements.clear()
        try:
            assert (await provider.user("anna")).username == "anna"
            assert len(statements) == 1
        finally:
            go_on.set()
        await stuck


async def test_the_connection_can_only_read(tmp_path: Path):
    async with sqlite(tmp_path) as provider:
        await provider.add_user(plain_account("anna"))
        assert await provider.user("anna")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await provider._database.lookup._connection.execute_fetchall("DELETE FROM users")
