# SPDX-License-Identifier: Apache-2.0
"""The memory for transfers: who waits, who may go beyond it, and that nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.backends.objects.budget import ByteBudget
from tidegate.errors import PeerLimit


class Idle:
    def __init__(self, budget: ByteBudget, held: int) -> None:
        self.budget = budget
        self.held = held

    def shrink(self) -> None:
        held, self.held = self.held, 0
        self.budget.give_back(held)


async def test_waiting_in_order() -> None:
    budget = ByteBudget(10)
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
    budget = ByteBudget(10)
    assert budget.take_nowait(10)
    holder = object()
    for _ in range(5):
        await budget.take(holder, 7)
    assert budget.held == 45


async def test_idle_readers_give_back_what_they_fetched_ahead() -> None:
    budget = ByteBudget(10)
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
    budget = ByteBudget(10, wait=0.01)
    assert budget.take_nowait(10)
    await budget.take("beyond", 1)
    with pytest.raises(PeerLimit, match="memory for transfers"):
        await budget.take("other", 1)
    assert budget.held == 11


async def test_giving_up_leaves_nothing() -> None:
    budget = ByteBudget(10)
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
    budget = ByteBudget(10)
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
