# SPDX-License-Identifier: Apache-2.0
"""Virtual folders: what is seen, what is refused, who pays; and the pool of backends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support.vfs_world import GET, PUT, get, names, p, put, vfs_world

from tidegate import errors as e
from tidegate.backends.memory import MemoryBackend
from tidegate.model import FilePatterns, StorageConfig, StorageSpec
from tidegate.vfs.mounts import BackendPool


@pytest.fixture
async def world(tmp_path):
    async with vfs_world(tmp_path) as world:
        yield world


@pytest.fixture
async def alice(world):
    """Home with /docs masked by a folder, a folder deep down, and one mounted within another."""
    world.home().mkdir(parents=True)
    (world.home() / "docs").mkdir()
    (world.home() / "docs" / "masked").write_bytes(b"m")
    world.account(
        virtual_folders=(
            world.mount("docs", "/docs"),
            world.mount("deep", "/way/down/deep"),
            world.mount("inner", "/docs/inner", quota_size=0, quota_files=0),
        )
    )
    return await world.login()


async def test_listing_shows_folders_and_masks_what_lies_below(world, alice):
    assert await names(alice) == {"docs", "way"}
    assert await names(alice, "/docs") == {"inner"}
    await put(alice, "/docs/f", b"f")
    await put(alice, "/docs/inner/g", b"g")
    assert await names(alice, "/docs") == {"inner", "f"}
    assert (world.folder_dir("docs") / "f").read_bytes() == b"f"
    assert (world.folder_dir("inner") / "g").read_bytes() == b"g"
    assert await names(alice, "/way/down") == {"deep"}
    with pytest.raises(e.NotFound):
        await alice.stat(p("/docs/masked"))


async def test_ways_to_a_folder_are_seen_even_where_they_cannot_be_made(world, monkeypatch):
    async def no_mkdir(*_args, **_kwargs):
        raise e.StorageReadOnly

    monkeypatch.setattr("tidegate.backends.local.LocalBackend.mkdir", no_mkdir)
    world.account(virtual_folders=(world.mount("deep", "/way/down/deep"),))
    s = await world.login()
    assert await names(s) == {"way"}
    assert await names(s, "/way") == {"down"}
    for path in ("/way", "/way/down", "/way/down/deep"):
        assert (await s.stat(p(path))).is_dir
    with pytest.raises(e.AlreadyExists):
        await s.mkdir(p("/way"))
    await put(s, "/way/down/deep/f", b"f")
    assert await get(s, "/way/down/deep/f") == b"f"


async def test_a_folder_whose_storage_fails_harms_nobody_else(world, alice, monkeypatch):
    async def broken(_self):
        raise e.StorageFailed

    monkeypatch.setattr("tidegate.backends.local.LocalBackend.open", broken)
    assert await names(alice) == {"docs", "way"}
    assert (await alice.stat(p("/docs"))).is_dir
    with pytest.raises(e.StorageFailed):
        await alice.open(p("/docs/f"), PUT)
    await put(alice, "/f", b"f")


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda s: s.rename(p("/docs"), p("/x"), replace=True), e.Denied),
        (lambda s: s.rename(p("/f"), p("/docs"), replace=True), e.Denied),
        (lambda s: s.rename(p("/way"), p("/x"), replace=True), e.Conflict),
        (lambda s: s.rename(p("/d"), p("/way"), replace=True), e.Conflict),
        (lambda s: s.rmdir(p("/docs")), e.Denied),
        (lambda s: s.rmdir(p("/docs/inner")), e.Denied),
        (lambda s: s.rmdir(p("/way")), e.DirectoryNotEmpty),
        (lambda s: s.remove(p("/docs")), e.IsADirectory),
        (lambda s: s.mkdir(p("/docs")), e.Denied),
        (lambda s: s.mkdir(p("/way")), e.AlreadyExists),
        (lambda s: s.symlink("/docs/x", p("/l")), e.OtherDevice),
        (lambda s: s.symlink("docs", p("/l")), e.OtherDevice),
        (lambda s: s.symlink("/f", p("/docs/l")), e.OtherDevice),
        (lambda s: s.hardlink(p("/f"), p("/docs/l")), e.OtherDevice),
        (lambda s: s.open(p("/docs"), PUT), e.IsADirectory),
        (lambda s: s.open(p("/docs"), GET), e.IsADirectory),
        (lambda s: s.copy(p("/docs"), p("/x"), replace=False), e.IsADirectory),
        (lambda s: s.copy(p("/f"), p("/docs"), replace=True), e.IsADirectory),
    ],
)
async def test_mount_points_stay_where_they_are(world, alice, act, error):
    await put(alice, "/f", b"f")
    await alice.mkdir(p("/d"))
    with pytest.raises(error):
        await act(alice)
    assert await names(alice) == {"docs", "way", "f", "d"}
    assert await get(alice, "/f") == b"f"


async def test_folders_are_hidden_by_patterns_too(world):
    hide = FilePatterns(path="/", allowed_patterns=("*.txt",), denied_patterns=("*",), deny_policy=1)
    world.account(virtual_folders=(world.mount("docs", "/docs"),), filters={"file_patterns": (hide,)})
    s = await world.login()
    await put(s, "/a.txt", b"a")
    assert await names(s) == {"a.txt"}
    with pytest.raises(e.NotFound):
        await s.stat(p("/docs"))


async def test_who_pays(world):
    own = world.mount("own", "/own", quota_size=1000, quota_files=2)
    world.account(quota_size=500, virtual_folders=(world.mount("inc", "/inc"), own))
    s = await world.login()
    await put(s, "/a", b"a" * 100)
    await put(s, "/inc/b", b"b" * 200)
    await put(s, "/own/c", b"c" * 900)
    assert await world.used() == (300, 2)
    assert await world.folder_used("inc") == (200, 1)
    assert await world.folder_used("own") == (900, 1)
    with pytest.raises(e.QuotaExceeded, match=r"virtual_folders\[1\].quota_size"):
        await put(s, "/own/d", b"d" * 101)
    with pytest.raises(e.QuotaExceeded):
        await put(s, "/inc/d", b"d" * 201)
    assert (await s.space(p("/own"))).free == 100
    assert (await s.space(p("/inc"))).free == 200


async def test_files_move_between_folders_of_the_same_kind_and_their_charge_with_them(world):
    own = world.mount("own", "/own", quota_size=250, quota_files=0)
    world.account(quota_size=1000, virtual_folders=(own, world.mount("inc", "/inc")))
    s = await world.login()
    await put(s, "/a", b"a" * 200)
    await put(s, "/b", b"b" * 100)
    await s.rename(p("/a"), p("/own/a"), replace=False)
    assert await world.used() == (100, 1)
    assert await world.folder_used("own") == (200, 1)
    with pytest.raises(e.QuotaExceeded):
        await s.rename(p("/b"), p("/own/b"), replace=False)
    assert await names(s, "/own") == {"a"}
    await s.rename(p("/own/a"), p("/b"), replace=True)
    assert await world.used() == (200, 1)
    assert await world.folder_used("own") == (0, 0)
    await s.copy(p("/b"), p("/inc/c"), replace=False)
    assert await world.used() == (400, 2)
    assert await get(s, "/inc/c") == b"a" * 200


async def test_copies_and_moves_cross_the_border_of_kinds(world):
    world.account(filesystem=StorageConfig("s3", {"bucket": "b"}), virtual_folders=(world.mount("f", "/f"),))
    s = await world.login()
    await put(s, "/a", b"a")
    await s.copy(p("/a"), p("/f/a"), replace=False)
    await s.rename(p("/a"), p("/f/b"), replace=False)
    assert await get(s, "/f/a") == await get(s, "/f/b") == b"a"
    assert await names(s, "/") == {"f"}


async def test_one_folder_mounted_twice_takes_whole_directories(world):
    once = world.mount("f", "/one")
    world.account(quota_size=1000, virtual_folders=(once, replace(once, virtual_path="/two")))
    s = await world.login()
    await s.mkdir(p("/one/d"))
    await put(s, "/one/d/x", b"x" * 10)
    await s.rename(p("/one/d"), p("/two/e"), replace=False)
    assert await get(s, "/one/e/x") == b"x" * 10
    assert await world.used() == (10, 1)


async def test_a_folder_at_the_root_replaces_the_home(world):
    world.account(virtual_folders=(world.mount("all", "/"),))
    s = await world.login()
    await put(s, "/f", b"f")
    assert (world.folder_dir("all") / "f").exists()
    assert not world.home().exists()


async def test_shared_folder_usage_is_one_number(world):
    shared = world.mount("pool", "/pool", quota_size=1000, quota_files=0)
    for name in ("alice", "bob"):
        world.account(name, virtual_folders=(shared,))
    alice, bob = await world.login("alice"), await world.login("bob")
    await put(alice, "/pool/a", b"a" * 600)
    with pytest.raises(e.QuotaExceeded):
        await put(bob, "/pool/b", b"b" * 500)
    await bob.remove(p("/pool/a"))
    await put(bob, "/pool/b", b"b" * 500)
    assert await world.folder_used("pool") == (500, 1)


# -- the pool ------------------------------------------------------------------------------------------------


class Counted(MemoryBackend):
    """Counts how often it was opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = self.closed = 0
        self.fails = False

    async def open(self) -> None:
        if self.fails:
            raise e.StorageFailed
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1


async def test_backends_are_shared_while_they_are_used_and_closed_with_the_last_session():
    made: list[Counted] = []
    pool = BackendPool(lambda _spec: made.append(Counted()) or made[-1])
    first = await pool.acquire(StorageSpec("/a"))
    assert await pool.acquire(StorageSpec("/a", uid=5)) is first
    await pool.acquire(StorageSpec("/b"))
    assert [backend.opened for backend in made] == [1, 1]
    await pool.release(first)
    assert first.closed == 0
    await pool.release(first)
    await pool.release(first)  # once too often harms nobody
    assert first.closed == 1
    assert await pool.acquire(StorageSpec("/a")) is made[2]
    await pool.close()
    assert [backend.closed for backend in made] == [1, 1, 1]


class Replaceable(Counted):
    """Is asked whether its root is still the one that it opened."""

    current: bool | e.TidegateError = True

    async def is_current(self) -> bool:
        if isinstance(self.current, e.TidegateError):
            raise self.current
        return self.current


async def test_a_replaced_root_is_opened_anew_and_the_old_one_lives_with_its_sessions():
    made: list[Replaceable] = []
    pool = BackendPool(lambda _spec: made.append(Replaceable()) or made[-1])
    spec = StorageSpec("/a")
    old = await pool.acquire(spec)
    assert await pool.acquire(spec) is old
    old.current = False
    new, other = await asyncio.gather(pool.acquire(spec), pool.acquire(spec))
    assert new is other is made[1] and old.closed == 0
    for _ in range(2):
        await pool.release(old)
    assert old.closed == 1 and new.closed == 0
    assert await pool.acquire(spec) is new
    for _ in range(3):
        await pool.release(new)
    assert new.closed == 1
    await pool.close()
    assert [backend.closed for backend in made] == [1, 1]


async def test_a_root_that_cannot_be_looked_at_is_not_opened_twice():
    made: list[Replaceable] = []
    pool = BackendPool(lambda _spec: made.append(Replaceable()) or made[-1])
    spec = StorageSpec("/a")
    only = await pool.acquire(spec)
    only.current = e.StorageFailed("gone")
    with pytest.raises(e.StorageFailed, match="gone"):
        await pool.acquire(spec)
    only.current = True
    assert await pool.acquire(spec) is only
    for _ in range(2):
        await pool.release(only)
    assert only.closed == 1 and len(made) == 1


async def test_a_root_that_was_moved_away_and_is_back_has_its_backend_again():
    made: list[Replaceable] = []
    pool = BackendPool(lambda _spec: made.append(Replaceable()) or made[-1])
    spec = StorageSpec("/a")
    first = await pool.acquire(spec)
    first.current = False
    second = await pool.acquire(spec)
    first.current, second.current = True, False
    assert await pool.acquire(spec) is first
    assert await pool.acquire(spec) is first
    await pool.release(second)
    for _ in range(3):
        await pool.release(first)
    assert [backend.closed for backend in made] == [1, 1]


async def test_a_backend_that_cannot_be_opened_is_closed_and_tried_again():
    made: list[Counted] = []

    def build(_spec: StorageSpec) -> Counted:
        made.append(Counted())
        made[-1].fails = len(made) == 1
        return made[-1]

    pool = BackendPool(build)
    with pytest.raises(e.StorageFailed):
        await pool.acquire(StorageSpec("/a"))
    assert made[0].closed == 1
    assert await pool.acquire(StorageSpec("/a")) is made[1]
    await pool.close()


async def test_a_home_that_cannot_be_used_refuses_the_session(world, monkeypatch):
    async def broken(_self):
        raise e.StorageFailed

    world.account()
    monkeypatch.setattr("tidegate.backends.local.LocalBackend.open", broken)
    with pytest.raises(e.StorageFailed):
        await world.login()
    assert world.vfs.tracker.live("alice") is None
