# SPDX-License-Identifier: Apache-2.0
"""A partner with an account tries to get more than its permissions give: links, modes, digests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from tests.support.vfs_world import GET, PUT, World, get, names, p, put, vfs_world

from tidegate import errors as e
from tidegate.abc import OpenOptions
from tidegate.backends.local import LocalBackend
from tidegate.model import Attrs, FilePatterns
from tidegate.vfs.api import OpenFlags


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    async with vfs_world(tmp_path) as world:
        world.home().mkdir(parents=True)
        yield world


def secret(world: World, where: str) -> None:
    directory = world.home() / where
    directory.mkdir(parents=True)
    (directory / "f").write_bytes(b"secret")


async def test_a_text_that_climbs_from_a_linked_directory_means_what_was_judged(world):
    world.account(permissions={"/": ("*",), "/a/b/closed": ("list",)})
    secret(world, "a/b/closed")
    (world.home() / "a" / "b" / "e").mkdir()
    (world.home() / "closed").mkdir()
    (world.home() / "closed" / "f").write_bytes(b"open")
    session = await world.login()
    await session.symlink("/a/b/e", p("/way"))
    await session.symlink("../closed", p("/way/x"))  # judged as /closed
    assert await get(session, "/way/x/f") == b"open"
    assert await get(session, "/a/b/e/x/f") == b"open"


async def test_a_link_where_an_entry_of_its_own_would_speak_for_it(world):
    world.account(permissions={"/": ("list", "create_symlinks"), "/mine": ("*",), "/deep/er": ("*",)})
    secret(world, "closed")
    session = await world.login()
    for link in ("/mine", "/deep"):
        with pytest.raises(e.Denied) as caught:
            await session.symlink("/closed", p(link))
        assert caught.value.rule == "links"
    await session.symlink("/closed", p("/other"))
    with pytest.raises(e.Denied):
        await get(session, "/other/f")


async def test_a_link_of_the_host_is_judged_where_it_is_moved(world):
    few = ("list", "rename", "create_symlinks")
    world.account(permissions={"/": ("*",), "/few": few, "/closed": ("list",)})
    secret(world, "closed")
    (world.home() / "few").mkdir()
    (world.home() / "many").mkdir()
    (world.home() / "few" / "l").symlink_to("../closed")
    session = await world.login()
    with pytest.raises(e.Denied) as caught:
        await session.rename(p("/few/l"), p("/many/l"), replace=False)
    assert caught.value.rule == "links"


@pytest.mark.parametrize("depth", ["", "/sub"])
async def test_a_moved_directory_takes_no_link_to_a_closed_place(world, depth):
    world.account(permissions={"/": ("*",), "/b/x": ("list",)})
    secret(world, "b/x")
    session = await world.login()
    await session.mkdir(p("/a"))
    await session.mkdir(p("/a/d"))
    if depth:
        await session.mkdir(p("/a/d/sub"))
    await session.symlink("../" * (2 if depth else 1) + "x", p(f"/a/d{depth}/l"))
    with pytest.raises(e.Denied) as caught:
        await session.rename(p("/a/d"), p("/b/d"), replace=False)
    assert caught.value.rule == "links"
    await session.rename(p("/a/d"), p("/a/e"), replace=False)


async def test_a_moved_directory_whose_link_would_fall_under_a_closed_entry(world):
    world.account(permissions={"/": ("*",), "/b/d/sub": ("list", "rename")})
    session = await world.login()
    for directory in ("/a", "/a/d", "/a/d/sub", "/b"):
        await session.mkdir(p(directory))
    await session.symlink("sub", p("/a/d/l"))
    with pytest.raises(e.Denied):
        await session.rename(p("/a/d"), p("/b/d"), replace=False)


async def test_nothing_that_climbs_moves_below_a_link(world):
    world.account(permissions={"/": ("*",), "/a/b/closed": ("list",)})
    secret(world, "a/b/closed")
    (world.home() / "a" / "b" / "e").mkdir()
    session = await world.login()
    await session.symlink("/a/b/e", p("/way"))
    await session.mkdir(p("/c"))
    await session.mkdir(p("/c/d"))
    await session.symlink("../closed", p("/c/l"))
    await session.symlink("../../closed", p("/c/d/l"))
    for source, target in (("/c/l", "/way/l"), ("/c/d", "/way/d")):
        with pytest.raises(e.Denied):
            await session.rename(p(source), p(target), replace=False)


async def test_a_link_that_leads_out_cannot_be_moved_to_where_it_leads_in(world):
    world.account(permissions={"/": ("*",), "/closed": ("list",)})
    secret(world, "closed")
    for directory in ("p", "p/q", "d"):
        (world.home() / directory).mkdir()
    (world.home() / "l").symlink_to("../../closed")
    (world.home() / "d" / "l").symlink_to("../../closed")
    session = await world.login()
    for source, target in (("/l", "/p/q/l"), ("/d", "/p/d")):
        with pytest.raises(e.Denied):
            await session.rename(p(source), p(target), replace=False)


async def test_a_moved_directory_keeps_file_patterns_behind_its_links(world):
    world.account(filters={"file_patterns": (FilePatterns(path="/b/x", denied_patterns=("*.key",)),)})
    secret(world, "b/x")
    session = await world.login()
    await session.mkdir(p("/a"))
    await session.mkdir(p("/a/d"))
    await session.symlink("../x", p("/a/d/l"))
    with pytest.raises(e.Denied):
        await session.rename(p("/a/d"), p("/b/d"), replace=False)


async def test_set_id_bits_are_not_set(world):
    world.account()
    session = await world.login()
    await put(session, "/f", b"#!/bin/sh\n")
    await session.set_attrs(p("/f"), Attrs(mode=0o6755))
    assert (world.home() / "f").stat().st_mode & 0o7777 == 0o755
    file = await session.open(p("/g"), PUT, Attrs(mode=0o4755))
    await file.set_attrs(Attrs(mode=0o4711))
    await file.close()
    assert (world.home() / "g").stat().st_mode & 0o7777 == 0o711
    await session.mkdir(p("/d"), Attrs(mode=0o2777))
    await session.set_attrs(p("/d"), Attrs(mode=0o2777))
    assert not (world.home() / "d").stat().st_mode & 0o6000


async def test_writing_into_a_set_id_file_takes_the_bits_away(tmp_path):
    (tmp_path / "f").write_bytes(b"program")
    (tmp_path / "f").chmod(0o4755)
    backend = LocalBackend(str(tmp_path))
    await backend.open()
    handle = await backend.open_file("f", OpenOptions(write=True))
    await handle.write(0, b"P")
    await handle.close()
    await backend.close()
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o755


async def test_digests_of_parts_are_reading(world):
    world.account(permissions={"/": ("list",)})
    (world.home() / "f").write_bytes(b"secret" * 100)
    session = await world.login()
    assert len(await session.checksum(p("/f"), "md5")) == 1
    for part in ((0, 1), (5,), (0, 0, 256)):
        with pytest.raises(e.Denied):
            await session.checksum(p("/f"), "md5", *part)


async def test_blind_drop_tells_and_gives_nothing(world):
    world.account(permissions={"/": ("upload",)})
    (world.home() / "there").write_bytes(b"theirs")
    (world.home() / "dir").mkdir()
    session = await world.login()
    await put(session, "/mine", b"x")
    exclusive = OpenFlags(write=True, create=True, exclusive=True)
    for act in (
        session.open(p("/there"), PUT),
        session.open(p("/there"), GET),
        session.open(p("/there"), OpenFlags(read=True, write=True, create=True)),
        session.stat(p("/there")),
        session.stat(p("/none")),
        session.checksum(p("/there"), "md5"),
        session.readlink(p("/there")),
        session.rename(p("/mine"), p("/there"), replace=True),
        session.remove(p("/there")),
        session.set_attrs(p("/there"), Attrs(size=0)),
        session.copy(p("/there"), p("/c"), replace=False),
        session.hardlink(p("/there"), p("/h")),
    ):
        with pytest.raises(e.Denied):
            await act
    with pytest.raises(e.AlreadyExists):
        await session.open(p("/there"), exclusive)
    assert (world.home() / "there").read_bytes() == b"theirs"
    assert os.listdir(world.home() / "dir") == []


async def test_sparse_giants_are_refused_and_do_not_stop_the_counting(world, monkeypatch):
    world.account(quota_files=100)
    session = await world.login()
    giant = await session.open(p("/giant"), PUT)
    with pytest.raises(e.StorageFull, match=r"^file too large for the storage$"):
        await giant.write(2**62, b"x")
    with pytest.raises(e.StorageFull):
        await giant.close()

    async def overflows(*_, **__):
        refused.set()
        raise OverflowError("Python int too large to convert to SQLite INTEGER")

    monkeypatch.setattr("tidegate.vfs.usage.writing.RETRY_SECONDS", 0.01)
    with monkeypatch.context() as patch:
        refused = asyncio.Event()
        patch.setattr(world.store, "add_usage", overflows)
        await put(session, "/f", b"data")
        await asyncio.wait_for(refused.wait(), 5)
    async with asyncio.timeout(5):
        while world.store.accounts["alice"].used_quota_size != 4:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["write", "append", "fsetstat", "setstat"])
async def test_growing_under_one_name_is_not_given_back_under_another(world, how):
    world.account(quota_size=1000)
    session = await world.login()
    await put(session, "/a", b"x")
    await session.hardlink(p("/a"), p("/b"))
    if how == "setstat":
        await session.set_attrs(p("/a"), Attrs(size=400))
    else:
        file = await session.open(p("/a"), OpenFlags(write=True, append=how == "append"))
        if how == "fsetstat":
            await file.set_attrs(Attrs(size=400))
        else:
            await file.write(0 if how == "write" else 1, b"y" * (400 if how == "write" else 399))
        await file.close()
    assert await world.used() == (800, 2)
    await session.remove(p("/b"))
    assert await world.used() == (400, 1)


async def test_a_file_that_is_written_gets_no_second_name(world):
    world.account(quota_size=1000)
    session = await world.login()
    file = await session.open(p("/a"), PUT)
    with pytest.raises(e.Conflict):
        await session.hardlink(p("/a"), p("/b"))
    await file.close()
    await session.hardlink(p("/a"), p("/b"))


@pytest.mark.parametrize("other", ["/l", "/dl/a"])
async def test_two_ways_to_one_file_are_charged_and_given_back_once(world, other):
    world.account(quota_size=1000)
    session = await world.login()
    await session.mkdir(p("/d"))
    await put(session, "/d/a", b"x" * 500)
    await put(session, "/b", b"x" * 400)
    await session.symlink("d/a", p("/l"))
    await session.symlink("d", p("/dl"))
    write = OpenFlags(write=True)
    first, second = await session.open(p("/d/a"), write), await session.open(p(other), write)
    await first.set_attrs(Attrs(size=0))
    await second.set_attrs(Attrs(size=0))
    await first.close()
    await second.close()
    assert await world.used() == (400, 2)


async def test_a_file_removed_by_another_way_is_given_back_once(world):
    world.account(quota_size=1000)
    session = await world.login()
    await session.mkdir(p("/d"))
    await put(session, "/d/a", b"x" * 500)
    await put(session, "/b", b"x" * 400)
    await session.symlink("d", p("/dl"))
    file = await session.open(p("/d/a"), OpenFlags(write=True))
    await session.remove(p("/dl/a"))
    await file.set_attrs(Attrs(size=0))
    await file.close()
    assert await world.used() == (400, 1)


async def test_statvfs_does_not_tell_who_only_uploads_which_names_exist(world):
    # A quota narrower than the disk, whose free space others change between the two questions.
    world.account(permissions={"/": ("upload",)}, quota_size=1000, quota_files=10)
    (world.home() / "there").write_bytes(b"")
    session = await world.login()
    assert await session.space(p("/there")) == await session.space(p("/none"))


async def test_a_file_renamed_onto_itself_by_another_way_stays_charged(world):
    world.account(quota_size=1000)
    session = await world.login()
    await session.mkdir(p("/d"))
    await put(session, "/d/a", b"x" * 500)
    await session.symlink("d", p("/dl"))
    await session.rename(p("/dl/a"), p("/d/a"), replace=True)
    assert await world.used() == (500, 1)


async def test_a_link_older_than_the_rules_gives_no_more_than_they_do(world):
    world.account(permissions={"/": ("*",), "/closed": ("list",), "/shut": ("upload",)})
    secret(world, "closed")
    secret(world, "shut")
    (world.home() / "l").symlink_to("closed")
    (world.home() / "lf").symlink_to("closed/f")
    (world.home() / "ls").symlink_to("shut")
    session = await world.login()
    assert await names(session, "/l") == {"f"}
    for act in (
        get(session, "/l/f"),
        get(session, "/lf"),
        put(session, "/l/new", b"x"),
        put(session, "/l/f", b"x"),
        put(session, "/lf", b"x"),
        session.remove(p("/l/f")),
        session.mkdir(p("/l/d")),
        session.rmdir(p("/l/d")),
        session.rename(p("/l/f"), p("/f"), replace=False),
        session.rename(p("/l"), p("/l/x"), replace=False),
        session.copy(p("/l/f"), p("/f"), replace=False),
        session.set_attrs(p("/lf"), Attrs(mode=0o777)),
        session.set_attrs(p("/l/f"), Attrs(size=0)),
        session.hardlink(p("/l/f"), p("/h")),
        session.checksum(p("/lf"), "md5", 0, 1),
        session.checksum(p("/ls/f"), "md5"),
        names(session, "/ls"),
    ):
        with pytest.raises(e.Denied):
            await act
    assert (world.home() / "closed" / "f").read_bytes() == b"secret"
    upload = await session.open(p("/ls/new"), PUT)
    with pytest.raises(e.Denied):
        await upload.set_attrs(Attrs(uid=4711))
    await upload.close()
