# SPDX-License-Identifier: Apache-2.0
"""A server whose data provider is down: at start, later, and when it comes back. No restart is needed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import plain_account
from tests.support.cut_line import CutLine
from tests.support.databases import Server
from tests.support.doors import ANY_PORT, port_of

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.errors import ProviderUnavailable
from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.model import Account, Folder, FolderMount, UsageDelta
from tidegate.server import provider_start
from tidegate.server.app import App
from tidegate.server.wiring import provider_options
from tidegate.store.factory import create_provider
from tidegate.store.sql import usage as statements
from tidegate.store.sql.provider import SqlProvider
from tidegate.vfs.usage.tracker import UsageTracker

PASSWORD = "a long enough word"


def configuration(folder: Path, server: Server, port: int) -> Loaded:
    settings = Settings.model_validate(
        {
            "sftpd": {"bindings": []},
            "httpd": {"bindings": []},
            "data_provider": {
                "driver": "postgresql",
                "name": server.database,
                "host": "127.0.0.1",
                "port": port,
                "username": server.username,
                "password": server.password,
                "sql_tables_prefix": "outage_",
                "password_caching": False,
            },
        }
    )
    return Loaded(settings, config_dir=folder)


async def log_in(app: App) -> None:
    async with (
        asyncssh.connect(
            "127.0.0.1",
            port_of(app),
            username="pat",
            password=PASSWORD,
            known_hosts=None,
            client_keys=None,
            config=None,
        ) as connection,
        connection.start_sftp_client() as client,
        client.open("/kept", "wb") as file,
    ):
        await file.write(b"x" * 1000)


async def test_logins_are_refused_while_the_provider_is_down_and_work_again_after(
    postgresql_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(provider_start, "RETRY_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "tidegate")
    directly = configuration(tmp_path, postgresql_server, postgresql_server.port)
    seed = create_provider(provider_options(directly))
    await seed.open()
    cheap = HashOptions(argon2_memory_kib=64)
    await seed.add_user(
        Account(
            username="pat",
            password=hash_password(PASSWORD, cheap),
            home_dir=str(tmp_path / "home"),
            permissions={"/": ("*",)},
            quota_size=1 << 30,
        )
    )
    await seed.close()
    async with CutLine(postgresql_server.port) as line:
        loaded = configuration(tmp_path, postgresql_server, line.port)
        await line.cut()
        app = App(loaded, log_events=False, doors=ANY_PORT)
        await app.start()  # down at start is no reason not to start
        try:
            assert not app.provider_ready
            with pytest.raises(asyncssh.PermissionDenied):
                await log_in(app)
            assert "logins are refused until it answers" in caplog.text

            await line.restore()
            async with asyncio.timeout(20):
                while not app.provider_ready:
                    await asyncio.sleep(0.01)
            await log_in(app)

            await line.cut()
            with pytest.raises(asyncssh.PermissionDenied):
                await log_in(app)
            assert "provider_unavailable" in caplog.text or "data provider" in caplog.text

            await line.restore()
            async with asyncio.timeout(20):
                while True:
                    try:
                        await log_in(app)
                        break
                    except asyncssh.PermissionDenied:
                        await asyncio.sleep(0.05)
            await app.sessions.tracker.settle("pat")
            stored = await app.provider.user("pat")
            assert stored is not None
            assert (stored.used_quota_size, stored.used_quota_files) == (1000, 1)
        finally:
            await app.stop()


@pytest.mark.parametrize("of_folder", [False, True], ids=["account", "folder"])
@pytest.mark.parametrize("stored", [True, False], ids=["reply lost", "request lost"])
@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
async def test_usage_counts_once_if_the_line_breaks_while_it_is_written(
    driver: str, options_of: OptionsOf, opened: Opened, stored: bool, of_folder: bool
) -> None:
    options = options_of(driver)
    directly = await opened(options)
    mount = FolderMount(name="shared", virtual_path="/shared", mapped_path="/srv/shared")
    await directly.add_folder(Folder(name="shared", mapped_path="/srv/shared"))
    pat = await directly.add_user(replace(plain_account("pat"), virtual_folders=(mount,)))

    async def counted() -> tuple[int, int]:
        record = await (directly.folder("shared") if of_folder else directly.user("pat"))
        assert record is not None
        return record.used_quota_size, record.used_quota_files

    async with CutLine(options.port) as line:
        provider = await opened(replace(options, port=line.port))
        tracker = UsageTracker(provider, emit=lambda event: None)
        usage, folder = await tracker.account(pat), await tracker.folder(mount)
        await tracker.begin(usage, folder)
        charged = folder if of_folder else usage
        charged.size.add(1000)
        charged.files.add(1)
        # "BEGIN ISOLATION LEVEL READ COMMITTED" is not meant.
        line.cut_at(b"commit\0" if driver == "postgresql" else b"commit", deliver=stored)
        async with asyncio.timeout(10):
            with pytest.raises(ProviderUnavailable):
                await tracker.settle()
            await line.was_cut.wait()
        async with asyncio.timeout(10):
            # The server has the request by now, not necessarily the answer.
            while await counted() != ((1000, 1) if stored else (0, 0)):
                await asyncio.sleep(0.01)

        await line.restore()
        await tracker.settle()

        assert await counted() == (1000, 1)
        await tracker.close()
        assert await counted() == (1000, 1)
        assert await directly.dirty_usage() == []  # nothing is left to be scanned
        await provider.close()


@pytest.mark.parametrize("driver", ["postgresql", "mysql"])
async def test_an_addition_that_the_server_still_works_on_is_waited_for(
    driver: str, options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = await opened(options_of(driver))
    assert isinstance(provider, SqlProvider)
    pat = await provider.add_user(plain_account("pat"))
    tracker = UsageTracker(provider, emit=lambda event: None)
    usage = await tracker.account(pat)
    held, release = asyncio.Event(), asyncio.Event()
    under_way: list[asyncio.Task[None]] = []

    async def slow(connection: AsyncConnection) -> None:
        await statements.add_usage(connection, provider._tables, "pat", UsageDelta(size=1000, files=1))
        held.set()
        await release.wait()

    async def add_usage(username: str, delta: UsageDelta) -> None:
        under_way.append(asyncio.create_task(provider._database.write(slow)))
        await held.wait()
        raise ProviderUnavailable  # our side of the line is gone, the server's transaction is not

    usage.size.add(1000)
    usage.files.add(1)
    with monkeypatch.context() as broken:
        broken.setattr(provider, "add_usage", add_usage)
        with pytest.raises(ProviderUnavailable):
            await tracker.settle()

    settled = asyncio.create_task(tracker.settle())
    assert not (await asyncio.wait({settled}, timeout=0.3))[0]  # it cannot be known yet
    release.set()
    async with asyncio.timeout(10):
        await asyncio.gather(settled, *under_way)

    stored = await provider.user("pat")
    assert stored is not None
    assert (stored.used_quota_size, stored.used_quota_files) == (1000, 1)
    await tracker.close()
