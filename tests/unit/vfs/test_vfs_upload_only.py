# SPDX-License-Identifier: Apache-2.0
"""Accounts that may upload and not read, and what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.vfs_world import PUT, p, put, vfs_world

from tidegate.abc import Publish
from tidegate.errors import Denied
from tidegate.vfs.api import OpenFlags

BOTH = OpenFlags(read=True, write=True, create=True)


@pytest.mark.parametrize("mode", list(Publish))
async def test_read_and_write_opens_to_write(tmp_path: Path, mode: Publish) -> None:
    """Libraries open r+w to upload; READ is refused, and the upload counts."""
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        rights = {"/": ("list", "upload", "overwrite"), "/out": ("list", "download")}
        world.account(permissions=rights, quota_size=1000)
        session = await world.login()
        for name in ("/new", "/new"):  # a new file, then one that is there
            file = await session.open(p(name), BOTH)
            await file.write(0, b"data")
            with pytest.raises(Denied, match="permission: download on /"):
                await file.read(0, 4)
            again = await session.open(p(name), BOTH)
            with pytest.raises(Denied, match="permission: download on /"):
                await again.read(0, 4)
            await again.close()
            await file.close()
        assert (world.home() / "new").read_bytes() == b"data"
        (world.home() / "out").mkdir(exist_ok=True)
        with pytest.raises(Denied, match="permission: upload on /out"):
            await session.open(p("/out/new"), BOTH)
        with pytest.raises(Denied, match="permission: download on /"):
            await session.open(p("/new"), OpenFlags(read=True))


async def test_digests_and_copies_do_not_read_it_either(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(permissions={"/": ("list", "upload", "copy")})
        session = await world.login()
        file = await session.open(p("/new"), BOTH)
        await file.write(0, b"data")
        other = await session.open(p("/other"), PUT)
        with pytest.raises(Denied, match="permission: download on /"):
            await session.copy_range(file, 0, 4, other, 0)
        await other.close()
        await file.close()


async def test_a_small_quota_is_not_told_as_full(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(quota_size=300)
        session = await world.login()
        space = await session.space(p("/"))
        assert (space.block_size, space.total, space.free) == (1, 300, 300)
        await put(session, "/f", b"x" * 290)
        space = await session.space(p("/"))
        assert space.free // space.block_size == 10
