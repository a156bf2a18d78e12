# SPDX-License-Identifier: Apache-2.0
"""Usage whose writing ended without an answer: counted once, whatever became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import UsageKeeper, World, p, put, vfs_world

from tidegate import errors as e
from tidegate.model import TALLY_NAMES, Account, Folder, FolderMount, Tally, UsageDelta
from tidegate.vfs.usage.live import AccountUsage, FolderUsage
from tidegate.vfs.usage.tracker import UsageTracker

ACCOUNT = Account(
    username="alice",
    home_dir="/none",
    used_quota_size=5000,
    used_quota_files=5,
    used_upload_data_transfer=50,
    used_download_data_transfer=60,
    tally=Tally(bytes_in=70, files_out=7),
)
SHARED = FolderMount(name="shared", virtual_path="/s", mapped_path="/none/s")


class Troubled(UsageKeeper):
    """A store whose next addition ends as `trouble` says; `added` counts those that were made.

    * ``reply lost``: made, then the line breaks; ``request lost``: the line breaks before.
    * ``hangs after`` and ``hangs before``: no answer ever, to be cancelled; `reached` tells when.
    * an exception: refused with it.
    """

    def __init__(self, *accounts: Account) -> None:
        super().__init__(*accounts)
        self.trouble: str | Exception = ""
        self.reached = asyncio.Event()
        self.added = 0

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        await self._run(super().add_usage(username, delta))

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        write = super().add_folder_usage(name, size=size, files=files)
        await (self._run(write) if size or files else write)

    async def _run(self, write: Coroutine[Any, Any, None]) -> None:
        trouble, self.trouble = self.trouble, ""
        if trouble in ("", "reply lost", "hangs after"):
            await write
            self.added += 1
        write.close()
        if isinstance(trouble, Exception):
            raise trouble
        if trouble.startswith("hangs"):
            self.reached.set()
            await asyncio.Event().wait()
        if trouble:
            raise e.ProviderUnavailable


class Node:
    """The usage of one process over a store, one account and a folder it mounts."""

    def __init__(self, store: Troubled) -> None:
        self.store = store
        self.tracker = UsageTracker(store, emit=lambda event: None)
        self.usage: AccountUsage
        self.folder: FolderUsage

    async def log_in(self) -> None:
        """A session, and what `begin` does for a change, but no writing in the background."""
        self.usage = await self.tracker.account(ACCOUNT)
        self.folder = await self.tracker.folder(SHARED)
        self.usage.folders[self.folder] = None
        await self.store.mark_usage("alice", dirty=True)
        self.usage.marked = True

    def charge(self, factor: int = 1) -> None:
        """Change every counter of the account, each by another amount."""
        usage = self.usage
        for i, count in enumerate(
            (usage.size, usage.files, usage.upload, usage.download, *usage.tally.values())
        ):
            count.add(factor * (i + 1))

    def charge_folder(self, size: int, files: int) -> None:
        self.folder.size.add(size)
        self.folder.files.add(files)

    async def fail(self, trouble: str) -> None:
        """Write, and meet the trouble."""
        self.store.trouble = trouble
        self.store.reached.clear()
        if not trouble.startswith("hangs"):
            with pytest.raises(e.ProviderUnavailable):
                await self.tracker.settle()
            return
        task = asyncio.create_task(self.tracker.settle())
        await self.store.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def live(self) -> tuple[int, ...]:
        """The usage that the process knows."""
        usage = self.usage
        counts = (usage.size, usage.files, usage.upload, usage.download)
        return tuple(c.used for c in counts) + tuple(usage.tally[name].used for name in TALLY_NAMES)

    def stored(self, name: str = "alice") -> tuple[int, ...]:
        """The usage in the store."""
        account = self.store.accounts[name]
        quota = account.used_quota_size, account.used_quota_files
        transfer = account.used_upload_data_transfer, account.used_download_data_transfer
        return quota + transfer + tuple(getattr(account.tally, name) for name in TALLY_NAMES)

    def stored_folder(self) -> tuple[int, int]:
        folder = self.store.folders["shared"]
        return folder.used_quota_size, folder.used_quota_files


@asynccontextmanager
async def node_of(store: Troubled) -> AsyncIterator[Node]:
    node = Node(store)
    await node.log_in()
    async with asyncio.timeout(10):
        try:
            yield node
        finally:
            await node.tracker.close()


@pytest.fixture
def store() -> Troubled:
    store = Troubled(ACCOUNT)
    store.folders["shared"] = Folder(
        name="shared", mapped_path="/none/s", used_quota_size=300, used_quota_files=3
    )
    return store


UNKNOWN = ("reply lost", "request lost", "hangs after", "hangs before")


@pytest.mark.parametrize("trouble", UNKNOWN)
async def test_an_account_is_counted_once(store: Troubled, trouble: str) -> None:
    async with node_of(store) as node:
        node.charge()
        await node.fail(trouble)

        await node.tracker.settle()

        assert node.stored() == node.live()
        assert node.stored()[:2] == (5001, 7)
        assert store.added == 1
        await node.tracker.close()
        assert not store.dirty


@pytest.mark.parametrize("trouble", UNKNOWN)
async def test_a_folder_is_counted_once(store: Troubled, trouble: str) -> None:
    async with node_of(store) as node:
        node.charge_folder(40, -1)
        await node.fail(trouble)

        await node.tracker.settle()

        assert node.stored_folder() == (340, 2)
        assert store.added == 1
        await node.tracker.close()
        assert not store.dirty


@pytest.mark.parametrize("trouble", UNKNOWN)
@pytest.mark.parametrize("later", [3, -1])
async def test_what_changed_meanwhile_is_counted_too(store: Troubled, trouble: str, later: int) -> None:
    async with node_of(store) as node:
        node.charge()
        await node.fail(trouble)
        node.charge(later)  # -1: nothing is left to write, unless the store has it already

        await node.tracker.settle()

        assert node.stored() == node.live()
        assert node.stored()[:2] == (5001 + later, 7 + 2 * later)


@pytest.mark.parametrize("trouble", UNKNOWN)
@pytest.mark.parametrize("later", [3, -1])
async def test_what_changed_in_a_folder_meanwhile_is_counted_too(
    store: Troubled, trouble: str, later: int
) -> None:
    async with node_of(store) as node:
        node.charge_folder(10, 1)
        await node.fail(trouble)
        node.charge_folder(10 * later, later)

        await node.tracker.settle()

        assert node.stored_folder() == (310 + 10 * later, 4 + later)


async def test_a_row_of_losses_is_counted_once_each(store: Troubled) -> None:
    async with node_of(store) as node:
        for trouble in ("reply lost", "reply lost", "request lost", "request lost", "reply lost"):
            node.charge()
            node.charge_folder(1, 1)
            await node.fail(trouble)
        await node.tracker.settle()
        assert node.stored() == node.live()
        assert node.stored_folder() == (305, 8)


async def test_nothing_is_written_while_the_store_cannot_be_asked(store: Troubled) -> None:
    async with node_of(store) as node:
        node.charge()
        await node.fail("reply lost")
        store.down = True
        store.calls.clear()
        for _ in range(2):
            with pytest.raises(e.ProviderUnavailable):
                await node.tracker.settle()
        assert "add_usage" not in store.calls
        store.down = False
        await node.tracker.settle()
        assert node.stored() == node.live()
        assert store.added == 1


@pytest.mark.parametrize("error", [e.Conflict(), e.BadRecord("", "no"), OverflowError()])
async def test_a_refusal_needs_no_question(store: Troubled, error: Exception) -> None:
    async with node_of(store) as node:
        for charge, stored in (
            (node.charge, lambda: node.stored() == node.live()),
            (lambda: node.charge_folder(9, 1), lambda: node.stored_folder() == (309, 4)),
        ):
            charge()
            store.calls.clear()
            store.trouble = error
            with pytest.raises(type(error)):
                await node.tracker.settle()
            await node.tracker.settle()
            assert stored()
            assert not {"user", "folder"} & set(store.calls)
        assert store.added == 2


def elsewhere(store: Troubled, **changes: int) -> None:
    """Another process writes."""
    account = store.accounts["alice"]
    store.accounts["alice"] = replace(
        account, **{name: getattr(account, name) + by for name, by in changes.items()}
    )


@pytest.mark.parametrize("trouble", UNKNOWN)
@pytest.mark.parametrize("counter", ["used_quota_size", "used_quota_files", "used_upload_data_transfer"])
async def test_another_writer_makes_it_uncertain_and_no_use_is_lost(
    store: Troubled, trouble: str, counter: str
) -> None:
    async with node_of(store) as node:
        node.charge()
        await node.fail(trouble)
        elsewhere(store, **{counter: 500})

        await node.tracker.settle()

        expected = node.live()
        assert all(stored >= live for stored, live in zip(node.stored(), expected, strict=True))
        assert store.added == (2 if trouble.endswith(("after", "reply lost")) else 1)
        await node.tracker.close()
        assert store.dirty == {"alice"}  # so the next start scans it


@pytest.mark.parametrize("trouble", UNKNOWN)
async def test_what_was_given_back_is_not_given_back_twice(store: Troubled, trouble: str) -> None:
    async with node_of(store) as node:
        node.usage.size.add(-1000)
        node.usage.files.add(1)
        node.charge_folder(-100, 1)
        await node.fail(trouble)
        elsewhere(store, used_download_data_transfer=1)

        await node.tracker.settle()

        size, files = node.stored()[:2]
        assert 4000 <= size <= 5000
        assert files >= 6
        assert node.stored_folder() == (200, 4)
        assert store.dirty == {"alice"}


async def test_another_writer_of_a_folder_makes_the_account_uncertain(store: Troubled) -> None:
    async with node_of(store) as node:
        node.charge_folder(10, -1)
        await node.fail("reply lost")
        await store.set_folder_usage("shared", size=1310, files=2)

        await node.tracker.settle()

        assert node.stored_folder() == (1320, 2)
        assert store.dirty == {"alice"}
        await node.tracker.set_usage("alice", size=1, files=1)
        await node.tracker.writer.unmark(node.usage)
        assert store.dirty == {"alice"}  # setting the account's numbers says nothing about the folder
        await node.tracker.set_folder_usage("shared", size=1, files=1)
        await node.tracker.writer.unmark(node.usage)
        assert not store.dirty


async def test_the_mark_of_an_uncertain_account_outlives_its_sessions(store: Troubled) -> None:
    async with node_of(store) as node:
        node.charge()
        await node.fail("reply lost")
        elsewhere(store, used_quota_size=1)
        await node.tracker.settle()
        node.tracker.release(node.usage, [node.folder])
        assert node.tracker.live("alice") is None

        await node.log_in()
        node.charge()
        await node.tracker.close()
        assert store.dirty == {"alice"}

        await node.tracker.set_usage("alice", size=10, files=1)  # as a scan does
        await node.tracker.close()
        assert not store.dirty


@pytest.mark.parametrize("of_folder", [False, True])
async def test_books_of_unknown_outcome_are_not_made_anew(store: Troubled, of_folder: bool) -> None:
    async with node_of(store) as node:

        def charge(factor: int) -> None:
            if of_folder:
                node.charge_folder(7 * factor, factor)
            else:
                node.charge(factor)

        charge(1)
        await node.fail("reply lost")
        charge(-1)
        first, first_folder = node.usage, node.folder
        node.tracker.release(first, [first_folder])

        await node.log_in()

        assert node.usage is first
        assert (node.folder is first_folder) == of_folder
        await node.tracker.settle()
        assert node.stored() == node.live()
        assert node.stored_folder() == (300, 3)
        node.tracker.release(node.usage, [node.folder])
        assert (node.tracker.live("alice"), node.tracker.live_folder("shared")) == (None, None)


@pytest.mark.parametrize("trouble", UNKNOWN)
async def test_numbers_set_by_hand_settle_what_they_set(store: Troubled, trouble: str) -> None:
    async with node_of(store) as node:
        node.charge()
        await node.fail(trouble)

        await node.tracker.set_usage("alice", size=77, files=7)
        await node.tracker.settle()

        assert node.stored() == node.live()
        assert node.stored()[:4] == (77, 7, 53, 64)
        node.charge()
        await node.fail(trouble)
        await node.tracker.set_transfer_usage("alice", upload=1, download=2)
        await node.tracker.settle()
        assert node.stored() == node.live()
        assert node.stored()[:4] == (78, 9, 1, 2)
        await node.tracker.close()
        assert not store.dirty


@pytest.mark.parametrize("trouble", UNKNOWN)
async def test_a_folder_set_by_hand_is_settled(store: Troubled, trouble: str) -> None:
    async with node_of(store) as node:
        node.charge_folder(5, 1)
        await node.fail(trouble)
        await node.tracker.set_folder_usage("shared", size=1000, files=10)
        node.charge_folder(1, 1)
        await node.tracker.settle()
        assert node.stored_folder() == (1001, 11)
        await node.tracker.close()
        assert not store.dirty


async def test_at_zero_both_outcomes_are_one(store: Troubled) -> None:
    async with node_of(store) as node:
        store.accounts["alice"] = replace(ACCOUNT, used_quota_size=0)  # another process emptied it
        node.usage.size.add(-5000)
        await node.fail("request lost")
        await node.tracker.settle()
        assert node.stored() == node.live()
        assert store.added == 0
        await node.tracker.close()
        assert not store.dirty


@pytest.mark.parametrize("trouble", ["reply lost", "request lost"])
async def test_accounts_that_share_a_folder_count_it_once(store: Troubled, trouble: str) -> None:
    store.accounts["bob"] = replace(ACCOUNT, username="bob")
    async with node_of(store) as node:
        bob = await node.tracker.account(store.accounts["bob"])
        bob.folders[node.folder] = None
        node.charge_folder(10, 1)
        store.trouble = trouble
        with pytest.raises(e.ProviderUnavailable):
            await node.tracker.settle("alice")
        node.charge_folder(5, 1)

        await asyncio.gather(*(node.tracker.settle(name) for name in ("bob", "alice", "bob")))

        assert node.stored_folder() == (315, 5)
        await node.tracker.close()
        assert not store.dirty


@pytest.mark.parametrize("trouble", UNKNOWN)
async def test_closing_settles_it(store: Troubled, trouble: str) -> None:
    async with node_of(store) as node:
        node.charge()
        node.charge_folder(5, 1)
        await node.fail(trouble)
        await node.tracker.close()
        assert node.stored() == node.live()
        assert node.stored_folder() == (305, 4)
        assert not store.dirty


@pytest.mark.parametrize("trouble", ["reply lost", "request lost"])
async def test_a_session_does_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr("tidegate.vfs.usage.writing.RETRY_SECONDS", 0.02)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.01)
    monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 0.02)
    async with vfs_world(tmp_path) as world, asyncio.timeout(10):
        store = world.store = Troubled()
        world.start()
        world.account(quota_size=10_000, virtual_folders=(world.mount("inc", "/inc"),))
        session = await world.login()

        async def all_is_written(done: Callable[[World], bool]) -> None:
            while store.trouble or not done(world) or store.dirty:
                await asyncio.sleep(0.005)

        store.trouble = trouble
        await put(session, "/inc/a", b"x" * 1000)
        await all_is_written(lambda world: store.accounts["alice"].used_quota_size >= 1000)
        store.trouble = trouble
        await session.remove(p("/inc/a"))
        await all_is_written(lambda world: store.accounts["alice"].used_quota_size == 0)
        assert await world.used() == (0, 0)
        assert await world.folder_used("inc") == (0, 0)
