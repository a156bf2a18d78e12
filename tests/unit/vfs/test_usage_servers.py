# SPDX-License-Identifier: Apache-2.0
"""Several servers on one data provider: each counts again only what its own or a dead one left."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from tests.support.vfs_world import PUT, p, put

from tidegate.backends.local import LocalBackend
from tidegate.model import Account, Peer, Principal, Protocol
from tidegate.store.factory import create_provider, initialise
from tidegate.store.memory import MemoryProvider
from tidegate.store.options import ProviderOptions
from tidegate.vfs.factory import VfsSessions
from tidegate.vfs.usage import lease as lease_module
from tidegate.vfs.usage.lease import LEASE_SECONDS, Lease, server_name


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def server(store: MemoryProvider, name: str, clock: Clock) -> VfsSessions:
    return VfsSessions(
        lambda spec: LocalBackend(spec.directory, create=True),
        store,
        emit=lambda event: None,
        lease=Lease(store, name, now=clock),
    )


async def login(vfs: VfsSessions, store: MemoryProvider):
    account = await store.user("alice")
    peer = Peer("c1", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "SSH-2.0-test")
    return await vfs.open(Principal(account, "password", "192.0.2.7"), peer)


@pytest.fixture
async def store(tmp_path: Path) -> MemoryProvider:
    store = MemoryProvider(ProviderOptions(driver="memory", name="", base_dir=str(tmp_path)))
    await store.open()
    await store.add_user(
        Account(
            username="alice",
            home_dir=str(tmp_path / "alice"),
            quota_size=10_000,
            permissions={"/": ("*",)},
        )
    )
    return store


async def counted(store: MemoryProvider) -> tuple[int, int]:
    account = await store.user("alice")
    assert account is not None
    return account.used_quota_size, account.used_quota_files


async def test_a_second_server_leaves_a_living_one_alone(store: MemoryProvider) -> None:
    clock = Clock()
    one, two = server(store, "one", clock), server(store, "two", clock)
    await one.reconcile()
    session = await login(one, store)
    await put(session, "/a", b"x" * 100)
    await one.tracker.settle()
    await put(session, "/b", b"x" * 100)  # still held by the first
    assert await two.reconcile() == []
    assert await store.usage_marks() == [("alice", "one")]
    await session.close()
    await one.close()
    await two.close()
    assert await counted(store) == (200, 2)
    assert await store.usage_marks() == []
    assert await store.setting("server:one") is None


async def test_what_a_dead_server_left_is_counted(store: MemoryProvider) -> None:
    clock = Clock()
    one, two = server(store, "one", clock), server(store, "two", clock)
    await one._lease.renew()
    session = await login(one, store)
    await put(session, "/a", b"x" * 100)
    file = await session.open(p("/b"), PUT)
    await file.write(0, b"x" * 50)
    await two.reconcile()
    clock.now += LEASE_SECONDS - 1
    assert await two.scans.reconcile(own=False) == []
    clock.now += 2
    assert await two.scans.reconcile(own=False) == ["alice"]
    assert await counted(store) == (150, 2)
    assert await store.usage_marks() == []
    await two.close()
    await file.abort()
    await session.close()
    await one._acts.drain()
    for usage in one.tracker._accounts.values():
        if usage.task is not None:
            usage.task.cancel()
    await one._pool.close()


async def test_its_own_marks_of_an_earlier_life_and_marks_of_nobody(store: MemoryProvider) -> None:
    clock = Clock()
    await store.mark_usage("alice", dirty=True, server="one")
    await store.mark_usage("alice", dirty=True)
    await store.set_setting("server:one", str(int((clock.now + 50) * 1000)))
    again = server(store, "one", clock)
    assert await again.reconcile() == ["alice"]
    assert await store.usage_marks() == []
    await again.close()


async def test_a_lease_is_kept_by_one_task_which_ends_with_it(store: MemoryProvider) -> None:
    async def nothing() -> None:
        return

    lease = Lease(store, "one")
    await lease.start(nothing)
    await lease.start(nothing)  # the provider was away, and came back
    keepers = [task for task in asyncio.all_tasks() if task.get_name() == "lease"]
    assert len(keepers) == 1
    await lease.stop()
    assert keepers[0].done()
    await lease.start(nothing)
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "lease"]) == 1, "it lives again"
    await lease.stop()


def test_a_server_keeps_its_name(tmp_path: Path) -> None:
    assert server_name(str(tmp_path)) == server_name(str(tmp_path))
    assert server_name(str(tmp_path)) != server_name(str(tmp_path / "other"))
    assert len(server_name("x")) < 64


async def test_a_server_stays_alive_whatever_goes_wrong_beside_it(
    store: MemoryProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.0)
    lease = Lease(store, "one")
    tried = asyncio.Semaphore(0)

    async def reconcile() -> None:
        tried.release()
        raise OverflowError("too large")

    await lease.start(reconcile)
    async with asyncio.timeout(5):
        await tried.acquire()
        await tried.acquire()
    await lease.stop()
    assert "unforeseen error" in caplog.text


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="/dev/shm is missing")
async def test_an_account_that_cannot_be_stored_does_not_keep_others_from_being_counted(
    tmp_path: Path,
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as large:
        for name in "ab":
            with open(f"{large}/{name}", "wb") as sparse:
                sparse.truncate(2**63 - 4096)
        options = ProviderOptions(driver="sqlite", name="t.db", base_dir=tmp_path)
        await initialise(options)
        store = create_provider(options)
        await store.open()
        small = tmp_path / "bob"
        small.mkdir()
        (small / "file").write_bytes(b"12345")
        for name, home in (("alice", large), ("bob", str(small))):
            await store.add_user(Account(username=name, home_dir=home, permissions={"/": ("*",)}))
            await store.mark_usage(name, dirty=True, server="dead")
        one = server(store, "one", Clock())
        assert await one.reconcile() == ["bob"]
        account = await store.user("bob")
        assert account is not None
        assert (account.used_quota_size, account.used_quota_files) == (5, 1)
        assert await store.usage_marks() == [("alice", "dead")]
        await one.close()
        await store.close()
