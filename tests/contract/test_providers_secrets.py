# SPDX-License-Identifier: Apache-2.0
"""Secrets of records on every provider: encrypted whichever way they come in, and rotated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import Opened, OptionsOf

from tidegate.accounts.secrets import count_secrets, rotate_secrets
from tidegate.errors import Outdated
from tidegate.model import Account, Admin, AdminFilters, Filters, Folder, FolderMount, StorageConfig
from tidegate.model.sealing import SecretLocked, SecretPlace, open_secrets
from tidegate.sealing.keys import from_bytes
from tidegate.sealing.sealer import Keyring, Sealer
from tidegate.store.contract import Provider, Record, Snapshot
from tidegate.store.dump import dump

OLD, NEW = from_bytes(b"o" * 32, ""), from_bytes(b"n" * 32, "")
SECRET = "swordfish-3-in-the-clear"
TOTP = {"totp_config": {"enabled": True, "secret": {"status": "Plain", "payload": f"{SECRET}-totp"}}}


def sealer(*keys: Any) -> Sealer:
    return Sealer(lambda: Keyring(keys[0], keys[1:]))


def bucket(word: str = SECRET) -> StorageConfig:
    secret = {"status": "Plain", "payload": word}
    return StorageConfig("s3", {"s3config": {"bucket": "b", "access_key": "AK", "access_secret": secret}})


def account(name: str, **more: Any) -> Account:
    values = {"home_dir": f"/srv/{name}", "permissions": {"/": ("*",)}, "filesystem": bucket(), **more}
    return Account(username=name, **values)


ALICE = account(
    "alice",
    filters=Filters(extra=dict(TOTP)),
    virtual_folders=(
        FolderMount(name="shared", virtual_path="/s", mapped_path="/srv/s", filesystem=bucket()),
    ),
)
ADMIN = Admin(username="root", permissions=("*",), filters=AdminFilters(extra=dict(TOTP)))


async def everything(provider: Provider) -> str:
    records: list[Any] = [account async for account in provider.iter_users()]
    records += [*await provider.folders(), *await provider.admins()]
    documents = [getattr(one, "filesystem", None) and one.filesystem.options for one in records]
    return str(records) + json.dumps(documents)


def opened_with(config: StorageConfig, seals: Sealer, kind: str, name: str) -> str:
    found = open_secrets(config.options, seals, SecretPlace(kind, name, "filesystem"))
    return str(found["s3config"]["access_secret"]["payload"])


async def batches(*records: Record) -> AsyncIterator[Sequence[Record]]:
    for record in records:
        yield [record]


@pytest.mark.parametrize("way", ["add", "update", "load", "load again"])
async def test_nothing_is_stored_in_plain_text(
    driver: str, way: str, options_of: OptionsOf, opened: Opened, tmp_path: Path
) -> None:
    seals = sealer(NEW)
    provider = await opened(options_of(driver, seals=seals))
    folder = Folder(name="own", mapped_path="/srv/own", filesystem=bucket())
    if way == "load":
        await provider.load(Snapshot(users=[ALICE], folders=[folder], admins=[ADMIN]))
    else:
        await provider.add_user(ALICE)
        await provider.add_folder(folder)
        await provider.add_admin(ADMIN)
    if way == "update":
        for update, record in (
            (provider.update_user, ALICE), (provider.update_folder, folder), (provider.update_admin, ADMIN)
        ):  # fmt: skip
            await update(record)  # type: ignore[operator]
    elif way == "load again":
        await provider.load_batches(batches(folder, ADMIN, ALICE))
    assert SECRET not in await everything(provider)
    dumped = b"".join([chunk async for chunk in dump(provider)])
    assert SECRET.encode() not in dumped
    alice, own, shared = (
        await provider.user("alice"),
        await provider.folder("own"),
        await provider.folder("shared"),
    )
    assert alice is not None and own is not None and shared is not None
    assert opened_with(alice.filesystem, seals, "user", "alice") == SECRET
    assert opened_with(own.filesystem, seals, "folder", "own") == SECRET
    assert opened_with(shared.filesystem, seals, "folder", "shared") == SECRET
    assert opened_with(alice.virtual_folders[0].filesystem, seals, "folder", "shared") == SECRET
    await provider.close()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


async def test_a_dump_restores_where_the_key_is(
    driver: str, options_of: OptionsOf, opened: Opened, tmp_path: Path
) -> None:
    provider = await opened(options_of(driver, seals=sealer(NEW)))
    await provider.add_user(ALICE)
    dumped = b"".join([chunk async for chunk in dump(provider)])
    (tmp_path / "moved.json").write_bytes(dumped)
    options = options_of("memory", name="moved.json", seals=sealer(OLD, NEW))
    there = await opened(replace(options, base_dir=tmp_path))
    alice = await there.user("alice")
    assert alice is not None
    assert opened_with(alice.filesystem, sealer(OLD, NEW), "user", "alice") == SECRET
    with pytest.raises(SecretLocked, match=f"under master key {NEW.id}"):
        opened_with(alice.filesystem, sealer(OLD), "user", "alice")
    with pytest.raises(SecretLocked, match="another record"):
        opened_with(alice.filesystem, sealer(NEW), "user", "bob")


async def test_rotation_brings_everything_under_the_new_key(
    driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of(driver)
    provider = await opened(options)
    people = [account(f"user{number:03}") for number in range(12)]
    for one in (*people[:4], ALICE):
        await provider.add_user(one)
    provider._options = replace(options, seals=sealer(OLD))  # type: ignore[attr-defined]
    for one in people[4:8]:
        await provider.add_user(one)
    await provider.add_admin(ADMIN)
    provider._options = replace(options, seals=sealer(NEW))  # type: ignore[attr-defined]
    for one in people[8:]:
        await provider.add_user(one)
    field = "filesystem.s3config.access_secret"
    before = await count_secrets(provider)
    assert before["user", field, "plain"] == 5
    assert before["user", field, OLD.id] == before["user", field, NEW.id] == 4
    told: list[int] = []
    done = await rotate_secrets(provider, sealer(NEW, OLD), NEW.id, told=told.append)
    assert (done.renewed, done.count_locked, told[-1]) == (11, 0, 15)
    assert {key for _, _, key in await count_secrets(provider)} == {NEW.id}
    assert SECRET not in await everything(provider)
    for one in people:
        stored = await provider.user(one.username)
        assert stored is not None
        assert opened_with(stored.filesystem, sealer(NEW), "user", one.username) == SECRET
    alice = await provider.user("alice")
    assert alice is not None
    assert (alice.virtual_folders[0].mapped_path, alice.virtual_folders[0].virtual_path) == ("/srv/s", "/s")
    again = await rotate_secrets(provider, sealer(NEW), NEW.id)
    assert (again.records, again.renewed, again.secrets) == (15, 0, 0)


async def test_a_change_that_comes_between_is_not_lost(
    driver: str, options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = await opened(options_of(driver))
    await provider.add_user(account("alice"))
    await provider.add_folder(Folder(name="f", mapped_path="/srv/f", filesystem=bucket()))
    seals = sealer(NEW)
    between = 0

    class Between(Sealer):
        """The encryption, and somebody else who is faster."""

    real_user, real_folder = provider.update_user, provider.update_folder

    async def update_user(record: Account, **more: Any) -> Account:
        nonlocal between
        if between < 2:
            between += 1
            stored = await provider.user("alice")
            assert stored is not None
            changed = replace(
                stored, description=f"changed {between}", filesystem=bucket(f"{SECRET}-{between}")
            )
            await real_user(changed)
        return await real_user(record, **more)

    async def update_folder(record: Folder, **more: Any) -> Folder:
        stored = await provider.folder("f")
        assert stored is not None
        if stored.filesystem == bucket():
            await real_folder(replace(stored, filesystem=bucket(f"{SECRET}-f")))
        return await real_folder(record, **more)

    monkeypatch.setattr(provider, "update_user", update_user)
    monkeypatch.setattr(provider, "update_folder", update_folder)
    done = await rotate_secrets(provider, seals, NEW.id)
    assert done.renewed == 2
    alice, folder = await provider.user("alice"), await provider.folder("f")
    assert alice is not None and folder is not None
    assert alice.description == "changed 2"
    assert opened_with(alice.filesystem, seals, "user", "alice") == f"{SECRET}-2"
    assert opened_with(folder.filesystem, seals, "folder", "f") == f"{SECRET}-f"


async def test_a_record_that_changes_for_ever_is_an_error(
    driver: str, options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = await opened(options_of(driver))
    await provider.add_user(account("alice"))

    async def update_user(record: Account, **more: Any) -> Account:
        del record, more
        raise Outdated("user alice")

    monkeypatch.setattr(provider, "update_user", update_user)
    with pytest.raises(Outdated):
        await rotate_secrets(provider, sealer(NEW), NEW.id)


async def test_what_cannot_be_opened_is_named_and_left_alone(
    driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    provider = await opened(options_of(driver, seals=sealer(OLD)))
    await provider.add_user(account("alice"))
    await provider.add_user(account("zoe", filesystem=StorageConfig("s3", {"s3config": {"bucket": "b"}})))
    stored = await provider.user("alice")
    done = await rotate_secrets(provider, sealer(NEW), NEW.id)
    assert done.count_locked == 1
    what = f"is encrypted under master key {OLD.id}, which this server does not have"
    assert done.locked == [f"user alice: filesystem.s3config.access_secret {what}"]
    assert await provider.user("alice") == stored
