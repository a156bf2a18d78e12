# SPDX-License-Identifier: Apache-2.0
"""A whole server on each data provider: somebody logs in with a password, uploads, and is charged for it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import asyncssh
import pytest
from tests.support.databases import Server
from tests.support.doors import ANY_PORT, port_of

from tidegate.config.load import Loaded, load
from tidegate.config.schema import Settings
from tidegate.identity.passwords import HashOptions, hash_password
from tidegate.model import Account
from tidegate.server.app import App

PASSWORD = "a long enough word"
CHEAP = HashOptions(argon2_memory_kib=64)


def account(name: str, home: Path) -> Account:
    return Account(
        username=name,
        password=hash_password(PASSWORD, CHEAP),
        home_dir=str(home),
        permissions={"/": ("*",)},
        quota_size=1 << 20,
    )


async def upload(app: App, name: str, path: str) -> None:
    async with (
        asyncssh.connect(
            "127.0.0.1", port_of(app), username=name, password=PASSWORD, known_hosts=None, client_keys=None,
            config=None, agent_path=None,
        ) as connection,
        connection.start_sftp_client() as files,
        files.open(path, "wb") as file,
    ):  # fmt: skip
        await file.write(bytes(1000))


@pytest.mark.parametrize("driver", ["sqlite", "postgresql", "mysql", "bolt", "memory"])
async def test_login_upload_and_charge(driver: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    section: dict[str, object] = {"driver": driver, "name": "" if driver == "memory" else f"{driver}.db"}
    if driver in ("postgresql", "mysql"):
        server: Server = request.getfixturevalue(f"{driver}_server")
        section |= {
            "name": server.database,
            "host": "127.0.0.1",
            "port": server.port,
            "username": server.username,
            "password": server.password,
            "sql_tables_prefix": f"t{uuid.uuid4().hex[:12]}_",
        }
    settings = {"sftpd": {"bindings": []}, "httpd": {"bindings": []}, "data_provider": section}
    app = App(
        Loaded(Settings.model_validate(settings), config_dir=tmp_path), log_events=False, doors=ANY_PORT
    )
    await app.start()
    try:
        assert app.provider_ready
        await app.provider.add_user(account("pat", tmp_path / "home"))
        await upload(app, "pat", "/f")
        await app.sessions.tracker.settle("pat")
        stored = await app.provider.user("pat")
        assert stored is not None
        assert (stored.used_quota_size, stored.used_quota_files) == (1000, 1)
        assert stored.last_login > 0
        with pytest.raises(asyncssh.PermissionDenied):
            await upload(app, "sam", "/f")
    finally:
        await app.stop()


async def test_what_waits_for_a_restart_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def configuration(**section: object) -> Loaded:
        own = {"driver": "memory", "name": "", **section}
        return Loaded(
            Settings.model_validate(
                {"sftpd": {"bindings": []}, "httpd": {"bindings": []}, "data_provider": own}
            ),
            config_dir=tmp_path,
        )

    app = App(configuration(), log_events=False)
    await app.start()
    try:
        await app.reload(configuration(password_validation={"users": {"min_entropy": 60}}))
        assert "restart" not in caplog.text
        await app.reload(configuration(pool_size=7, password="hunter2"))
        assert "data_provider.password, data_provider.pool_size changed; restart the server" in caplog.text
        assert "hunter2" not in caplog.text
    finally:
        await app.stop()


async def test_memory_takes_the_accounts_of_its_file_again_on_reload(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        users = [
            {
                "username": name,
                "status": 1,
                "password": hash_password(PASSWORD, CHEAP),
                "home_dir": str(tmp_path / name),
                "permissions": {"/": ["*"]},
            }
            for name in names
        ]
        (tmp_path / "accounts.json").write_text(json.dumps({"version": 17, "users": users}))

    (tmp_path / "tidegate.json").write_text(
        json.dumps(
            {
                "sftpd": {"bindings": []},
                "httpd": {"bindings": []},
                "data_provider": {"driver": "memory", "name": "accounts.json"},
            }
        )
    )
    write("pat")
    app = App(load(tmp_path, "tidegate", {}), log_events=False, doors=ANY_PORT)
    await app.start()
    try:
        await upload(app, "pat", "/f")
        with pytest.raises(asyncssh.PermissionDenied):
            await upload(app, "sam", "/f")
        write("sam")
        await app.reload(load(tmp_path, "tidegate", {}))
        await upload(app, "sam", "/f")
        with pytest.raises(asyncssh.PermissionDenied):
            await upload(app, "pat", "/f")
    finally:
        await app.stop()
