# SPDX-License-Identifier: Apache-2.0
"""The memory for transfers: who waits, who may go beyond it, and that nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.backends.objects.budget import ByteBudget, Share
from tidegate.errors import PeerLimit


class Idle:
    def __init__(self, budget: Share, held: int) -> None:
        self.budget = budget
        self.held = held

    def shrink(self) -> None:
        held, self.held = self.held, 0
        self.budget.give_back(held)


async def test_waiting_in_order() -> None:
    budget = ByteBudget(10).of("alice")
    first, second, third = object(), object(), object()
    assert budget.take_nowait(10)
    await budget.take(first, 5)  # beyond the limit, as the only one
    order: list[str] = []

    async def take(name: str, holder: object) -> None:
        await budget.take(holder, 5)
        order.append(name)

    tasks = [asyncio.create_task(take("second", second)), asyncio.create_task(take("third", third))]
    await asyncio.sleep(0)
    assert not budget.take_nowait(0)
    budget.give_back(5)
    await tasks[0]
    assert order == ["second"]
    budget.give_back(5)
    budget.give_back(5)
    await tasks[1]
    assert budget.held == 10
    budget.give_back(10)
    assert budget.held == 0


async def test_who_is_beyond_may_go_on() -> None:
    budget = ByteBudget(10).of("alice")
    assert budget.take_nowait(10)
    holder = object()
    for _ in range(5):
        await budget.take(holder, 7)
    assert budget.held == 45


async def test_idle_readers_give_back_what_they_fetched_ahead() -> None:
    budget = ByteBudget(10).of("alice")
    idle = [Idle(budget, 4), Idle(budget, 4)]
    assert budget.take_nowait(8)
    for reader in idle:
        budget.used(reader)
    budget.used(idle[0])
    await budget.take(object(), 5)
    assert [reader.held for reader in idle] == [4, 0]
    budget.ended(idle[0])
    budget.ended(idle[1])
    assert budget.held == 9


async def test_who_waits_too_long_is_refused() -> None:
    budget = ByteBudget(10, wait=0.01).of("alice")
    assert budget.take_nowait(10)
    await budget.take("beyond", 1)
    with pytest.raises(PeerLimit, match="memory for transfers"):
        await budget.take("other", 1)
    assert budget.held == 11


async def test_giving_up_leaves_nothing() -> None:
    budget = ByteBudget(10).of("alice")
    assert budget.take_nowait(10)
    await budget.take("beyond", 1)
    waiting = asyncio.create_task(budget.take("other", 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    granted = asyncio.create_task(budget.take("third", 1))
    await asyncio.sleep(0)
    budget.give_back(11)
    granted.cancel()  # at the same moment as it is granted
    with pytest.raises(asyncio.CancelledError):
        await granted
    assert budget.held == 0


async def test_who_gives_up_when_memory_comes_free_ends_as_asked_and_holds_nothing() -> None:
    budget = ByteBudget(10).of("alice")
    assert budget.take_nowait(10)
    await budget.take("beyond", 5)
    gone = asyncio.create_task(budget.take("gone", 20))
    await asyncio.sleep(0)
    gone.cancel()
    budget.give_back(5)  # before the task that gives up has run
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert budget.held == 10
    await asyncio.wait_for(budget.take("next", 5), 5)  # nobody else is beyond the limit
    assert budget.held == 15


async def test_an_owner_whose_share_is_spent_waits_and_others_do_not() -> None:
    budget = ByteBudget(40, share=10)
    alice, bob = budget.of("alice"), budget.of("bob")
    assert budget.of("alice") is alice
    assert alice.take_nowait(10)
    await alice.take("first", 5)  # one goes beyond the share
    waiting = [asyncio.create_task(alice.take(f"upload {number}", 5)) for number in range(60)]
    await asyncio.sleep(0)
    assert alice.held == 15
    assert bob.take_nowait(10)
    await bob.take("bob's", 5)
    assert budget.held == 30
    alice.give_back(15)
    await asyncio.sleep(0)
    assert sum(task.done() for task in waiting) == 3  # two that fit, and one beyond
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    alice.give_back(alice.held)
    bob.give_back(15)
    assert budget.held == 0


async def test_owners_are_served_in_turn() -> None:
    budget = ByteBudget(10, share=10)
    alice, bob, other = (budget.of(name) for name in ("alice", "bob", "other"))
    assert other.take_nowait(10)
    await other.take("beyond", 1)
    order: list[str] = []

    async def take(name: str) -> None:
        await budget.of(name).take(name, 1)
        order.append(name)

    tasks = [asyncio.create_task(take(name)) for name in ("alice", "alice", "alice", "bob")]
    await asyncio.sleep(0)
    assert alice.waiting
    assert not bob.take_nowait(0)
    for _ in tasks:
        other.give_back(1)
        await asyncio.sleep(0)
    other.give_back(7)
    await asyncio.gather(*tasks)
    assert order == ["alice", "bob", "alice", "alice"]
    alice.give_back(3)
    bob.give_back(1)
    assert budget.held == 0


async def test_who_waits_for_a_share_too_long_is_told_so() -> None:
    budget = ByteBudget(40, wait=0.01, share=10)
    alice = budget.of("alice")
    assert alice.take_nowait(10)
    await alice.take("beyond", 1)
    with pytest.raises(PeerLimit, match="share of the memory for transfers is in use"):
        await alice.take("other", 1)
    alice.give_back(11)
    assert budget.held == 0


async def test_readers_of_others_keep_what_they_fetched_if_only_a_share_is_spent() -> None:
    budget = ByteBudget(40, share=10)
    alice, bob = budget.of("alice"), budget.of("bob")
    own, others = Idle(alice, 4), Idle(bob, 4)
    assert alice.take_nowait(10)
    assert bob.take_nowait(4)
    bob.used(others)
    alice.used(own)
    await alice.take("upload", 3)
    assert (own.held, others.held) == (0, 4)
    assert budget.held == 13


async def test_who_is_beyond_goes_on_past_those_who_wait() -> None:
    budget = ByteBudget(40, wait=5, share=10)
    alice = budget.of("alice")
    assert alice.take_nowait(10)
    await alice.take("first", 1)
    waiting = asyncio.create_task(alice.take("second", 1))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):  # else each would wait for the other
        await alice.take("first", 4)
    assert not waiting.done()
    alice.give_back(15)
    await waiting
    alice.give_back(1)
    assert budget.held == 0
