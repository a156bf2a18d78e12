# SPDX-License-Identifier: Apache-2.0
"""The administration service on a provider in memory: versions, rights, events, what follows from a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.accounts import plain_account

from tidegate.accounts.actor import Actor, Channel, operator
from tidegate.accounts.administration import Administration
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.rules import Rules
from tidegate.accounts.versions import fields_since, version_of
from tidegate.errors import BadRecord, Denied, InvalidArgument, Outdated, ProviderUnavailable
from tidegate.events.kinds import Administered, Event
from tidegate.identity.passwords import verify
from tidegate.model import Account, Admin, UsageDelta
from tidegate.store.contract import Record, Snapshot
from tidegate.store.documents import encode_account
from tidegate.store.memory import MemoryProvider
from tidegate.store.options import ProviderOptions

ROOT = operator("root", Channel.CLI)


class World:
    """A provider in memory, its administration, and what that asked of the server."""

    def __init__(self, home: Path, hash_password: Any) -> None:
        self.home = home
        self.closed: list[tuple[str, str]] = []
        self.revoked: list[str] = []
        self.events: list[Event] = []
        self.hashed: list[str] = []
        self.full = False
        self.counted: list[tuple[str, str]] = []
        self._hash = hash_password
        self.provider = MemoryProvider(ProviderOptions(driver="memory", name="", base_dir=home))
        self.admin = Administration(
            self.provider,
            AdministrationOptions(rules=Rules(server_dir=str(home / "etc")), user_bits=0, admin_bits=0),
            Needs(hashes=self, connections=self, tokens=self, scans=self, events=self),
        )

    async def hash(self, password: str, *, source: str = "") -> str:
        self.hashed.append(source)
        await asyncio.sleep(0)
        return str(self._hash(password))

    def close_user(self, username: str, *, by: str) -> int:
        self.closed.append((username, by))
        return 1

    async def scan(self, kind: str, name: str) -> None:
        self.counted.append((kind, name))

    async def revoke_all(self, username: str) -> None:
        self.revoked.append(username)

    async def record(self, *events: Event) -> None:
        if self.full:
            raise ProviderUnavailable
        self.events.extend(events)

    def told(self) -> list[tuple[str, str, str, tuple[str, ...]]]:
        found, self.events = self.events, []
        return [(e.action, e.kind, e.name, e.fields) for e in found if isinstance(e, Administered)]

    def user(self, name: str = "alice", **more: Any) -> dict[str, Any]:
        return {
            "username": name,
            "home_dir": str(self.home / "files" / name),
            "permissions": {"/": ["*"]},
            **more,
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    from tests.support.people import CHEAP

    from tidegate.identity.passwords import hash_password

    return World(tmp_path, lambda password: hash_password(password, CHEAP))


async def test_each_change_is_one_event_that_names_fields_and_never_values(world: World):
    users = world.admin.users
    by = Actor(name="boss", channel=Channel.REST, permissions=frozenset("*"), ip="192.0.2.7", admin="boss")
    await users.add(world.user(password="a secret of hers", email="a@example.com"), by=by)
    assert all("a secret" not in repr(event) and "example" not in repr(event) for event in world.events)
    (event,) = world.events
    assert isinstance(event, Administered)
    assert (event.origin.username, event.origin.ip, event.channel) == ("boss", "192.0.2.7", "rest")
    assert world.told() == [
        ("add", "user", "alice", ("email", "home_dir", "password", "permissions", "username"))
    ]

    def renamed(stored: Account) -> dict[str, Any]:
        document = encode_account(stored, confidential=False)
        return {
            **document,
            "description": "x",
            "filters": {**document["filters"], "allowed_ip": ["192.0.2.0/24"]},
        }

    await users.change("alice", renamed, by=by)
    assert world.told() == [("change", "user", "alice", ("description", "filters.allowed_ip"))]
    await users.set_password("alice", "another secret", by=by)
    assert world.told() == [("change", "user", "alice", ("password",))]
    await users.remove("alice", by=by)
    assert world.told() == [("remove", "user", "alice", ())]
    assert world.closed == [("alice", "boss")]
    assert world.hashed == ["192.0.2.7"] * 2, "hashes wait in the queue of whoever asked for them"


async def test_a_refused_change_is_no_event(world: World):
    await world.admin.users.add(world.user(), by=ROOT)
    world.told()
    with pytest.raises(BadRecord):
        await world.admin.users.change("alice", {"quota_size": -3}, by=ROOT)
    with pytest.raises(Denied):
        await world.admin.users.remove("alice", by=replace(ROOT, permissions=frozenset({"edit_users"})))
    assert world.told() == []


async def test_an_old_version_is_refused_with_the_fields_that_differ(world: World):
    users = world.admin.users
    read = await users.add(world.user(), by=ROOT)
    version = version_of(read)
    document = encode_account(read, confidential=False)
    await users.change("alice", {**document, "quota_size": 5, "email": "b@example.com"}, by=ROOT)
    with pytest.raises(Outdated) as caught:
        await users.change("alice", {**document, "description": "mine"}, by=ROOT, version=version)
    assert caught.value.fields == ("email", "quota_size")
    assert str(caught.value) == "user alice was changed meanwhile: email, quota_size"
    with pytest.raises(Outdated):
        await users.remove("alice", by=ROOT, version=version)
    now = await users.get("alice")
    assert (now.quota_size, now.description) == (5, ""), "nothing was changed"
    await users.change("alice", {**document, "description": "mine"}, by=ROOT, version=version_of(now))
    assert (await users.get("alice")).description == "mine"


async def test_transfers_and_logins_make_no_version_old_and_a_password_does(world: World):
    users, provider = world.admin.users, world.provider
    version = version_of(await users.add(world.user(), by=ROOT))
    await provider.add_usage("alice", UsageDelta(size=10, files=1, upload=10))
    await provider.touch_login("alice", 1_700_000_000_000)
    await provider.touch_first("alice", "upload", 1_700_000_000_000)
    assert version_of(await users.get("alice")) == version
    await users.set_password("alice", "a new password", by=ROOT)
    now = await users.get("alice")
    assert version_of(now) != version
    assert fields_since(version, now) == ("password",)


async def test_a_version_tells_nothing_of_a_password(world: World):
    read = await world.admin.users.add(world.user(password="something"), by=ROOT)
    assert version_of(replace(read, password="{MD5}guess")) == version_of(read)


async def test_changes_at_once_lose_nothing(world: World):
    """Each edit is made of what is stored; one that lost the race is made again, and its password kept."""
    users = world.admin.users
    await users.add(world.user(), by=ROOT)

    def also(number: int) -> Any:
        def edit(stored: Account) -> dict[str, Any]:
            document = encode_account(stored, confidential=False)
            return {**document, "description": f"{stored.description}{number}"}

        return edit

    await asyncio.gather(
        *(users.change("alice", also(number), by=ROOT) for number in range(5)),
        users.set_password("alice", "kept password", by=ROOT),
    )
    now = await users.get("alice")
    assert sorted(now.description) == list("01234")
    assert verify("kept password", now.password)


async def test_a_typed_password_is_never_a_hash(world: World):
    looks_like = "$2b$04$" + "a" * 53
    kept = await world.admin.users.add(world.user("kept", password=looks_like), by=ROOT)
    assert kept.password == looks_like
    typed = await world.admin.users.add(world.user("typed"), by=ROOT, password=looks_like)
    assert typed.password != looks_like
    assert verify(looks_like, typed.password)


async def test_whoever_is_disabled_is_disconnected(world: World):
    users = world.admin.users
    document = encode_account(await users.add(world.user(), by=ROOT), confidential=False)
    await users.change("alice", {**document, "email": "c@example.com"}, by=ROOT)
    assert world.closed == []
    await users.change("alice", {**document, "status": 0}, by=ROOT)
    assert world.closed == [("alice", "root")]


async def test_a_moved_folder_disconnects_those_who_mount_it(world: World):
    folders = world.admin.folders
    await folders.add({"name": "pool", "mapped_path": str(world.home / "pool")}, by=ROOT)
    mount = {"name": "pool", "virtual_path": "/pool"}
    await world.admin.users.add(world.user(virtual_folders=[mount]), by=ROOT)
    await folders.change("pool", {"mapped_path": str(world.home / "pool"), "description": "x"}, by=ROOT)
    assert world.closed == []
    await folders.change("pool", {"mapped_path": str(world.home / "elsewhere")}, by=ROOT)
    assert world.closed == [("alice", "root")]
    await folders.remove("pool", by=ROOT)
    assert world.closed == [("alice", "root")] * 2
    assert [row[:3] for row in world.told()][-2:] == [
        ("change", "folder", "pool"),
        ("remove", "folder", "pool"),
    ]


async def test_administrators_cannot_lock_everybody_out_even_at_once(world: World):
    admins = world.admin.admins
    for name in ("one", "two"):
        await admins.add({"username": name, "permissions": ["*"]}, by=ROOT, password="a long password")
    results = await asyncio.gather(
        admins.remove("one", by=ROOT), admins.remove("two", by=ROOT), return_exceptions=True
    )
    assert [type(result) for result in results].count(InvalidArgument) == 1
    assert len(await world.provider.admins()) == 1
    assert len(world.revoked) == 1


async def test_keys_are_made_by_people_only(world: World):
    by_key = replace(ROOT, by_key=True)
    with pytest.raises(Denied, match="an API key cannot manage API keys"):
        await world.admin.api_keys.add({"name": "k", "scope": 1}, by=by_key)
    key, text = await world.admin.api_keys.add({"name": "k", "scope": 1}, by=ROOT)
    assert min(key.created_at, key.updated_at) > 1_700_000_000_000, "the times are those of the server"
    assert key.last_use_at == 0
    assert text.startswith(f"{key.id}.")
    told = world.told()
    assert told == [("add", "api_key", key.id, ("key", "name"))]
    await world.admin.api_keys.remove(key.id, by=ROOT)


async def batches(*records: Record) -> AsyncIterator[Sequence[Record]]:
    yield records


async def test_a_load_is_an_event_for_each_record_it_wrote(world: World):
    old, same = plain_account("old"), plain_account("same")
    boss = Admin(username="boss", permissions=("*",), password="$1$x")
    await world.provider.load(Snapshot(users=[old, same], admins=[boss]))
    by = operator("root", Channel.IMPORT)
    report = await world.admin.loads.store(batches(boss, same), by=by, mode=1)
    assert report.rows == [("admin", "boss", "kept"), ("user", "same", "kept")]
    assert (world.told(), world.closed, world.revoked) == ([], [], [])
    report = await world.admin.loads.store(
        batches(plain_account("new"), replace(old, home_dir="/srv/other"), boss),
        by=by,
        mode=2,
        fields={"old": ("home_dir",)},
    )
    assert report.rows == [("user", "new", "added"), ("user", "old", "updated"), ("admin", "boss", "updated")]
    stored = await world.provider.user("old")
    assert stored is not None and stored.home_dir == "/srv/other"
    assert world.told() == [
        ("add", "user", "new", ()),
        ("change", "user", "old", ("home_dir",)),
        ("change", "admin", "boss", ()),
    ]
    assert world.closed == [("old", "root")]
    assert world.revoked == ["boss"]


async def test_a_load_that_may_not_be_changes_nothing(world: World):
    boss = Admin(username="boss", permissions=("*",), password="$1$x")
    await world.provider.add_admin(boss)
    user = plain_account("new")
    for by, mode, error in (
        (replace(ROOT, permissions=frozenset(("add_users", "edit_users"))), 0, Denied),
        (ROOT, 3, BadRecord),
    ):
        with pytest.raises(error):
            await world.admin.loads.store(batches(user), by=by, mode=mode)
    powerless = replace(boss, permissions=("view_users",))
    with pytest.raises(BadRecord, match="no enabled administrator"):
        await world.admin.loads.store(batches(powerless, user), by=ROOT)
    with pytest.raises(BadRecord, match="no enabled administrator"):
        await world.admin.loads.rehearse(batches(powerless, user))
    assert await world.admin.loads.rehearse(batches(powerless, user), mode=1) == [
        ("admin", "boss", "kept"),
        ("user", "new", "added"),
    ]
    assert await world.provider.count_users() == 0
    assert (world.told(), world.closed, world.revoked) == ([], [], [])


async def test_what_follows_is_done_also_if_the_event_cannot_be_kept(world: World):
    """Whoever was disabled or removed is out, although the caller is told that the event is not stored."""
    await world.admin.users.add(world.user(), by=ROOT)
    await world.admin.admins.add(
        {"username": "one", "permissions": ["*"]}, by=ROOT, password="a long password"
    )
    await world.admin.admins.add(
        {"username": "two", "permissions": ["*"]}, by=ROOT, password="a long password"
    )
    world.full = True
    for change in (
        world.admin.users.change("alice", {"status": 0}, by=ROOT),
        world.admin.users.remove("alice", by=ROOT),
        world.admin.admins.remove("two", by=ROOT),
    ):
        with pytest.raises(ProviderUnavailable):
            await change
    assert world.closed == [("alice", "root")] * 2
    assert world.revoked == ["two"]


async def test_after_a_load_files_are_counted_of_those_with_a_quota_or_of_all(world: World):
    await world.admin.folders.add(
        {"name": "pool", "mapped_path": str(world.home / "files" / "pool")}, by=ROOT
    )
    for name, quota in (("limited", 5), ("free", 0), ("kept", 5)):
        await world.admin.users.add(world.user(name, quota_size=quota), by=ROOT)
    rows = [
        ("folder", "pool", "added"), ("user", "limited", "added"), ("user", "free", "updated"),
        ("user", "kept", "kept"), ("user", "gone", "added"),
    ]  # fmt: skip
    await world.admin.loads.count_files(rows, everybody=False)
    assert world.counted == [("user", "limited")]
    world.counted.clear()
    await world.admin.loads.count_files(rows, everybody=True)
    assert world.counted == [("folder", "pool"), ("user", "limited"), ("user", "free"), ("user", "kept")]
