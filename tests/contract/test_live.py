# SPDX-License-Identifier: Apache-2.0
"""The contract on live state: one body of checks for every driver, with two nodes that share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tidegate.cluster.factory import create_live
from tidegate.cluster.memory import MemoryHub, MemoryLive
from tidegate.contracts.cluster import MAX_FIELD_CHARS, MAX_NAME, MAX_SUBSCRIBERS, Live, Message
from tidegate.errors import ConfigError

DRIVERS = ("memory",)


@dataclass
class Nodes:
    """Two nodes that share."""

    one: Live
    two: Live


def memory_nodes() -> Nodes:
    hub = MemoryHub()
    return Nodes(MemoryLive("one", hub=hub), MemoryLive("two", hub=hub))


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
    assert await nodes.one.take_slot("a", "only of one")
    assert await nodes.two.take_slot("a", "only of two")
    gone, heard = Heard(), Heard()
    nodes.one.subscribe("close_user", gone.take)
    nodes.two.subscribe("close_user", heard.take)
    await nodes.one.close()
    assert await nodes.two.slots("a") == 2
    for holder in ("c", "only of two"):
        assert await nodes.two.take_slot("a", holder, limit=2), "it holds it still"
    await nodes.two.publish("close_user", username="x")
    assert len(await heard.wait(1)) == 1
    assert gone.messages == []


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
    here, there = Heard(), Heard()
    nodes.one.subscribe("close_user", here.take)
    nodes.two.subscribe("close_user", there.take)
    for name in ("eva", "bob"):
        await nodes.one.publish("close_user", username=name, by="boss")
    expected = [Message("close_user", "one", {"username": name, "by": "boss"}) for name in ("eva", "bob")]
    assert await there.wait(2) == expected
    assert here.messages == expected  # its own handlers are through when `publish` returns


async def test_who_no_longer_listens_or_fails_keeps_nobody_from_hearing(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Message) -> None:
        raise KeyError("username")

    gone, heard = Heard(), Heard()
    nodes.two.subscribe("close_user", broken)
    end = nodes.two.subscribe("close_user", gone.take)
    nodes.two.subscribe("close_user", heard.take)
    end()
    end()
    await nodes.one.publish("close_user", username="x")
    assert len(await heard.wait(1)) == 1
    assert gone.messages == []
    assert "a message on close_user was not handled" in caplog.text


# -- bounds --------------------------------------------------------------------------------------------------


async def test_what_is_too_large_is_refused(nodes: Nodes) -> None:
    long = "x" * (MAX_NAME + 1)
    for call in (
        nodes.one.take_slot(long, "c"),
        nodes.one.take_slot("a", long),
        nodes.one.publish("close_user", text="x" * (MAX_FIELD_CHARS + 1)),
        nodes.one.publish("close_user", **{f"f{number}": "" for number in range(17)}),
    ):
        with pytest.raises(ValueError):
            await call
    heard = Heard()
    for _ in range(MAX_SUBSCRIBERS):
        nodes.one.subscribe("close_user", heard.take)
    with pytest.raises(ValueError):
        nodes.one.subscribe("close_user", heard.take)


# -- choosing ------------------------------------------------------------------------------------------------


def test_the_driver_is_found_by_its_name() -> None:
    live = create_live("memory", {}, node="here")
    assert (live.node, live.shared) == ("here", False)
    assert create_live("tidegate.cluster.memory:create", {}, node="here").node == "here"


@pytest.mark.parametrize(
    ("driver", "options", "why"),
    [
        ("redis", {}, "no cluster driver 'redis' is installed; there are: memory"),
        ("", {}, "use is empty"),
        ("memory", {"url": "x"}, "memory has no options, and url is given"),
        ("no_such_package:create", {}, "'no_such_package:create' cannot be used: ModuleNotFoundError"),
        ("collections:OrderedDict", {}, "cannot be used: TypeError"),
        ("tidegate.cluster.memory:MAX_NAME", {}, "cannot be called"),
        (f"{__name__}:not_a_driver", {}, "makes no cluster driver: it has no open, close, take_slot"),
    ],
)
def test_what_cannot_be_a_driver_says_why(driver: str, options: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_live(driver, options, node="here")
    (problem,) = caught.value.problems
    assert problem.where == "cluster.driver"
    assert why in problem.what


def not_a_driver(node: str, options: dict[str, str]) -> object:
    del node, options
    return object()
