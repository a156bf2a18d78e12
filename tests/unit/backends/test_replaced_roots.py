# SPDX-License-Identifier: Apache-2.0
"""Directories that are moved, replaced, removed or mounted over while sessions use them (real local disk)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.vfs_world import World, get, names, put, vfs_world

from tidegate.backends.local import LocalBackend


@pytest.fixture
async def world(tmp_path):
    async with vfs_world(tmp_path) as world:
        yield world


def open_below(directory: Path) -> list[str]:
    """Paths at or below a directory that this process holds open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith(str(directory)):
            found.append(target)
    return found


def replace(directory: Path) -> None:
    """A last sync: the directory is moved away and a copy of it takes its place."""
    directory.rename(f"{directory}.old")
    shutil.copytree(f"{directory}.old", directory, symlinks=True)


async def test_nothing_is_open_for_accounts_without_sessions(world: World):
    world.account(virtual_folders=(world.mount("f", "/f"),))
    session = await world.login()
    await put(session, "/f/x", b"x")
    assert open_below(world.home()) and open_below(world.folder_dir("f"))
    await session.close()
    assert not open_below(world.base / "homes") and not open_below(world.base / "folders")


@pytest.mark.parametrize("folders", [False, True], ids=["home", "home with a folder"])
async def test_a_session_that_begins_sees_the_directory_that_is_there_now(world: World, folders: bool):
    world.account(virtual_folders=(world.mount("f", "/f"),) if folders else ())
    first = await world.login()
    await put(first, "/kept", b"old")
    replace(world.home())
    second = await world.login()
    await put(second, "/new", b"new")
    assert (world.home() / "new").read_bytes() == b"new"
    assert not Path(f"{world.home()}.old/new").exists()
    assert {"kept", "new"} <= await names(second)
    third = await world.login()  # again and again: nobody keeps the old one alive
    assert await get(third, "/new") == b"new"


async def test_a_folder_that_is_replaced_is_looked_at_again(world: World):
    world.account(virtual_folders=(world.mount("f", "/f"),))
    first = await world.login()
    await put(first, "/f/kept", b"old")
    replace(world.folder_dir("f"))
    second = await world.login()
    await put(second, "/f/new", b"new")
    assert (world.folder_dir("f") / "new").read_bytes() == b"new"


async def test_a_home_that_was_removed_is_made_again_for_the_next_session(world: World):
    world.account()
    first = await world.login()
    shutil.rmtree(world.home())
    second = await world.login()
    await put(second, "/f", b"x")
    assert (world.home() / "f").read_bytes() == b"x"
    assert await names(first) == set()  # it goes on in the directory that it opened


async def test_a_home_that_is_a_link_follows_the_link(world: World):
    versions = [world.base / name for name in ("one", "two")]
    for version in versions:
        version.mkdir()
    world.home().parent.mkdir(parents=True)
    world.home().symlink_to(versions[0])
    world.account()
    await put(await world.login(), "/f", b"1")
    world.home().unlink()
    world.home().symlink_to(versions[1])
    await put(await world.login(), "/f", b"2")
    assert [(version / "f").read_bytes() for version in versions] == [b"1", b"2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
async def test_a_mount_over_the_home_is_used_and_can_be_taken_away(world: World):
    world.account()
    first = await world.login()
    await put(first, "/below", b"x")
    home = str(world.home())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "tidegate-test", home], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        second = await world.login()
        await put(second, "/above", b"y")
        assert (world.home() / "above").exists() and await names(second) == {"above"}
        await second.close()
    finally:
        gone = subprocess.run(["umount", home], capture_output=True, text=True, check=False)
    assert gone.returncode == 0, gone.stderr  # not busy: nobody uses it any more
    assert await names(await world.login()) == {"below"}


async def test_a_scan_counts_what_is_there_now(world: World):
    world.account(quota_size=10_000)
    session = await world.login()
    await put(session, "/f", b"x" * 100)
    replace(world.home())
    (world.home() / "g").write_bytes(b"y" * 50)
    scan = await world.vfs.scans.start_user("alice")
    assert scan.task is not None
    await scan.task
    assert await world.used() == (150, 2)


async def test_a_root_that_cannot_be_looked_at_is_opened_anew(tmp_path: Path):
    backend = LocalBackend(str(tmp_path / "root"), create=True)
    await backend.open()
    assert await backend.is_current()
    (tmp_path / "root").rmdir()
    (tmp_path / "root").write_bytes(b"a file now")
    assert not await backend.is_current()
    await backend.close()
