# SPDX-License-Identifier: Apache-2.0
"""All doors of a server together: late ones last, mistakes told together, all or nothing on reload."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.cluster.memory import MemoryLive
from tidegate.cluster.registry import LiveConnection, Registry
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.doors.common.door import Apply
from tidegate.errors import ConfigError, Problem
from tidegate.model import Peer, Protocol
from tidegate.model.door import DoorStatus
from tidegate.server.doors import DoorPlan, Doors, InstalledDoor

LOADED = Loaded(Settings())
COMPOSITION: Any = None
"""Doors of this file need nothing."""


class SmallDoor:
    """Notes what is asked of it."""

    def __init__(self, name: str, notes: list[str], **troubles: Exception) -> None:
        self.name = name
        self.notes = notes
        self.troubles = troubles

    def _do(self, act: str) -> None:
        self.notes.append(f"{self.name} {act}")
        if act in self.troubles:
            raise self.troubles[act]

    async def start(self) -> None:
        self._do("start")

    async def reload(self, options: Any) -> Apply:
        self._do("reload")
        return lambda: self._do("apply")

    async def drain(self, grace_seconds: float) -> None:
        self._do("drain")

    async def stop(self) -> None:
        self._do("stop")

    def usernames(self) -> set[str]:
        return {self.name}

    def close_user(self, username: str, *, by: str) -> int:
        self._do(f"close {username} {by}")
        return 2

    def status(self) -> DoorStatus:
        return DoorStatus(name=self.name, active=True)


class World:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.registry = Registry()
        self.doors = Doors(self.registry, MemoryLive("node"))

    def plan(self, name: str, *, late: bool = False, wanted: bool = True, **troubles: Exception) -> DoorPlan:
        async def create(composition: Any, loaded: Loaded) -> InstalledDoor:
            door = SmallDoor(name, self.notes, **troubles)

            async def close() -> None:
                self.notes.append(f"{name} close")

            return InstalledDoor(door, door.reload, close)

        return DoorPlan(name, lambda _: wanted, create, late)


@pytest.fixture
def world() -> World:
    return World()


def problem(text: str) -> ConfigError:
    return ConfigError([Problem(text, "is wrong")])


async def test_late_doors_start_last_and_stop_first(world: World) -> None:
    plans = [world.plan("slow", late=True), world.plan("off", wanted=False), world.plan("quick")]
    await world.doors.start(plans, COMPOSITION, LOADED)
    await world.doors.stop()
    assert world.notes == [
        "quick start",
        "slow start",
        "slow stop",
        "slow close",
        "quick stop",
        "quick close",
    ]
    assert [status.name for status in world.doors.status()] == ["quick", "slow"]
    assert world.doors.get("off") is None


async def test_mistakes_of_all_doors_are_told_together(world: World) -> None:
    plans = [world.plan(name, start=problem(name)) for name in ("one", "two")]
    with pytest.raises(ConfigError) as caught:
        await world.doors.start([*plans, world.plan("three")], COMPOSITION, LOADED)
    assert [one.where for one in caught.value.problems] == ["one", "two"]
    await world.doors.stop()
    assert {"one stop", "two stop", "three stop"} <= set(world.notes)


async def test_a_reload_is_taken_over_by_all_or_by_none(world: World) -> None:
    await world.doors.start([world.plan("one"), world.plan("two")], COMPOSITION, LOADED)
    (await world.doors.reload(LOADED))()
    assert world.notes[2:] == ["one reload", "two reload", "one apply", "two apply"]
    await world.doors.start([world.plan("bad", reload=problem("x"))], COMPOSITION, LOADED)
    world.notes.clear()
    with pytest.raises(ConfigError):
        await world.doors.reload(LOADED)
    assert not [note for note in world.notes if note.endswith("apply")]


async def test_the_fault_of_one_door_is_not_that_of_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    plans = [world.plan("bad", drain=ValueError("a"), stop=ValueError("b")), world.plan("good")]
    await world.doors.start(plans, COMPOSITION, LOADED)
    await world.doors.drain(1)
    assert "draining bad failed" in caplog.text
    with pytest.raises(ValueError, match="b"):
        await world.doors.stop()
    assert {"good drain", "good stop", "bad close"} <= set(world.notes)


async def test_users_are_sent_away_at_every_door(world: World, caplog: pytest.LogCaptureFixture) -> None:
    trouble = {"close ada admin": ValueError("a")}
    plans = [world.plan("bad", **trouble), world.plan("one"), world.plan("two")]
    await world.doors.start(plans, COMPOSITION, LOADED)
    ended: list[str] = []
    peer = Peer("c1", Protocol.SFTP, "192.0.2.1")
    live = LiveConnection(peer, "ada", ended.append)
    await world.registry.enter(live)
    assert world.doors.usernames() == {"ada", "bad", "one", "two"}
    assert world.doors.close_user("ada", by="admin") == 4
    assert ended == ["admin"]
    assert "bad did not end the connections of 'ada'" in caplog.text
    world.registry.remove(live)
