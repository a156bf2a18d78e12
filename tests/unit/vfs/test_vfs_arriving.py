# SPDX-License-Identifier: Apache-2.0
"""Uploads that are inspected while they arrive: what is read, when, and what spoils it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, World, p

from tidegate.abc import ALLOWED, Backend, Inspected, InspectedAct, NotNow, Publish, Verdict
from tidegate.backends.local import LocalBackend
from tidegate.errors import Denied
from tidegate.inspection.inspections import Inspections, InspectorUse
from tidegate.model import Attrs, StorageSpec
from tidegate.testing.flavours import Sequential
from tidegate.vfs.api import File, OpenFlags
from tidegate.vfs.files.arriving import AHEAD_BYTES, STEP_BYTES
from tidegate.vfs.session import Session

BLOCK = 32768


class Reader:
    """Reads everything, and refuses what holds "bad". `gate` holds it up before each read."""

    def __init__(self) -> None:
        self.acts: list[InspectedAct] = []
        self.got: list[bytearray] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.seen = asyncio.Event()
        self.not_now = False

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        self.acts.append(act)
        if self.not_now and act.arriving:
            raise NotNow
        assert act.read is not None
        got = bytearray()
        self.got.append(got)
        while True:
            await self.gate.wait()
            piece = await act.read(len(got), 65536)
            got += piece
            self.seen.set()
            if not piece:
                return Verdict(allowed=False, text="bad") if b"bad" in got else ALLOWED

    async def close(self) -> None:
        pass


class SequentialWorld(World):
    def build(self, spec: StorageSpec) -> Backend:
        return Sequential(LocalBackend(spec.directory, create=True))


@asynccontextmanager
async def world(
    base: Path, *readers: Reader, in_order: bool = False, seconds: float = 5, name: str = "", **settings: Any
) -> AsyncIterator[tuple[World, Session]]:
    uses = [
        InspectorUse(
            name or f"r{number}", reader, frozenset({Inspected.UPLOAD}), seconds, keeps_old=True, early=True
        )
        for number, reader in enumerate(readers)
    ]
    kind = SequentialWorld if in_order else World
    made = kind(base, inspections=Inspections(uses), **settings)
    try:
        yield made, await made.login(made.account())
    finally:
        await made.close()


WAYS = pytest.mark.parametrize("in_order", [False, True], ids=["read back", "passed on"])
MODES = pytest.mark.parametrize("mode", list(Publish), ids=lambda mode: mode.name.lower())


def content(size: int, end: bytes = b"") -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4)) + end


async def write(file: File, data: bytes, start: int = 0) -> None:
    """Write as doors do: at once if possible."""
    for offset in range(0, len(data), BLOCK):
        piece = data[offset : offset + BLOCK]
        if not file.write_nowait(start + offset, piece):
            await file.write(start + offset, piece)


@WAYS
@MODES
async def test_the_verdict_is_there_at_the_end(tmp_path: Path, mode: Publish, in_order: bool) -> None:
    first, second = Reader(), Reader()
    async with world(tmp_path, first, second, in_order=in_order, upload_mode=mode) as (made, session):
        data = content(STEP_BYTES * 5 + 4)
        file = await session.open(p("/f"), PUT)
        await write(file, data)
        async with asyncio.timeout(5):
            while min(map(len, (first.got or [b""])[0:1])) < STEP_BYTES * 4:
                await first.seen.wait()
                first.seen.clear()
        assert not (made.home() / "f").exists()
        await file.close()
        assert (made.home() / "f").read_bytes() == data
        for reader in (first, second):
            assert [(act.arriving, act.once, act.size) for act in reader.acts] == [(True, in_order, None)]
            assert reader.got == [data]


@WAYS
async def test_what_is_refused_is_not_published(tmp_path: Path, in_order: bool) -> None:
    async with world(tmp_path, Reader(), in_order=in_order) as (made, session):
        for size in (0, 4, STEP_BYTES * 3):
            file = await session.open(p("/f"), PUT)
            await write(file, content(size, b"bad"))
            with pytest.raises(Denied, match="bad"):
                await file.close()
        assert list(made.home().iterdir()) == []


@WAYS
async def test_an_inspector_may_leave_bytes_out(tmp_path: Path, in_order: bool) -> None:
    class Skips(Reader):
        async def inspect(self, act: InspectedAct) -> Verdict:
            assert act.read is not None
            self.got.append(bytearray(await act.read(0, 4) + await act.read(STEP_BYTES * 6, 8)))
            return ALLOWED

    reader, data = Skips(), content(STEP_BYTES * 8)
    async with world(tmp_path, reader, in_order=in_order) as (made, session):
        file = await session.open(p("/f"), PUT)
        await asyncio.wait_for(write(file, data), 10)
        await file.close()
        assert reader.got == [data[:4] + data[STEP_BYTES * 6 :][:8]]
        assert (made.home() / "f").read_bytes() == data


async def test_inspectors_of_one_name_are_all_heard(tmp_path: Path) -> None:
    class Blind(Reader):
        async def inspect(self, act: InspectedAct) -> Verdict:
            await super().inspect(act)
            return ALLOWED

    async with world(tmp_path, Reader(), Blind(), name="r") as (made, session):
        file = await session.open(p("/f"), PUT)
        await write(file, content(STEP_BYTES * 3, b"bad"))
        with pytest.raises(Denied, match="bad"):
            await file.close()
        assert list(made.home().iterdir()) == []


@WAYS
async def test_writes_in_any_order(tmp_path: Path, in_order: bool) -> None:
    reader = Reader()
    async with world(tmp_path, reader, in_order=in_order) as (made, session):
        data = content(STEP_BYTES * 3)
        file = await session.open(p("/f"), PUT)
        offsets = list(range(0, len(data), BLOCK))
        for one, other in zip(offsets[1::2], offsets[::2], strict=True):
            for offset in (one, other):
                await file.write(offset, data[offset : offset + BLOCK])
        await file.close()
        assert (made.home() / "f").read_bytes() == data
        assert [act.arriving for act in reader.acts] == [True]
        assert reader.got == [data]


@pytest.mark.parametrize("how", ["again", "shorter", "joined"])
async def test_what_is_changed_is_inspected_again(tmp_path: Path, how: str) -> None:
    reader = Reader()
    async with world(tmp_path, reader) as (made, session):
        data = content(STEP_BYTES * 3)
        file = await session.open(p("/f"), PUT)
        await write(file, data)
        await reader.seen.wait()
        if how == "again":
            await write(file, b"bad")
        elif how == "shorter":
            await file.set_attrs(Attrs(size=STEP_BYTES))
            await write(file, b"bad", STEP_BYTES)
        else:
            other = await session.open(p("/f"), OpenFlags(write=True))
            await other.write(0, b"bad")
        with pytest.raises(Denied):
            await file.close()
        if how == "joined":
            await other.abort()
        assert [act.arriving for act in reader.acts] == [True, False]
        assert list(made.home().iterdir()) == []


async def test_holes_are_zeros(tmp_path: Path) -> None:
    reader = Reader()
    async with world(tmp_path, reader) as (_, session):
        file = await session.open(p("/f"), PUT)
        await write(file, content(STEP_BYTES))
        await write(file, b"end", STEP_BYTES * 2)
        await file.close()
        assert [act.arriving for act in reader.acts] == [True]
        assert reader.got == [content(STEP_BYTES) + bytes(STEP_BYTES) + b"end"]


async def test_a_client_waits_for_an_inspector_where_nothing_can_be_read_back(tmp_path: Path) -> None:
    reader = Reader()
    reader.gate.clear()
    async with world(tmp_path, reader, in_order=True) as (made, session):
        data = content(STEP_BYTES * 8)
        file = await session.open(p("/f"), PUT)
        upload = asyncio.create_task(write(file, data))
        held = 0
        for _ in range(100):
            await asyncio.sleep(0)
            held = file.size
        assert STEP_BYTES <= held <= AHEAD_BYTES + BLOCK
        assert not upload.done()
        reader.gate.set()
        await upload
        await file.close()
        assert reader.got == [data]
        assert (made.home() / "f").read_bytes() == data


@WAYS
async def test_an_inspector_that_does_not_read_has_so_long(tmp_path: Path, in_order: bool) -> None:
    reader = Reader()
    reader.gate.clear()
    async with world(tmp_path, reader, in_order=in_order, seconds=0.05) as (made, session):
        file = await session.open(p("/f"), PUT)
        await write(file, content(STEP_BYTES * 8))
        with pytest.raises(Denied):
            await file.close()
        assert list(made.home().iterdir()) == []


@WAYS
async def test_time_that_the_client_takes_does_not_count(tmp_path: Path, in_order: bool) -> None:
    reader = Reader()
    async with world(tmp_path, reader, in_order=in_order, seconds=0.6) as (made, session):
        file = await session.open(p("/f"), PUT)
        await write(file, content(STEP_BYTES * 2))
        await reader.seen.wait()
        await asyncio.sleep(0.8)  # what is tested is that this time passes
        await write(file, content(STEP_BYTES), STEP_BYTES * 2)
        await file.close()
        assert (made.home() / "f").exists()
        assert [act.arriving for act in reader.acts] == [True]


async def test_who_wants_to_be_asked_later_is(tmp_path: Path) -> None:
    reader = Reader()
    reader.not_now = True
    async with world(tmp_path, reader) as (_, session):
        file = await session.open(p("/f"), PUT)
        await write(file, content(STEP_BYTES * 2, b"bad"))
        with pytest.raises(Denied):
            await file.close()
        assert [act.arriving for act in reader.acts] == [True, False]


@WAYS
@pytest.mark.parametrize("waits", [False, True])
async def test_an_upload_that_breaks_off_leaves_no_inspection(
    tmp_path: Path, in_order: bool, waits: bool
) -> None:
    reader = Reader()
    async with world(tmp_path, reader, in_order=in_order) as (made, session):
        file = await session.open(p("/f"), PUT)
        await write(file, content(STEP_BYTES))
        await reader.seen.wait()
        if waits:
            reader.gate.clear()
        before = {task for task in asyncio.all_tasks() if "inspector" in task.get_name()}
        assert len(before) == 1
        await file.abort()
        assert all(task.done() for task in before)
        assert list(made.home().iterdir()) == []


async def test_a_resumed_upload_is_read_from_its_beginning(tmp_path: Path) -> None:
    reader = Reader()
    async with world(tmp_path, reader, upload_mode=Publish.RESUMABLE) as (made, session):
        data = content(STEP_BYTES * 4)
        file = await session.open(p("/f"), PUT)
        await write(file, data[: STEP_BYTES * 2])
        await reader.seen.wait()
        await file.abort()
        file = await session.open(p("/f"), OpenFlags(write=True, create=True))
        await write(file, data[STEP_BYTES * 2 :], STEP_BYTES * 2)
        await file.close()
        assert (made.home() / "f").read_bytes() == data
        assert reader.got[-1] == data
        assert [act.arriving for act in reader.acts] == [True, True]
