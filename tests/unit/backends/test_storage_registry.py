# SPDX-License-Identifier: Apache-2.0
"""The registry of storage: what it finds, what it refuses, and who asks it."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tidegate.abc import Backend, StorageHost
from tidegate.accounts.rules import Rules
from tidegate.backends.factory import StorageKinds, Storages
from tidegate.backends.local import LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.errors import BadRecord, ConfigError, StorageFailed
from tidegate.model import LOCAL_DISK, StorageConfig, StorageSpec
from tidegate.store.documents import decode_account, decode_folder, encode_account


@dataclass(frozen=True)
class Options:
    bucket: str
    size: int = 4
    shop_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.size > 9:
            raise ValueError("size is at most 9")


class Shop:
    options, section, needs_directory = Options, "shopconfig", True
    made: list[StorageHost] = []
    closed = 0

    def __init__(self, host: StorageHost) -> None:
        self.made.append(host)

    async def open(self) -> Sequence[str]:
        return ("the shop is open",)

    def build(self, spec: StorageSpec, options: Options) -> Backend:
        return MemoryBackend(capacity=options.size)

    async def close(self) -> None:
        type(self).closed += 1


@dataclass(frozen=True)
class Loud:
    api_key: str = ""


class Leaky(Shop):
    options = Loud


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    made = types.ModuleType("a_shop")
    made.Shop, made.Leaky, made.Number = Shop, Leaky, 5  # type: ignore[attr-defined]
    sys.modules["a_shop"] = made
    Shop.made.clear()
    Shop.closed = 0
    yield
    del sys.modules["a_shop"]


def kinds(**named: str) -> StorageKinds:
    return StorageKinds(named or {"shop": "a_shop:Shop"})


def config(**options: object) -> StorageConfig:
    return StorageConfig("shop", {"shopconfig": {"bucket": "b", **options}})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module:Shop", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("a_shop:None_", "AttributeError"),
        ("a_shop", "'a_shop' is no import path: write package.module:name"),
        ("a_shop:Number", "it is no kind of storage: it has no options"),
        ("a_shop:Leaky", "its option api_key is a secret: give it field(repr=False)"),
    ],
)
def test_what_is_no_kind_of_storage_is_named(path: str, says: str) -> None:
    found = kinds(shop=path)
    problem = found.problem(StorageConfig("shop"))
    assert problem is not None
    assert problem.startswith("provider shop cannot be used: ")
    assert says in problem
    assert [problem.where for problem in found.configured()] == ["storage.kinds.shop"]


@pytest.mark.parametrize(("kind", "shown"), [("http", 6), ("zip", "zip")])
def test_unknown_kinds_have_the_words_that_operators_know(kind: str, shown: object) -> None:
    assert StorageKinds().problem(StorageConfig(kind)) == f"provider {shown} is not available in this version"
    assert StorageKinds().problem(LOCAL_DISK) is None


def test_local_disk_cannot_be_replaced() -> None:
    found = kinds(local="a_shop:Shop")
    assert [problem.what for problem in found.configured()] == ["this kind cannot be replaced"]
    assert found.find("local").__name__ == "LocalStorage"


@pytest.mark.parametrize(
    ("document", "where", "what"),
    [
        ({"size": 3}, "shopconfig.bucket", "is missing"),
        ({"bucket": "b", "size": "3"}, "shopconfig.size", "should be a valid integer"),
        ({"bucket": "b", "size": 10}, "shopconfig", "size is at most 9"),
        ("x", "shopconfig", ""),
    ],
)
def test_records_are_checked_by_the_options_of_their_kind(document: Any, where: str, what: str) -> None:
    spec = StorageSpec("/srv/a", StorageConfig("shop", {"shopconfig": document}))
    with pytest.raises(BadRecord) as caught:
        kinds().check(spec, "virtual_folders[0].")
    assert caught.value.field == f"virtual_folders[0].filesystem.{where}"
    assert what in caught.value.what


async def test_a_server_builds_what_the_record_says(tmp_path: Path) -> None:
    host = StorageHost(umask=0o027)
    storages = Storages(kinds(), host)
    assert "the shop is open" in await storages.open()
    assert Shop.made == [host]
    shop = storages.build(StorageSpec("/x", config(size=7)))
    assert (await shop.space("")).total == 7
    disk_spec = StorageSpec(str(tmp_path / "home"))
    disk = storages.build(disk_spec)
    assert isinstance(disk, LocalBackend)
    assert disk.location("a/b") == str(tmp_path / "home/a/b")
    bucket = StorageSpec("/x", StorageConfig("s3"))
    with pytest.raises(StorageFailed, match="not open"):
        storages.build(bucket)
    await asyncio.gather(*(storages.ready(bucket) for _ in range(3)))
    for spec, says in (
        (StorageSpec("", config()), "the record names no directory"),
        (StorageSpec("/x", config(size=10)), "size is at most 9"),
        (StorageSpec("/x", StorageConfig("http")), "provider 6 is not available in this version"),
        (bucket, "storage filesystem.s3config.bucket is missing"),
    ):
        with pytest.raises(StorageFailed, match=says):
            storages.build(spec)
    for spec in (disk_spec, StorageSpec("/x", config()), StorageSpec("/x", StorageConfig("http"))):
        await storages.ready(spec)  # nothing waits there
    assert Shop.made == [host]
    await storages.close()
    assert Shop.closed == 1


async def test_a_server_does_not_start_with_a_kind_that_cannot_be_loaded() -> None:
    storages = Storages(kinds(shop="no_such_module:Shop"), StorageHost())
    with pytest.raises(ConfigError, match=r"storage\.kinds\.shop"):
        await storages.open()
    await storages.close()


def test_accounts_and_folders_are_checked_where_they_come_in() -> None:
    rules = Rules(storages=kinds())
    least = {"username": "a", "home_dir": "/srv/a", "permissions": {"/": ["*"]}}
    good = {"provider": "shop", "shopconfig": {"bucket": "b", "shop_token": "T"}}
    account = decode_account({**least, "filesystem": good}, rules=rules)
    assert account.filesystem == StorageConfig("shop", {"shopconfig": good["shopconfig"]})
    assert "T" not in str(encode_account(account, confidential=False)["filesystem"])
    written_back = encode_account(account, confidential=False)
    assert decode_account(written_back, base=account, rules=rules) == account
    bad = {"provider": "shop", "shopconfig": {}}
    mount = {"name": "f", "virtual_path": "/f", "mapped_path": "/srv/f", "filesystem": bad}
    for document, where in (
        ({"filesystem": bad}, "filesystem.shopconfig.bucket"),
        ({"virtual_folders": [mount]}, "virtual_folders[0].filesystem.shopconfig.bucket"),
    ):
        with pytest.raises(BadRecord) as caught:
            decode_account({**least, **document}, rules=rules)
        assert caught.value.field == where
    with pytest.raises(BadRecord) as caught:
        decode_folder({"name": "f", "filesystem": good}, rules=rules)
    assert caught.value.field == "mapped_path"
    # Without the package: refused where somebody writes it, kept in a dump.
    with pytest.raises(BadRecord, match="'shop' is not a provider"):
        decode_account({**least, "filesystem": good}, rules=Rules(storages=StorageKinds()))
    notes: list[str] = []
    kept = decode_account({**least, "filesystem": good}, lenient=True, notes=notes)
    assert kept == account
    assert notes == ["filesystem.provider: storage shop is not available in this version"]


async def test_trees_in_memory_last_as_long_as_the_server() -> None:
    storages = Storages(kinds(memory="tidegate.backends.memory_kind:MemoryStorage"), StorageHost())
    await storages.open()
    spec = StorageSpec("", StorageConfig("memory", {"memoryconfig": {"capacity": 5}}))
    tree = storages.build(spec)
    assert (await tree.space("")).total == 5
    assert storages.build(spec) is tree
    assert storages.build(StorageSpec("/x", spec.config)) is not tree
    with pytest.raises(StorageFailed, match="capacity is below 0"):
        storages.build(StorageSpec("", StorageConfig("memory", {"memoryconfig": {"capacity": -1}})))
    await storages.close()


@pytest.mark.parametrize("library", ["no_such_library", "no_such_library.and.its.part"])
def test_a_kind_of_ours_whose_library_is_not_installed(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    assert "s3" in StorageKinds().names()
    monkeypatch.setattr("tidegate.backends.factory.EXTRAS", {"s3": (library, "tidegate[s3]")})
    found = StorageKinds()
    assert "s3" not in found.names()
    assert found.problem(StorageConfig("s3")) == "provider 1 is not installed here: install tidegate[s3]"
