# SPDX-License-Identifier: Apache-2.0
"""The life of usage in memory: how long it is kept, who is quiet, and what is said once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.vfs_world import PUT, UsageKeeper, p, put, vfs_world

from tidegate.abc import Publish
from tidegate.backends.local import LocalBackend
from tidegate.model import Account, Entry, Folder, FolderMount
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.usage import tracker as tracking
from tidegate.vfs.usage import writing
from tidegate.vfs.usage.live import AccountUsage
from tidegate.vfs.usage.progress import Kind
from tidegate.vfs.usage.scan import measure_tree
from tidegate.vfs.usage.tracker import UsageTracker

ALICE = Account(username="alice", id=1, created_at=1, home_dir="/none")
MOUNTS = [FolderMount(name=name, virtual_path=f"/{name}", mapped_path=f"/none/{name}") for name in "xy"]


@pytest.fixture
def store() -> UsageKeeper:
    store = UsageKeeper(ALICE)
    store.folders.update({mount.name: Folder(name=mount.name) for mount in MOUNTS})
    return store


@pytest.fixture
async def tracker(store: UsageKeeper, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[UsageTracker]:
    for name in ("SAVE_GAP_SECONDS", "LINGER_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(writing, name, 0.01)
    tracker = UsageTracker(store, emit=lambda event: None)
    async with asyncio.timeout(10):
        yield tracker
        await tracker.close()


async def test_usage_is_kept_until_its_mark_is_gone(store: UsageKeeper, tracker: UsageTracker) -> None:
    usage = await tracker.account(ALICE)
    await tracker.begin(usage)
    assert store.dirty == {"alice"}

    tracker.release(usage, [])
    assert tracker.live("alice") is usage, "the mark is yet to be cleared"
    assert await tracker.account(ALICE) is usage
    tracker.release(usage, [])

    while tracker.live("alice") is not None:
        await asyncio.sleep(0)
    assert store.dirty == set()


async def test_what_nobody_changed_is_forgotten_at_once(tracker: UsageTracker) -> None:
    usage = await tracker.account(ALICE)
    second = await tracker.account(ALICE)
    assert second is usage
    tracker.release(usage, [])
    assert tracker.live("alice") is usage
    tracker.release(usage, [])
    assert tracker.live("alice") is None


async def test_a_folder_is_quiet_while_its_accounts_are_busy_elsewhere(tracker: UsageTracker) -> None:
    usage = await tracker.account(ALICE)
    x, y = [await tracker.folder(mount) for mount in MOUNTS]
    await tracker.begin(usage, x)
    assert tracker.quiet(x), "nothing is under way"
    usage.acts += 1
    assert not tracker.quiet(x)
    assert tracker.quiet(y)
    assert tracker.changing("x") == ["alice"]
    assert tracker.changing("y") == []
    usage.acts -= 1
    tracker.release(usage, [x, y])


async def test_a_doubt_is_told_once(tracker: UsageTracker, caplog: pytest.LogCaptureFixture) -> None:
    usage = await tracker.account(ALICE)
    with caplog.at_level(logging.WARNING, "tidegate"):
        for _ in range(3):
            tracker.doubt(usage)
    assert [record.getMessage() for record in caplog.records] == [
        "usage of alice is uncertain; it will be counted again"
    ]
    assert tracker.doubts.about("alice") is True
    assert tracker.doubts.about("bob") is False
    tracker.release(usage, [])


async def test_a_folder_in_doubt_leaves_the_numbers_of_its_account_alone(tracker: UsageTracker) -> None:
    tracker.doubts.add("alice", "x")
    assert not tracker.doubts.about("alice")
    assert tracker.doubts.keep_mark("alice")
    assert not tracker.doubts.keep_mark("bob")


# -- which numbers a session begins with ---------------------------------------------------------------------


async def test_a_login_of_a_moment_ago_is_not_asked_for_again(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    usage = await tracker.account(ALICE, asked=time.monotonic())
    assert store.calls == []
    tracker.release(usage, [])
    usage = await tracker.account(ALICE, asked=time.monotonic() - tracking.FRESH_SECONDS)
    assert store.calls == ["user"]
    tracker.release(usage, [])


async def test_a_login_before_the_last_write_is_asked_for_again(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    asked = time.monotonic()
    await tracker.set_usage("alice", size=7, files=1)
    store.calls.clear()
    usage = await tracker.account(ALICE, asked=asked)
    assert store.calls == ["user"]
    assert (usage.size.used, usage.files.used) == (7, 1)
    tracker.release(usage, [])


async def test_a_login_beside_a_write_is_asked_for_again(
    store: UsageKeeper, tracker: UsageTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    set_usage = store.set_usage

    async def slow(username: str, *, size: int, files: int) -> None:
        reached.set()
        await go.wait()
        await set_usage(username, size=size, files=files)

    monkeypatch.setattr(store, "set_usage", slow)
    writing = asyncio.create_task(tracker.set_usage("alice", size=7, files=1))
    await reached.wait()
    usage = await tracker.account(ALICE, asked=time.monotonic())
    assert store.calls == ["user"]
    go.set()
    await writing
    tracker.release(usage, [])


async def test_an_account_that_is_not_stored_has_usage(tracker: UsageTracker) -> None:
    bob = Account(username="bob", home_dir="/none")
    usage = await tracker.account(bob)
    assert not usage.gone
    assert tracker.live("bob") is usage
    tracker.release(usage, [])


async def test_a_session_of_a_replaced_account_has_usage_of_its_own(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    new = replace(ALICE, id=2, created_at=2)
    store.accounts["alice"] = new
    old = await tracker.account(ALICE)
    assert old.gone
    assert tracker.live("alice") is None
    usage = await tracker.account(new)
    assert not usage.gone
    assert tracker.live("alice") is usage is not old
    tracker.release(old, [])
    tracker.release(usage, [])
    assert tracker.live_for(ALICE) is None


async def test_a_new_account_of_a_name_takes_the_place_of_the_old_one(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    old = await tracker.account(ALICE)
    new = replace(ALICE, id=2, created_at=2)
    store.accounts["alice"] = new
    usage = await tracker.account(new)
    assert not usage.gone
    assert tracker.live("alice") is usage
    assert old.gone
    tracker.release(old, [])
    tracker.release(usage, [])


async def test_a_late_login_of_a_deleted_account_does_not_take_the_place_of_another(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    usage = await tracker.account(ALICE)
    store.accounts.clear()
    late = await tracker.account(replace(ALICE, id=2, created_at=2))
    assert late.gone
    assert tracker.live("alice") is usage
    tracker.release(usage, [])
    tracker.release(late, [])


# -- numbers that are set ------------------------------------------------------------------------------------


async def test_counted_numbers_are_never_below_zero(store: UsageKeeper, tracker: UsageTracker) -> None:
    usage, folder = await tracker.account(ALICE), await tracker.folder(MOUNTS[0])
    await tracker.set_usage("alice", size=1, files=1, since=(10, 5))
    await tracker.set_folder_usage("x", size=1, files=1, since=(10, 5))
    assert (usage.size.used, usage.files.used, folder.size.used, folder.files.used) == (0, 0, 0, 0)
    assert store.accounts["alice"].used_quota_files == store.folders["x"].used_quota_files == 0
    tracker.release(usage, [folder])


async def test_the_mark_of_a_count_beside_sessions_goes_again(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    scan, session = await tracker.account(ALICE), await tracker.account(ALICE)
    await tracker.set_usage("alice", size=3, files=1, since=scan.charged)
    assert "mark True" in store.calls
    while store.dirty:
        await asyncio.sleep(0)
    tracker.release(scan, [])
    tracker.release(session, [])


async def test_without_a_store_numbers_are_set_here() -> None:
    tracker = UsageTracker(None, emit=lambda event: None)
    await tracker.set_folder_usage("x", size=5, files=2)
    usage, folder = await tracker.account(ALICE), await tracker.folder(MOUNTS[0])
    await tracker.set_folder_usage("x", size=5, files=2)
    await tracker.set_usage("alice", size=6, files=3)
    await tracker.set_transfer_usage("alice", upload=7, download=8)
    assert (folder.size.used, folder.files.used) == (5, 2)
    assert (usage.size.used, usage.files.used, usage.total.used) == (6, 3, 15)
    tracker.doubt(usage)
    assert tracker.doubts.accounts() == []
    tracker.release(usage, [folder])
    await tracker.close()


async def test_what_is_not_counted_is_never_in_doubt(store: UsageKeeper) -> None:
    tracker = UsageTracker(store, track_quota=0, emit=lambda event: None)
    usage = await tracker.account(ALICE)
    tracker.doubt(usage)
    assert tracker.doubts.accounts() == []
    tracker.release(usage, [])
    await tracker.close()


async def test_a_folder_is_forgotten_with_the_scan_that_held_it(tracker: UsageTracker) -> None:
    folder = await tracker.folder(MOUNTS[0])
    assert tracker.live_folder("x") is folder
    tracker.release_folder(folder)
    assert tracker.live_folder("x") is None


async def test_sessions_that_begin_together_share_the_usage_of_a_folder(tracker: UsageTracker) -> None:
    usages = await asyncio.gather(*(tracker.folder(MOUNTS[0]) for _ in range(3)))
    assert usages[0] is usages[1] is usages[2]
    assert usages[0].refs == 3
    for usage in usages:
        tracker.release_folder(usage)
    assert tracker.live_folder("x") is None


async def test_a_count_tells_if_files_have_several_names(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * 5)
    backend = LocalBackend(str(tmp_path))
    await backend.open()
    assert await measure_tree(backend, "") == (15, 3, False)
    (tmp_path / "b2").hardlink_to(tmp_path / "b")
    assert await measure_tree(backend, "") == (20, 4, True)
    await backend.close()


async def test_a_folder_is_kept_while_its_own_accounts_are_busy(tracker: UsageTracker) -> None:
    usage = await tracker.account(ALICE)
    x, y = [await tracker.folder(mount) for mount in MOUNTS]
    await tracker.begin(usage, x)
    usage.acts += 1
    for folder in (x, y):
        tracker.release_folder(folder)
    assert tracker.live_folder("x") is x, "what ends later is charged to it"
    assert tracker.live_folder("y") is None
    usage.acts -= 1
    tracker.release(usage, [])
    tracker.changed(usage)
    while tracker.live("alice") is not None:
        await asyncio.sleep(0)
    assert tracker.live_folder("x") is None


@pytest.mark.parametrize("first", [0, 1, 1_700_000_000_000])
def test_the_first_transfer_is_noted_once(first: int) -> None:
    usage = AccountUsage(replace(ALICE, first_upload=first, first_download=0))
    assert usage.touch == {"upload": first == 0, "download": True}
    usage = AccountUsage(replace(ALICE, first_upload=0, first_download=first))
    assert usage.touch == {"upload": True, "download": first == 0}


@pytest.mark.parametrize("kind", ["user", "folder"])
async def test_a_count_that_nothing_disturbs_is_made_once(tmp_path: Path, kind: Kind) -> None:
    async with vfs_world(tmp_path) as world, asyncio.timeout(10):
        world.account(quota_size=1_000_000, virtual_folders=(world.mount("x", "/x"),))
        await put(await world.login(), "/x/f", b"x" * 3)
        scans = world.vfs.scans
        scan = await (scans.start_user("alice") if kind == "user" else scans.start_folder("x"))
        assert scan.task is not None
        await scan.task
        assert (scan.state, scan.exact, scan.tries) == ("done", True, 1)


@pytest.mark.parametrize("kind", ["user", "folder"])
async def test_only_the_count_of_an_account_removes_uploads_that_are_too_old(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired: list[str] = []
    expire = LocalBackend.expire_partials

    async def noted(self: LocalBackend, key: str) -> list[Entry]:
        expired.append(key)
        return await expire(self, key)

    monkeypatch.setattr(LocalBackend, "expire_partials", noted)
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world, asyncio.timeout(10):
        world.account(quota_size=1_000_000, virtual_folders=(world.mount("x", "/x"),))
        session = await world.login()
        for directory in ("/", "/x/"):
            file = await session.open(p(f"{directory}part"), PUT)
            await file.write(0, b"x" * 10)
            await file.abort()
        expired.clear()
        scans = world.vfs.scans
        scan = await (scans.start_user("alice") if kind == "user" else scans.start_folder("x"))
        assert scan.task is not None
        await scan.task
        assert scan.state == "done"
        assert (scan.size, scan.files) == ((20, 2) if kind == "user" else (10, 1))
        assert expired == (["", ""] if kind == "user" else [])


async def test_an_upload_that_is_open_twice_is_hidden_once(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.ATOMIC) as world, asyncio.timeout(10):
        world.account(quota_size=1_000_000)
        session = await world.login()
        first = await session.open(p("/f"), PUT)
        await first.write(0, b"x" * 10)
        second = await session.open(p("/f"), OpenFlags(write=True))
        usage = world.vfs.tracker.live("alice")
        assert usage is not None
        assert world.vfs.tracker.hidden(usage.size, usage.files) == (10, 1)
        await second.write(10, b"y" * 5)
        assert world.vfs.tracker.hidden(usage.size, usage.files) == (15, 1)
        for file in (second, first):
            await file.close()
        assert world.vfs.tracker.hidden(usage.size, usage.files) == (0, 0)
        assert await world.used() == (15, 1)
