# SPDX-License-Identifier: Apache-2.0
"""An account that is deleted and made anew while sessions of the old one live: nothing goes over to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, UsageKeeper, p, put, vfs_world

from tidegate import errors as e
from tidegate.model import Account, Folder, FolderMount, UsageDelta
from tidegate.vfs.usage import writing
from tidegate.vfs.usage.tracker import UsageTracker

OLD = Account(
    username="alice", id=7, created_at=1_000, home_dir="/none", used_quota_size=500, used_quota_files=5
)
NEW = Account(
    username="alice", id=8, created_at=2_000, home_dir="/none", used_quota_size=10, used_quota_files=1
)
SUCCESSORS = [
    pytest.param(NEW, id="another id"),
    pytest.param(replace(NEW, id=OLD.id), id="the id given again"),
]
SHARED = FolderMount(name="shared", virtual_path="/s", mapped_path="/none/s")


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAVE_GAP_SECONDS", "LINGER_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(writing, name, 0.01)


@pytest.fixture
def store() -> UsageKeeper:
    return UsageKeeper(OLD)


@pytest.fixture
async def tracker(store: UsageKeeper) -> AsyncIterator[UsageTracker]:
    tracker = UsageTracker(store, emit=lambda event: None)
    async with asyncio.timeout(10):
        yield tracker
        await tracker.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.005)


def _numbers(store: UsageKeeper) -> tuple[int, int, int]:
    account = store.accounts["alice"]
    return account.used_quota_size, account.used_quota_files, account.used_upload_data_transfer


def _replace(store: UsageKeeper, account: Account) -> None:
    """Delete the account and make another one of its name."""
    store.dirty.discard("alice")
    store.accounts["alice"] = account


@pytest.mark.parametrize("successor", SUCCESSORS)
async def test_the_new_account_begins_with_its_own_numbers(
    store: UsageKeeper, tracker: UsageTracker, successor: Account
) -> None:
    old = await tracker.account(OLD)
    await tracker.begin(old)
    old.size.add(1000)
    _replace(store, successor)

    new = await tracker.account(successor)
    old.size.add(70)
    tracker.changed(old)
    await tracker.begin(new)
    new.size.add(3)
    tracker.changed(new)
    await tracker.settle()

    assert new is not old
    assert (new.size.used, old.size.used) == (13, 1570)
    assert _numbers(store) == (13, 1, 0)
    assert tracker.live("alice") is new


@pytest.mark.parametrize("successor", SUCCESSORS)
async def test_nothing_is_written_to_it_even_if_nobody_logs_in_as_it(
    store: UsageKeeper, tracker: UsageTracker, successor: Account
) -> None:
    old = await tracker.account(OLD)
    await tracker.begin(old)
    _replace(store, successor)
    for _ in range(3):
        old.size.add(1000)
        old.upload.add(1000)
        tracker.touch(old, "upload")
        tracker.changed(old)
        await tracker.settle("alice")

    assert _numbers(store) == (10, 1, 0)
    assert store.accounts["alice"].first_upload == 0
    assert old.size.used == 3500


async def test_an_addition_without_an_answer_is_not_sent_to_it(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    add = store.add_usage

    async def lost(username: str, delta: UsageDelta) -> None:
        raise e.ProviderUnavailable

    old = await tracker.account(OLD)
    await tracker.begin(old)
    store.add_usage = lost  # type: ignore[method-assign]
    old.size.add(1000)
    with pytest.raises(e.ProviderUnavailable):
        await tracker.settle()
    assert old.sent is not None
    store.add_usage = add  # type: ignore[method-assign]
    _replace(store, NEW)

    await tracker.settle()

    assert _numbers(store) == (10, 1, 0)
    new = await tracker.account(NEW)
    await tracker.begin(new)
    new.size.add(1)
    tracker.changed(new)
    await _until(lambda: not store.dirty)  # no doubt of the old one keeps the mark
    assert _numbers(store) == (11, 1, 0)


async def test_sessions_of_the_old_account_share_its_book_until_the_last_ends(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    first = await tracker.account(OLD)
    await tracker.begin(first)
    _replace(store, NEW)
    new = await tracker.account(NEW)

    second = await tracker.account(OLD)  # another channel of the old connection
    assert second is first
    assert await tracker.account(NEW) is new
    for usage in (first, second):
        usage.size.add(1)
        tracker.changed(usage)
        tracker.release(usage, [])
    await _until(lambda: not tracker._gone)
    for _ in range(2):
        tracker.release(new, [])
    await _until(lambda: tracker.live("alice") is None)
    assert _numbers(store) == (10, 1, 0)


async def test_an_old_connection_that_comes_late_gets_no_book_of_the_new_account(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    _replace(store, NEW)

    late = await tracker.account(OLD)
    await tracker.begin(late)
    late.size.add(1000)
    tracker.changed(late)
    new = await tracker.account(NEW)
    later = await tracker.account(OLD)
    await tracker.settle()

    assert late is later
    assert (new.size.used, late.size.used) == (10, 1500)
    assert _numbers(store) == (10, 1, 0)
    for usage in (late, later, new):
        tracker.release(usage, [])
    await _until(lambda: not tracker._gone and tracker.live("alice") is None)


async def test_a_reading_that_is_behind_retires_nobody(store: UsageKeeper, tracker: UsageTracker) -> None:
    class Behind(UsageKeeper):
        """Reads from a replica that still has the old account, unless something was written."""

        written = False

        async def user(self, username: str) -> Account | None:
            found = await super().user(username)
            return found if self.written else OLD

        async def add_usage(self, username: str, delta: UsageDelta) -> None:
            self.written = True
            await super().add_usage(username, delta)

    behind = Behind(NEW)
    tracker = UsageTracker(behind, emit=lambda event: None)
    new = await tracker.account(NEW)
    behind.written = False
    new.size.add(5)
    await tracker.settle()
    assert tracker.live("alice") is new
    assert _numbers(behind) == (15, 1, 0)
    await tracker.close()


async def test_what_an_old_session_changes_in_a_folder_is_written(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    store.folders["shared"] = Folder(name="shared", mapped_path="/none/s")
    old, folder = await tracker.account(OLD), await tracker.folder(SHARED)
    await tracker.begin(old, folder)
    _replace(store, NEW)
    await tracker.account(NEW)
    await tracker.begin(old, folder)
    folder.size.add(5)
    old.size.add(5)
    tracker.changed(old)
    await tracker.settle()
    assert store.folders["shared"].used_quota_size == 5
    assert _numbers(store) == (10, 1, 0)
    assert store.dirty == set()
    tracker.release(old, [folder])
    await _until(lambda: not tracker._gone)


async def test_setting_numbers_means_the_new_account(store: UsageKeeper, tracker: UsageTracker) -> None:
    old = await tracker.account(OLD)
    await tracker.begin(old)
    _replace(store, NEW)
    await tracker.set_usage("alice", size=77, files=7)
    await tracker.set_transfer_usage("alice", upload=1, download=2)
    assert old.size.used == 500
    assert _numbers(store) == (77, 7, 1)
    assert tracker.live("alice") is None


async def test_the_old_mark_is_not_taken_off_the_new_account(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    old = await tracker.account(OLD)
    await tracker.begin(old)
    _replace(store, NEW)
    new = await tracker.account(NEW)
    upload: Any = type("Upload", (), {"reserved": 0, "reserved_files": 0})()
    new.uploads.add(upload)
    await tracker.begin(new)
    tracker.release(old, [])
    await _until(lambda: not tracker._gone)
    assert store.dirty == {"alice"}
    new.uploads.clear()
    tracker.changed(new)
    await _until(lambda: not store.dirty)


async def test_sessions_and_scans_of_both(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(id=1, created_at=1, quota_size=1000)
        old = await world.login()
        await put(old, "/a", b"a" * 600)
        file = await old.open(p("/b"), PUT)
        await file.write(0, b"b" * 300)
        world.account(id=2, created_at=2, quota_size=1000, home_dir=str(world.home("anew")))

        new = await world.login()
        await put(new, "/c", b"c" * 900)
        await file.write(300, b"b" * 100)
        with pytest.raises(e.QuotaExceeded):
            await file.write(400, b"b")
        await file.abort()
        assert await world.used() == (900, 1)

        scan = await world.vfs.scans.start_user("alice")
        assert scan.task is not None
        await scan.task
        assert await world.used() == (900, 1)
        await old.close()
        await new.close()
        async with asyncio.timeout(2):
            while world.vfs.tracker._gone or world.vfs.tracker.live("alice"):
                await asyncio.sleep(0.005)
