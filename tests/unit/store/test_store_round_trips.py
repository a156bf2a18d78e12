# SPDX-License-Identifier: Apache-2.0
"""A dump gives back everything, and names the place of what does not fit."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.accounts import full_account, full_admin, full_folder, full_key, plain_account
from tests.support.loading import load_file

from tidegate.errors import UnknownFolder
from tidegate.model import FolderMount
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_account
from tidegate.store.dump import dump
from tidegate.store.factory import create_provider
from tidegate.store.options import ProviderOptions

DRIVERS = ("memory", "sqlite", "bolt")
times = st.integers(0, 2**53)
names = st.text("abcdefgh", min_size=1, max_size=6)


def provider_of(driver: str, directory: Path) -> Provider:
    name = "" if driver == "memory" else "accounts.db"
    return create_provider(ProviderOptions(driver=driver, name=name, base_dir=directory))


async def dumped(provider: Provider) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(b"".join([chunk async for chunk in dump(provider)]))
    for record in (*document["users"], *document["admins"]):
        del record["id"]  # the database's own number
    return document


@st.composite
def dumps(draw: st.DrawFn) -> dict[str, Any]:
    """A dump with every kind of record, at all sorts of times."""
    from tidegate.store.documents import encode_account, encode_admin, encode_api_key, encode_folder

    def timed(record: Any, **more: Any) -> Any:
        changes = {name: draw(times) for name in ("created_at", "updated_at")}
        return replace(record, **changes, **more)

    people = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    admins = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    keys = draw(st.lists(names, max_size=2, unique=True))
    return {
        "folders": [encode_folder(full_folder(), confidential=True)],
        "users": [
            encode_account(timed(full_account(name), last_login=draw(times)), confidential=True) for name in people
        ],
        "admins": [
            encode_admin(timed(replace(full_admin(), username=name), last_login=draw(times)), confidential=True)
            for name in admins
        ],
        "api_keys": [
            encode_api_key(timed(full_key(admin=admins[0]), id=name, last_use_at=draw(times)), confidential=True)
            for name in keys
        ],
    }  # fmt: skip


@pytest.mark.parametrize("driver", DRIVERS)
@settings(max_examples=5, deadline=None)
@given(given_dump=dumps())
async def test_a_dump_of_what_a_dump_loaded_is_that_dump(
    driver: str, tmp_path_factory: pytest.TempPathFactory, given_dump: dict[str, Any]
):
    first = provider_of(driver, tmp_path_factory.mktemp("first"))
    second = provider_of(driver, tmp_path_factory.mktemp("second"))
    await first.open()
    await second.open()
    try:
        await load_file(first, io.BytesIO(json.dumps(given_dump).encode()))
        written = await dumped(first)
        for kind in ("users", "admins", "api_keys"):
            told = {record.get("username", record.get("id")): record for record in given_dump[kind]}
            for record in written[kind]:
                source = told[record.get("username", record.get("id"))]
                for name in ("created_at", "updated_at"):
                    assert record[name] == source[name] or not source[name], (kind, name)
        await load_file(second, io.BytesIO(json.dumps(written).encode()))
        assert await dumped(second) == written
    finally:
        await first.close()
        await second.close()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_mount_of_a_folder_that_is_not_there_is_named_by_its_place(driver: str, tmp_path: Path):
    def user(name: str, *mounts: dict[str, Any]) -> dict[str, Any]:
        return {
            "username": name, "home_dir": f"/srv/{name}", "permissions": {"/": ["*"]}, "virtual_folders": list(mounts),
        }  # fmt: skip

    there = {"name": "there", "virtual_path": "/t", "mapped_path": "/srv/t"}
    ghost = {"name": "ghost", "virtual_path": "/g"}
    others = [user(f"u{number:03}") for number in range(600)]  # more than a batch
    document = {"users": [*others, user("good", there), user("bad", there, ghost), user("worse", ghost)]}
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(document))
    provider = provider_of(driver, tmp_path)
    await provider.open()
    try:
        for source in (path, io.BytesIO(path.read_bytes())):
            with pytest.raises(UnknownFolder) as caught:
                await load_file(provider, source)
            assert caught.value.field == "users[601].virtual_folders[1].name"
            assert caught.value.what == "folder 'ghost' does not exist and no mapped_path is given"
        assert await provider.count_users() == 0
        mount = FolderMount(name="ghost", virtual_path="/g")
        with pytest.raises(UnknownFolder) as caught:
            await provider.add_user(plain_account("one", virtual_folders=(mount,)))
        assert caught.value.field == "virtual_folders[0].name"
    finally:
        await provider.close()


@pytest.mark.parametrize("given_home", [{}, {"home_dir": ""}, {"home_dir": None}])
def test_a_document_without_a_home_keeps_the_home(given_home: dict[str, Any]):
    base = plain_account("ana")
    changed = decode_account({"email": "a@b.example", **given_home}, base=base)
    assert (changed.home_dir, changed.email) == (base.home_dir, "a@b.example")
