# SPDX-License-Identifier: Apache-2.0
"""Whoever asked is gone, storage goes on: what is counted is what lies on the disk."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, RESUME, World, p, put, vfs_world

from tidegate.abc import Backend, Publish
from tidegate.backends.local import Devices, LocalBackend
from tidegate.errors import StorageFailed, TidegateError
from tidegate.model import Attrs, StorageSpec
from tidegate.vfs.session import Session


class Valve:
    """Holds calls of storage in their threads: `reached` when one is there, `open` lets them go on."""

    def __init__(self) -> None:
        self.held = False
        self.error: OSError | None = None
        self._reached = threading.Event()
        self._open = threading.Event()

    def hold(self) -> None:
        self.held = True
        self._reached.clear()
        self._open.clear()

    def pass_through(self) -> None:
        if self.held:
            self._reached.set()
            assert self._open.wait(10)
            if self.error is not None:
                raise self.error

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    def open(self) -> None:
        self.held = False
        self._open.set()


class ThreadedDevices(Devices):
    """Every call of storage runs in a thread, as on NFS, and stops at the valve when it is done."""

    def __init__(self, valve: Valve) -> None:
        super().__init__(workers=8)
        self._valve = valve
        self.armed = False

    async def thread(self, device: Any, call: Callable[[], Any], **options: Any) -> Any:
        def slow() -> Any:
            result = call()
            self._valve.pass_through()
            return result

        return await super().thread(device, slow if self.armed else call, **options)


class SlowWorld(World):
    """A world whose storage is as slow as the valve says, once `slow` is called."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.valve = Valve()
        self.devices = ThreadedDevices(self.valve)
        super().__init__(base, **settings)

    def build(self, spec: StorageSpec) -> Backend:
        return LocalBackend(spec.directory, create=True, devices=self.devices)

    def thread_everything(self) -> None:
        for device in self.devices._known.values():
            device.threaded = True

    async def close(self) -> None:
        self.valve.open()
        await super().close()
        self.devices.close()


@asynccontextmanager
async def slow_world(base: Path, **settings: Any) -> AsyncIterator[SlowWorld]:
    world = SlowWorld(base, **settings)
    try:
        yield world
    finally:
        await world.close()


def on_disk(root: Path) -> tuple[int, int]:
    """Bytes and files below a directory, whatever their names."""
    sizes = [os.lstat(os.path.join(at, name)).st_size for at, _, found in os.walk(root) for name in found]
    return sum(sizes), len(sizes)


def remove(session: Session) -> Awaitable[None]:
    return session.remove(p("/a"))


def rename(session: Session) -> Awaitable[None]:
    return session.rename(p("/a"), p("/b"), replace=True)


def move(session: Session) -> Awaitable[None]:
    return session.rename(p("/a"), p("/folder/a"), replace=True)


def hardlink(session: Session) -> Awaitable[None]:
    return session.hardlink(p("/a"), p("/c"))


def copy(session: Session) -> Awaitable[None]:
    return session.copy(p("/a"), p("/b"), replace=True)


def truncate(session: Session) -> Awaitable[None]:
    return session.set_attrs(p("/a"), Attrs(size=10))


def extend(session: Session) -> Awaitable[None]:
    return session.set_attrs(p("/a"), Attrs(size=5000))


def create(session: Session) -> Awaitable[Any]:
    return session.open(p("/c"), PUT)


def empty(session: Session) -> Awaitable[Any]:
    return session.open(p("/a"), PUT)


def resume(session: Session) -> Awaitable[Any]:
    return session.open(p("/a"), RESUME)


async def rewrite(session: Session) -> None:
    await put(session, "/a", b"y" * 3000)


ACTS = [remove, rename, move, hardlink, copy, truncate, extend, create, empty, resume, rewrite]


@pytest.fixture(params=ACTS, ids=lambda act: act.__name__)
def act(request: pytest.FixtureRequest) -> Callable[[Session], Awaitable[Any]]:
    chosen: Callable[[Session], Awaitable[Any]] = request.param
    return chosen


@pytest.mark.parametrize("mode", [Publish.INPLACE, Publish.ATOMIC, Publish.RESUMABLE])
async def test_counted_is_what_is_there_when_the_line_breaks(
    tmp_path: Path, mode: Publish, act: Callable[[Session], Awaitable[Any]]
) -> None:
    """Cut after the n-th call of storage, for every n that the operation has."""
    for call in range(1, 40):
        async with slow_world(tmp_path / str(call), upload_mode=mode) as world:
            mount = world.mount("shared", "/folder", quota_size=1_000_000, quota_files=100)
            session = await world.login(world.account(quota_size=1_000_000, virtual_folders=(mount,)))
            await put(session, "/a", b"x" * 1000)
            await put(session, "/b", b"x" * 200)
            await put(session, "/folder/z", b"x" * 30)
            world.thread_everything()
            if not await _cut_at(world, call, act(session)):
                break
            await session.close()
            assert world.vfs.tracker.live("alice") is None or not world.vfs.tracker.live("alice").busy
            assert await world.used() == on_disk(world.home()), f"cut after call {call}"
            assert await world.folder_used("shared") == on_disk(world.folder_dir("shared"))
    else:
        pytest.fail("the operation never ends")
    assert call > 1


async def _cut_at(world: SlowWorld, call: int, work: Awaitable[Any]) -> bool:
    """Cut at the n-th call; False if the operation had fewer and ended."""
    world.devices.armed = True
    count = 0
    original = world.valve.pass_through

    def pass_through() -> None:
        nonlocal count
        count += 1
        if count == call:
            world.valve.hold()
            original()

    world.valve.pass_through = pass_through  # type: ignore[method-assign]
    task = asyncio.ensure_future(work)
    reached = asyncio.ensure_future(world.valve.reached())
    await asyncio.wait((task, reached), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        world.devices.armed = False
        world.valve._reached.set()
        await reached
        result = task.result()
        if result is not None:
            await result.close()
        return False
    task.cancel()
    await asyncio.wait((task,), timeout=0.5)  # what is being published is waited for
    world.valve.open()
    with suppress(asyncio.CancelledError):
        await task
    await reached
    return True


async def test_a_stop_waits_for_what_storage_has_begun(tmp_path: Path) -> None:
    async with slow_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await put(session, "/a", b"x" * 1000)
        world.thread_everything()
        world.devices.armed = True
        task = asyncio.ensure_future(session.remove(p("/a")))
        while len(world.vfs._acts) == 0:
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await session.close()
        await world.vfs.close()
        assert len(world.vfs._acts) == 0
        account = world.store.accounts["alice"]
        assert (account.used_quota_size, account.used_quota_files) == on_disk(world.home())
        assert not world.store.dirty


async def test_the_mark_stays_while_storage_is_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the act and its accounting must find the account marked."""
    monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 0.0)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.001)
    async with slow_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await put(session, "/a", b"x" * 1000)
        world.thread_everything()
        world.devices.armed = True
        saved = asyncio.Event()
        original = world.store.mark_usage

        async def mark(username: str, *, dirty: bool) -> None:
            await original(username, dirty=dirty)
            if not dirty:
                saved.set()

        world.store.mark_usage = mark  # type: ignore[method-assign]
        while "alice" in world.store.dirty:
            await asyncio.sleep(0.001)
        # Held in the thread that looks whether it is there would be before the act: only count removals.
        held = asyncio.ensure_future(session.remove(p("/a")))
        while (world.home() / "a").exists():
            world.valve.hold()
            await world.valve.reached()
            if (world.home() / "a").exists():
                world.valve.open()
        assert "alice" in world.store.dirty
        saved.clear()
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert "alice" in world.store.dirty, "the mark went while the removal was under way"
        world.valve.open()
        await held
        assert await world.used() == (0, 0)
        while "alice" in world.store.dirty:
            await asyncio.sleep(0.001)


async def test_storage_that_fails_without_saying_what_it_did_leaves_the_mark(tmp_path: Path) -> None:
    class Unclear(LocalBackend):
        async def remove(self, key: str) -> None:
            await super().remove(key)
            raise StorageFailed

    class UnclearWorld(World):
        def build(self, spec: StorageSpec) -> Backend:
            return Unclear(spec.directory, create=True)

    world = UnclearWorld(tmp_path)
    session = await world.login(world.account(quota_size=1_000_000))
    await put(session, "/a", b"x" * 1000)
    with pytest.raises(TidegateError):
        await session.remove(p("/a"))
    await session.close()
    await world.vfs.close()
    assert world.store.dirty == {"alice"}


async def test_an_operation_that_has_not_begun_ends_with_its_caller(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await put(session, "/a", b"x" * 1000)
        file = await session.open(p("/b"), PUT)
        context = session._context
        resolved = await context.charged(p("/a"))
        async with context.paths.locked(resolved[1:]):
            task = asyncio.ensure_future(session.remove(p("/a")))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await file.close()
        await session.close()
        assert (world.home() / "a").exists()
        assert await world.used() == on_disk(world.home())
