# SPDX-License-Identifier: Apache-2.0
"""Comparison and exchange: of two writers that read the same version of a record, one is stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf
from tests.support.accounts import plain_account

from tidegate.accounts.actor import Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.rules import Rules
from tidegate.accounts.versions import encoded, version_of
from tidegate.errors import NotFound, Outdated
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.store.contract import Provider

ROOT = operator("root", Channel.CLI)
SHARED = ("sqlite", "postgresql", "mysql")
"""Drivers whose database two servers can have open."""


class NoHashes:
    async def hash(self, password: str, *, source: str = "") -> str:
        raise AssertionError


def service(provider: Provider) -> Administration:
    return Administration(
        provider, AdministrationOptions(rules=Rules(server_dir="/etc/tidegate")), Needs(hashes=NoHashes())
    )


@pytest.mark.parametrize("driver", SHARED)
async def test_of_two_writers_of_one_version_one_wins(driver: str, options_of: OptionsOf, opened: Opened):
    options = options_of(driver)
    first, second = [service(await opened(options)) for _ in range(2)]
    for number in range(5):
        name = f"user{number}"
        read = await first.users.add(
            {"username": name, "home_dir": "/srv/x", "permissions": {"/": ["*"]}}, by=ROOT
        )
        document, version = encoded(read), version_of(read)

        async def write(one: Administration, text: str, **more: Any) -> Account:
            return await one.users.change(name, {**document, "description": text}, by=ROOT, **more)  # noqa: B023

        results = await asyncio.gather(
            write(first, "first", version=version),
            write(second, "second", version=version),
            return_exceptions=True,
        )
        won = [one.description for one in results if isinstance(one, Account)]
        lost = [one for one in results if isinstance(one, Outdated)]
        assert len(won) == len(lost) == 1, results
        assert lost[0].fields == ("description",)
        assert (await second.users.get(name)).description == won[0]


@pytest.mark.parametrize("driver", SHARED)
async def test_changes_of_two_servers_at_once_lose_nothing(
    driver: str, options_of: OptionsOf, opened: Opened
):
    options = options_of(driver)
    services = [service(await opened(options)) for _ in range(2)]
    await services[0].users.add({"username": "u", "home_dir": "/srv/x", "permissions": {"/": ["*"]}}, by=ROOT)

    async def append(one: Administration, letter: str) -> None:
        def edit(stored: Account) -> dict[str, Any]:
            return {**encoded(stored), "description": stored.description + letter}

        await one.users.change("u", edit, by=ROOT)

    await asyncio.gather(*(append(services[index % 2], letter) for index, letter in enumerate("abcdef")))
    assert sorted((await services[0].users.get("u")).description) == list("abcdef")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_guard_sees_what_is_stored_and_undoes(driver: str, options_of: OptionsOf, opened: Opened):
    provider = await opened(options_of(driver))
    await provider.add_folder(Folder(name="f", mapped_path="/srv/f"))
    await provider.add_user(plain_account("u"))
    await provider.add_admin(Admin(username="a", permissions=("*",), password="x"))
    await provider.add_api_key(ApiKey(id="k", name="key", key="x", admin="a"))
    seen: list[object] = []

    def refuse(record: object) -> None:
        seen.append(record)
        raise Outdated

    user, folder = await provider.user("u"), await provider.folder("f")
    admin, key = await provider.admin("a"), await provider.api_key("k")
    assert user and folder and admin and key
    for work in (
        provider.update_user(replace(user, description="x"), guard=refuse),
        provider.delete_user("u", guard=refuse),
        provider.update_folder(replace(folder, description="x"), guard=refuse),
        provider.delete_folder("f", guard=refuse),
        provider.update_admin(replace(admin, description="x"), guard=refuse),
        provider.delete_admin("a", guard=refuse),
        provider.update_api_key(replace(key, description="x"), guard=refuse),
        provider.delete_api_key("k", guard=refuse),
    ):
        with pytest.raises(Outdated):
            await work
    assert seen == [user, user, folder, folder, admin, admin, key, key]
    assert await provider.user("u") == user
    assert await provider.folder("f") == folder
    assert await provider.admin("a") == admin
    assert await provider.api_key("k") == key


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_login_is_no_change_of_a_record(driver: str, options_of: OptionsOf, opened: Opened):
    provider = await opened(options_of(driver))
    await provider.add_admin(Admin(username="a", permissions=("*",), password="x"))
    await provider.add_api_key(ApiKey(id="k", name="key", key="x", admin="a"))
    admin, key = await provider.admin("a"), await provider.api_key("k")
    assert admin and key
    await provider.touch_admin("a", 5)
    await provider.touch_api_key("k", 6)
    now, key_now = await provider.admin("a"), await provider.api_key("k")
    assert now == replace(admin, last_login=5)
    assert key_now == replace(key, last_use_at=6)
    assert version_of(now) == version_of(admin)
    assert version_of(key_now) == version_of(key)
    with pytest.raises(NotFound):
        await provider.touch_admin("nobody", 5)
    with pytest.raises(NotFound):
        await provider.touch_api_key("nothing", 5)
