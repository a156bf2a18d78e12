# SPDX-License-Identifier: Apache-2.0
"""Strangers and those who work share a loop: a fifth of a full one, all of an idle one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from tidegate.resources import Ledger
from tidegate.resources.acceptor import Acceptor, listen
from tidegate.resources.newcomers import MAX_DEBT_SECONDS, SLICE_SECONDS, Mark, Newcomers

SECONDS = 0.15
"""Processor time of a user for which a loop is watched."""
WAITING = 250
"""Connections that wait to be refused meanwhile; more than there is time for."""


class Clock:
    """Processor time that a test spends."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now

    def works(self, newcomers: Newcomers, seconds: float) -> None:
        newcomers.begin()
        self.now += seconds
        newcomers.end()


def test_of_a_full_loop_strangers_have_a_fifth() -> None:
    clock, strange = Clock(), 0.0
    newcomers, mark = Newcomers(clock), Mark()
    for _ in range(10_000):
        clock.now += 0.0005  # somebody with a session works
        if newcomers.look(mark):
            clock.works(newcomers, 0.00005)
            strange += 0.00005
    assert 0.05 < strange / (clock.now - 5) <= 0.2
    strange, begun = 0.0, clock.now
    for _ in range(10_000):
        clock.now += 0.0005
        if newcomers.look(mark):
            clock.works(newcomers, 0.003)  # one who is let in costs more than a turn's credit
            strange += 0.003
    assert strange / (clock.now - begun) == pytest.approx(0.2, abs=0.01)


def test_in_an_idle_loop_they_need_no_credit() -> None:
    clock = Clock()
    newcomers, mark = Newcomers(clock), Mark()
    newcomers.look(mark)
    for _ in range(100):
        clock.now += 0.00003  # the loop itself
        assert newcomers.look(mark) == SLICE_SECONDS
        clock.works(newcomers, 0.01)


def test_debt_is_bounded_and_work_within_work_counts_once() -> None:
    clock = Clock()
    newcomers, mark = Newcomers(clock), Mark()
    newcomers.look(mark)
    newcomers.begin()
    clock.works(newcomers, 60)
    newcomers.end()
    clock.now += MAX_DEBT_SECONDS * 4 - 0.001
    assert newcomers.look(mark) == 0
    clock.now += 0.002
    assert newcomers.look(mark) > 0


async def test_input_of_strangers_waits_in_order_and_a_fault_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, done = Clock(), list[int]()
    newcomers = Newcomers(clock)

    def work(number: int) -> None:
        clock.now += SLICE_SECONDS
        done.append(number)
        if number == 1:
            raise ValueError("one")

    for number in range(4):
        newcomers.later(lambda number=number: work(number))  # type: ignore[misc]
    assert not newcomers.may_work
    for turn in range(1, 5):
        await asyncio.sleep(0)
        assert done == list(range(turn))
    assert newcomers.may_work
    assert "unforeseen error" in caplog.text


async def test_who_asks_again_has_one_place_in_each_turn() -> None:
    newcomers, done = Newcomers(Clock()), 0

    def work() -> None:
        nonlocal done
        done += 1
        if done < 20:
            newcomers.later(work)

    newcomers.later(work)
    for turn in range(1, 10):
        await asyncio.sleep(0)
        assert done == turn


async def test_a_flood_of_refused_connections_leaves_four_fifths_of_the_loop() -> None:
    ledger, refused, strange, worked = Ledger(), 0, 0.0, 0.0

    def turned(connection: socket.socket, address: object) -> None:
        nonlocal refused, strange
        refused += 1
        connection.close()
        strange += burn(0.0003)

    loop = asyncio.get_running_loop()
    finished = loop.create_future()

    def work() -> None:
        """A user whose requests never end, half a millisecond in each turn."""
        nonlocal worked
        worked += burn(0.0005)
        if worked < SECONDS:
            loop.call_soon(work)
        else:
            finished.set_result(strange)

    acceptor = Acceptor(await listen("127.0.0.1", 0, WAITING), turned, ledger.descriptors, ledger.newcomers)
    with contextlib.ExitStack() as stack:
        for _ in range(WAITING):  # they are in the queue of the socket before anybody looks
            sock = stack.enter_context(socket.socket())
            sock.connect(("127.0.0.1", acceptor.port))
        acceptor.start()
        loop.call_soon(work)
        taken = await finished
        assert 0.02 < taken / (taken + worked) < 0.23
        assert refused < WAITING
        async with asyncio.timeout(20):
            while refused < WAITING:  # the loop is idle: all who are left are served
                await asyncio.sleep(0.001)
    acceptor.close()


def burn(seconds: float) -> float:
    """Use the processor for so long; returns how long it was."""
    begun = time.thread_time()
    while (used := time.thread_time() - begun) < seconds:
        pass
    return used
