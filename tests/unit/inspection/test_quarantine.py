# SPDX-License-Identifier: Apache-2.0
"""Files that are kept apart: what is kept, what bounds it, and what names lead to."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tidegate.contracts.inspection import Inspected, InspectedAct
from tidegate.errors import InvalidArgument, NotFound, StorageFailed
from tidegate.inspection.policies import FolderPolicies, Result, policy_of
from tidegate.inspection.quarantine import CHUNK, Item, Quarantine, QuarantineOptions
from tidegate.model import Origin


def act(data: bytes = b"", path: str = "/in/f", user: str = "alice", **more: Any) -> InspectedAct:
    async def read(offset: int, size: int) -> bytes:
        await asyncio.sleep(0)
        return data[offset : offset + size]

    origin = Origin("c1", user, "SFTP", "192.0.2.7")
    return InspectedAct(Inspected.UPLOAD, origin, path, **({"size": len(data), "read": read} | more))


async def keep(quarantine: Quarantine, data: bytes, **more: Any) -> Item | None:
    asked = act(data, **more)
    assert asked.read is not None
    return await quarantine.keep(asked, asked.read, rule="inspector[clamd]", reason="Eicar")


async def made(directory: Path, **more: Any) -> Quarantine:
    options = {"max_bytes": 10 * CHUNK, "max_files": 10, "days": 30} | more
    quarantine = Quarantine(QuarantineOptions(directory / "q", **options))
    await quarantine.open()
    return quarantine


async def test_what_is_kept_is_whole_and_for_the_server_alone(tmp_path: Path) -> None:
    quarantine = await made(tmp_path)
    data = os.urandom(2 * CHUNK + 1)
    item = await keep(quarantine, data)
    assert item is not None
    assert await quarantine.all() == [item]
    assert await quarantine.get(item.id) == item
    assert (item.username, item.path, item.size, item.reason) == ("alice", "/in/f", len(data), "Eicar")
    with await quarantine.content(item.id) as content:
        assert content.read() == data
    files = list((tmp_path / "q").iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "q").stat().st_mode & 0o777 == 0o700
    assert await quarantine.drop(item.id) == item
    assert await quarantine.all() == []
    assert list((tmp_path / "q").iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
async def test_bytes_have_a_bound(tmp_path: Path, known: bool) -> None:
    quarantine = await made(tmp_path, max_bytes=100)
    size = {} if known else {"size": None}
    assert await keep(quarantine, b"x" * 60, **size) is not None
    assert await keep(quarantine, b"x" * 60, **size) is None
    assert await keep(quarantine, b"x" * 40, **size) is not None
    assert sorted(item.size for item in await quarantine.all()) == [40, 60]
    assert not list((tmp_path / "q").glob("*.part"))


async def test_many_at_once_have_the_same_bound(tmp_path: Path) -> None:
    quarantine = await made(tmp_path, max_bytes=100)
    kept = await asyncio.gather(*(keep(quarantine, b"x" * 30) for _ in range(8)))
    assert sum(item is not None for item in kept) == 3


async def test_files_have_a_bound(tmp_path: Path) -> None:
    quarantine = await made(tmp_path, max_files=2)
    kept = [await keep(quarantine, b"x") for _ in range(3)]
    assert [item is not None for item in kept] == [True, True, False]


async def test_old_files_are_room_again(tmp_path: Path) -> None:
    quarantine = await made(tmp_path, max_files=1, days=1)
    first = await keep(quarantine, b"old")
    assert first is not None
    (tmp_path / "q" / "mine.txt").write_text("of somebody else")
    for path in (tmp_path / "q").iterdir():
        os.utime(path, (time.time() - 86_500,) * 2)
    second = await keep(quarantine, b"new")
    assert second is not None
    assert await quarantine.all() == [second]
    assert (tmp_path / "q" / "mine.txt").exists()


async def test_a_storage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    quarantine = await made(tmp_path)

    async def failing(offset: int, size: int) -> bytes:
        if offset:
            raise StorageFailed
        return b"x" * size

    assert await quarantine.keep(act(size=None), failing, rule="r", reason="") is None
    assert list((tmp_path / "q").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../x", "20260101T000000-00000000000g", "x" * 1000, "a\0b"])
async def test_ids_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    quarantine = await made(tmp_path)
    for verb in (quarantine.get, quarantine.drop, quarantine.content):
        with pytest.raises(InvalidArgument):
            await verb(name)  # type: ignore[operator]
    with pytest.raises(NotFound):
        await quarantine.get("20260101T000000-000000000000")


async def test_facts_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    quarantine = await made(tmp_path)
    item = await keep(quarantine, b"x")
    assert item is not None
    (tmp_path / "q" / f"{item.id}.json").write_text("{}")
    with pytest.raises(StorageFailed, match=item.id):
        await quarantine.get(item.id)


async def test_facts_that_cannot_be_read_hide_no_other_file(tmp_path: Path) -> None:
    quarantine = await made(tmp_path)
    broken, whole = await keep(quarantine, b"xy"), await keep(quarantine, b"z")
    assert broken is not None
    (tmp_path / "q" / f"{broken.id}.json").write_text("")  # as after a loss of power
    (tmp_path / "q" / "notes.content").write_text("")
    shown = {item.id: item for item in await quarantine.all()}
    assert whole in shown.values()
    assert (shown[broken.id].size, shown[broken.id].path) == (2, "")
    assert "cannot be read" in shown[broken.id].reason
    await quarantine.drop(broken.id)
    assert await quarantine.all() == [whole]


def test_the_deepest_folder_decides() -> None:
    folders = [
        FolderPolicies("/", frozenset(), {Result.DOWN: "allow"}),
        FolderPolicies("/in", frozenset(), {Result.DOWN: "quarantine", Result.SLOW: "allow"}),
        FolderPolicies("/in", frozenset({"bob"}), {Result.DOWN: "refuse"}),
    ]

    def of(path: str, result: Result, user: str = "alice") -> str:
        return policy_of(act(path=path, user=user), result, {Result.SLOW: "quarantine"}, folders)

    assert of("/f", Result.DOWN) == "allow"
    assert of("/in/f", Result.DOWN) == "quarantine"
    assert of("/in/f", Result.DOWN, "bob") == "refuse"
    assert of("/inside/f", Result.DOWN) == "allow"
    assert of("/in/f", Result.SLOW, "bob") == "allow"
    assert of("/f", Result.SLOW) == "quarantine"
    assert of("/f", Result.INFECTED) == "refuse"
