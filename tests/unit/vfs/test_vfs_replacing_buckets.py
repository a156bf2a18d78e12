# SPDX-License-Identifier: Apache-2.0
"""A tree takes the place of another in a bucket, as a session does it: rules, quota, and what fails on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket
from tests.support.vfs_world import World, names, p, put

from tidegate.abc import ALLOWED, Backend, FileHandle, Inspected, InspectedAct, OpenOptions, Verdict
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.doors.common import trees
from tidegate.doors.common.trees import TreeWork
from tidegate.errors import Conflict, NotFound, TidegateError
from tidegate.inspection.inspections import Inspections, InspectorUse
from tidegate.model import StorageSpec, VPath
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.session import Session

OLD = {"a": b"old a", "only old": b"x", "sub/b": b"old b"}
NEW = {"a": b"new", "sub/c": b"new c"}


class BucketWorld(World):
    """One bucket, with the homes of all."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.bucket = MemoryBucket()
        super().__init__(base, track_quota=1, **settings)

    def build(self, spec: StorageSpec) -> Backend:
        return ObjectBackend(self.bucket, Path(spec.directory).name)

    def files(self, top: str = "") -> dict[str, bytes]:
        prefix = f"alice/{top}"
        return {
            key[len(prefix) :].removeprefix("/"): data
            for key, data in self.bucket.contents.items()
            if key.startswith(prefix) and not key.endswith("/")
        }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BucketWorld]:
    world = BucketWorld(tmp_path)
    world.account(quota_size=10_000, quota_files=100)
    try:
        yield world
    finally:
        await world.close()
    assert not [key for key in world.bucket.contents if ".tidegate" in key]


async def furnished(world: BucketWorld) -> Session:
    session = await world.login()
    for top, files in {"old": OLD, "new": NEW}.items():
        for path in (f"/{top}", f"/{top}/sub"):
            await session.mkdir(p(path))
        for name, data in files.items():
            await put(session, f"/{top}/{name}", data)
    return session


class Work(TreeWork):
    def __init__(self, session: Session) -> None:
        super().__init__(session, "copy")
        self.errors: list[TidegateError] = []

    async def failed(
        self, intent: str, path: VPath, error: TidegateError, *rest: object, **more: object
    ) -> None:
        await super().failed(intent, path, error)
        self.errors.append(error)


async def replaced(session: Session, *, moves: bool) -> Work:
    """Copy or move over what is there, as the WebDAV door does."""
    work, target = Work(session), p("/old")
    entry = await session.stat(target, follow=False)
    async with session.replacing(target, moves=p("/new") if moves else None) as replacement:
        assert replacement is not None
        if moves:
            await session.rename(p("/new"), target, replace=True)
        else:
            await trees.copy(work, p("/new"), target)
        if not work.errors:
            await replacement.swap()
            await trees.remove(work, target, entry)
    return work


async def books(world: BucketWorld) -> None:
    """Used is what is there."""
    found = world.files()
    assert await world.used() == (sum(map(len, found.values())), len(found))


@pytest.mark.parametrize("moves", [False, True])
async def test_the_new_tree_is_there_and_nothing_of_the_old_one(world: BucketWorld, moves: bool) -> None:
    session = await furnished(world)
    assert not (await replaced(session, moves=moves)).errors
    assert world.files("old") == NEW
    assert await names(session) == ({"old"} if moves else {"old", "new"})
    await books(world)


@pytest.mark.parametrize("call", ["copy", "put", "delete", "pages"])
@pytest.mark.parametrize("moves", [False, True])
async def test_whatever_fails_one_of_them_is_there_and_nothing_moved_is_lost(
    tmp_path: Path, moves: bool, call: str
) -> None:
    failed = 0
    for nth in range(1, 60):
        world = BucketWorld(tmp_path / str(nth))
        world.account(quota_size=10_000, quota_files=100)
        session = await furnished(world)
        fault = Fault(call, nth)
        world.bucket.faults.append(fault)
        try:
            work = await replaced(session, moves=moves)
            broken = bool(work.errors)
        except TidegateError:
            broken = True
        world.bucket.faults.clear()
        await session.close()
        await world.close()
        assert world.files("old/") in (OLD, NEW), nth
        if moves:
            assert NEW in (world.files("old/"), world.files("new/"), world.files("old (moved 1)/")), nth
        else:
            assert world.files("new/") == NEW
        failed += broken
        if fault.seen < nth:
            assert failed
            return
    pytest.fail("there is no end of calls")


async def test_a_directory_above_is_renamed_meanwhile(world: BucketWorld) -> None:
    session, other = await furnished(world), await world.login()
    await session.mkdir(p("/top"))
    await session.rename(p("/old"), p("/top/old"), replace=False)
    for moves in (None, p("/new")):
        with pytest.raises(NotFound):
            async with session.replacing(p("/top/old"), moves=moves) as replacement:
                assert replacement is not None
                if moves is None:
                    await trees.copy(Work(session), p("/new"), p("/top/old"))
                else:
                    await session.rename(p("/new"), p("/top/old"), replace=True)
                await other.rename(p("/top"), p("/up"), replace=False)
                await replacement.swap()
        await other.rename(p("/up"), p("/top"), replace=False)
        assert world.files("top/old") == OLD
        assert world.files("new") == NEW
    await books(world)


async def test_who_was_faster_is_not_undone_by_an_upload_that_waits_for_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server replaces the file after it was set aside: git pushes one branch to two servers."""
    use = InspectorUse("r", Always(), frozenset({Inspected.UPLOAD}), 30, keeps_old=True, named=True)
    world = BucketWorld(tmp_path, inspections=Inspections([use]))
    try:
        session = await world.login(world.account())
        await put(session, "/f", b"old")
        reading = await ObjectBackend(world.bucket, "alice").open_file("f", OpenOptions(read=True))
        version = reading.version  # type: ignore[attr-defined]
        await reading.close()
        real = ObjectBackend.set_aside

        async def meanwhile(
            self: ObjectBackend, key: str, upload: FileHandle, **options: bool
        ) -> tuple[str, bool]:
            kept = await real(self, key, upload, **options)
            await world.bucket.put("alice/f", b"theirs", {})
            return kept

        monkeypatch.setattr(ObjectBackend, "set_aside", meanwhile)
        file = await session.open(
            p("/f"), OpenFlags(write=True, create=True, truncate=True, atomic=True, replaces=version)
        )
        await file.write(0, b"ours")
        with pytest.raises(Conflict):
            await file.close()
        assert world.files() == {"f": b"theirs"}
    finally:
        await world.close()


class Always:
    """Allows everything."""

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        return ALLOWED

    async def close(self) -> None:
        pass
