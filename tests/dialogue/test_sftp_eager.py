# SPDX-License-Identifier: Apache-2.0
"""Coroutines whose first step runs at once."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from tidegate.vfs import eager

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="outside")


def begin(coro):
    return eager.start(coro, asyncio.get_running_loop())


async def test_what_ends_at_once_needs_no_task():
    async def answer():
        return 42

    before = len(asyncio.all_tasks())
    assert begin(answer()) == (None, 42)
    assert len(asyncio.all_tasks()) == before


async def test_what_raises_at_once_raises_here():
    async def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        begin(fail())


async def test_what_waits_goes_on_in_a_task():
    future = asyncio.get_running_loop().create_future()

    async def wait():
        first = await future
        await asyncio.sleep(0)
        return first + await asyncio.to_thread(lambda: 1)

    task, result = begin(wait())
    assert result is None
    assert not task.done()
    future.set_result(41)
    assert await task == 42


async def test_a_future_that_is_done_before_the_task_runs():
    future = asyncio.get_running_loop().create_future()

    async def wait():
        return await future

    task, _ = begin(wait())
    future.set_result("early")
    assert await task == "early"


async def test_a_bare_yield_goes_on():
    async def wait():
        await asyncio.sleep(0)
        return "on"

    task, _ = begin(wait())
    assert await task == "on"


async def test_an_exception_after_waiting_comes_out_of_the_task():
    future = asyncio.get_running_loop().create_future()

    async def wait():
        try:
            await future
        except ValueError as error:
            raise KeyError from error

    task, _ = begin(wait())
    future.set_exception(ValueError())
    with pytest.raises(KeyError):
        await task


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_cancelling_runs_the_handlers_and_cancels_what_is_awaited(turns):
    future = asyncio.get_running_loop().create_future()
    seen = []

    async def wait():
        try:
            await future
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned")
            raise

    task, _ = begin(wait())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "cleaned"]
    assert future.cancelled()


@pytest.mark.parametrize("inside_task", [True, False])
async def test_a_timeout_entered_in_the_first_step_works(inside_task):
    async def wait():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "timed out"

    if inside_task:
        task, _ = begin(wait())
    else:
        box = []
        asyncio.get_running_loop().call_soon(lambda: box.append(begin(wait())))
        await asyncio.sleep(0)
        task, _ = box[0]
    assert await asyncio.wait_for(task, 2) == "timed out"


async def test_cancelling_oneself_in_the_first_step_hits_oneself_and_not_the_caller():
    async def wait():
        asyncio.current_task().cancel("myself")
        await asyncio.sleep(0)

    task, _ = begin(wait())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert not asyncio.current_task().cancelling()


async def test_the_current_task_is_as_before():
    async def inner():
        return asyncio.current_task()

    outer = asyncio.current_task()
    _, seen = begin(inner())
    assert seen is not outer
    assert asyncio.current_task() is outer

    async def fail():
        raise ValueError

    with pytest.raises(ValueError):
        begin(fail())
    assert asyncio.current_task() is outer


async def test_context_variables_stay_inside():
    async def change():
        token = VAR.set("inside")
        await asyncio.sleep(0)
        seen = VAR.get()
        VAR.reset(token)
        return seen

    task, _ = begin(change())
    assert VAR.get() == "outside"
    assert await task == "inside"
    assert VAR.get() == "outside"


async def test_nested_starts():
    async def inner():
        await asyncio.sleep(0)
        return 1

    async def outer():
        task, _ = begin(inner())
        return await task + 1

    task, _ = begin(outer())
    assert await task == 2
