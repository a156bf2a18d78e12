# SPDX-License-Identifier: Apache-2.0
"""An account that may upload but not overwrite replaces nothing, also not what came while the upload was running."""

from __future__ import annotations

import pytest
from tests.support.vfs_world import PUT, p, put, vfs_world

from tidegate.abc import Publish
from tidegate.errors import AlreadyExists

MAY_NOT = ("list", "download", "upload")


@pytest.mark.parametrize("mode", [Publish.ATOMIC, Publish.RESUMABLE])
@pytest.mark.parametrize("granted", [MAY_NOT, (*MAY_NOT, "overwrite")])
async def test_a_file_that_came_meanwhile(tmp_path, mode, granted):
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        world.account(permissions={"/": granted}, quota_size=1000)
        first, second = await world.login(), await world.login()
        file = await first.open(p("/report"), PUT)
        await file.write(0, b"forged")
        if mode is Publish.ATOMIC:
            await put(second, "/report", b"genuine")
        else:  # an unfinished upload that is shown counts as a file already
            (world.home() / "report").write_bytes(b"genuine")

        if granted == MAY_NOT:
            with pytest.raises(AlreadyExists):
                await file.close()
            assert (world.home() / "report").read_bytes() == b"genuine"
            assert mode is not Publish.ATOMIC or await world.used() == (len(b"genuine"), 1)
        else:
            await file.close()
            assert (world.home() / "report").read_bytes() == b"forged"


@pytest.mark.parametrize("mode", list(Publish))
async def test_a_file_that_came_between_looking_and_opening(tmp_path, mode):
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        world.account(permissions={"/": MAY_NOT}, quota_size=1000)
        session = await world.login()
        (world.home() / "other").write_bytes(b"")
        original = world.store.mark_usage

        async def mark(name: str, *, dirty: bool) -> None:
            (world.home() / "report").write_bytes(b"genuine")
            await original(name, dirty=dirty)

        world.store.mark_usage = mark
        with pytest.raises(AlreadyExists):
            await put(session, "/report", b"forged")

        assert (world.home() / "report").read_bytes() == b"genuine"
        assert await world.used() == (0, 0)
