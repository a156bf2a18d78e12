# SPDX-License-Identifier: Apache-2.0
"""The contract on live state: one body of checks for every driver, with two nodes that share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from tidegate.cluster import memory
from tidegate.cluster.api import MAX_FIELD_CHARS, MAX_NAME, MAX_SUBSCRIBERS, Ban, Live, Message
from tidegate.cluster.memory import MemoryHub, MemoryLive

DRIVERS = ("memory",)


@dataclass
class Nodes:
    """Two nodes that share, and what makes their time pass."""

    one: Live
    two: Live
    later: Callable[[float], object]
    now: Callable[[], float]


def memory_nodes() -> Nodes:
    time = [1_000_000.0]

    def later(seconds: float) -> None:
        time[0] += seconds

    hub = MemoryHub(clock=lambda: time[0])
    return Nodes(MemoryLive("one", hub=hub), MemoryLive("two", hub=hub), later, lambda: time[0])


@pytest.fixture(params=DRIVERS)
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    made = {"memory": memory_nodes}[request.param]()
    for live in (made.one, made.two):
        await live.open()
    yield made
    for live in (made.one, made.two):
        await live.close()


# -- slots -------------------------------------------------------------------------------------------------


async def test_nodes_together_take_no_more_slots_than_there_are(nodes: Nodes) -> None:
    asked = [
        live.take_slot("account:eva", f"c{number}", limit=3)
        for number, live in enumerate([nodes.one, nodes.two] * 5)
    ]
    assert sum(await asyncio.gather(*asked)) == 3
    assert await nodes.one.slots("account:eva") == await nodes.two.slots("account:eva") == 3
    assert await nodes.one.take_slot("account:bob", "c0", limit=3)


async def test_a_slot_is_given_back_by_its_holder_alone(nodes: Nodes) -> None:
    assert await nodes.one.take_slot("a", "c1", limit=1)
    assert await nodes.one.take_slot("a", "c1", limit=1)  # twice is once
    nodes.two.give_slot("a", "c1")  # another node's holder of that name
    nodes.one.give_slot("a", "c2")
    nodes.one.give_slot("b", "c1")
    assert not await nodes.two.take_slot("a", "c1", limit=1)
    nodes.one.give_slot("a", "c1")
    assert await nodes.two.take_slot("a", "c1", limit=1)
    assert await nodes.one.slots("a") == 1
    assert await nodes.one.slots("b") == 0


async def test_without_a_limit_slots_are_counted_all_the_same(nodes: Nodes) -> None:
    for number in range(4):
        assert await nodes.one.take_slot("a", f"c{number}")
    assert not await nodes.two.take_slot("a", "d", limit=4)
    assert await nodes.two.take_slot("a", "d", limit=5)


async def test_a_node_that_closes_gives_back_what_it_holds(nodes: Nodes) -> None:
    for live in (nodes.one, nodes.two):
        assert await live.take_slot("a", "c")
    await nodes.one.close()
    assert await nodes.two.slots("a") == 1


# -- counters ------------------------------------------------------------------------------------------------


async def test_additions_of_all_nodes_add_up(nodes: Nodes) -> None:
    await asyncio.gather(*(live.count("n", 2, seconds=60) for live in [nodes.one, nodes.two] * 10))
    assert await nodes.one.counted("n") == 40
    assert await nodes.two.count("n", -100, seconds=60) == 0
    assert await nodes.one.counted("m") == 0


async def test_a_counter_ends_a_while_after_its_last_addition(nodes: Nodes) -> None:
    await nodes.one.count("n", seconds=10)
    nodes.later(9)
    assert await nodes.two.count("n", seconds=10) == 2
    nodes.later(9)
    assert await nodes.one.counted("n") == 2
    nodes.later(1)
    assert await nodes.one.counted("n") == 0
    assert await nodes.one.count("n", seconds=10) == 1


# -- bans ----------------------------------------------------------------------------------------------------


async def test_a_ban_holds_on_every_node_until_it_ends_or_is_lifted(nodes: Nodes) -> None:
    until = nodes.now() + 60
    await nodes.one.ban("192.0.2.7", seconds=60, reason="guessing")
    await nodes.one.ban("192.0.2.7", seconds=30)  # the longer one stays
    await nodes.two.ban("192.0.2.1", seconds=10)
    assert await nodes.two.ban_of("192.0.2.7") == Ban("192.0.2.7", until, "guessing")
    assert [ban.host for ban in await nodes.two.bans()] == ["192.0.2.1", "192.0.2.7"]
    nodes.later(10)
    assert [ban.host for ban in await nodes.one.bans()] == ["192.0.2.7"]
    assert await nodes.one.ban_of("192.0.2.1") is None
    assert not await nodes.one.lift_ban("192.0.2.1")
    assert await nodes.two.lift_ban("192.0.2.7")
    assert await nodes.one.bans() == []


# -- messages ------------------------------------------------------------------------------------------------


class Heard:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._more = asyncio.Condition()

    async def take(self, message: Message) -> None:
        async with self._more:
            self.messages.append(message)
            self._more.notify_all()

    async def wait(self, count: int) -> list[Message]:
        async with asyncio.timeout(10), self._more:
            await self._more.wait_for(lambda: len(self.messages) >= count)
        return self.messages


async def test_every_node_hears_a_message_in_order(nodes: Nodes) -> None:
    here, there, other = Heard(), Heard(), Heard()
    nodes.one.subscribe("close_user", here.take)
    nodes.two.subscribe("close_user", there.take)
    nodes.two.subscribe("reload", other.take)
    for name in ("eva", "bob"):
        await nodes.one.publish("close_user", username=name, by="boss")
    expected = [Message("close_user", "one", {"username": name, "by": "boss"}) for name in ("eva", "bob")]
    assert await there.wait(2) == expected
    assert here.messages == expected  # its own handlers are through when `publish` returns
    assert other.messages == []


async def test_who_no_longer_listens_or_fails_keeps_nobody_from_hearing(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Message) -> None:
        raise KeyError("username")

    gone, heard = Heard(), Heard()
    nodes.two.subscribe("revoke", broken)
    end = nodes.two.subscribe("revoke", gone.take)
    nodes.two.subscribe("revoke", heard.take)
    end()
    end()
    await nodes.one.publish("revoke", subject="x")
    assert len(await heard.wait(1)) == 1
    assert gone.messages == []
    assert "a message on revoke was not handled" in caplog.text


# -- bounds --------------------------------------------------------------------------------------------------


async def test_what_is_too_large_is_refused(nodes: Nodes) -> None:
    long = "x" * (MAX_NAME + 1)
    for call in (
        nodes.one.take_slot(long, "c"),
        nodes.one.take_slot("a", long),
        nodes.one.count(long, seconds=1),
        nodes.one.ban(long, seconds=1),
        nodes.one.publish("reload", text="x" * (MAX_FIELD_CHARS + 1)),
        nodes.one.publish("reload", **{f"f{number}": "" for number in range(17)}),
    ):
        with pytest.raises(ValueError):
            await call
    heard = Heard()
    for _ in range(MAX_SUBSCRIBERS):
        nodes.one.subscribe("reload", heard.take)
    with pytest.raises(ValueError):
        nodes.one.subscribe("reload", heard.take)


async def test_memory_forgets_what_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_COUNTERS", 3)
    monkeypatch.setattr(memory, "MAX_BANS", 3)
    live = MemoryLive()
    for number in range(200):
        await live.count(f"n{number}", seconds=100 + number % 7 + number / 1000)
        await live.ban(f"h{number}", seconds=100 + number % 7 + number / 1000)
    assert len(live._hub.counters) == len(await live.bans()) == 3
    assert [await live.counted(f"n{number}") for number in (181, 188, 195)] == [1, 1, 1]
    for _ in range(200):
        await live.count("n195", seconds=200)
    assert len(live._hub.counters_end._queue) <= 2 * 3 + 65
