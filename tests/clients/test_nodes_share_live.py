# SPDX-License-Identifier: Apache-2.0
"""Two servers that share live state: sessions count together, and who is closed at one is closed at both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from tests.support.doors import ANY_PORT, port_of
from tests.support.loading import ROOT, service
from tests.support.people import HASHED, SECRET
from tests.support.web_world import settings

from tidegate.cluster.memory import MemoryHub, MemoryLive
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.model import Account
from tidegate.server.app import App
from tidegate.store.contract import Provider
from tidegate.store.memory import MemoryProvider
from tidegate.store.options import ProviderOptions


@contextlib.asynccontextmanager
async def node(name: str, top: Path, provider: Provider, hub: MemoryHub) -> AsyncIterator[App]:
    home = top / name
    home.mkdir()
    loaded = Loaded(Settings.model_validate(settings(httpd={"bindings": []})), config_dir=home)
    live = MemoryLive(name, hub=hub)
    app = App(loaded, provider=provider, log_events=False, doors=ANY_PORT, live=live)
    try:
        await app.start()
        yield app
    finally:
        await app.stop()


def connect(app: App):
    return asyncssh.connect(
        "127.0.0.1",
        port_of(app),
        username="eva",
        password=SECRET,
        known_hosts=None,
        config=None,
        client_keys=None,
        agent_path=None,
        gss_host=None,
    )


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[App, App]]:
    provider = MemoryProvider(ProviderOptions(driver="memory", name="", base_dir=tmp_path))
    await provider.open()
    home = str(tmp_path / "eva")
    await provider.add_user(
        Account(username="eva", password=HASHED, home_dir=home, max_sessions=2, permissions={"/": ("*",)})
    )
    hub = MemoryHub()
    async with node("one", tmp_path, provider, hub) as one, node("two", tmp_path, provider, hub) as two:
        yield one, two
    assert hub.slots == {}


async def test_sessions_of_an_account_are_limited_together(nodes: tuple[App, App]) -> None:
    one, two = nodes
    async with (
        connect(one) as first,
        connect(two) as second,
        first.start_sftp_client() as held,
        second.start_sftp_client(),
    ):
        with pytest.raises(asyncssh.SFTPError):
            async with second.start_sftp_client():
                pass
        held.exit()
        await held.wait_closed()
        async with second.start_sftp_client() as another:
            assert await another.listdir("/") == [".", ".."]


async def test_who_is_closed_at_one_node_is_closed_at_the_other(nodes: tuple[App, App]) -> None:
    one, two = nodes
    async with connect(two) as connection, connection.start_sftp_client():
        assert one.doors.close_user("eva", by="boss") == 0  # none of its own
        await connection.wait_closed()
    assert two.doors.usernames() == set()


async def test_a_load_that_disables_somebody_ends_their_connections_at_every_node(
    nodes: tuple[App, App],
) -> None:
    one, two = nodes
    loads = service(one.provider, connections=one.doors).loads
    stored = await one.provider.user("eva")
    assert stored is not None

    async def batches(account: Account) -> AsyncIterator[list[Account]]:
        yield [account]

    async with connect(two) as connection, connection.start_sftp_client() as client:
        await loads.store(batches(stored), by=ROOT)
        assert await client.listdir("/") == [".", ".."], "who may stay stays"
        await loads.store(batches(replace(stored, status=0)), by=ROOT)
        await asyncio.wait_for(connection.wait_closed(), 10)
    assert two.doors.usernames() == set()
