# SPDX-License-Identifier: Apache-2.0
"""Several servers on one database: what one revokes is void at the other, and usage adds up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import OptionsOf
from tests.support.vfs_world import PUT, p, put
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, services_of, web_world

from tidegate.backends.local import LocalBackend
from tidegate.defence.defender import Misdeed
from tidegate.errors import QuotaExceeded
from tidegate.model import Account, Peer, Principal, Protocol
from tidegate.store.contract import Provider
from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.vfs.factory import VfsSessions
from tidegate.vfs.usage.lease import Lease
from tidegate.web.api.security import MAX_REVOKED, ROWS_SECONDS

SHARED = ("postgresql", "mysql")
VERSION = "/api/v2/version"


def section(options: ProviderOptions) -> dict[str, object]:
    names = ("driver", "name", "host", "port", "username", "password", "sql_tables_prefix", "pool_size")
    return {name: getattr(options, name) for name in names}


@contextlib.asynccontextmanager
async def two_servers(
    options: ProviderOptions, top: Path, **sections: dict[str, Any]
) -> AsyncIterator[tuple[WebWorld, WebWorld]]:
    provider, httpd = section(options), {"signing_passphrase": "the same at both"}
    for name in ("one", "two"):
        (top / name).mkdir()
    async with (
        web_world(top / "one", data_provider=provider, httpd=httpd, **sections) as one,
        web_world(top / "two", data_provider=provider, httpd=httpd, first=False, **sections) as two,
    ):
        yield one, two


async def status(world: WebWorld, token: str) -> int:
    async with world.anonymous(headers={"Authorization": f"Bearer {token}"}) as client:
        return (await client.get(VERSION)).status_code


async def log_out(world: WebWorld, token: str) -> None:
    async with world.anonymous(headers={"Authorization": f"Bearer {token}"}) as client:
        assert (await client.get("/api/v2/logout")).status_code == 200


async def void_at(world: WebWorld, token: str) -> None:
    """The token is refused there once what is remembered of the provider has ended."""
    services_of(world.app).tokens._monotonic = lambda: time.monotonic() + ROWS_SECONDS
    assert await status(world, token) == 401


@pytest.mark.parametrize("driver", SHARED)
async def test_what_one_server_revokes_is_void_at_the_other(
    driver: str, options_of: OptionsOf, tmp_path: Path
) -> None:
    async with two_servers(options_of(driver), tmp_path) as (one, two):
        first, second, third = [await one.token() for _ in range(3)]
        assert [await status(world, first) for world in (one, two)] == [200, 200]
        await log_out(one, first)
        assert await status(one, first) == 401
        await void_at(two, first)
        await log_out(two, second)  # does not undo the first
        await void_at(one, second)
        await void_at(one, first)
        assert await status(two, third) == 200
        await services_of(two.app).tokens.revoke_all(ADMIN)
        await void_at(one, third)
        assert await status(one, await one.token()) == 200


async def test_revocations_of_an_older_version_are_taken_over(options_of: OptionsOf, tmp_path: Path) -> None:
    options = options_of("sqlite")
    httpd = {"signing_passphrase": "the same before and after"}
    async with web_world(tmp_path, data_provider=section(options), httpd=httpd) as world:
        token, other = await world.token(), await world.token()
        claims = await services_of(world.app).tokens.read(token, "127.0.0.1")
        former = {"void": {claims.token_id: claims.expires * 1000}, "all": 0}
        await world.app.provider.set_setting("revoked_tokens", json.dumps(former))
    async with web_world(tmp_path, data_provider=section(options), httpd=httpd, first=False) as world:
        assert await status(world, token) == 401
        assert await status(world, other) == 200
        assert await world.app.provider.setting("revoked_tokens") is None
    async with web_world(tmp_path, data_provider=section(options), httpd=httpd, first=False) as world:
        assert await status(world, token) == 401
        await world.app.provider.set_setting("revoked_tokens", "{unreadable")
    async with web_world(tmp_path, data_provider=section(options), httpd=httpd, first=False) as world:
        assert await status(world, other) == 401
        async with world.acting_as(ADMIN, PASSWORD) as client:
            assert (await client.get(VERSION)).status_code == 200


async def test_too_many_revocations_void_every_token_on_every_server(
    options_of: OptionsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_REVOKED == 4000
    monkeypatch.setattr("tidegate.web.api.security.MAX_REVOKED", 2)
    async with two_servers(options_of("postgresql"), tmp_path) as (one, two):
        tokens = [await one.token() for _ in range(4)]
        for token in tokens[:3]:
            await log_out(one, token)
        await void_at(two, tokens[3])
        assert await status(two, await two.token()) == 200


# -- usage ---------------------------------------------------------------------------------------------------


class Server:
    """The files of one server on a shared provider."""

    def __init__(self, name: str, options: ProviderOptions) -> None:
        self.provider: Provider = create_provider(options)
        self.vfs = VfsSessions(
            lambda spec: LocalBackend(spec.directory, create=True),
            self.provider,
            emit=lambda event: None,
            lease=Lease(self.provider, name),
        )

    async def start(self) -> list[str]:
        await self.provider.open()
        return await self.vfs.reconcile()

    async def login(self):
        account = await self.provider.user("alice")
        assert account is not None
        peer = Peer("c1", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "SSH-2.0-test")
        return await self.vfs.open(Principal(account, "password", "192.0.2.7"), peer)

    async def used(self) -> int:
        account = await self.provider.user("alice")
        assert account is not None
        return account.used_quota_size

    async def stop(self) -> None:
        await self.vfs.close()
        await self.provider.close()


@pytest.mark.parametrize("driver", SHARED)
async def test_a_third_server_leaves_uploads_of_the_others_alone(
    driver: str, options_of: OptionsOf, tmp_path: Path
) -> None:
    """Each server holds the quota by what it knows, so two can pass it together. What is stored is the truth, and
    a server where the account's first session begins holds it to that (ADR 0033)."""
    options = options_of(driver)
    one, two, three = (Server(name, options) for name in ("one", "two", "three"))
    assert await one.start() == []
    await one.provider.add_user(
        Account(username="alice", home_dir=str(tmp_path / "a"), quota_size=10_000, permissions={"/": ("*",)})
    )
    assert await two.start() == []
    sessions = [await one.login(), await two.login()]
    files = []
    for session, name in zip(sessions, ("/one", "/two"), strict=True):
        files.append(await session.open(p(name), PUT))
        await files[-1].write(0, b"x" * 9000)
    marks = sorted(await one.provider.usage_marks())
    assert marks == [("alice", "one"), ("alice", "two")]
    assert await three.start() == []  # during the uploads
    assert await one.provider.usage_marks() == marks
    for file in files:
        await file.close()
    await asyncio.gather(one.vfs.tracker.settle(), two.vfs.tracker.settle())
    assert await three.used() == 18_000
    sessions.append(await three.login())
    with pytest.raises(QuotaExceeded):
        await put(sessions[-1], "/more", b"x")
    for session in sessions:
        await session.close()
    for server in (one, two):
        await server.stop()
    assert await three.used() == 18_000
    assert await three.provider.usage_marks() == []
    await three.stop()


@pytest.mark.parametrize("driver", SHARED)
async def test_a_ban_of_one_server_holds_at_the_other_until_it_is_ended_there(
    driver: str, options_of: OptionsOf, tmp_path: Path
) -> None:
    common = {"defender": {"enabled": True, "driver": "provider"}}
    async with two_servers(options_of(driver), tmp_path, common=common) as (one, two):
        here, there = one.app.defence, two.app.defence
        for _ in range(8):
            here.defence.mark("192.0.2.7", "SSH", Misdeed.UNKNOWN_USER)
        assert here.defence.check("192.0.2.7", "SSH") is not None
        await here.refresh()
        await there.refresh()
        refusal = there.defence.check("192.0.2.7", "SSH")
        assert refusal is not None
        assert refusal.banned
        assert await there.forgive("192.0.2.7")
        assert there.defence.check("192.0.2.7", "SSH") is None
        await here.refresh()
        assert here.defence.check("192.0.2.7", "SSH") is None
