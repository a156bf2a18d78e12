# SPDX-License-Identifier: Apache-2.0
"""Uploads that get their path at their end are inspected as others are: before they may begin, and whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import p, put, vfs_world

from tidegate.abc import Inspected, InspectedAct, Verdict
from tidegate.errors import Denied, InvalidHandle
from tidegate.inspection.inspections import Inspections, InspectorUse


class Watcher:
    """Refuses the path /locked and content that begins with "bad"; waits before it answers about content."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, str, int | None, int]] = []
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        self.acts.append((act.kind.value, act.path, act.size, act.open_flags))
        content = b"" if act.read is None else await act.read(0, 100)
        self.asked.set()
        await self.answers.wait()
        return Verdict(allowed=act.path != "/locked" and not content.startswith(b"bad"), text="no way")

    async def close(self) -> None:
        pass


def inspections(watcher: Watcher, *kinds: Inspected, **more: Any) -> Inspections:
    return Inspections([InspectorUse("w", watcher, frozenset(kinds), 5, **more)])


async def test_who_is_asked_before_an_upload_is_asked_about_its_path(tmp_path: Path) -> None:
    watcher = Watcher()
    async with vfs_world(tmp_path, inspections=inspections(watcher, Inspected.OPEN_UPLOAD)) as world:
        session = await world.login(world.account(quota_size=10_000, quota_files=10))
        await put(session, "/old", b"old")
        watcher.acts.clear()
        file = await session.open_unnamed(p("/label"))
        await file.write(0, b"new data")
        with pytest.raises(Denied, match="no way"):
            await session.name(file, p("/locked"))
        await session.name(file, p("/old"))
        await file.close()
        assert [act[:3] for act in watcher.acts] == [
            ("open_upload", "/locked", 0),
            ("open_upload", "/old", 3),
        ]
        assert {path.name for path in world.home().iterdir()} == {"old"}
        assert (world.home() / "old").read_bytes() == b"new data"
        assert await world.used() == (8, 1)


async def test_content_is_judged_before_anybody_sees_it(tmp_path: Path) -> None:
    watcher = Watcher()
    async with vfs_world(tmp_path, inspections=inspections(watcher, Inspected.UPLOAD)) as world:
        session = await world.login(world.account(quota_size=10_000, quota_files=10))
        file = await session.open_unnamed(p("/label"))
        await file.write(0, b"bad data")
        await session.name(file, p("/f"))
        with pytest.raises(Denied):
            await file.close()
        assert [act[:3] for act in watcher.acts] == [("upload", "/f", 8)]
        assert list(world.home().iterdir()) == []
        assert await world.used() == (0, 0)


async def test_it_gets_no_other_path_while_it_is_judged(tmp_path: Path) -> None:
    watcher = Watcher()
    async with vfs_world(tmp_path, inspections=inspections(watcher, Inspected.UPLOAD)) as world:
        session = await world.login(world.account(quota_size=10_000, quota_files=10))
        file = await session.open_unnamed(p("/label"))
        await file.write(0, b"data")
        await session.name(file, p("/seen"))
        watcher.asked.clear()
        watcher.answers.clear()
        closing = asyncio.create_task(file.close())
        await watcher.asked.wait()
        with pytest.raises(InvalidHandle):
            await session.name(file, p("/unseen"))
        watcher.answers.set()
        await closing
        assert {path.name for path in world.home().iterdir()} == {"seen"}
        assert await world.used() == (4, 1)
