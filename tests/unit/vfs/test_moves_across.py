# SPDX-License-Identifier: Apache-2.0
"""Moves between the home and folders: on one file system by rename(2), else copied, compared, removed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.vfs_world import PUT, World, get, names, p, put, vfs_world

from tidegate import errors as e
from tidegate.backends.local import LocalBackend
from tidegate.model import Attrs, VPath
from tidegate.vfs.files import carry

DISK = Path("/dev/shm")
WHEN = 1_000_000_000


@pytest.fixture(params=["same", "other"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Folder ``v`` on the file system of the homes, or on another one."""
    disk = DISK / f"{tmp_path.name}-{os.getpid()}"
    other = request.param == "other"
    if other and (not DISK.is_dir() or DISK.stat().st_dev == tmp_path.stat().st_dev):
        pytest.skip("no second file system")
    try:
        async with vfs_world(tmp_path, track_quota=1) as world:
            if other:
                disk.mkdir()
                world.folder_dir("v").parent.mkdir(parents=True)
                world.folder_dir("v").symlink_to(disk)
            world.account(virtual_folders=(world.mount("v", "/v", quota_size=0, quota_files=0),))
            yield world
    finally:
        shutil.rmtree(disk, ignore_errors=True)


def dress(path: Path, mode: int = 0o640) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    os.utime(path, (WHEN, WHEN))


def worn(path: Path) -> tuple[object, ...]:
    at = path.lstat()
    owner = (at.st_uid, at.st_gid) if os.geteuid() == 0 else ()
    return (at.st_mode & 0o7777, at.st_mtime, *owner)


async def plant(world: World) -> Path:
    """A tree with everything in it; returns its place on the host."""
    alice = await world.login()
    for name in ("/t", "/t/sub", "/t/empty"):
        await alice.mkdir(p(name))
    await put(alice, "/t/a", b"a" * 1000)
    await put(alice, "/t/sub/b", b"b" * 70_000)
    await alice.symlink("sub/b", p("/t/link"))
    await alice.symlink("/t/a", p("/t/sub/absolute"))
    top = world.home() / "t"
    for path in (top / "a", top / "sub/b", top / "sub", top / "empty", top):
        dress(path, 0o750 if path.is_dir() else 0o640)
    return top


async def test_a_file_keeps_mode_times_and_owner(world: World) -> None:
    alice = await world.login()
    await put(alice, "/f", b"content")
    dress(world.home() / "f")
    before = worn(world.home() / "f")
    await alice.rename(p("/f"), p("/v/g"), replace=False)
    assert worn(world.folder_dir("v") / "g") == before
    assert await get(alice, "/v/g") == b"content"
    assert await world.used() == (0, 0)
    assert await world.folder_used("v") == (7, 1)
    await alice.rename(p("/v/g"), p("/f"), replace=False)
    assert worn(world.home() / "f") == before
    assert (await world.used(), await world.folder_used("v")) == ((7, 1), (0, 0))


async def test_a_tree_moves_with_links_modes_times_and_charges(world: World) -> None:
    top = await plant(world)
    paths = ["", "a", "sub", "sub/b", "empty"]
    before = {name: worn(top / name) for name in paths}
    alice = await world.login()
    await alice.rename(p("/t"), p("/v/moved"), replace=False)
    there = world.folder_dir("v") / "moved"
    assert {name: worn(there / name) for name in paths} == before
    assert await names(alice, "/v/moved") == {"a", "sub", "empty", "link"}
    assert await alice.readlink(p("/v/moved/link")) == "sub/b"
    assert await get(alice, "/v/moved/link") == b"b" * 70_000
    assert not top.exists()
    assert await world.used() == (0, 0)
    assert await world.folder_used("v") == (71_000, 2)
    assert alice.transfers == set()


@pytest.mark.parametrize("source", ["/t/a", "/t"])
async def test_names_of_one_file_stay_in_one_quota(world: World, source: str) -> None:
    await plant(world)
    alice = await world.login()
    await alice.hardlink(p("/t/a"), p("/other"))
    await alice.rename(p(source), p("/v/moved"), replace=False)
    there = world.folder_dir("v") / ("moved" if source == "/t/a" else "moved/a")
    assert (world.home() / "other").stat().st_nlink == there.stat().st_nlink == 1
    assert there.read_bytes() == (world.home() / "other").read_bytes() == b"a" * 1000

    left = 1000 if source == "/t" else 71_000
    assert (await world.used())[0] == left
    await alice.set_attrs(p("/other"), Attrs(size=50_000))
    assert (await world.used())[0] == left + 49_000
    assert await world.folder_used("v") == ((71_000, 2) if source == "/t" else (1000, 1))


async def test_several_names_that_stay_in_their_quota_are_kept(world: World) -> None:
    await plant(world)
    alice = await world.login()
    await alice.hardlink(p("/t/a"), p("/t/b"))
    await alice.rename(p("/t/b"), p("/b"), replace=False)
    await alice.rename(p("/t"), p("/u"), replace=False)
    assert (world.home() / "b").samefile(world.home() / "u/a")


async def test_a_tree_that_does_not_fit_stays_where_it_is(world: World) -> None:
    top = await plant(world)
    world.account(virtual_folders=(world.mount("v", "/v", quota_size=70_500, quota_files=0),))
    alice = await world.login()
    with pytest.raises(e.QuotaExceeded):
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    assert await names(alice, "/v") == set()
    assert {path.name for path in top.rglob("*")} == {"a", "sub", "b", "link", "absolute", "empty"}
    assert await world.folder_used("v") == (0, 0)


async def test_what_is_being_written_does_not_move(world: World) -> None:
    await plant(world)
    alice = await world.login()
    file = await alice.open(p("/t/sub/new"), PUT)
    await file.write(0, b"part")
    with pytest.raises(e.Conflict):
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    await file.close()
    await alice.rename(p("/t"), p("/v/moved"), replace=False)
    assert await get(alice, "/v/moved/sub/new") == b"part"


async def test_a_directory_cannot_move_into_a_folder_that_lies_in_it(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        inside = world.home() / "d/folder"
        inside.mkdir(parents=True)
        world.folder_dir("v").parent.mkdir(parents=True)
        world.folder_dir("v").symlink_to(inside)
        world.account(virtual_folders=(world.mount("v", "/v"),))
        alice = await world.login()
        with pytest.raises(e.InvalidArgument, match="below itself"):
            await alice.rename(p("/d"), p("/v/d"), replace=False)
        assert inside.is_dir()


# -- the long way, wherever the file systems are -------------------------------------------------------------


@pytest.fixture
async def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world in which nothing can be renamed between home and folder."""

    async def rename_across(*_: object, **__: object) -> None:
        raise e.OtherDevice

    monkeypatch.setattr(LocalBackend, "rename_across", rename_across)
    async with vfs_world(tmp_path, track_quota=1) as world:
        world.account(virtual_folders=(world.mount("v", "/v", quota_size=0, quota_files=0),))
        yield world


def contents(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): os.readlink(path)
        if path.is_symlink()
        else path.is_dir() or (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("failing", range(1, 13))
async def test_a_failure_half_way_leaves_the_old_tree_and_no_copy(
    apart: World, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The n-th step that makes something at the target fails."""
    top = await plant(apart)
    before = contents(top)
    steps = 0
    folder = str(apart.folder_dir("v"))

    def fails(call: object) -> object:
        async def step(self: LocalBackend, *args: object, **more: object) -> object:
            nonlocal steps
            if self._root.path == folder:
                steps += 1
                if steps == failing:
                    raise e.StorageFull
            return await call(self, *args, **more)  # type: ignore[operator]

        return step

    alice = await apart.login()
    for name in ("mkdir", "symlink", "open_file", "set_attrs"):
        monkeypatch.setattr(LocalBackend, name, fails(getattr(LocalBackend, name)))
    try:
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    except e.StorageFull:
        assert contents(top) == before
        assert await names(alice, "/v") == set()
        assert (await apart.used(), await apart.folder_used("v")) == ((71_000, 2), (0, 0))
    else:
        assert steps < failing
        assert not top.exists()
        assert (await apart.used(), await apart.folder_used("v")) == ((0, 0), (71_000, 2))


async def test_a_line_that_breaks_half_way_leaves_the_old_tree_and_no_copy(
    apart: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = await plant(apart)
    before = contents(top)
    alice = await apart.login()
    reached, seen = asyncio.Event(), []
    real = carry.transfer

    async def slow(*args: object, **more: object) -> object:
        result = await real(*args, **more)  # type: ignore[arg-type]
        seen.extend((transfer.operation_type, transfer.virtual_path) for transfer in alice.transfers)
        reached.set()
        await asyncio.sleep(0)
        return result

    monkeypatch.setattr(carry, "transfer", slow)
    moving = asyncio.ensure_future(alice.rename(p("/t"), p("/v/moved"), replace=False))
    await reached.wait()
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    await alice.close()
    assert seen[0] == ("move", VPath("/v/moved"))
    assert contents(top) == before
    assert contents(apart.folder_dir("v")) == {}
    assert (await apart.used(), await apart.folder_used("v")) == ((71_000, 2), (0, 0))


async def test_what_comes_or_changes_meanwhile_is_not_lost(
    apart: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = await plant(apart)
    alice = await apart.login()
    real = carry._Carrier.remove_originals

    async def later(self: object, source: VPath) -> None:
        (top / "sub/added").write_bytes(b"added")
        (top / "a").write_bytes(b"changed")
        await real(self, source)  # type: ignore[arg-type]

    monkeypatch.setattr(carry._Carrier, "remove_originals", later)
    with pytest.raises(e.Conflict, match="was changed while it was moved"):
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    assert (top / "sub/added").read_bytes() == b"added"
    assert (top / "a").read_bytes() == b"changed"
    assert await get(alice, "/v/moved/a") == b"a" * 1000


async def test_a_copy_that_differs_is_not_published(apart: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await apart.login()
    await put(alice, "/f", b"content" * 10_000)
    real = LocalBackend.open_file

    async def open_file(self: LocalBackend, key: str, options: object) -> object:
        file = await real(self, key, options)  # type: ignore[arg-type]
        if getattr(options, "write", False):
            write = file.write

            async def damaged(offset: int, data: bytes) -> None:
                await write(offset, b"X" + bytes(data)[1:])

            monkeypatch.setattr(type(file), "write", lambda _, offset, data: damaged(offset, data))
        return file

    monkeypatch.setattr(LocalBackend, "open_file", open_file)
    with pytest.raises(e.StorageFailed, match="differs"):
        await alice.rename(p("/f"), p("/v/f"), replace=False)
    assert (apart.home() / "f").read_bytes() == b"content" * 10_000
    assert contents(apart.folder_dir("v")) == {}


async def test_a_tree_beyond_the_bound_is_refused(apart: World, monkeypatch: pytest.MonkeyPatch) -> None:
    top = await plant(apart)
    before = contents(top)
    monkeypatch.setattr(carry, "MAX_CARRIED_ENTRIES", 3)
    alice = await apart.login()
    with pytest.raises(e.PeerLimit, match="too many files"):
        await alice.rename(p("/t"), p("/v/moved"), replace=False)
    assert contents(top) == before
    assert await names(alice, "/v") == set()


@pytest.mark.parametrize("world", ["other"], indirect=True)
async def test_others_rename_while_a_large_file_is_moved(world: World) -> None:
    folder = world.mount("v", "/v", quota_size=0, quota_files=0)
    world.account(virtual_folders=(folder,), permissions={"/": ("*",), "/closed": ("list",)})
    alice, beside = await world.login(), await world.login()
    await put(alice, "/large", bytes(16 * 1024**2))
    await put(alice, "/a", b"a")
    move = asyncio.create_task(alice.rename(p("/large"), p("/v/large"), replace=False))
    async with asyncio.timeout(10):
        while not alice.transfers:
            await asyncio.sleep(0)
        await beside.rename(p("/a"), p("/b"), replace=False)
    assert not move.done()
    await move
    assert await names(alice, "/") == {"b", "v"}
