# SPDX-License-Identifier: Apache-2.0
"""A tree takes the place of another: the old one goes when the new one is complete, and never before."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, World, get, local_world, names, p, put, vfs_world

from tidegate.abc import Publish
from tidegate.backends.local import LocalBackend, staged
from tidegate.backends.local.journal import sweep_journal
from tidegate.backends.local.names import STAGED
from tidegate.doors.common import trees
from tidegate.doors.common.trees import TreeWork
from tidegate.errors import Conflict, Denied, NotFound, QuotaExceeded, StorageFailed, TidegateError
from tidegate.events.kinds import Operated
from tidegate.model import VPath
from tidegate.vfs.session import Session

OLD = {"a": b"old a", "only old": b"x", "sub/b": b"old b"}
NEW = {"a": b"new", "sub/c": b"new c"}


@pytest.fixture(params=["inline", "threads", "three steps"])
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    def cannot(*_: object) -> None:
        raise OSError(errno.EINVAL, "not here")

    if request.param == "three steps":
        monkeypatch.setattr(staged, "rename_exchange", cannot)
    async with local_world(tmp_path, threads=request.param == "threads") as made:
        yield made
    assert not STAGED


def furnish(world: World) -> None:
    for top, files in {"old": OLD, "new": NEW}.items():
        for name, data in files.items():
            path = world.home() / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def hidden(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".tidegate")]


class Work(TreeWork):
    def __init__(self, session: Session) -> None:
        super().__init__(session, "copy")
        self.errors: list[TidegateError] = []

    async def failed(
        self, intent: str, path: VPath, error: TidegateError, *rest: object, **more: object
    ) -> None:
        await super().failed(intent, path, error)
        self.errors.append(error)


async def replaced(
    session: Session, source: str = "/new", target: str = "/old", *, moves: bool = False
) -> Work:
    """Copy or move over what is there, as the WebDAV door does."""
    work = Work(session)
    entry = await session.stat(p(target), follow=False)
    await trees.require_removable(work, p(target), entry)
    if work.errors:
        return work
    async with session.replacing(p(target), moves=p(source) if moves else None) as replacement:
        assert replacement is not None
        if moves:
            await session.rename(p(source), p(target), replace=True)
        else:
            await trees.copy(work, p(source), p(target))
        if not work.errors:
            await replacement.swap()
            await trees.remove(work, p(target), entry)
    return work


async def counted(world: World, name: str = "alice") -> tuple[int, int]:
    """Bytes and files on the disk."""
    found = content(world.home(name))
    return sum(map(len, found.values())), len(found)


@pytest.mark.parametrize("moves", [False, True])
async def test_the_new_tree_is_there_and_nothing_of_the_old_one(world: World, moves: bool) -> None:
    world.account()
    furnish(world)
    size, files = await counted(world)
    world.account(used_quota_size=size, used_quota_files=files, quota_size=10_000)
    session = await world.login()
    assert not (await replaced(session, moves=moves)).errors
    assert content(world.home() / "old") == NEW
    assert (world.home() / "new").exists() is not moves
    assert hidden(world.home()) == []
    assert await world.used() == await counted(world)
    assert len(session._context.paths) == 0


async def test_others_see_the_old_tree_until_the_new_one_is_complete(world: World) -> None:
    world.account()
    furnish(world)
    session, other = await world.login(), await world.login()
    async with session.replacing(p("/old")) as replacement:
        assert replacement is not None
        work = Work(session)
        await trees.copy(work, p("/new"), p("/old"))
        assert await get(session, "/old/a") == b"new"
        (name,) = hidden(world.home())
        for each in (other, session):
            assert await names(each) == {"old", "new"}
        assert await get(other, "/old/a") == b"old a"
        with pytest.raises(NotFound):
            await other.stat(p("/old/sub/c"))
        await replacement.swap()
        assert await get(other, "/old/a") == b"new"
        assert await get(session, "/old/a") == b"old a"
        assert name in hidden(world.home())
    assert content(world.home() / "old") == NEW
    assert hidden(world.home()) == []


async def test_nobody_else_can_name_what_is_hidden(world: World) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    for name in (".tidegate-tree.x", ".tidegate-tree.moved.x", ".tidegate-tree.x.old"):
        with pytest.raises(NotFound):
            await session.mkdir(p(f"/{name}"))
        with pytest.raises(NotFound):
            await put(session, f"/old/{name}/f", b"x")


async def test_what_cannot_be_copied_leaves_everything_as_it_was(world: World) -> None:
    world.account(permissions={"/": ("*",), "/old/sub": ("list", "delete", "create_dirs")})
    furnish(world)
    before = await counted(world)
    world.account(
        permissions={"/": ("*",), "/old/sub": ("list", "delete", "create_dirs")},
        used_quota_size=before[0],
        used_quota_files=before[1],
        quota_size=10_000,
    )
    session = await world.login()
    work = await replaced(session)
    assert [type(error) for error in work.errors] == [Denied]  # the rules of the path that it is made for
    assert content(world.home() / "old") == OLD
    assert hidden(world.home()) == []
    assert await world.used() == before


async def test_what_may_not_be_removed_keeps_everything(world: World) -> None:
    world.account(permissions={"/": ("*",), "/old/sub": ("list", "upload", "create_dirs")})
    furnish(world)
    session = await world.login()
    for moves in (False, True):
        assert [type(error) for error in (await replaced(session, moves=moves)).errors] == [Denied]
    assert content(world.home() / "old") == OLD
    assert content(world.home() / "new") == NEW


async def test_a_quota_has_room_for_both_or_nothing_happens(world: World) -> None:
    world.account()
    furnish(world)
    size, files = await counted(world)
    world.account(used_quota_size=size, used_quota_files=files, quota_size=size + 4)
    session = await world.login()
    work = await replaced(session)
    assert [type(error) for error in work.errors] == [QuotaExceeded]
    assert content(world.home() / "old") == OLD
    assert await world.used() == (size, files)


async def test_events_are_told_once_it_is_there_for_the_path_that_it_has(world: World) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    async with session.replacing(p("/old")) as replacement:
        assert replacement is not None
        await trees.copy(Work(session), p("/new"), p("/old"))
        assert world.of(Operated) == []
        await replacement.swap()
        told = [(e.action.value, str(e.virtual_path), e.virtual_target_path) for e in world.of(Operated)]
        assert ("copy", "/new/a", "/old/a") in told
        assert ("mkdir", "/old", "") in told
        await session.remove(p("/old/only old"))
    last = world.of(Operated)[-1]
    assert (last.action.value, last.virtual_path) == ("remove", "/old/only old")
    for event in world.of(Operated):
        assert ".tidegate" not in event.file_path + event.target_path
    assert last.file_path == str(world.home() / "old/only old")


async def test_who_leaves_before_it_is_complete_leaves_the_old_tree(world: World) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    begun = asyncio.Event()

    async def leave() -> None:
        async with session.replacing(p("/old")):
            await trees.copy(Work(session), p("/new"), p("/old"))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(leave())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await session.close()
    assert content(world.home() / "old") == OLD
    assert hidden(world.home()) == []


async def test_what_was_moved_gets_its_place_even_if_its_client_leaves(world: World) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    with pytest.raises(ZeroDivisionError):
        async with session.replacing(p("/old"), moves=p("/new")):
            await session.rename(p("/new"), p("/old"), replace=True)
            raise ZeroDivisionError
    assert content(world.home() / "old") == NEW
    assert os.listdir(world.home()) == ["old"]


@pytest.mark.parametrize("moves", [False, True])
async def test_an_exchange_whose_answer_is_lost_loses_no_tree(
    world: World, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    exchange = staged.exchange

    def lose(*args: Any) -> None:
        exchange(*args)
        raise StorageFailed

    monkeypatch.setattr(staged, "exchange", lose)
    with pytest.raises(StorageFailed):
        await replaced(session, moves=moves)
    assert content(world.home() / "old") == NEW
    assert hidden(world.home()) == []
    assert content(world.home() / ("old (moved 1)" if moves else "new")) == (OLD if moves else NEW)


async def test_a_directory_above_is_renamed_meanwhile(world: World) -> None:
    world.account(
        virtual_folders=(world.mount("team", "/team", quota_size=0, quota_files=0),), quota_size=10_000
    )
    furnish(world)
    (world.home() / "top").mkdir()
    (world.home() / "old").rename(world.home() / "top/old")
    size, files = await counted(world)
    world.account(
        virtual_folders=(world.mount("team", "/team", quota_size=0, quota_files=0),),
        quota_size=10_000,
        used_quota_size=size,
        used_quota_files=files,
    )
    session, other = await world.login(), await world.login()
    for moves in (None, p("/new")):
        with pytest.raises(NotFound):
            async with session.replacing(p("/top/old"), moves=moves) as replacement:
                assert replacement is not None
                if moves is None:
                    await trees.copy(Work(session), p("/new"), p("/top/old"))
                else:
                    await session.rename(p("/new"), p("/top/old"), replace=True)
                with pytest.raises(Conflict):  # it would leave its quota
                    await other.rename(p("/top"), p("/team/top"), replace=False)
                await other.rename(p("/top"), p("/up"), replace=False)
                await replacement.swap()
        await other.rename(p("/up"), p("/top"), replace=False)
        assert content(world.home() / "top/old") == OLD
        assert content(world.home() / "new") == NEW
        assert hidden(world.home() / "top") == []
    assert await world.used() == await counted(world)
    assert len(session._context.paths) == 0


@pytest.mark.parametrize("taken", [False, True])
async def test_what_was_moved_and_finds_no_place_is_not_lost(
    world: World, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.account()
    furnish(world)
    session = await world.login()

    async def fail(*_: object) -> str:
        raise Denied

    monkeypatch.setattr(LocalBackend, "exchange", fail)
    with pytest.raises(Denied):
        async with session.replacing(p("/old"), moves=p("/new")) as replacement:
            assert replacement is not None
            await session.rename(p("/new"), p("/old"), replace=True)
            if taken:
                (world.home() / "new").mkdir()
            await replacement.swap()
    assert content(world.home() / "old") == OLD
    assert content(world.home() / ("old (moved 1)" if taken else "new")) == NEW
    assert hidden(world.home()) == []
    assert world.of(Operated) == []


async def test_a_file_and_a_tree_change_places(world: World) -> None:
    world.account()
    furnish(world)
    (world.home() / "file").write_bytes(b"file")
    size, files = await counted(world)
    world.account(used_quota_size=size, used_quota_files=files, quota_size=10_000)
    session = await world.login()
    assert not (await replaced(session, "/new", "/file")).errors
    assert content(world.home() / "file") == NEW
    async with session.replacing(p("/file")) as replacement:
        assert replacement is not None
        await session.copy(p("/old/a"), p("/file"), replace=True)
        await replacement.swap()
    assert (world.home() / "file").read_bytes() == b"old a"
    assert await world.used() == await counted(world)


async def test_a_link_is_replaced_and_what_it_leads_to_stays(world: World) -> None:
    world.account()
    furnish(world)
    (world.home() / "link").symlink_to("old")
    session = await world.login()
    assert not (await replaced(session, "/new", "/link")).errors
    assert content(world.home() / "link") == NEW
    assert not (world.home() / "link").is_symlink()
    assert content(world.home() / "old") == OLD


async def test_a_mounted_folder_is_replaced_by_nothing(world: World) -> None:
    world.account(virtual_folders=(world.mount("team", "/dir/team"),))
    furnish(world)
    session = await world.login()
    for path in ("/", "/dir", "/dir/team"):
        async with session.replacing(p(path)) as replacement:
            assert replacement is None
    (world.home() / "dir").mkdir(exist_ok=True)
    entry = await session.stat(p("/dir"))
    with pytest.raises(Denied):
        await session.require_removable(p("/dir"), entry)


async def test_locks_in_the_old_tree_end_and_one_on_it_stays(world: World) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    outer = await session.locks.lock(p("/old"), depth_infinite=True, seconds=60)
    with session.holding([outer.token]):
        assert not (await replaced(session)).errors
    assert [lock.token for lock in await session.locks.list(p("/old"))] == [outer.token]
    await session.locks.unlock(p("/old"), outer.token)
    inner = await session.locks.lock(p("/old/a"), seconds=60)
    with session.holding([inner.token]):
        assert not (await replaced(session)).errors
    assert await session.locks.list(p("/old/a")) == []
    other = await session.locks.lock(p("/old/a"), seconds=60)
    assert [type(error).__name__ for error in (await replaced(session)).errors] == ["Locked", "Locked"]
    await session.locks.unlock(p("/old/a"), other.token)


async def test_properties_go_along(world: World) -> None:
    world.account()
    furnish(world)
    session = await world.login()
    await session.properties.patch(p("/new/a"), {("urn:x", "n"): b"<n/>"}, [])
    await session.properties.patch(p("/old/only old"), {("urn:x", "o"): b"<o/>"}, [])
    assert not (await replaced(session)).errors
    assert dict(await session.properties.get(p("/old/a"))) == {("urn:x", "n"): b"<n/>"}
    await put(session, "/old/only old", b"x")
    assert dict(await session.properties.get(p("/old/only old"))) == {}


@pytest.mark.parametrize("mode", list(Publish))
@pytest.mark.parametrize("moves", [False, True])
async def test_a_tree_that_somebody_writes_in_stays(tmp_path: Path, mode: Publish, moves: bool) -> None:
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        world.account()
        furnish(world)
        size, files = await counted(world)
        world.account(used_quota_size=size, used_quota_files=files, quota_size=10_000)
        session, other = await world.login(), await world.login()
        for who in (other, session):
            upload = await who.open(p("/old/fresh"), PUT)
            await upload.write(0, b"w" * 50)
            with pytest.raises(Conflict):
                await replaced(session, moves=moves)
            await upload.close()
            assert (world.home() / "old/fresh").read_bytes() == b"w" * 50
            assert await get(session, "/old/a") == b"old a"
            assert content(world.home() / "new") == NEW
        assert hidden(world.home()) == []
        assert await world.used() == await counted(world)


# -- after a crash -------------------------------------------------------------------------------------------


async def crashed(tmp_path: Path, *, moves: bool) -> tuple[LocalBackend, str]:
    """A server ends while a tree is made."""
    home = tmp_path / "home"
    for top, files in {"old": OLD, "new": NEW}.items():
        for name, data in files.items():
            path = home / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    backend = LocalBackend(str(home), journal_dir=str(tmp_path / "journal"))
    await backend.open()
    key = await backend.beside("old", moves=moves)
    await backend.rename("new", key, replace=False)
    return backend, key


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_leaves_one_complete_tree(tmp_path: Path, moves: bool, when: str) -> None:
    backend, key = await crashed(tmp_path, moves=moves)
    if when == "after":
        key = await backend.exchange(key, "old")
    await backend.close()
    assert sweep_journal(str(tmp_path / "journal")).kept == 1  # this process works on it
    STAGED.clear()
    sweep_journal(str(tmp_path / "journal"))
    found = content(tmp_path / "home")
    old = {f"old/{name}": data for name, data in (OLD if when == "before" else NEW).items()}
    moved = {f"old (moved 1)/{name}": data for name, data in NEW.items()}
    assert found == old | (moved if moves and when == "before" else {})
    assert hidden(tmp_path / "home") == []
    assert os.listdir(tmp_path / "journal") == []


@pytest.mark.parametrize("steps", [1, 2])
async def test_a_crash_between_the_three_steps_loses_nothing(tmp_path: Path, steps: int) -> None:
    backend, key = await crashed(tmp_path, moves=False)
    home = tmp_path / "home"
    (home / "old").rename(home / f"{key}.old")
    if steps == 2:
        (home / key).rename(home / "old")
    await backend.close()
    STAGED.clear()
    sweep_journal(str(tmp_path / "journal"))
    assert content(home) == {f"old/{name}": data for name, data in (OLD if steps == 1 else NEW).items()}


async def test_a_directory_with_a_leftover_can_be_removed_in_the_end(tmp_path: Path) -> None:
    backend = LocalBackend(str(tmp_path / "home"), create=True)
    await backend.open()
    for name in (".tidegate-tree.moved.aa", ".tidegate-tree.bb"):
        (tmp_path / "home/d" / name / "x").mkdir(parents=True)
        with pytest.raises(TidegateError):
            await backend.rmdir("d")
        assert (tmp_path / "home/d" / name / "x").exists()
        os.utime(tmp_path / "home/d" / name, (1, 1))
        if "moved" in name:
            with pytest.raises(TidegateError):
                await backend.rmdir("d")
            (tmp_path / "home/d" / name).rename(tmp_path / "elsewhere")
    await backend.rmdir("d")
    await backend.close()
