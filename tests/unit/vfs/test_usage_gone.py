# SPDX-License-Identifier: Apache-2.0
"""Usage of what was deleted meanwhile, and of a store that does not answer when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.support.vfs_world import UsageKeeper

from tidegate.model import Account, Folder, FolderMount, UsageDelta
from tidegate.vfs.usage import writing
from tidegate.vfs.usage.tracker import UsageTracker

ALICE = Account(username="alice", home_dir="/none")
SHARED = FolderMount(name="shared", virtual_path="/s", mapped_path="/none/s")


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    for name in ("SAVE_GAP_SECONDS", "LINGER_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(writing, name, 0.01)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(1):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_deleted_account_is_forgotten_and_leaves_nothing_to_its_successor():
    store = UsageKeeper(ALICE)
    tracker = UsageTracker(store, emit=lambda event: None)
    usage = await tracker.account(ALICE)
    await tracker.begin(usage)
    del store.accounts["alice"]
    usage.size.add(100)
    tracker.touch(usage, "upload")
    tracker.changed(usage)
    tracker.release(usage, [])

    await _until(lambda: tracker.live("alice") is None)
    store.accounts["alice"] = ALICE
    successor = await tracker.account(ALICE)

    assert successor is not usage
    assert successor.size.used == 0
    assert store.accounts["alice"].used_quota_size == 0
    await tracker.close()


async def test_a_deleted_folder_does_not_keep_the_account_from_being_written():
    store = UsageKeeper(ALICE)
    store.folders["shared"] = Folder(name="shared", mapped_path="/none/s")
    tracker = UsageTracker(store, emit=lambda event: None)
    usage, folder = await tracker.account(ALICE), await tracker.folder(SHARED)
    await tracker.begin(usage, folder)
    del store.folders["shared"]
    folder.size.add(5)
    usage.size.add(100)
    tracker.touch(usage, "upload")
    tracker.changed(usage)
    tracker.release(usage, [folder])

    await _until(lambda: tracker.live("alice") is None)

    assert store.accounts["alice"].used_quota_size == 100
    assert store.dirty == set()
    assert tracker.live_folder("shared") is None
    await tracker.close()


async def test_stopping_does_not_wait_for_a_dead_store_once_for_each_account(monkeypatch, caplog):
    class Dead(UsageKeeper):
        async def add_usage(self, username: str, delta: UsageDelta) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(writing, "CLOSE_SECONDS", 0.05)
    store = Dead(*(Account(username=f"u{i}", home_dir="/none") for i in range(5)))
    tracker = UsageTracker(store, emit=lambda event: None)
    for account in list(store.accounts.values()):
        usage = await tracker.account(account)
        await tracker.begin(usage)
        usage.size.add(100)

    async with asyncio.timeout(1):
        await tracker.close()

    assert store.dirty == set(store.accounts)
    assert "usage of 5 accounts" in caplog.text
