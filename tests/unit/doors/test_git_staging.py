# SPDX-License-Identifier: Apache-2.0
"""Pushes of two servers to one repository in one bucket: each name has one winner, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket, MemoryService
from tests.support.vfs_world import World, get, p, put

from tidegate.abc import Backend
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.doors.ssh.programs.staging import NOTHING, Copy
from tidegate.errors import Conflict, NotFound, StorageFailed
from tidegate.model import StorageSpec
from tidegate.vfs.session import Session

OLD, MINE, THEIRS = (letter * 40 + b"\n" for letter in (b"1", b"2", b"3"))


class BucketWorld(World):
    """A server whose homes are in a bucket."""

    def __init__(self, base: Path, service: MemoryService) -> None:
        self.bucket = MemoryBucket(service)
        super().__init__(base)

    def build(self, spec: StorageSpec) -> Backend:
        return ObjectBackend(self.bucket, "p/")


@asynccontextmanager
async def server(base: Path, service: MemoryService) -> AsyncIterator[BucketWorld]:
    world = BucketWorld(base, service)
    world.account()
    try:
        yield world
    finally:
        await world.close()


class Held(Copy):
    """A copy that waits between looking at the names and writing them."""

    looked: asyncio.Event
    go_on: asyncio.Event

    async def _upload_name(self, key: str, version: str) -> None:
        self.looked.set()
        await self.go_on.wait()
        await super()._upload_name(key, version)

    async def _remove_name(self, key: str, version: str) -> None:
        self.looked.set()
        await self.go_on.wait()
        await super()._remove_name(key, version)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Session, Session, BucketWorld]]:
    """Sessions of one account at two servers, with a repository; and the first server."""
    service = MemoryService()
    async with server(tmp_path / "one", service) as one, server(tmp_path / "two", service) as other:
        here, there = await one.login(), await other.login()
        for directory in ("/x.git", "/x.git/objects", "/x.git/refs", "/x.git/refs/heads"):
            await here.mkdir(p(directory))
        await put(here, "/x.git/HEAD", b"ref: refs/heads/main\n")
        await put(here, "/x.git/refs/heads/main", OLD)
        yield here, there, one


async def copied(session: Session, directory: Path, kind: type[Copy] = Copy) -> Copy:
    directory.mkdir()
    copy = kind(session, p("/x.git"), 1 << 20, str(directory))
    if isinstance(copy, Held):
        copy.looked, copy.go_on = asyncio.Event(), asyncio.Event()
    await copy.fetch()
    return copy


def change(copy: Copy, key: str, content: bytes) -> None:
    path = Path(copy.directory, key)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    os.utime(path, (1, 1))


async def test_a_name_that_is_changed_between_look_and_write_is_not_lost(two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    change(mine, "refs/heads/main", MINE)
    change(theirs, "refs/heads/main", THEIRS)
    storing = asyncio.create_task(mine.store())
    await mine.looked.wait()
    await theirs.store()
    mine.go_on.set()
    with pytest.raises(Conflict, match="refs/heads/main"):
        await storing
    assert await get(there, "/x.git/refs/heads/main") == THEIRS


async def test_a_new_name_has_one_winner(two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    change(mine, "refs/heads/new", MINE)
    change(theirs, "refs/heads/new", THEIRS)
    storing = asyncio.create_task(mine.store())
    await mine.looked.wait()
    await theirs.store()
    mine.go_on.set()
    with pytest.raises(Conflict, match="refs/heads/new"):
        await storing
    assert await get(there, "/x.git/refs/heads/new") == THEIRS


async def test_a_name_that_is_changed_is_not_removed(two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    Path(mine.directory, "refs/heads/main").unlink()
    change(theirs, "refs/heads/main", THEIRS)
    storing = asyncio.create_task(mine.store())
    await mine.looked.wait()
    await theirs.store()
    mine.go_on.set()
    with pytest.raises(Conflict):
        await storing
    assert await get(there, "/x.git/refs/heads/main") == THEIRS


async def test_a_name_that_is_being_removed_is_not_changed(two, tmp_path: Path) -> None:
    """It stands for nothing before it is gone."""
    here, there, world = two
    mine = await copied(here, tmp_path / "a")
    theirs = await copied(there, tmp_path / "b", Held)
    Path(mine.directory, "refs/heads/main").unlink()
    change(theirs, "refs/heads/main", THEIRS)
    storing = asyncio.create_task(theirs.store())
    await theirs.looked.wait()
    world.bucket.faults.append(fault := Fault("delete", error=StorageFailed("cut off")))
    with pytest.raises(StorageFailed):
        await mine.store()
    assert fault.seen
    assert await get(here, "/x.git/refs/heads/main") == NOTHING
    theirs.go_on.set()
    with pytest.raises(Conflict):
        await storing
    world.bucket.faults.clear()
    again = await copied(here, tmp_path / "c")
    Path(again.directory, "refs/heads/main").unlink()
    await again.store()
    with pytest.raises(NotFound):
        await get(there, "/x.git/refs/heads/main")


async def test_different_names_do_not_meet(two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    change(mine, "refs/heads/main", MINE)
    change(theirs, "refs/heads/other", THEIRS)
    storing = asyncio.create_task(mine.store())
    await mine.looked.wait()
    await theirs.store()
    mine.go_on.set()
    await storing
    assert await get(there, "/x.git/refs/heads/main") == MINE
    assert await get(here, "/x.git/refs/heads/other") == THEIRS


async def test_storage_that_fails_is_no_conflict(two, tmp_path: Path) -> None:
    """The bucket fails before it stores: nothing is changed, and the push fails with that."""
    here, _, world = two
    mine = await copied(here, tmp_path / "a")
    change(mine, "refs/heads/main", MINE)
    world.bucket.faults.append(Fault("put"))
    with pytest.raises(StorageFailed):
        await mine.store()
    assert await get(here, "/x.git/refs/heads/main") == OLD
