# SPDX-License-Identifier: Apache-2.0
"""A session and the file it is writing: to itself it is there in every upload mode, to others when complete."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import GET, PUT, World, get, local_world, names, p, put

from tidegate.abc import Publish
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    NotFound,
    QuotaExceeded,
    TidegateError,
)
from tidegate.model import Attrs
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.session import Session

CREATE = OpenFlags(write=True, create=True)
EXCL = OpenFlags(write=True, create=True, exclusive=True)
BOTH = OpenFlags(read=True, write=True)
APPEND = OpenFlags(write=True, append=True)
STAGED = pytest.mark.parametrize("world", ["1", "2", "1 threads", "2 threads"], indirect=True)


@pytest.fixture(params=["0", "1", "2", "1 threads", "2 threads"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    mode, _, threads = request.param.partition(" ")
    async with local_world(tmp_path, threads=bool(threads), upload_mode=Publish(int(mode))) as world:
        yield world


@pytest.fixture(params=[{"/": ("*",)}, {"/": ("*",), "/closed": ()}], ids=["one rule", "rules"])
async def session(request: pytest.FixtureRequest, world: World) -> Session:
    session = await world.login(world.account(permissions=request.param, quota_size=10**6))
    (world.home() / "d").mkdir(parents=True)
    (world.home() / "way").symlink_to("d")
    return session


def hidden(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".")]


@pytest.mark.parametrize("old", [None, b"an older file"])
async def test_it_is_seen_and_changed_by_path(world: World, session: Session, old: bytes | None):
    if old is not None:
        await put(session, "/d/f", old)
    file = await session.open(p("/d/f"), PUT)
    await file.write(0, b"content")
    for path in ("/d/f", "/way/f"):
        for follow in (True, False):
            entry = await session.stat(p(path), follow=follow)
            assert (entry.name, entry.size, entry.is_file) == ("f", 7, True)
    assert (await file.stat()).size == 7
    assert await names(session, "/d") == await names(session, "/way") == {"f"}
    await session.set_attrs(p("/way/f"), Attrs(mode=0o600))
    await session.set_attrs(p("/d/f"), Attrs(size=4))
    await session.set_attrs(p("/d/f"), Attrs(mtime_ns=10**18, atime_ns=10**18))
    assert (await session.stat(p("/d/f"))).size == 4
    assert await get(session, "/d/f") == b"cont"
    assert await session.checksum(p("/d/f"), "md5") != []
    await file.close()
    found = (world.home() / "d/f").stat()
    assert (found.st_size, found.st_mode & 0o777, found.st_mtime_ns) == (4, 0o600, 10**18)
    assert await world.used() == (4, 1)
    assert not hidden(world.home() / "d")


@STAGED
async def test_others_see_what_is_published(world: World, session: Session):
    other = await world.login()
    await put(other, "/d/old", b"old")
    new, over = await session.open(p("/d/new"), PUT), await session.open(p("/d/old"), PUT)
    for file in (new, over):
        await file.write(0, b"new content")
    assert await names(other, "/d") == {"old"}
    assert (await other.stat(p("/d/old"))).size == 3
    assert await get(other, "/d/old") == b"old"
    with pytest.raises(NotFound):
        await other.open(p("/d/new"), GET)
    await session.rename(p("/d/new"), p("/d/renamed"), replace=False)
    assert await names(other, "/d") == {"old"}
    for file in (new, over):
        await file.close()
    assert await get(other, "/d/old") == await get(other, "/d/renamed") == b"new content"
    assert await world.used() == (22, 2)


async def test_it_is_renamed(world: World, session: Session):
    await put(session, "/d/target", b"what was there")
    file = await session.open(p("/d/f"), PUT)
    await file.write(0, b"one ")
    with pytest.raises(AlreadyExists):
        await session.rename(p("/d/f"), p("/d/target"), replace=False)
    await session.rename(p("/way/f"), p("/g"), replace=False)
    with pytest.raises(NotFound):
        await session.stat(p("/d/f"))
    assert (await session.stat(p("/g"))).size == 4
    assert await names(session, "/d") == {"target"}
    await session.rename(p("/g"), p("/d/target"), replace=True)
    assert (await session.stat(p("/d/target"))).size == 4
    await file.write(4, b"two")
    assert await get(session, "/d/target") == b"one two"
    await file.close()
    assert await names(session, "/") == {"d", "way"}
    assert (world.home() / "d/target").read_bytes() == b"one two"
    assert await world.used() == (7, 1)
    assert not hidden(world.home()) + hidden(world.home() / "d")


async def test_an_overwritten_file_is_renamed_with_it(world: World, session: Session):
    await put(session, "/a", b"old")
    file = await session.open(p("/a"), PUT)
    await file.write(0, b"new!")
    await session.rename(p("/a"), p("/d/b"), replace=False)
    await file.close()
    assert await names(session, "/") == {"d", "way"}
    assert await get(session, "/d/b") == b"new!"
    assert await world.used() == (4, 1)


@pytest.mark.parametrize("old", [None, b"an older file"])
async def test_it_is_removed(world: World, session: Session, old: bytes | None):
    if old is not None:
        await put(session, "/d/f", old)
    file = await session.open(p("/d/f"), PUT)
    await file.write(0, b"content")
    await session.remove(p("/way/f"))
    with pytest.raises(NotFound):
        await session.stat(p("/d/f"))
    assert await names(session, "/d") == set()
    again = await session.open(p("/d/f"), EXCL)
    await again.write(0, b"other")
    await file.write(7, b" goes nowhere")
    await file.close()
    await again.close()
    assert await get(session, "/d/f") == b"other"
    assert await world.used() == (5, 1)
    assert not hidden(world.home() / "d")


async def test_another_file_is_renamed_over_it(world: World, session: Session):
    await put(session, "/d/done", b"done")
    file = await session.open(p("/d/f"), PUT)
    await file.write(0, b"content")
    with pytest.raises(AlreadyExists):
        await session.rename(p("/d/done"), p("/d/f"), replace=False)
    await session.rename(p("/d/done"), p("/d/f"), replace=True)
    assert (await session.stat(p("/d/f"))).size == 4
    await file.close()
    assert await get(session, "/d/f") == b"done"
    assert await world.used() == (4, 1)


async def test_it_is_opened_again(world: World, session: Session):
    first = await session.open(p("/d/f"), EXCL)
    await first.write(0, b"0123456789")
    with pytest.raises(AlreadyExists):
        await session.open(p("/way/f"), EXCL)
    second = await session.open(p("/way/f"), BOTH)
    assert await second.read(0, 100) == b"0123456789"
    await second.write(5, b"abc")
    await second.set_attrs(Attrs(mode=0o640, mtime_ns=10**18, atime_ns=10**18))
    await first.close()
    assert (await session.stat(p("/d/f"))).size == 10
    end = await session.open(p("/d/f"), APPEND)
    await end.write(0, b"end")
    await end.close()
    await second.close()
    found = (world.home() / "d/f").stat()
    assert (world.home() / "d/f").read_bytes() == b"01234abc89end"
    assert found.st_mode & 0o777 == 0o640
    assert await world.used() == (13, 1)
    assert await names(session, "/d") == {"f"}


async def test_it_is_truncated_by_opening_it_again(world: World, session: Session):
    first = await session.open(p("/f"), PUT)
    await first.write(0, b"0123456789")
    second = await session.open(p("/f"), PUT)
    await second.write(0, b"ab")
    await second.close()
    await first.close()
    assert await get(session, "/f") == b"ab"
    assert await world.used() == (2, 1)


@STAGED
async def test_it_is_lost_if_one_of_its_handles_failed(world: World):
    session = await world.login(world.account(quota_size=20))
    await put(session, "/f", b"old")
    first = await session.open(p("/f"), PUT)
    second = await session.open(p("/f"), CREATE)
    with pytest.raises(QuotaExceeded):
        await first.write(0, b"x" * 30)
    with pytest.raises(QuotaExceeded):
        await first.close()
    await second.write(0, b"y")
    with pytest.raises(TidegateError):
        await second.close()
    assert await get(session, "/f") == b"old"
    assert await world.used() == (3, 1)


async def test_names_and_directories_are_taken_by_it(world: World, session: Session):
    file = await session.open(p("/d/f"), PUT)
    for act in (session.mkdir(p("/d/f")), session.symlink("x", p("/d/f"))):
        with pytest.raises(AlreadyExists):
            await act
    with pytest.raises(DirectoryNotEmpty):
        await session.rmdir(p("/d"))
    await file.write(0, b"x")
    await session.rename(p("/d"), p("/e"), replace=False)
    assert (await session.stat(p("/e/f"))).size == 1
    await file.close()
    assert (world.home() / "e/f").read_bytes() == b"x"
    assert await world.used() == (1, 1)


@pytest.mark.parametrize("outcome", ["close", "abort", "session"])
async def test_nothing_is_left_of_it_when_it_has_ended(world: World, session: Session, outcome: str):
    first = await session.open(p("/f"), PUT)
    await first.write(0, b"content")
    second = await session.open(p("/f"), CREATE)
    reader = await session.open(p("/f"), GET)
    if outcome == "close":
        for file in (first, second, reader):
            await file.close()
    elif outcome == "abort":
        for file in (first, second, reader):
            await file.abort()
    await session.close()
    assert not session._context.own
    other = await world.login()
    if outcome == "close" or world.options.upload_mode is not Publish.ATOMIC:
        assert (await other.stat(p("/f"))).size == 7
        assert await world.used() == (7, 1)
    else:
        with pytest.raises(NotFound):
            await other.stat(p("/f"))
        assert await world.used() == (0, 0)
    await other.close()
    assert len(other._context.paths) == 0


async def test_who_created_a_file_sets_its_mode_and_times(world: World):
    session = await world.login(world.account(permissions={"/": ("upload",)}))
    file = await session.open(p("/f"), PUT)
    await file.write(0, b"x")
    await file.set_attrs(Attrs(mode=0o600, mtime_ns=10**18, atime_ns=10**18))
    with pytest.raises(Denied):
        await file.set_attrs(Attrs(uid=4711))
    await file.close()
    found = (world.home() / "f").stat()
    assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o600, 10**18)
    session = await world.login(world.account(permissions={"/": ("upload", "overwrite")}))
    file = await session.open(p("/f"), CREATE)
    for attrs in (Attrs(mode=0o644), Attrs(mtime_ns=1)):
        with pytest.raises(Denied):
            await file.set_attrs(attrs)
    await file.close()


async def test_permissions_by_path_stay_what_they_are(world: World):
    session = await world.login(world.account(permissions={"/": ("upload",)}))
    file = await session.open(p("/f"), PUT)
    acts: tuple[Any, ...] = (
        session.stat(p("/f")),
        session.set_attrs(p("/f"), Attrs(mode=0o600)),
        session.set_attrs(p("/f"), Attrs(size=0)),
        session.open(p("/f"), GET),
        session.open(p("/f"), CREATE),
        session.rename(p("/f"), p("/g"), replace=False),
        session.remove(p("/f")),
    )
    for act in acts:
        with pytest.raises(Denied):
            await act
    await file.close()


@STAGED
async def test_its_own_upload_is_no_link(world: World) -> None:
    world.account()
    session = await world.login()
    file = await session.open(p("/new"), PUT)
    with pytest.raises(InvalidArgument, match="not a link"):
        await session.readlink(p("/new"))
    await file.close()


@pytest.mark.parametrize("world", ["1"], indirect=True)
async def test_what_has_its_old_name_by_then_gives_it_no_right_to_replace(world: World) -> None:
    session = await world.login(world.account(permissions={"/": ("list", "upload", "rename")}))
    file = await session.open(p("/f"), EXCL)
    await file.write(0, b"mine")
    os.symlink("elsewhere", world.home() / "f")
    await session.rename(p("/f"), p("/g"), replace=True)
    (world.home() / "g").write_bytes(b"somebody else's")
    with pytest.raises(AlreadyExists):
        await file.close()
    assert (world.home() / "g").read_bytes() == b"somebody else's"
    assert os.readlink(world.home() / "f") == "elsewhere"


@pytest.mark.parametrize("world", ["1"], indirect=True)
async def test_a_link_to_its_new_name_gives_it_no_right_to_replace(world: World) -> None:
    rules = {"/": ("*",), "/closed": ("list", "upload", "rename", "create_dirs")}
    session = await world.login(world.account(permissions=rules))
    await session.mkdir(p("/closed"))
    (world.home() / "way").symlink_to("closed")
    file = await session.open(p("/f"), PUT)
    await session.rename(p("/f"), p("/way/g"), replace=True)
    (world.home() / "closed" / "g").write_bytes(b"somebody else's")
    with pytest.raises(AlreadyExists):
        await file.close()
    assert (world.home() / "closed" / "g").read_bytes() == b"somebody else's"
