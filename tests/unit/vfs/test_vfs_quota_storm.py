# SPDX-License-Identifier: Apache-2.0
"""Random acts of several sessions on a few names: at rest usage says what is there."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.support.vfs_world import PUT, RESUME, World, names, p, vfs_world

from tidegate import errors as e
from tidegate.abc import Publish
from tidegate.backends.memory import MemoryBackend
from tidegate.model import Attrs, Kind
from tidegate.vfs.session import Session

NAMES = ("/a", "/b", "/c", "/inc/a", "/inc/b", "/own/a", "/own/b")
LIMIT = 40_000


async def shown(session: Session, paths: tuple[str, ...]) -> tuple[int, int]:
    size = files = 0
    for path in paths:
        try:
            entry = await session.stat(p(path), follow=False)
        except e.NotFound:
            continue
        if entry.kind is Kind.FILE:
            size, files = size + entry.size, files + 1
    return size, files


async def client(world: World, session: Session, draw: random.Random, steps: int) -> None:
    usage = world.vfs.tracker.live("alice")
    for _ in range(steps):
        path, other = p(draw.choice(NAMES)), p(draw.choice(NAMES))
        act = draw.randrange(9)
        try:
            if act < 4:
                file = await session.open(path, PUT if act < 3 else RESUME)
                try:
                    offset = 0
                    for _ in range(draw.randrange(5)):
                        block = b"x" * draw.randrange(1, 3000)
                        if draw.random() < 0.5 or not file.write_nowait(offset, block):
                            await file.write(offset, block)
                        offset += len(block)
                        if draw.random() < 0.1:
                            await file.set_attrs(Attrs(size=draw.randrange(3000)))
                        await asyncio.sleep(0)
                except e.QuotaExceeded:
                    pass
                await (file.close() if draw.random() < 0.7 else file.abort())
            elif act == 4:
                await session.remove(path)
            elif act == 5:
                await session.rename(path, other, replace=True)
            elif act == 6:
                await session.copy(path, other, replace=draw.random() < 0.7)
            elif act == 7:
                await session.set_attrs(path, Attrs(size=draw.randrange(4000)))
            else:
                await session.hardlink(path, other)
        except e.CallerError:
            pass
        assert usage.size.used <= LIMIT
        assert usage.size.used >= 0 and usage.files.used >= 0


@pytest.mark.parametrize("mode", list(Publish), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["local", "memory"])
async def test_a_storm_adds_up(tmp_path, mode, seed, kind):
    async with vfs_world(tmp_path, upload_mode=mode) as world, asyncio.timeout(60):
        if kind == "memory":
            kept = {}
            world.build = lambda spec: kept.setdefault(spec.key, MemoryBackend())
            world.start()
        own = world.mount("own", "/own", quota_size=LIMIT, quota_files=0)
        world.account(quota_size=LIMIT, virtual_folders=(world.mount("inc", "/inc"), own))
        sessions = [await world.login() for _ in range(4)]
        draw = random.Random(seed)
        await asyncio.gather(*(client(world, s, random.Random(draw.random()), 40) for s in sessions))
        watch = await world.login()
        assert await names(watch, "/") >= {"inc", "own"}
        assert len(world.vfs._paths) == 0
        assert not world.vfs.tracker.live("alice").uploads
        # Hard links share content: a resize through one name shows in the others, which only a scan sees.
        expected = await shown(watch, NAMES[:5])
        used = await world.used()
        own_used, own_expected = await world.folder_used("own"), await shown(watch, NAMES[5:])
        assert (used[1], own_used[1]) == (expected[1], own_expected[1])
        if kind == "memory":
            assert (used[0], own_used[0]) == (expected[0], own_expected[0])
