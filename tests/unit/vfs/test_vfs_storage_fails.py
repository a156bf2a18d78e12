# SPDX-License-Identifier: Apache-2.0
"""Any one call of the storage may fail, hang or lose its answer: what clients are told, and what is charged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, World, get, p, put

from tidegate import errors as e
from tidegate.abc import Backend, Publish
from tidegate.backends.memory import MemoryBackend
from tidegate.model import StorageSpec
from tidegate.testing.backend import put as fill
from tidegate.testing.flavours import Failing, Fault
from tidegate.vfs.session import Session


class _Unreliable(World):
    memory: MemoryBackend
    fault: Fault
    nth = 10**9

    def build(self, spec: StorageSpec) -> Backend:
        self.storage = Failing(self.memory, self.fault, self.nth)
        return self.storage


async def upload(s: Session) -> None:
    file = await s.open(p("/new"), PUT)
    try:
        await file.write(0, b"n" * 70)
        await file.write(70, b"n" * 30)
    except BaseException:
        await file.abort()
        raise
    await file.close()


async def listing(s: Session) -> None:
    async for _ in s.list(p("/")):
        pass


ACTS: dict[str, Callable[[Session], Awaitable[object]]] = {
    "upload": upload,
    "overwrite": lambda s: put(s, "/old", b"o" * 10),
    "download": lambda s: get(s, "/old"),
    "remove": lambda s: s.remove(p("/old")),
    "rename": lambda s: s.rename(p("/old"), p("/moved"), replace=False),
    "rename over": lambda s: s.rename(p("/old"), p("/other"), replace=True),
    "copy": lambda s: s.copy(p("/old"), p("/copied"), replace=False),
    "mkdir": lambda s: s.mkdir(p("/d")),
    "stat": lambda s: s.stat(p("/old")),
    "list": listing,
}


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Any]:
    made: list[World] = []

    def make(memory: MemoryBackend, fault: Fault, nth: int, mode: Publish) -> _Unreliable:
        world = _Unreliable(tmp_path, upload_mode=mode)
        world.memory, world.fault, world.nth = memory, fault, nth
        made.append(world)
        return world

    yield make
    for world in made:
        await world.close()


async def _filled() -> MemoryBackend:
    memory = MemoryBackend()
    await fill(memory, "old", b"x" * 300)
    await fill(memory, "other", b"y" * 200)
    return memory


@pytest.mark.parametrize("mode", [Publish.INPLACE, Publish.ATOMIC])
@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("act", ACTS)
async def test_each_call_that_goes_wrong(worlds: Any, act: str, fault: Fault, mode: Publish) -> None:
    for nth in range(1, 30):
        memory = await _filled()
        world = worlds(memory, fault, 10**9, mode)
        account = world.account(quota_size=10_000, used_quota_size=500, used_quota_files=2)
        s = await world.login(account)
        await s.stat(p("/"))
        world.storage.seen.clear()
        world.storage.nth = nth
        task = asyncio.ensure_future(ACTS[act](s))
        tripped = asyncio.ensure_future(world.storage.tripped.wait())
        async with asyncio.timeout(5):
            await asyncio.wait([task, tripped], return_when=asyncio.FIRST_COMPLETED)
            if fault is Fault.HANG and tripped.done():
                task.cancel()
                await asyncio.sleep(0)
                world.storage.released.set()
            await asyncio.wait([task])
            tripped.cancel()
            reached = world.storage.tripped.is_set()
            if not task.cancelled():
                error = task.exception()
                assert error is None or isinstance(error, e.TidegateError), (nth, error)
            await s.close()
        used = await world.used()
        world.storage.nth = 10**9
        world.storage.tripped.clear()
        files = _files(memory)
        truth = sum(len(data) for data in files), len(files)
        assert used == truth or "alice" in world.store.dirty, (act, nth, world.storage.seen, used, truth)
        if not reached:
            return
    raise AssertionError("never through")


def _files(memory: MemoryBackend) -> list[bytes]:
    found: list[bytes] = []
    todo = [memory._root]
    while todo:
        node = todo.pop()
        if node.children is None:
            found.append(bytes(node.data))
        else:
            todo += node.children.values()
    return found
