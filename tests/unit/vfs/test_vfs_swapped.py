# SPDX-License-Identifier: Apache-2.0
"""A link that takes the place of what was judged, between the judgement and the opening of an upload."""

from __future__ import annotations

import os

import pytest
from tests.support.vfs_world import PUT, p, put, vfs_world

from tidegate.abc import Publish
from tidegate.errors import Denied, TidegateError
from tidegate.vfs.api import OpenFlags

RULES = {"/": ("*",), "/closed": ("list",)}
BOTH = OpenFlags(read=True, write=True)


def prepare(world) -> None:
    home = world.home()
    for name in ("in", "closed"):
        (home / name).mkdir(parents=True)
        (home / name / "f").write_bytes(b"old")


def swap(world, what: str) -> None:
    """Before the first change of usage is on record, which is after the judgement, `what` becomes a link."""
    original = world.store.mark_usage

    async def mark(name: str, *, dirty: bool) -> None:
        place = world.home() / what
        if not place.is_symlink():
            if place.exists():
                place.rename(world.home() / "aside")
            place.symlink_to(os.path.relpath(world.home() / "closed" / what[3:], place.parent))
        await original(name, dirty=dirty)

    world.store.mark_usage = mark


@pytest.mark.parametrize("mode", list(Publish))
@pytest.mark.parametrize("quota", [0, 1000])
@pytest.mark.parametrize("name", ["f", "new"])
async def test_a_directory_that_became_a_link(tmp_path, mode, quota, name):
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await world.login(world.account(permissions=RULES, quota_size=quota))
        prepare(world)
        swap(world, "in")
        with pytest.raises(Denied):  # judged anew, by where it leads now
            await put(session, f"/in/{name}", b"forged")
        assert sorted(os.listdir(world.home() / "closed")) == ["f"]
        assert (world.home() / "closed/f").read_bytes() == b"old"


@pytest.mark.parametrize("mode", list(Publish))
@pytest.mark.parametrize("flags", [PUT, BOTH])
async def test_a_file_that_became_a_link(tmp_path, mode, flags):
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await world.login(world.account(permissions=RULES, quota_size=1000))
        prepare(world)
        swap(world, "in/f")
        with pytest.raises(Denied):
            await session.open(p("/in/f"), flags)
        assert (world.home() / "closed/f").read_bytes() == b"old"


@pytest.mark.parametrize("quota", [0, 1000])
async def test_links_that_were_there_are_judged_by_where_they_lead(tmp_path, quota):
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(permissions=RULES, quota_size=quota))
        prepare(world)
        home = world.home()
        (home / "to-in").symlink_to("in")
        (home / "to-closed").symlink_to("closed")
        (home / "to-file").symlink_to("in/f")
        (home / "to-nothing").symlink_to("in/made")
        (home / "out").symlink_to(tmp_path)
        (home / "out-file").symlink_to(tmp_path / "f")
        await put(session, "/to-in/f", b"one")
        assert (home / "in/f").read_bytes() == b"one"
        await put(session, "/to-file", b"two")
        assert (home / "in/f").read_bytes() == b"two"
        await put(session, "/to-nothing", b"three")
        assert (home / "in/made").read_bytes() == b"three"
        for path in ("/to-closed/f", "/to-closed/new", "/out/f", "/out-file"):
            with pytest.raises(Denied):
                await put(session, path, b"x")
        with pytest.raises(TidegateError):
            await session.open(p("/to-closed/f"), BOTH)
        assert sorted(os.listdir(home / "closed")) == ["f"]
        assert not (tmp_path / "f").exists()
