# SPDX-License-Identifier: Apache-2.0
"""A server whose data provider is down: at start, later, and when it comes back. No restart is needed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import asyncssh
import pytest
from tests.support.cut_line import CutLine
from tests.support.databases import Server

from tidegate import app as app_module
from tidegate.app import App
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.model import Account
from tidegate.store.factory import create_provider
from tidegate.wiring import provider_options

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
    assert app.ssh is not None
    async with (
        asyncssh.connect(
            "127.0.0.1",
            app.ssh.ports[0],
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
    monkeypatch.setattr(app_module, "PROVIDER_RETRY_SECONDS", 0.05)
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
        app = App(loaded, log_events=False)
        app.listen_anywhere()
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
            await app.sessions.books.settle("pat")
            stored = await app.provider.user("pat")
            assert stored is not None
            assert (stored.used_quota_size, stored.used_quota_files) == (1000, 1)
        finally:
            await app.stop()
