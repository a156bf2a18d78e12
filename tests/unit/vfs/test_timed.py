# SPDX-License-Identifier: Apache-2.0
"""Looks at real directories that are timed: a share of `stat`, each listing, and nothing that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.vfs_world import vfs_world

from tidegate.errors import NotFound
from tidegate.model import VPath
from tidegate.vfs import timed

TOLD = tuple[str, str, float, int]


async def test_a_share_of_stats_is_timed_and_stands_for_all(tmp_path: Path) -> None:
    told: list[TOLD] = []
    sessions = timed.TimedSessions(lambda *what: told.append(what))
    async with vfs_world(tmp_path) as world:
        world.vfs._session = sessions.session
        session = await world.login(world.account())
        (world.home() / "f").write_bytes(b"x" * 9)
        for _ in range(timed.SHARE * 50):
            assert (await session.stat(VPath("/f"))).size == 9
    assert {one[:2] for one in told} == {("stat", "local")}
    assert all(0 < one[2] < 5 for one in told)
    assert 25 <= len(told) <= 100, "about 50; less than a half or twice as many would be a fault"
    assert {one[3] for one in told} == {timed.SHARE}


async def test_what_is_not_there_is_an_answer_too(tmp_path: Path) -> None:
    told: list[TOLD] = []
    sessions = timed.TimedSessions(lambda *what: told.append(what))
    sessions.left = 0  # the next one is timed
    async with vfs_world(tmp_path) as world:
        world.vfs._session = sessions.session
        session = await world.login(world.account())
        with pytest.raises(NotFound):
            await session.stat(VPath("/none"))
        with pytest.raises(NotFound):
            _ = [batch async for batch in session.list(VPath("/none"))]
    assert [one[:2] for one in told] == [("stat", "local"), ("list", "local")]


async def test_each_listing_is_timed_without_what_the_reader_does(tmp_path: Path) -> None:
    told: list[TOLD] = []
    sessions = timed.TimedSessions(lambda *what: told.append(what))
    clock = Clock()
    async with vfs_world(tmp_path) as world:
        world.vfs._session = sessions.session
        session = await world.login(world.account())
        for number in range(300):
            (world.home() / f"f{number}").touch()
        names = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(timed, "monotonic", clock)
            async for batch in session.list(VPath("/")):
                names += [entry.name for entry in batch]
                clock.now += 1_000  # the client takes its time
            async for _ in session.list(VPath("/")):
                break  # the client has had enough: nobody knows how long the whole takes
        assert len(names) == 300
    ((operation, storage, seconds, weight),) = told
    assert (operation, storage, weight) == ("list", "local", 1)
    assert seconds < 1_000


class Clock:
    """Goes on by a second each time it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now
