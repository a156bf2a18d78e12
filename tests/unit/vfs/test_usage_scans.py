# SPDX-License-Identifier: Apache-2.0
"""Counting beside traffic: numbers are exact, or the mark stays until they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.vfs_world import GET, PUT, UsageKeeper, World, local_world, p, put, vfs_world

from tidegate import errors as e
from tidegate.abc import Backend, Key, OpenOptions, Publish
from tidegate.backends.local import LocalBackend
from tidegate.backends.local.opening import Opener
from tidegate.backends.local.uploads import Upload
from tidegate.model import Account, Attrs, Folder, FolderMount, Peer, Principal, Protocol, StorageSpec
from tidegate.vfs.files import uploads
from tidegate.vfs.mounts import BackendPool
from tidegate.vfs.usage import scan as scanning
from tidegate.vfs.usage import writing
from tidegate.vfs.usage.tracker import UsageTracker

ALICE = Account(
    username="alice", id=1, created_at=1, home_dir="/none", used_quota_size=400, used_quota_files=1
)
SHARED = FolderMount(name="shared", virtual_path="/s", mapped_path="/none/s")


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAVE_GAP_SECONDS", "LINGER_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(writing, name, 0.01)


@pytest.fixture
def store() -> UsageKeeper:
    store = UsageKeeper(ALICE)
    store.folders["shared"] = Folder(
        name="shared", mapped_path="/none/s", used_quota_size=500, used_quota_files=2
    )
    return store


@pytest.fixture
async def tracker(store: UsageKeeper) -> AsyncIterator[UsageTracker]:
    tracker = UsageTracker(store, emit=lambda event: None)
    async with asyncio.timeout(10):
        yield tracker
        await tracker.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with vfs_world(tmp_path) as made:
        yield made


async def test_what_is_given_back_below_zero_beside_a_count_is_taken_from_it(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    usage = await tracker.account(ALICE)  # a crash left 400 bytes in the store, and 3000 on the disk
    since = usage.charged
    await tracker.begin(usage)
    usage.size.add(-2000)

    await tracker.set_usage("alice", size=3000, files=1, since=since)

    assert usage.size.used == 1000
    assert store.accounts["alice"].used_quota_size == 1000


async def test_what_is_given_back_while_a_count_is_stored_is_taken_from_it(
    store: UsageKeeper, tracker: UsageTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_usage = store.set_usage

    async def slow(username: str, *, size: int, files: int) -> None:
        await set_usage(username, size=size, files=files)
        usage.size.add(-2000)  # more than the wrong number of before holds

    usage = await tracker.account(ALICE)
    await tracker.begin(usage)
    monkeypatch.setattr(store, "set_usage", slow)
    since = usage.charged

    await tracker.set_usage("alice", size=3000, files=1, since=since)
    assert usage.size.used == 1000
    assert usage.charged[0] - since[0] == -2000

    monkeypatch.setattr(store, "set_usage", set_usage)
    await tracker.set_usage("alice", size=3000, files=1, since=since)
    assert usage.size.used == 1000


@pytest.mark.parametrize("name", [None, "shared"])
async def test_a_doubt_that_comes_up_after_a_count_began_outlives_it(
    store: UsageKeeper, tracker: UsageTracker, name: str | None
) -> None:
    usage, folder = await tracker.account(ALICE), await tracker.folder(SHARED)
    await tracker.begin(usage, folder)
    tracker.doubts.unsure("alice", () if name is None else (name,))
    moment = tracker.doubts.moment

    tracker.doubts.unsure("alice", () if name is None else (name,))
    await tracker.set_usage("alice", size=1, files=1, settles=moment)
    await tracker.set_folder_usage("shared", size=1, files=1, settles=moment)
    assert tracker.doubts.accounts() == ["alice"]

    await tracker.set_usage("alice", size=1, files=1, settles=tracker.doubts.moment)
    await tracker.set_folder_usage("shared", size=1, files=1, settles=tracker.doubts.moment)
    assert tracker.doubts.accounts() == []


async def test_a_doubt_is_about_the_folders_that_may_have_changed(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    usage, folder = await tracker.account(ALICE), await tracker.folder(SHARED)
    await tracker.begin(usage, folder)
    tracker.doubt(usage)

    await tracker.set_usage("alice", size=1, files=1)  # as a scan of the home does
    assert tracker.doubts.accounts() == ["alice"]
    await tracker.set_folder_usage("shared", size=1, files=1)
    assert tracker.doubts.accounts() == []


async def test_two_counts_of_one_folder_correct_it_once(store: UsageKeeper, tracker: UsageTracker) -> None:
    folder = await tracker.folder(SHARED)
    since = folder.charged

    await tracker.set_folder_usage("shared", size=300, files=1, since=since)
    folder.size.add(7)
    await tracker.set_folder_usage("shared", size=300, files=1, since=since)

    assert (folder.size.used, folder.files.used) == (307, 1)
    assert store.folders["shared"].used_quota_size == 307


async def test_a_folder_whose_setting_has_no_answer_is_counted_again(
    store: UsageKeeper, tracker: UsageTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_folder_usage = store.set_folder_usage

    async def lost(name: str, *, size: int, files: int) -> None:
        await set_folder_usage(name, size=size, files=files)
        raise e.ProviderUnavailable

    usage, folder = await tracker.account(ALICE), await tracker.folder(SHARED)
    await tracker.begin(usage, folder)
    folder.size.add(-200)
    with monkeypatch.context() as broken:
        broken.setattr(store, "set_folder_usage", lost)
        with pytest.raises(e.ProviderUnavailable):
            await tracker.set_folder_usage("shared", size=300, files=1)

    assert tracker.doubts.accounts() == ["alice"]

    await tracker.set_folder_usage("shared", size=300, files=1)
    assert tracker.doubts.accounts() == []


async def test_numbers_that_are_about_right_settle_no_doubt(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    usage, folder = await tracker.account(ALICE), await tracker.folder(SHARED)
    await tracker.begin(usage, folder)
    await tracker.doubt_scanned("alice", ["shared"])

    await tracker.set_usage("alice", size=1, files=1, settles=0)
    await tracker.set_folder_usage("shared", size=1, files=1, settles=0)
    assert tracker.doubts.accounts() == ["alice"]

    await tracker.set_usage("alice", size=1, files=1)
    assert tracker.doubts.accounts() == ["alice"]  # the folder is not settled yet
    await tracker.set_folder_usage("shared", size=1, files=1)
    assert tracker.doubts.accounts() == []


async def test_a_session_does_not_clear_a_mark_that_has_yet_to_be_read(
    store: UsageKeeper, tracker: UsageTracker
) -> None:
    store.dirty.add("alice")
    tracker.doubts.reading_marks()
    usage = await tracker.account(ALICE)
    await tracker.begin(usage)
    await tracker.close()
    assert store.dirty == {"alice"}

    tracker.doubts.expect(["alice"])
    await tracker.close()
    assert store.dirty == {"alice"}

    await tracker.set_usage("alice", size=5, files=1)  # which of its folders were changing is not known
    await tracker.close()
    assert store.dirty == {"alice"}

    tracker.doubts.counted_everywhere("alice", tracker.doubts.moment)
    await tracker.close()
    assert store.dirty == set()


async def test_counts_of_what_is_in_doubt_rest_longer_than_they_took(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "RECOUNT_SECONDS", 0.001)
    world.account()
    scans, counts = world.vfs.scans, []
    loop = asyncio.get_running_loop()
    twice = asyncio.Event()

    async def takes_long(account: Account) -> bool:
        counts.append(loop.time())
        if len(counts) == 2:
            twice.set()
        await asyncio.sleep(0.02)
        return False

    monkeypatch.setattr(scans, "_recount", takes_long)
    world.vfs.tracker.doubts.unsure("alice")

    await asyncio.wait_for(twice.wait(), 10)
    assert counts[1] - counts[0] > 0.02 * scanning.RECOUNT_REST


async def test_a_folder_that_is_changed_while_it_is_counted_leaves_a_mark(world: World) -> None:
    world.account(virtual_folders=(world.mount("shared", "/s", quota_size=1000),))
    session = await world.login()
    await put(session, "/s/b", b"y" * 7)
    usage = world.vfs.tracker.live("alice")
    assert usage is not None

    usage.acts += 1  # an operation whose end is not known yet
    await _counted(world, "shared")
    usage.acts -= 1
    assert world.vfs.tracker.doubts.accounts() == ["alice"]
    assert world.store.dirty == {"alice"}

    (world.folder_dir("shared") / "a").write_bytes(b"x" * 50)
    await _counted(world, "shared")
    assert await world.folder_used("shared") == (57, 2)


async def _counted(world: World, folder: str) -> None:
    task = (await world.vfs.scans.start_folder(folder)).task
    assert task is not None
    await task


async def test_a_scan_that_ends_half_way_leaves_no_unmarked_guess(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.account(quota_size=1000, virtual_folders=(world.mount("shared", "/s"),))
    session = await world.login()
    await put(session, "/s/b", b"y" * 7)
    usage = world.vfs.tracker.live("alice")
    assert usage is not None
    reached = asyncio.Event()

    async def hangs(name: str, *, size: int, files: int) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(world.store, "set_folder_usage", hangs)
    usage.acts += 1
    scan = await world.vfs.scans.start_user("alice")
    task = scan.task
    assert task is not None
    async with asyncio.timeout(5):
        await reached.wait()
    await world.vfs.scans.close()
    usage.acts -= 1

    assert task.done()
    assert (scan.state, scan.error) == ("failed", "stopped")
    assert world.vfs.tracker.doubts.accounts() == ["alice"]
    assert world.store.dirty == {"alice"}


async def test_an_upload_whose_name_becomes_a_link_meanwhile_is_counted_where_it_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.account(quota_size=10_000)
    session = await world.login()
    home = world.home()
    (home / "a").write_bytes(b"a" * 400)
    await world.vfs.set_usage("alice", size=400, files=1)
    mark_usage = world.store.mark_usage

    async def put_link(username: str, *, dirty: bool) -> None:
        if dirty and not (home / "l").is_symlink():
            (home / "l").symlink_to("a")
        await mark_usage(username, dirty=dirty)

    monkeypatch.setattr(world.store, "mark_usage", put_link)
    await put(session, "/l", b"xxxxx")

    assert (home / "a").read_bytes() == b"xxxxx"
    assert await world.used() == (5, 1)


async def test_who_goes_while_a_root_is_looked_at_leaves_nothing_open(tmp_path: Path) -> None:
    looked = asyncio.Event()

    class Slow(LocalBackend):
        async def is_current(self) -> bool:
            looked.set()
            await asyncio.Event().wait()
            return True

    pool = BackendPool(lambda spec: Slow(spec.directory, create=True))
    spec = StorageSpec(str(tmp_path / "root"), ALICE.filesystem)
    held = await pool.acquire(spec)
    task = asyncio.create_task(pool.acquire(spec))
    async with asyncio.timeout(5):
        await looked.wait()
    task.cancel()
    await asyncio.wait([task])
    await pool.release(held)

    assert task.cancelled()
    assert not _open_below(tmp_path)


async def test_who_goes_while_an_upload_is_opened_again_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reopen, reached, go_on, done = Opener.reopen, threading.Event(), threading.Event(), threading.Event()

    def slow(self: Opener, upload: Upload, fd: int, options: OpenOptions) -> int:
        reached.set()
        go_on.wait(5)
        try:
            return reopen(self, upload, fd, options)
        finally:
            done.set()

    monkeypatch.setattr(Opener, "reopen", slow)
    async with local_world(tmp_path, threads=True, upload_mode=Publish.ATOMIC) as world:
        world.account()
        session = await world.login()
        file = await session.open(p("/a"), PUT)
        before = len(_open_below(tmp_path))
        reading = asyncio.create_task(session.open(p("/a"), GET))
        await asyncio.to_thread(reached.wait, 5)
        reading.cancel()
        await asyncio.wait([reading])
        go_on.set()
        await asyncio.to_thread(done.wait, 5)
        await file.sync()  # by a thread too, so that the other one is through
        async with asyncio.timeout(5):
            while len(_open_below(tmp_path)) != before:
                await asyncio.sleep(0.001)
        await file.close()


async def test_what_sessions_of_a_moment_change_beside_a_count_is_added(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = world.mount("shared", "/s", quota_size=1000)
    world.account("alice", virtual_folders=(mount,))
    bob = world.account("bob", virtual_folders=(mount,))
    world.folder_dir("shared").mkdir(parents=True)
    (world.folder_dir("shared") / "a").write_bytes(b"a" * 50)
    world.store.dirty.add("alice")
    set_usage = world.store.set_usage

    async def beside(username: str, *, size: int, files: int) -> None:
        session = await world.vfs.open(
            Principal(bob, "password", "192.0.2.7"),
            Peer("c9", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "SSH-2.0-test"),
        )
        await put(session, "/s/b", b"b" * 7)
        await session.close()
        await set_usage(username, size=size, files=files)

    monkeypatch.setattr(world.store, "set_usage", beside)
    await world.vfs.reconcile()

    assert await world.folder_used("shared") == (57, 2)


@pytest.mark.parametrize("mode", [Publish.INPLACE, Publish.RESUMABLE])
async def test_an_end_whose_size_storage_cannot_tell_leaves_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Publish
) -> None:
    async def fails(backend: Backend, key: Key) -> int | None:
        raise e.StorageFailed("broken")

    async with vfs_world(tmp_path, upload_mode=mode) as world:
        account = world.account(quota_size=10_000)
        session = await world.login()
        file = await session.open(p("/a"), PUT)
        await file.write(0, b"x" * 100)
        with monkeypatch.context() as broken:
            broken.setattr(uploads, "size_of", fails)
            await file.abort()
        assert world.vfs.tracker.doubts.accounts() == ["alice"]

        assert await world.vfs.reconcile() == []  # it is waiting already
        assert await world.vfs.scans._recount(account)
        assert await world.used() == (100, 1)
        assert world.vfs.tracker.doubts.accounts() == []


async def test_two_changes_of_the_size_of_an_unpublished_upload_end_as_storage_did_them(
    tmp_path: Path,
) -> None:
    async with local_world(tmp_path, threads=True, upload_mode=Publish.ATOMIC) as world:
        world.account(quota_size=100_000)
        session = await world.login()
        for _ in range(20):
            file = await session.open(p("/a"), PUT)
            await file.write(0, b"x" * 100)
            await asyncio.gather(
                file.set_attrs(Attrs(size=5000)), session.set_attrs(p("/a"), Attrs(size=7)), file.sync()
            )
            await file.close()
            assert await world.used() == ((world.home() / "a").stat().st_size, 1)


def _open_below(directory: Path) -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(fd.readlink()))
    return [target for target in found if target.startswith(str(directory))]
