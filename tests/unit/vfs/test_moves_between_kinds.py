# SPDX-License-Identifier: Apache-2.0
"""Renames from one kind of storage to another: streamed, compared, then the source is removed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket
from tests.support.vfs_world import World, get, names, p, put

from tidegate import errors as e
from tidegate.abc import Backend
from tidegate.backends.local import LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.model import StorageConfig, StorageSpec
from tidegate.policy.explain import explain

WHEN = 1_000_000_000


class MixedWorld(World):
    """Homes on local disk; folders of other kinds, whose content lasts as long as the world."""

    def __init__(self, base: Path) -> None:
        self.bucket = MemoryBucket()
        self.tree = MemoryBackend()
        super().__init__(base, track_quota=1)

    def build(self, spec: StorageSpec) -> Backend:
        if spec.config.kind == "memory":
            return self.tree
        if spec.config.kind == "s3":
            return ObjectBackend(self.bucket, "p/")
        return LocalBackend(spec.directory, create=True)


@pytest.fixture(params=["memory", "s3"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MixedWorld]:
    world = MixedWorld(tmp_path)
    folder = world.mount("v", "/v", quota_size=0, quota_files=0, filesystem=StorageConfig(request.param))
    world.account(virtual_folders=(folder,))
    try:
        yield world
    finally:
        await world.close()


async def plant(world: MixedWorld, at: str = "/t") -> dict[str, bytes]:
    alice = await world.login()
    for name in ("", "/sub", "/empty"):
        await alice.mkdir(p(f"{at}{name}"))
    content = {"a": b"a" * 1000, "sub/b": os.urandom(300_000), "sub/none": b""}
    for name, data in content.items():
        await put(alice, f"{at}/{name}", data)
    return content


async def test_a_file_there_and_back(world: MixedWorld) -> None:
    alice = await world.login()
    data = os.urandom(700_001)
    await put(alice, "/f", data)
    os.utime(world.home() / "f", (WHEN, WHEN))
    await alice.rename(p("/f"), p("/v/g"), replace=False)
    assert await get(alice, "/v/g") == data
    assert (await alice.stat(p("/v/g"))).mtime_ns == WHEN * 10**9
    assert (await world.used(), await world.folder_used("v")) == ((0, 0), (len(data), 1))
    assert not (world.home() / "f").exists()
    await alice.rename(p("/v/g"), p("/f"), replace=False)
    assert (world.home() / "f").read_bytes() == data
    assert (world.home() / "f").stat().st_mtime == WHEN
    assert await names(alice, "/v") == set()
    assert (await world.used(), await world.folder_used("v")) == ((len(data), 1), (0, 0))


async def test_a_tree_there_and_back(world: MixedWorld, caplog: pytest.LogCaptureFixture) -> None:
    content = await plant(world)
    size = sum(map(len, content.values()))
    alice = await world.login()
    with caplog.at_level(logging.INFO):
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    assert f"move to /v/moved: 3 of 3 files, {size} of {size} bytes, done" in caplog.text
    for name, data in content.items():
        assert await get(alice, f"/v/moved/{name}") == data
    assert await names(alice, "/v/moved") == {"a", "sub", "empty"}
    assert not (world.home() / "t").exists()
    assert (await world.used(), await world.folder_used("v")) == ((0, 0), (size, 3))
    await alice.rename(p("/v/moved"), p("/t"), replace=False)
    assert {name: (world.home() / "t" / name).read_bytes() for name in content} == content
    assert (world.home() / "t/empty").is_dir()
    assert (await world.used(), await world.folder_used("v")) == ((size, 3), (0, 0))


async def test_what_is_replaced_is_given_back(world: MixedWorld) -> None:
    alice = await world.login()
    await put(alice, "/f", b"new" * 100)
    await put(alice, "/v/f", b"old" * 1000)
    with pytest.raises(e.AlreadyExists):
        await alice.rename(p("/f"), p("/v/f"), replace=False)
    await alice.rename(p("/f"), p("/v/f"), replace=True)
    assert await get(alice, "/v/f") == b"new" * 100
    assert await names(alice, "/v") == {"f"}
    assert (await world.used(), await world.folder_used("v")) == ((0, 0), (300, 1))


async def test_a_link_is_told_before_anything_is_copied(world: MixedWorld) -> None:
    await plant(world)
    alice = await world.login()
    await alice.symlink("b", p("/t/sub/link"))
    with pytest.raises(e.Unsupported, match="sub/link is a link"):
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    assert await names(alice, "/v") == set()
    assert await names(alice, "/t/sub") == {"b", "none", "link"}


async def test_no_room_leaves_the_source(world: MixedWorld) -> None:
    content = await plant(world)
    kind = world.store.accounts["alice"].virtual_folders[0].filesystem
    folder = world.mount("v", "/v", quota_size=1000, quota_files=0, filesystem=kind)
    account = world.account("bob", virtual_folders=(folder,), home_dir=str(world.home()))
    bob = await world.login(account)
    with pytest.raises(e.QuotaExceeded):
        await bob.rename(p("/t"), p("/v/moved"), replace=False)
    assert {name: (world.home() / "t" / name).read_bytes() for name in content} == content
    assert await names(bob, "/v") == set()
    assert await world.folder_used("v") == (0, 0)


async def test_explain_says_that_it_is_streamed(world: MixedWorld) -> None:
    answer = explain(
        world.store.accounts["alice"],
        ip="192.0.2.7",
        protocol="SFTP",
        op="rename",
        path="/f",
        target="/v/f",
        now_ms=0,
    )
    assert answer.decision.allowed
    assert "copied and compared, then the source removed" in answer.render_text()


@pytest.mark.parametrize("failing", range(1, 8))
async def test_a_bucket_that_fails_half_way_leaves_the_old_tree(tmp_path: Path, failing: int) -> None:
    world = MixedWorld(tmp_path)
    try:
        folder = world.mount("v", "/v", quota_size=0, quota_files=0, filesystem=StorageConfig("s3"))
        world.account(virtual_folders=(folder,))
        content = await plant(world)
        size = sum(map(len, content.values()))
        alice = await world.login()
        await names(alice, "/v")
        world.bucket.faults = [Fault("put", nth=failing)]
        try:
            await alice.rename(p("/t"), p("/v/moved"), replace=False)
        except e.StorageFailed:
            world.bucket.faults = []
            assert {name: (world.home() / "t" / name).read_bytes() for name in content} == content
            assert await names(alice, "/v") == set()
            assert await world.used() == (size, 3)
        else:
            assert failing > 4
            assert not (world.home() / "t").exists()
    finally:
        await world.close()


async def test_a_copy_that_a_bucket_has_damaged_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage answers other bytes than were sent: the source stays, the old target too."""
    world = MixedWorld(tmp_path)
    try:
        folder = world.mount("v", "/v", quota_size=0, quota_files=0, filesystem=StorageConfig("memory"))
        world.account(virtual_folders=(folder,))
        alice = await world.login()
        await put(alice, "/f", b"content" * 10_000)
        await put(alice, "/v/f", b"old")
        kept = MemoryBackend.capabilities
        monkeypatch.setattr(MemoryBackend, "capabilities", kept & ~kept.READ_WRITE)
        real = MemoryBackend.open_file

        async def open_file(self: MemoryBackend, key: str, options: object) -> object:
            file = await real(self, key, options)  # type: ignore[arg-type]
            if getattr(options, "write", False):
                file.write_nowait = lambda offset, data: type(file).write_nowait(  # type: ignore[method-assign]
                    file, offset, b"X" * len(data)
                )
            return file

        monkeypatch.setattr(MemoryBackend, "open_file", open_file)
        with pytest.raises(e.StorageFailed, match="differs"):
            await alice.rename(p("/f"), p("/v/f"), replace=True)
        assert (world.home() / "f").read_bytes() == b"content" * 10_000
        assert await get(alice, "/v/f") == b"old"
        assert await names(alice, "/v") == {"f"}
        assert (await world.used(), await world.folder_used("v")) == ((70_000, 1), (3, 1))
    finally:
        await world.close()


async def test_a_client_that_goes_away_leaves_the_source(world: MixedWorld) -> None:
    content = await plant(world)
    alice = await world.login()
    moving = asyncio.ensure_future(alice.rename(p("/t"), p("/v/moved"), replace=False))
    async with asyncio.timeout(10):
        while not any(getattr(work, "size", 0) for work in alice.transfers):
            await asyncio.sleep(0)
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    await alice.close()
    again = await world.login()
    assert {name: (world.home() / "t" / name).read_bytes() for name in content} == content
    assert await names(again, "/v") == set()
