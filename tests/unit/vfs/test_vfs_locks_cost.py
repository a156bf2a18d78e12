# SPDX-License-Identifier: Apache-2.0
"""Counts what files without locks and properties pay for them: attributes that are read, and no call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import World, vfs_world

from tidegate.model import Attrs, VPath
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.session import Session

CREATE = OpenFlags(write=True, create=True, truncate=True)


class Counting:
    """Stands for something, and notes which of its methods are called."""

    def __init__(self, of: Any) -> None:
        self._of = of
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not callable(found):
            return found

        def noted(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            return found(*args, **more)

        return noted


async def work(session: Session) -> None:
    """One of each operation."""
    for name in ("a", "b"):
        file = session.open_nowait(VPath(f"/{name}"), CREATE) or await session.open(VPath(f"/{name}"), CREATE)
        if not file.write_nowait(0, b"content"):
            await file.write(0, b"content")
        if not file.close_nowait():
            await file.close()
    await session.mkdir(VPath("/d"))
    await session.set_attrs(VPath("/a"), Attrs(mode=0o600, size=3))
    await session.rename(VPath("/a"), VPath("/d/a"), replace=False)
    await session.rename(VPath("/d"), VPath("/e"), replace=False)
    await session.copy(VPath("/b"), VPath("/c"), replace=False)
    await session.symlink("b", VPath("/link"))
    async for _ in session.list(VPath("/")):
        pass
    for name in ("b", "c", "link", "e/a"):
        await session.remove(VPath(f"/{name}"))
    await session.rmdir(VPath("/e"))


def watched(world: World) -> tuple[Counting, Counting]:
    locks, store = Counting(world.vfs.locks), Counting(world.properties)
    world.vfs.locks = locks  # type: ignore[assignment]
    world.properties = store  # type: ignore[assignment]
    return locks, store


async def test_without_locks_and_properties_nobody_is_asked(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        locks, store = watched(world)
        world.account("alice")
        await work(await world.login("alice"))
        assert locks.calls == store.calls == []


async def test_those_of_others_cost_no_question_and_no_query(tmp_path: Path) -> None:
    """A lock and a property in another storage root: two looks into tables in memory, nothing that waits."""
    async with vfs_world(tmp_path) as world:
        locks, store = watched(world)
        for name in ("alice", "bob"):
            world.account(name)
            world.home(name).mkdir(parents=True)
        (world.home("bob") / "f").write_bytes(b"x")
        bob = await world.login("bob")
        await bob.properties.patch(VPath("/f"), {("n", "v"): b"x"})
        await bob.locks.lock(VPath("/f"), seconds=60)
        locks.calls.clear()
        store.calls.clear()

        await work(await world.login("alice"))

        assert set(locks.calls) == {"may_concern", "forget"}
        assert store.calls == []


@pytest.mark.parametrize("locked", [False, True])
async def test_small_files_are_still_opened_without_waiting(tmp_path: Path, locked: bool) -> None:
    async with vfs_world(tmp_path) as world:
        for name in ("alice", "bob"):
            world.account(name)
        if locked:
            bob = await world.login("bob")
            await bob.locks.lock(VPath("/f"), seconds=60)
        alice = await world.login("alice")
        first = await alice.open(VPath("/first"), CREATE)  # what is found out once for an account
        await first.close()
        file = alice.open_nowait(VPath("/new"), CREATE)
        assert file is not None
        if not file.write_nowait(0, b"x"):
            assert locked  # the first write of a file looks at the locks
            await file.write(0, b"x")
        assert file.write_nowait(1, b"y")
        assert file.close_nowait()
