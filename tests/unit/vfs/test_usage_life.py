# SPDX-License-Identifier: Apache-2.0
"""The life of usage in memory: how long it is kept, who is quiet, and what is said once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from tests.support.vfs_world import UsageKeeper

from tidegate.model import Account, Folder, FolderMount
from tidegate.vfs.usage import tracker as tracking
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
        monkeypatch.setattr(tracking, name, 0.01)
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
