# SPDX-License-Identifier: Apache-2.0
"""Write locks as every operation of a session meets them, on real directories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.vfs_world import World, vfs_world

from tidegate.abc import Publish
from tidegate.errors import Denied, Locked, NotFound, TidegateError
from tidegate.events.kinds import Refused
from tidegate.model import Attrs, VPath
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.session import Session

MODES = pytest.mark.parametrize("mode", list(Publish))
CREATE = OpenFlags(write=True, create=True, truncate=True)
APPEND = OpenFlags(write=True, append=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with vfs_world(tmp_path) as made:
        yield made


async def two(world: World) -> tuple[Session, Session]:
    """Sessions of two accounts that share the folder ``/team``."""
    for name in ("alice", "bob"):
        world.account(name, virtual_folders=(world.mount("team", "/team"),))
    world.folder_dir("team").mkdir(parents=True)
    return await world.login("alice"), await world.login("bob")


async def put(session: Session, path: str, content: bytes, flags: OpenFlags = CREATE) -> None:
    file = session.open_nowait(VPath(path), flags) or await session.open(VPath(path), flags)
    try:
        if not file.write_nowait(0, content):
            await file.write(0, content)
    except TidegateError:
        await file.abort()
        raise
    if not file.close_nowait():
        await file.close()


Operation = Callable[[Session], Awaitable[object]]

CHANGES: dict[str, Operation] = {
    "write": lambda session: put(session, "/team/f", b"new"),
    "append": lambda session: put(session, "/team/f", b"new", APPEND),
    "remove": lambda session: session.remove(VPath("/team/f")),
    "rename": lambda session: session.rename(VPath("/team/f"), VPath("/team/g"), replace=False),
    "rename over": lambda session: session.rename(VPath("/team/other"), VPath("/team/f"), replace=True),
    "copy over": lambda session: session.copy(VPath("/team/other"), VPath("/team/f"), replace=True),
    "truncate": lambda session: session.set_attrs(VPath("/team/f"), Attrs(size=1)),
    "chmod": lambda session: session.set_attrs(VPath("/team/f"), Attrs(mode=0o600)),
    "times": lambda session: session.set_attrs(VPath("/team/f"), Attrs(mtime_ns=0, atime_ns=0)),
    "properties": lambda session: session.properties.patch(VPath("/team/f"), {("", "a"): b"b"}),
}
"""Changes of /team/f."""

MEMBERS: dict[str, Operation] = {
    "create": lambda session: put(session, "/team/d/new", b"new"),
    "mkdir": lambda session: session.mkdir(VPath("/team/d/new")),
    "rmdir": lambda session: session.rmdir(VPath("/team/d/sub")),
    "remove": lambda session: session.remove(VPath("/team/d/f")),
    "rename away": lambda session: session.rename(VPath("/team/d/f"), VPath("/team/g"), replace=False),
    "rename into": lambda session: session.rename(VPath("/team/f"), VPath("/team/d/g"), replace=False),
    "copy into": lambda session: session.copy(VPath("/team/f"), VPath("/team/d/g"), replace=False),
    "symlink": lambda session: session.symlink("f", VPath("/team/d/link")),
    "hard link": lambda session: session.hardlink(VPath("/team/f"), VPath("/team/d/link")),
}
"""Changes of what names there are in /team/d."""


def fill(world: World) -> Path:
    base = world.folder_dir("team")
    (base / "d" / "sub").mkdir(parents=True)
    for name in ("f", "other", "d/f"):
        (base / name).write_bytes(b"old content")
    return base


def tree(base: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(path.relative_to(base)): (
            path.read_bytes() if path.is_file() else b"",
            path.lstat().st_mode,
            path.lstat().st_mtime_ns if path.is_file() else 0,
        )
        for path in sorted(base.rglob("*"))
    }


@pytest.mark.parametrize("name", CHANGES)
async def test_a_lock_keeps_another_account_from_changing_a_file(world: World, name: str) -> None:
    alice, bob = await two(world)
    base = fill(world)
    before = tree(base)
    lock = await alice.locks.lock(VPath("/team/f"), owner="me", seconds=60)

    with pytest.raises(Locked, match="locked by alice") as caught:
        await CHANGES[name](bob)

    assert caught.value.root == "/team/f"
    assert tree(base) == before
    assert [(event.rule, event.text) for event in world.of(Refused)] == [("lock", "locked by alice")]
    with bob.holding([lock.token]), pytest.raises(Locked):  # a token is good for its account only
        await CHANGES[name](bob)
    assert tree(base) == before
    with pytest.raises(Locked):  # nor does the account alone do
        await CHANGES[name](alice)
    assert tree(base) == before
    with alice.holding(["urn:uuid:other", lock.token]):
        await CHANGES[name](alice)
    assert tree(base) != before or name == "properties"


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("deep", [False, True])
async def test_a_lock_on_a_directory_keeps_its_names(world: World, name: str, deep: bool) -> None:
    alice, bob = await two(world)
    base = fill(world)
    before = tree(base)
    lock = await alice.locks.lock(VPath("/team/d"), depth_infinite=deep, seconds=60)

    with pytest.raises(Locked):
        await MEMBERS[name](bob)
    with pytest.raises(Locked):
        await MEMBERS[name](alice)

    assert tree(base) == before
    with alice.holding([lock.token]):
        await MEMBERS[name](alice)
    assert tree(base) != before


async def test_a_flat_lock_on_a_directory_leaves_content_alone(world: World) -> None:
    alice, bob = await two(world)
    base = fill(world)
    await alice.locks.lock(VPath("/team/d"), depth_infinite=False, seconds=60)
    await put(bob, "/team/d/f", b"of bob")
    await put(bob, "/team/d/sub/new", b"of bob")
    assert (base / "d" / "f").read_bytes() == (base / "d" / "sub" / "new").read_bytes() == b"of bob"


@pytest.mark.parametrize("name", ["rename", "rmdir"])
async def test_a_directory_stays_while_something_in_it_is_locked(world: World, name: str) -> None:
    alice, bob = await two(world)
    base = fill(world)
    before = tree(base)
    lock = await alice.locks.lock(VPath("/team/d/sub/later"), seconds=60)  # nothing is there yet

    async def change(session: Session) -> None:
        if name == "rename":
            await session.rename(VPath("/team/d"), VPath("/team/e"), replace=False)
        else:
            await session.rmdir(VPath("/team/d/sub"))

    with pytest.raises(Locked) as caught:
        await change(bob)

    assert caught.value.root == "/team/d/sub/later"
    assert tree(base) == before
    with alice.holding([lock.token]):
        await change(alice)
    assert await world.vfs.locks.all() == []  # what it was on is gone


async def test_a_lock_is_on_the_place_whatever_leads_there(world: World) -> None:
    """Other mounts, roots above and below, links on the way and at the end."""
    world.account("alice", virtual_folders=(world.mount("team", "/team"),))
    world.account("above", home_dir=str(world.base / "folders"))
    world.account("below", home_dir=str(world.folder_dir("team") / "d"))
    (world.base / "elsewhere").symlink_to(world.folder_dir("team"))
    world.account("linked", home_dir=str(world.base / "elsewhere"))
    base = world.folder_dir("team")
    base.mkdir(parents=True)
    fill(world)
    (base / "way").symlink_to("d")
    (base / "end").symlink_to("d/f")
    alice = await world.login("alice")
    await alice.locks.lock(VPath("/team/way/f"), seconds=60)

    for account, path, root in (
        ("above", "/team/d/f", "/team/d/f"),
        ("below", "/f", "/f"),
        ("linked", "/d/f", "/d/f"),
        ("linked", "/way/f", None),
        ("linked", "/end", None),
        ("alice", "/team/d/f", "/team/d/f"),
    ):
        session = await world.login(account)
        with pytest.raises(Locked) as caught:
            await put(session, path, b"x")
        if root is not None:
            assert caught.value.root == root
    assert (base / "d" / "f").read_bytes() == b"old content"
    (base / "end").unlink()


async def test_what_one_sees_of_locks(world: World) -> None:
    alice, bob = await two(world)
    fill(world)
    assert await bob.locks.list(VPath("/team/d/f")) == []
    lock = await alice.locks.lock(VPath("/team/d"), depth_infinite=True, owner="<a/>", seconds=60)

    (seen,) = await bob.locks.list(VPath("/team/d/f"))

    assert (seen.path, seen.account, seen.scope, seen.depth_infinite) == (
        "/team/d",
        "alice",
        "exclusive",
        True,
    )
    assert (seen.token, seen.owner, seen.seconds) == (lock.token, "<a/>", 60)
    assert 0 < seen.left <= 60
    world.account("below", home_dir=str(world.folder_dir("team") / "d" / "sub"))
    below = await world.login("below")
    assert [one.path for one in await below.locks.list(VPath("/x/y"))] == ["/"]  # as far as it can be seen


async def test_refreshing_and_unlocking(world: World) -> None:
    alice, bob = await two(world)
    fill(world)
    lock = await alice.locks.lock(VPath("/team/d"), depth_infinite=True, seconds=60)

    assert (await alice.locks.refresh(VPath("/team/d/f"), lock.token, 600)).seconds == 600
    for act in (
        bob.locks.unlock(VPath("/team/d"), lock.token),
        bob.locks.refresh(VPath("/team/d"), lock.token, 1),
    ):
        with pytest.raises(Denied, match="held by alice"):
            await act
    for path, token in (("/team/f", lock.token), ("/team/d", "urn:uuid:none")):
        with pytest.raises(NotFound):
            await alice.locks.unlock(VPath(path), token)
        with pytest.raises(NotFound):
            await alice.locks.refresh(VPath(path), token, 60)
    await alice.locks.unlock(VPath("/team/d/f"), lock.token)
    assert not world.vfs.locks.active
    await put(bob, "/team/d/f", b"x")


async def test_who_may_not_write_may_not_lock(world: World) -> None:
    permissions = {"/": ("list", "download"), "/in": ("list", "upload")}
    world.account("reader", permissions=permissions)
    (world.home("reader") / "in").mkdir(parents=True)
    (world.home("reader") / "f").write_bytes(b"x")
    reader = await world.login("reader")
    for path in ("/f", "/new", "/"):
        with pytest.raises(Denied):
            await reader.locks.lock(VPath(path), seconds=60)
    await reader.locks.lock(VPath("/in/new"), seconds=60)
    with pytest.raises(Locked):
        await reader.locks.lock(VPath("/in"), depth_infinite=True, seconds=60)
    await reader.locks.lock(VPath("/in"), seconds=60)


async def test_a_new_name_in_a_locked_directory_is_locked_with_its_token_only(world: World) -> None:
    alice, bob = await two(world)
    fill(world)
    lock = await alice.locks.lock(VPath("/team/d"), seconds=60)
    for session in (alice, bob):
        with pytest.raises(Locked):
            await session.locks.lock(VPath("/team/d/new"), seconds=60)
    with alice.holding([lock.token]):
        await alice.locks.lock(VPath("/team/d/new"), seconds=60)
    await bob.locks.lock(VPath("/team/d/f"), seconds=60)  # it is there already


@MODES
async def test_nothing_is_locked_under_the_hands_of_who_writes(tmp_path: Path, mode: Publish) -> None:
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        alice, bob = await two(world)
        base = fill(world)
        file = await bob.open(VPath("/team/d/f"), CREATE)
        await file.write(0, b"half")
        for path, deep in (("/team/d/f", False), ("/team/d", True), ("/team", True)):
            with pytest.raises(Locked, match="being written"):
                await alice.locks.lock(VPath(path), depth_infinite=deep, seconds=60)
        await alice.locks.lock(VPath("/team/d"), depth_infinite=False, seconds=60)
        await file.write(4, b" and half")
        await file.close()
        assert (base / "d" / "f").read_bytes() == b"half and half"
        await alice.locks.lock(VPath("/team/d/f"), seconds=60)


@MODES
async def test_a_lock_through_another_root_stops_an_upload_that_is_under_way(
    tmp_path: Path, mode: Publish
) -> None:
    """Nobody there knows of the upload; its next write, or its end, meets the lock."""
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        alice, bob = await two(world)
        base = fill(world)
        world.account("above", home_dir=str(world.base))
        above = await world.login("above")
        for path in ("/team/f", "/team/other"):
            file = await bob.open(VPath(path), CREATE)
            if not file.write_nowait(0, b"first"):
                await file.write(0, b"first")
            await above.locks.lock(VPath(f"/folders{path}"), seconds=60)
            if path == "/team/f":
                with pytest.raises(Locked, match="locked by above"):
                    if not file.write_nowait(5, b"second"):
                        await file.write(5, b"second")
                await file.abort()
            elif mode is Publish.INPLACE:
                await file.close()  # its bytes were visible before the lock was
            else:
                with pytest.raises(Locked, match="locked by above"):
                    if not file.close_nowait():
                        await file.close()
        if mode is not Publish.INPLACE:
            assert (base / "f").read_bytes() == (base / "other").read_bytes() == b"old content"
        assert alice.transfers == set()


async def test_an_upload_keeps_the_tokens_it_was_opened_with(world: World) -> None:
    alice, _ = await two(world)
    base = fill(world)
    lock = await alice.locks.lock(VPath("/team/f"), seconds=60)
    with alice.holding([lock.token]):
        file = await alice.open(VPath("/team/f"), CREATE)
    await file.write(0, b"new")
    await file.set_attrs(Attrs(mtime_ns=0, atime_ns=0))
    await file.close()
    assert (base / "f").read_bytes() == b"new"


async def test_tokens_hold_where_they_were_submitted_and_nowhere_else(world: World) -> None:
    alice, _ = await two(world)
    fill(world)
    lock = await alice.locks.lock(VPath("/team/f"), seconds=60)
    inside, outside = asyncio.Event(), asyncio.Event()

    async def with_token() -> None:
        with alice.holding([lock.token]):
            inside.set()
            await outside.wait()
            await put(alice, "/team/f", b"with")

    async def without() -> None:
        await inside.wait()
        with pytest.raises(Locked):
            await put(alice, "/team/f", b"without")
        outside.set()

    await asyncio.gather(with_token(), without())
    with pytest.raises(Locked):
        await put(alice, "/team/f", b"later")


async def test_a_lock_stays_when_its_file_is_renamed_away_or_replaced(world: World) -> None:
    """It does not move, it ends with its name; one on the target stays (RFC 4918 section 7.6)."""
    alice, bob = await two(world)
    fill(world)
    source = await alice.locks.lock(VPath("/team/f"), seconds=60)
    target = await alice.locks.lock(VPath("/team/other"), seconds=60)
    with alice.holding([source.token, target.token]):
        await alice.rename(VPath("/team/f"), VPath("/team/other"), replace=True)
    assert [lock.token for lock in await world.vfs.locks.all()] == [target.token]
    await put(bob, "/team/f", b"free")
    with pytest.raises(Locked):
        await put(bob, "/team/other", b"x")


async def test_reading_meets_no_lock(world: World) -> None:
    alice, bob = await two(world)
    fill(world)
    await alice.locks.lock(VPath("/team"), depth_infinite=True, seconds=60)
    file = await bob.open(VPath("/team/f"), OpenFlags(read=True))
    assert await file.read(0, 100) == b"old content"
    await file.close()
    assert (await bob.stat(VPath("/team/f"))).size == 11
    assert await bob.checksum(VPath("/team/f"), "md5")
    await bob.copy(VPath("/team/f"), VPath("/mine"), replace=False)
