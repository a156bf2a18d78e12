# SPDX-License-Identifier: Apache-2.0
"""Comparison and exchange: of two writers that read the same version of a record, one is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf
from tests.support.accounts import plain_account
from tests.support.loading import ROOT, service

from tidegate.accounts.administration import Administration
from tidegate.accounts.versions import encoded, version_of
from tidegate.errors import BadRecord, InvalidArgument, NotFound, Outdated
from tidegate.model import Account, Admin, ApiKey, Folder, FolderMount
from tidegate.store.contract import Provider, Record, Snapshot
from tidegate.store.imports.plan import apply_import
from tidegate.store.imports.proftpd import parse_proftpd
from tidegate.store.streams import batches_of

SHARED = ("sqlite", "postgresql", "mysql")
"""Drivers whose database two servers can have open."""


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


# -- administrators ------------------------------------------------------------------------------------------


def owner(name: str) -> Admin:
    return Admin(username=name, permissions=("*",), password="$1$x")


@pytest.mark.parametrize("driver", SHARED)
@pytest.mark.parametrize("way", ["remove", "change", "load"])
async def test_two_servers_at_once_leave_an_owner(
    driver: str, way: str, options_of: OptionsOf, opened: Opened
):
    options = options_of(driver)
    providers = [await opened(options) for _ in range(2)]
    first, second = map(service, providers)

    async def strip(one: Administration, name: str) -> None:
        if way == "remove":
            await one.admins.remove(name, by=ROOT)
        elif way == "change":
            await one.admins.change(name, {"username": name, "permissions": ["view_users"]}, by=ROOT)
        else:
            powerless = replace(owner(name), permissions=("view_users",))
            await one.loads.store(batches_of(Snapshot(admins=[powerless])), by=ROOT)

    for number in range(5):
        names = f"a{number}", f"b{number}"
        for name in names:
            if await providers[0].admin(name) is None:
                await providers[0].add_admin(owner(name))
        for left in await providers[0].admins():
            if left.username not in names:
                await providers[0].delete_admin(left.username)
        ends = await asyncio.gather(strip(first, names[0]), strip(second, names[1]), return_exceptions=True)
        refused = [end for end in ends if isinstance(end, BaseException)]
        assert len(refused) == 1, ends
        assert isinstance(refused[0], (BadRecord, InvalidArgument))
        assert "enabled administrator with all permissions" in str(refused[0])
        owners = [admin for admin in await providers[1].admins() if "*" in admin.permissions]
        assert len(owners) == 1


@pytest.mark.parametrize("driver", DRIVERS)
async def test_administrators_before_and_after_are_seen_and_can_be_refused(
    driver: str, options_of: OptionsOf, opened: Opened
):
    provider = await opened(options_of(driver))
    await provider.load(Snapshot(admins=[owner("a"), owner("b")]))
    seen: list[tuple[dict[str, str], dict[str, str]]] = []

    def refuse(before: Sequence[Admin], after: Sequence[Admin]) -> None:
        seen.append(tuple({one.username: one.email for one in each} for each in (before, after)))  # type: ignore[arg-type]
        raise InvalidArgument("no")

    changed = replace(owner("a"), email="new@example.org")
    for work in (
        provider.update_admin(changed, admins_guard=refuse),
        provider.delete_admin("b", admins_guard=refuse),
        provider.load_batches(batches_of(Snapshot(admins=[changed, owner("c")])), admins_guard=refuse),
    ):
        with pytest.raises(InvalidArgument, match="no"):
            await work
    before = {"a": "", "b": ""}
    assert seen == [
        (before, {"a": "new@example.org", "b": ""}),
        (before, {"a": ""}),
        (before, {"a": "new@example.org", "b": "", "c": ""}),
    ]
    assert {one.username: one.email for one in await provider.admins()} == before
    await provider.load_batches(batches_of(Snapshot(users=[plain_account("u")])), admins_guard=refuse)
    assert len(seen) == 3


# -- loads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_load_shows_its_guard_each_record_that_it_replaces(
    driver: str, options_of: OptionsOf, opened: Opened
):
    provider = await opened(options_of(driver))
    folder = Folder(name="f", mapped_path="/srv/f")
    mount = FolderMount(name="f", virtual_path="/f", mapped_path="/srv/f")
    key = ApiKey(id="k", name="key", key="x", admin="a")
    everything = Snapshot(
        users=[plain_account("u", virtual_folders=(mount,))],
        folders=[folder],
        admins=[owner("a")],
        api_keys=[key],
    )
    await provider.load(everything)
    stored = await asyncio.gather(
        provider.folder("f"), provider.admin("a"), provider.user("u"), provider.api_key("k")
    )
    seen: list[tuple[Record, Record]] = []

    def refuse_the_last(before: Record, wanted: Record) -> None:
        seen.append((before, wanted))
        if isinstance(wanted, ApiKey):
            raise Outdated

    wanted = Snapshot(
        users=[replace(plain_account("u"), description="x"), plain_account("new")],
        folders=[folder],
        admins=[replace(owner("a"), description="x")],
        api_keys=[replace(key, description="x")],
    )
    with pytest.raises(Outdated):
        await provider.load_batches(batches_of(wanted), guard=refuse_the_last)
    assert [before for before, _ in seen] == list(stored)
    assert [after for _, after in seen] == [
        *wanted.folders, *wanted.admins, wanted.users[0], *wanted.api_keys
    ]  # fmt: skip
    assert await provider.user("u") == stored[2]
    assert await provider.user("new") is None
    await provider.load_batches(batches_of(wanted), guard=refuse_the_last, mode=1)
    assert len(seen) == 4


@pytest.mark.parametrize("driver", SHARED)
async def test_an_import_does_not_undo_what_another_server_changed(
    driver: str, options_of: OptionsOf, opened: Opened
):
    """The account is changed after the plan was made, and before it is stored: a new plan is made of it."""
    options = options_of(driver)
    mine, others = [await opened(options) for _ in range(2)]
    await mine.add_user(plain_account("jan", home_dir="/old", email=""))
    plans = 0

    class Between:
        """The provider's users, with a change by another server once they have been read."""

        async def iter_users(self, *, fresh: bool) -> AsyncIterator[Account]:
            nonlocal plans
            plans += 1
            async for account in mine.iter_users(fresh=fresh):
                yield account
            if plans == 1:
                await service(others).users.change(
                    "jan", lambda stored: {**encoded(stored), "email": "jan@example.org"}, by=ROOT
                )

    harvest = parse_proftpd("jan:*:2001:2001::/srv/jan:\n")
    rows, report = await apply_import(cast("Provider", Between()), service(mine).loads, harvest, by=ROOT)
    assert ([row.action for row in rows], plans) == (["update"], 2)
    assert list(report.rows) == [("user", "jan", "updated")]
    stored = await others.user("jan")
    assert stored is not None
    assert (stored.home_dir, stored.email) == ("/srv/jan", "jan@example.org")
