# SPDX-License-Identifier: Apache-2.0
"""The bus hands a sink the kinds of event that it takes, and no others."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from tidegate.events.bus import Bus
from tidegate.events.kinds import Connected, Event, LoggedIn, LoginFailed, Transferred
from tidegate.model import Origin
from tidegate.server.defence import DefenceHost

ORIGIN = Origin(ip="192.0.2.1")


class Taker:
    def __init__(self) -> None:
        self.got: list[object] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def handle(self, event: object) -> None:
        self.got.append(event)


class Quick(Taker):
    def handle_nowait(self, event: object) -> None:
        self.got.append(event)


@pytest.mark.parametrize("make", [Taker, Quick])
@pytest.mark.parametrize("way", ["emit", "record"])
async def test_kinds(make: type[Taker], way: str) -> None:
    everything, some, none = make(), make(), make()
    some.kinds = (LoginFailed, LoggedIn)  # type: ignore[attr-defined]
    none.kinds = ()  # type: ignore[attr-defined]
    bus = Bus([everything, none])
    await bus.open()
    events: list[Event] = [LoggedIn(origin=ORIGIN), LoginFailed(origin=ORIGIN), Connected(origin=ORIGIN)]
    bus.emit(events[1])  # before the other sink is there: it must not be missed later
    await bus.add(some)
    if way == "emit":
        for event in events:
            bus.emit(event)
    else:
        await bus.record(*events)
    await bus.close()
    assert everything.got == [events[1], *events]
    assert some.got == events[:2]
    assert none.got == []


@pytest.mark.parametrize("prompt", [False, True])
async def test_a_prompt_sink_has_each_event_in_the_next_turn(prompt: bool) -> None:
    """Others that never wait have the first one at once, and those of the next milliseconds together."""
    sink = Quick()
    sink.prompt = prompt  # type: ignore[attr-defined]
    bus = Bus([sink])
    await bus.open()
    sink.got.clear()
    seen = []
    for number in range(1, 4):
        bus.emit(LoggedIn(origin=ORIGIN))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(len(sink.got) == number)
    await bus.close()
    assert len(sink.got) == 3
    assert not prompt or all(seen)


class All(Quick):
    """Takes all that waits; fails on refused logins, before or after it has taken one out."""

    def __init__(self, *, takes_first: bool) -> None:
        super().__init__()
        self.takes_first = takes_first

    def take_nowait(self, waiting: deque[Event]) -> None:
        while waiting:
            event = waiting.popleft() if self.takes_first else waiting[0]
            if isinstance(event, LoginFailed):
                raise RuntimeError
            if not self.takes_first:
                waiting.popleft()
            self.got.append(event)


@pytest.mark.parametrize("takes_first", [True, False])
async def test_a_sink_that_takes_all_at_once_and_fails_loses_what_it_failed_on_alone(
    takes_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sink = All(takes_first=takes_first)
    bus = Bus([sink])
    await bus.open()
    events: list[Event] = [LoggedIn(origin=ORIGIN), LoginFailed(origin=ORIGIN), Connected(origin=ORIGIN)]
    for event in events:
        bus.emit(event)
    await bus.close()
    assert sink.got == [events[0], events[2]]
    assert {record.getMessage() for record in caplog.records} == {"sink All failed"}


def test_the_defence_is_not_asked_about_transfers() -> None:
    """It counts refused logins; a task woken for each upload was a tenth of the upload's processor time."""
    assert LoginFailed in DefenceHost.kinds
    assert not issubclass(Transferred, DefenceHost.kinds)
