# SPDX-License-Identifier: Apache-2.0
"""The first step of an eager start may use any library: the current task is a real one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import weakref

import anyio
import httpx2
import pytest

from tidegate.vfs import eager


def begin(coro):
    return eager.start(coro, asyncio.get_running_loop())


async def outcome(coro):
    task, result = begin(coro)
    return result if task is None else await asyncio.wait_for(task, 5)


@pytest.fixture
async def address():
    """A small HTTP server; `/slow` never answers."""

    async def serve(reader, writer):
        try:
            while (request := await reader.readuntil(b"\r\n\r\n")) and b"/slow" not in request:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield "http://{}:{}".format(*server.sockets[0].getsockname())
    server.close()
    await server.wait_closed()


async def test_a_scope_of_anyio_entered_in_the_first_step():
    async def quick():
        with anyio.fail_after(5):
            return "at once"

    async def late():
        with anyio.move_on_after(0.005) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    async def fail():
        with anyio.fail_after(0.005):
            await asyncio.get_running_loop().create_future()

    assert begin(quick()) == (None, "at once")
    assert await outcome(late()) is True
    with pytest.raises(TimeoutError):
        await outcome(fail())


async def test_a_scope_of_anyio_cancelled_before_the_task_goes_on():
    async def work():
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await anyio.sleep_forever()
        await asyncio.sleep(0)
        return scope.cancelled_caught, asyncio.current_task().cancelling()

    assert await outcome(work()) == (True, 0)


async def test_task_groups_in_the_first_step():
    async def work():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(asyncio.sleep(0, 1))
        return one.result()

    async def fail():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(lambda: 1 / 0))
            await asyncio.get_running_loop().create_future()

    assert await outcome(work()) == 1
    with pytest.raises(ExceptionGroup):
        await outcome(fail())


async def test_a_call_of_httpx_in_the_first_step(address):
    async def fetch():
        async with httpx2.AsyncClient() as client:
            first = await client.get(f"{address}/")
            again = await client.get(f"{address}/again")
        return first.text, again.text

    async def slow():
        async with httpx2.AsyncClient(timeout=0.05) as client:
            await client.get(f"{address}/slow")

    assert await outcome(fetch()) == ("hello", "hello")
    with pytest.raises(httpx2.ReadTimeout):
        await outcome(slow())


async def test_a_call_of_httpx_that_is_cancelled(address):
    closed = []

    async def slow():
        async with httpx2.AsyncClient() as client:
            try:
                await client.get(f"{address}/slow")
            finally:
                closed.append("yes")

    for turns in (0, 1, 5, 20):
        task, _ = begin(slow())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    assert closed == ["yes"] * 4


async def test_the_task_of_the_first_step_is_the_task_that_goes_on():
    async def work():
        first = asyncio.current_task()
        await asyncio.sleep(0)
        return first, asyncio.current_task()

    task, _ = begin(work())
    assert await task == (task, task)
    assert isinstance(task, asyncio.Task)


async def test_the_current_task_is_a_whole_task():
    async def work():
        task = asyncio.current_task()
        assert weakref.ref(task)() is task
        assert task.get_name() == "eager"
        assert inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_RUNNING
        assert not task.done()
        assert anyio.get_current_task().name == "eager"
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_RUNNING
        return True

    task, _ = begin(work())
    assert task in asyncio.all_tasks()
    assert inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_SUSPENDED
    assert await task


async def test_who_cancels_himself_and_does_not_wait_is_cancelled():
    async def work():
        asyncio.current_task().cancel()
        return 1

    with pytest.raises(asyncio.CancelledError):
        begin(work())
    assert not asyncio.current_task().cancelling()


async def test_cancelling_is_counted_on():
    async def work():
        task = asyncio.current_task()
        task.cancel("one")
        task.cancel("two")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            return error.args, task.uncancel(), task.uncancel()

    assert await outcome(work()) == (("two",), 1, 0)


async def test_nothing_is_left_and_nothing_is_reported_of_what_ended_at_once():
    reported = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: reported.append(what))

    async def answer():
        return weakref.ref(asyncio.current_task())

    async def fail():
        raise KeyError

    _, kept = begin(answer())
    with pytest.raises(KeyError):
        begin(fail())
    gc.collect()
    assert kept() is None
    assert reported == []


async def test_callbacks_that_are_added_in_the_first_step():
    called = []

    async def answer(*, waits):
        task = asyncio.current_task()
        task.add_done_callback(called.append)
        task.add_done_callback(print)
        assert task.remove_done_callback(print) == 1
        if waits:
            await asyncio.sleep(0)
        return task

    _, kept = begin(answer(waits=False))
    await asyncio.sleep(0)
    assert called == [kept]
    assert kept.done()
    task, _ = begin(answer(waits=True))
    assert await task is task
    await asyncio.sleep(0)
    assert called == [kept, task]


async def test_everything_may_be_asked_of_a_task_in_its_first_step():
    async def work():
        task = asyncio.current_task()
        task.set_name("mine")
        assert "mine" in repr(task)
        assert task.get_loop() is asyncio.get_running_loop()
        for call in (task.result, task.exception):
            with pytest.raises(asyncio.InvalidStateError):
                call()
        for name in dir(task):
            with contextlib.suppress(RuntimeError):  # "not initialized", never a crash
                getattr(task, name)
        for call in (task.get_stack, task.print_stack):
            with contextlib.suppress(RuntimeError):
                call()
        await asyncio.sleep(0)
        return task.get_name()

    assert await outcome(work()) == "mine"
