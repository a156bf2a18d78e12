# SPDX-License-Identifier: Apache-2.0
"""A whole server with its REST API on loopback, an administrator, and clients that are logged in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from tests.support.doors import ANY_PORT, services_of, url_of
from tests.support.people import CHEAP
from tests.support.ports import free_port

from tidegate.config.load import Loaded, load
from tidegate.config.schema import Settings
from tidegate.identity.passwords import hash_password
from tidegate.logs.search import LogReader
from tidegate.model import Admin, AdminFilters
from tidegate.server.app import App
from tidegate.server.door_table import BUILT_IN

ADMIN, PASSWORD = "boss", "a long and boring administrator password"
_HASH = hash_password(PASSWORD, CHEAP)

CHEAP_HASHING = {
    "argon2_options": {"memory": 64, "iterations": 1, "parallelism": 1},
    "bcrypt_options": {"cost": 4},  # refusals take as long as bcrypt two steps above it
}


@dataclass
class WebWorld:
    app: App
    home: Path
    client: httpx2.AsyncClient
    """logged in as an administrator who may do everything"""

    @property
    def url(self) -> str:
        return url_of(self.app)

    def anonymous(self, **more: Any) -> httpx2.AsyncClient:
        # Without TLS there is nothing to verify, and reading the authorities takes longer than most tests.
        return httpx2.AsyncClient(base_url=self.url, **{"verify": False, **more})

    async def token(self, name: str = ADMIN, password: str = PASSWORD) -> str:
        async with self.anonymous() as client:
            answer = await client.get("/api/v2/token", auth=(name, password))
            assert answer.status_code == 200, answer.text
            return str(answer.json()["access_token"])

    def issue(self, admin: Admin) -> str:
        """A token without a login, for tests with many administrators."""
        return services_of(self.app).tokens.issue(admin, "127.0.0.1")[0]

    async def add_admin(self, name: str, *permissions: str, **filters: Any) -> Admin:
        admin = Admin(username=name, password=_HASH, permissions=permissions, filters=AdminFilters(**filters))
        return await self.app.provider.add_admin(admin)

    @contextlib.asynccontextmanager
    async def acting_as(self, name: str, password: str = PASSWORD) -> AsyncIterator[httpx2.AsyncClient]:
        headers = {"Authorization": f"Bearer {await self.token(name, password)}"}
        async with self.anonymous(headers=headers) as client:
            yield client

    def user(self, name: str, **more: Any) -> dict[str, Any]:
        """A user document."""
        home = str(self.home / "files" / name)
        return {"username": name, "home_dir": home, "permissions": {"/": ["*"]}, **more}


def settings(**sections: dict[str, Any]) -> dict[str, Any]:
    """A configuration for tests: sections given replace the keys they name."""
    base: dict[str, dict[str, Any]] = {
        "sftpd": {"bindings": []},
        "data_provider": {"driver": "memory", "name": "", "password_hashing": CHEAP_HASHING},
        "httpd": {"bindings": [{"port": free_port()}]},
    }
    for name, keys in sections.items():
        base[name] = {**base.get(name, {}), **keys}
    return base


@contextlib.asynccontextmanager
async def web_world(
    home: Path,
    *,
    ssh: bool = False,
    first: bool = True,
    sinks: Sequence[Any] = (),
    log: Callable[[], LogReader] | None = None,
    written: bool = False,
    **sections: dict[str, Any],
) -> AsyncIterator[WebWorld]:
    """A running server; `sections` are parts of its configuration, `first` adds the administrator and logs in,
    `log` gives what reads the log, `written` puts the configuration into a file that is read."""
    loaded = Loaded(Settings.model_validate(settings(**sections)), config_dir=home)
    if written:
        (home / "tidegate.json").write_text(json.dumps(settings(**sections)), encoding="utf-8")
        loaded = load(home, "tidegate", {})
    app = App(
        loaded,
        sinks=sinks,
        log_events=False,
        doors=ANY_PORT if ssh else BUILT_IN,
        log=log,
    )
    try:
        await app.start()
        world = WebWorld(app, home, httpx2.AsyncClient(verify=False))
        await world.client.aclose()
        if first:
            await world.add_admin(ADMIN, "*")
            async with world.acting_as(ADMIN) as world.client:
                yield world
        else:
            yield world
    finally:
        await app.stop()
