# SPDX-License-Identifier: Apache-2.0
"""Unfinished requests of a channel: what they hold, when replies leave, when input goes on, who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.sftp_peer import MemoryChannel

from tidegate.doors.sftp.work import Work
from tidegate.doors.ssh.plain_transport import PlainTransport


class Counted(PlainTransport):
    """The transport of channels without the lane; counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(MemoryChannel())
        self.asked: list[str] = []

    def flush(self) -> None:
        self.asked.append("flush")

    def resume(self) -> None:
        self.asked.append("resume")


def made(requests: int = 8, held: int = 1000) -> tuple[Work, Counted]:
    transport = Counted()
    return Work(transport, requests, held), transport


async def turns(ended: Callable[[], bool] = lambda: False) -> None:
    """Some turns of the loop, more than anything here needs."""
    for _ in range(20):
        await asyncio.sleep(0)
        if ended():
            return


async def test_requests_are_counted_with_what_they_hold() -> None:
    work, _ = made()
    work.begin(100)
    work.begin(30)
    assert (work.pending, work.held) == (2, 130)
    work.settle(100)
    assert (work.pending, work.held) == (1, 30)
    work.settle(30)
    assert (work.pending, work.held) == (0, 0)


async def test_replies_of_one_turn_leave_together() -> None:
    work, transport = made()
    for _ in range(3):
        work.begin(1)
    work.settle(1)
    work.settle(1)
    assert transport.asked == []
    await turns()
    assert transport.asked == ["flush"]
    work.settle(1)
    await turns()
    assert transport.asked == ["flush", "flush"]


async def test_while_input_is_processed_its_end_flushes() -> None:
    work, transport = made()
    work.begin(1)
    work.feeding = True
    work.settle(1)
    await turns()
    assert transport.asked == []


async def test_input_goes_on_at_half_of_both_bounds() -> None:
    work, transport = made(requests=8, held=1000)
    work.saturated = True
    for _ in range(6):
        work.begin(100)
    work.begin(200)
    work.settle(100)
    work.settle(100)  # five requests hold 600 bytes
    await turns()
    assert "resume" not in transport.asked
    work.settle(100)  # four hold 500
    work.settle(100)
    assert work.saturated, "in a later turn"
    await turns(lambda: not work.saturated)
    assert transport.asked.count("resume") == 1
    assert not work.saturated


async def test_few_requests_that_hold_much_keep_input_back() -> None:
    work, transport = made(requests=8, held=1000)
    work.saturated = True
    work.begin(501)
    work.begin(1)
    work.settle(1)
    await turns()
    assert "resume" not in transport.asked
    work.begin(0)
    work.settle(501)
    await turns()
    assert transport.asked.count("resume") == 1


async def test_many_requests_that_hold_nothing_keep_input_back() -> None:
    work, transport = made(requests=8)
    work.saturated = True
    for _ in range(6):
        work.begin(0)
    work.settle(0)
    await turns()
    assert "resume" not in transport.asked
    work.settle(0)
    await turns()
    assert transport.asked.count("resume") == 1


async def test_input_that_is_not_kept_back_is_not_resumed() -> None:
    work, transport = made()
    work.begin(1)
    work.settle(1)
    await turns()
    assert transport.asked == ["flush"]


async def test_input_is_resumed_once_for_all_who_ask_in_a_turn() -> None:
    work, transport = made()
    for _ in range(3):
        work.plan_resume()
    await turns()
    assert transport.asked == ["resume"]
    work.plan_resume()
    await turns()
    assert transport.asked == ["resume", "resume"]


async def test_nothing_is_asked_of_a_channel_that_is_gone() -> None:
    work, transport = made()
    work.saturated = True
    work.begin(1)
    work.begin(1)
    work.settle(1)
    work.plan_resume()
    work.gone = True
    work.settle(1)
    await turns()
    assert transport.asked == []
    assert (work.pending, work.held) == (0, 0)


async def test_the_last_request_wakes_who_waits_for_its_end() -> None:
    work, _ = made()
    work.begin(1)
    work.begin(1)
    waiting = [asyncio.create_task(work.next_idle()) for _ in range(2)]
    await turns()
    work.settle(1)
    await turns()
    assert not any(task.done() for task in waiting)
    work.settle(1)
    await turns()
    assert all(task.done() for task in waiting)
    again = asyncio.create_task(work.next_idle())
    await turns()
    assert not again.done()
    work.wake()
    await again


async def test_who_no_longer_waits_is_passed_over() -> None:
    work, _ = made()
    gone, waits = (asyncio.create_task(work.next_idle()) for _ in range(2))
    await turns()
    gone.cancel()
    await turns()
    work.wake()
    await waits
    assert gone.cancelled()


async def test_a_request_that_waits_is_a_task_until_its_end() -> None:
    work, transport = made()
    go = asyncio.Event()
    steps: list[str] = []

    async def request() -> None:
        steps.append("begun")
        await go.wait()
        work.settle(40)
        steps.append("ended")

    work.launch(request(), 40)
    assert steps == ["begun"], "its first step is taken at once"
    assert (work.pending, work.held, len(work.tasks)) == (1, 40, 1)
    go.set()
    await turns(lambda: not work.tasks)
    assert steps == ["begun", "ended"]
    assert (work.pending, work.held, len(work.tasks)) == (0, 0, 0)
    assert transport.asked == ["flush"]


async def test_a_request_that_need_not_wait_is_no_task() -> None:
    work, _ = made()

    async def request() -> None:
        work.settle(3)

    work.launch(request(), 3)
    assert (work.pending, work.held, len(work.tasks)) == (0, 0, 0)
    await turns()
