# SPDX-License-Identifier: Apache-2.0
"""Ways around the verdict of an inspector of uploads: what is published is what was inspected."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.support.vfs_world import PUT, RESUME, p, put, vfs_world

from tidegate.abc import ALLOWED, Inspected, InspectedAct, Publish, Verdict
from tidegate.actions.inspector import facts_of_act
from tidegate.errors import Conflict, Denied
from tidegate.inspection.inspections import Inspections, InspectorUse
from tidegate.model import Attrs

EVERY_MODE = pytest.mark.parametrize("mode", list(Publish), ids=lambda mode: mode.name.lower())


class Whole:
    """Refuses content that is "bad" and nothing else. `gate` holds up the answer."""

    def __init__(self) -> None:
        self.acts: list[InspectedAct] = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        assert act.read is not None
        self.acts.append(act)
        content = await act.read(0, 100)
        self.asked.set()
        await self.gate.wait()
        return Verdict(allowed=False) if content == b"bad" else ALLOWED

    async def close(self) -> None:
        pass


def inspections(reader: Whole, *, keeps_old: bool = True) -> Inspections:
    return Inspections([InspectorUse("w", reader, frozenset({Inspected.UPLOAD}), 5, keeps_old=keeps_old)])


@EVERY_MODE
async def test_a_file_that_is_cut_by_its_path_is_inspected(tmp_path: Path, mode: Publish) -> None:
    reader = Whole()
    async with vfs_world(tmp_path, upload_mode=mode, inspections=inspections(reader)) as world:
        session = await world.login(world.account(quota_size=10_000, quota_files=10))
        await put(session, "/a", b"bad and more")
        await session.set_attrs(p("/a"), Attrs(size=5))
        assert (world.home() / "a").read_bytes() == b"bad a"
        assert await world.used() == (5, 1)
        with pytest.raises(Denied):
            await session.set_attrs(p("/a"), Attrs(size=3))
        assert (world.home() / "a").read_bytes() == b"bad a"
        assert await world.used() == (5, 1)
        await session.set_attrs(p("/a"), Attrs(size=7))
        assert (world.home() / "a").read_bytes() == b"bad a\0\0"
        assert [(act.size, act.resized) for act in reader.acts] == [
            (12, False),
            (5, True),
            (3, True),
            (7, True),
        ]
        assert [facts_of_act(act, 0) is None for act in reader.acts] == [act.resized for act in reader.acts]


async def test_an_upload_is_not_cut_while_it_is_inspected(tmp_path: Path) -> None:
    reader = Whole()
    async with vfs_world(tmp_path, inspections=inspections(reader)) as world:
        session = await world.login(world.account(quota_size=10_000))
        file = await session.open(p("/a"), PUT)
        await file.write(0, b"bad and more")
        reader.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(file.close())
            await reader.asked.wait()
            with pytest.raises(Conflict):
                await session.set_attrs(p("/a"), Attrs(size=3))
            reader.gate.set()
        assert (world.home() / "a").read_bytes() == b"bad and more"


async def test_who_opens_an_upload_anew_while_it_is_inspected_is_inspected_too(tmp_path: Path) -> None:
    reader = Whole()
    async with vfs_world(tmp_path, upload_mode=Publish.ATOMIC, inspections=inspections(reader)) as world:
        session = await world.login(world.account())
        file = await session.open(p("/a"), PUT)
        await file.write(0, b"bad and more")
        reader.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(file.close())
            await reader.asked.wait()
            again = await session.open(p("/a"), PUT)
            reader.gate.set()
        await again.write(0, b"bad")
        with pytest.raises(Denied):
            await again.close()
        assert list(world.home().iterdir()) == []


@pytest.mark.parametrize("name", ["the same", "another", "the last"])
@EVERY_MODE
async def test_no_copy_has_what_is_written_into_a_file_before_its_verdict(
    tmp_path: Path, mode: Publish, name: str
) -> None:
    async with vfs_world(tmp_path, upload_mode=mode, inspections=inspections(Whole())) as world:
        session, other = await world.login(world.account()), await world.login(world.account())
        await put(session, "/a", b"goo")
        file = await session.open(p("/a"), RESUME)
        await file.write(0, b"bad")
        if name != "the same":
            await session.hardlink(p("/a"), p("/b"))
        if name == "the last":
            await session.remove(p("/a"))
        source = "/a" if name == "the same" else "/b"
        await other.copy(p(source), p("/c"), replace=False)
        with contextlib.suppress(Denied, Conflict):
            await session.copy(p(source), p("/d"), replace=False)
        with contextlib.suppress(Denied) if name == "the last" else pytest.raises(Denied):
            await file.close()
        left = {path.name: path.read_bytes() for path in world.home().iterdir()}
        assert set(left.values()) == {b"goo"}
        assert {"c", *(["a"] if name != "the last" else [])} <= left.keys()


@pytest.mark.parametrize("name", ["the same", "another", "the last"])
async def test_what_is_written_in_place_is_not_copied_before_its_verdict(tmp_path: Path, name: str) -> None:
    async with vfs_world(tmp_path, inspections=inspections(Whole(), keeps_old=False)) as world:
        session = await world.login(world.account())
        await put(session, "/a", b"goo")
        file = await session.open(p("/a"), RESUME)
        await file.write(0, b"bad")
        if name != "the same":
            await session.hardlink(p("/a"), p("/b"))
        if name == "the last":
            await session.remove(p("/a"))
        with pytest.raises(Conflict):
            await session.copy(p("/a" if name == "the same" else "/b"), p("/c"), replace=False)
        with pytest.raises(Denied):
            await file.close()
        assert [path.read_bytes() for path in world.home().iterdir()] == [b""] * (name != "the same")


async def test_a_file_that_is_cut_while_it_is_written_in_place_is_inspected_at_the_end(
    tmp_path: Path,
) -> None:
    reader = Whole()
    async with vfs_world(tmp_path, inspections=inspections(reader, keeps_old=False)) as world:
        session = await world.login(world.account(quota_size=10_000))
        await put(session, "/a", b"good and more")
        file = await session.open(p("/a"), RESUME)
        await file.write(0, b"bad")
        await session.set_attrs(p("/a"), Attrs(size=7))
        reader.asked.clear()
        reader.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(file.close())
            await reader.asked.wait()
            with pytest.raises(Conflict):
                await session.set_attrs(p("/a"), Attrs(size=3))
            reader.gate.set()
        assert (world.home() / "a").read_bytes() == b"badd an"
        with pytest.raises(Denied):
            await session.set_attrs(p("/a"), Attrs(size=3))
        file = await session.open(p("/a"), RESUME)
        await session.set_attrs(p("/a"), Attrs(size=3))
        with pytest.raises(Denied):
            await file.close()
        assert list(world.home().iterdir()) == []
        assert await world.used() == (0, 0)
