# SPDX-License-Identifier: Apache-2.0
"""Pausing and resuming the reading of a socket."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.doors.common.reading import ORDER, OUTPUT, Intake, Reading
from tidegate.doors.common.turns import Turns


class Transport:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


@pytest.fixture
async def parts():
    transport = Transport()
    turns = Turns(asyncio.get_running_loop())
    reading = Reading(transport, turns)
    taken: list[bytes] = []
    return transport, reading, Intake(reading, turns, 4, taken.append), taken


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_peer_that_waits_for_its_answer_is_not_paused(parts):
    transport, reading, intake, taken = parts
    intake.put(b"one")
    reading.hold(ORDER)
    reading.go(ORDER)
    intake.put(b"two")
    assert (transport.calls, taken) == ([], [b"one", b"two"])


async def test_a_peer_that_goes_on_is_paused_and_heard_in_order(parts):
    transport, reading, intake, taken = parts
    reading.hold(ORDER)
    intake.put(b"one")
    assert transport.calls == ["pause"]
    intake.put(b"two")
    await turn()
    assert (transport.calls, taken) == (["pause"], [])
    reading.go(ORDER)
    assert taken == []
    await turn()
    assert b"".join(taken) == b"onetwo"
    assert transport.calls == ["pause", "resume"]


async def test_reasons_are_counted_apart(parts):
    transport, reading, _, _ = parts
    reading.hold(ORDER)
    reading.stop(OUTPUT)
    reading.go(ORDER)
    assert transport.calls == ["pause"]
    reading.go(OUTPUT)
    reading.go(OUTPUT)
    assert transport.calls == ["pause", "resume"]
