# SPDX-License-Identifier: Apache-2.0
"""Strangers and those who work share a loop: a fifth of a full one, all of an idle one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import pytest

from tidegate.resources import Ledger
from tidegate.resources.acceptor import Acceptor, listen
from tidegate.resources.newcomers import (
    FLOOR,
    HOLD_SECONDS,
    MAX_DEBT_SECONDS,
    SHARE,
    SLICE_SECONDS,
    WINDOW_SECONDS,
    Charged,
    Mark,
    Newcomers,
)
from tidegate.resources.pressure import CROWDED, LOOK_SECONDS, Pressure

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


@pytest.mark.parametrize("stranger", [True, False])
@pytest.mark.parametrize("how", ["send", "throw"])
def test_steps_are_charged_as_long_as_the_client_is_a_stranger(how: str, stranger: bool) -> None:
    clock = Clock()
    newcomers = Newcomers(clock)

    async def work() -> None:
        with contextlib.suppress(KeyError):
            await asyncio.sleep(0)
        clock.now += 0.25

    steps = Charged(work(), newcomers, lambda: stranger)
    steps.send(None)
    with pytest.raises(StopIteration):
        steps.throw(KeyError()) if how == "throw" else steps.send(None)
    assert newcomers.strange_seconds == (0.25 if stranger else 0.0)


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


@pytest.mark.parametrize(
    ("crowded", "transfers"),
    [(True, True), (False, True), (True, False)],
    ids=["host crowded", "host has time", "no transfer"],
)
def test_on_a_crowded_host_they_leave_the_processor_to_transfers(crowded: bool, transfers: bool) -> None:
    clock, wall, strange, others = Clock(), Clock(), 0.0, 0.0
    newcomers = Newcomers(clock, wall=wall, crowded=lambda: crowded, transfers=lambda: transfers)
    mark, begun = Mark(), wall.now

    def passes(seconds: float) -> None:
        clock.now += seconds
        wall.now += seconds

    for turn in range(20_000):
        if turn % 2:
            passes(0.0003)  # a user's download
            others += 0.0003
        if newcomers.look(mark):
            newcomers.begin()
            passes(0.0005)
            newcomers.end()
            strange += 0.0005
        wall.now += 0.00035
    all_time = wall.now - begun
    due = FLOOR + SHARE * others / all_time
    if crowded and transfers:
        assert strange / all_time == pytest.approx(due, rel=0.1)
    else:
        assert strange / all_time > 2 * due


def test_who_transfers_nothing_any_more_holds_nobody_back() -> None:
    clock, wall, open_files = Clock(), Clock(), 1
    newcomers = Newcomers(clock, wall=wall, crowded=lambda: True, transfers=lambda: bool(open_files))
    for _ in range(20):
        clock.now += 0.001
        wall.now += 0.01
        assert newcomers.spares == newcomers.held_back
    assert newcomers.spares
    open_files = 0
    wall.now += WINDOW_SECONDS
    assert not newcomers.spares
    open_files = 1
    wall.now += HOLD_SECONDS
    assert not newcomers.spares


async def test_steps_of_a_task_are_charged_until_its_client_is_known() -> None:
    clock, stranger = Clock(), True
    newcomers = Newcomers(clock, crowded=lambda: False)

    async def work(failing: bool) -> int:
        nonlocal stranger
        clock.now += 1
        await asyncio.sleep(0)
        clock.now += 2
        stranger = False
        try:
            await asyncio.sleep(30 if failing else 0)
        finally:
            clock.now += 4
        return 7

    before = newcomers.strange_seconds
    assert await newcomers.admitted(work(failing=False), lambda: stranger) == 7
    assert newcomers.strange_seconds - before == 3
    stranger = True
    task = asyncio.create_task(newcomers.admitted(work(failing=True), lambda: stranger))
    while stranger:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_waits_for_credit_and_leaves_nothing_if_nobody_wants_it_any_more() -> None:
    clock, begun = Clock(), 0
    newcomers = Newcomers(clock, crowded=lambda: False)

    async def work() -> None:
        nonlocal begun
        begun += 1

    for _ in range(2):
        newcomers.later(lambda: clock.works(newcomers, SLICE_SECONDS))
    tasks = [asyncio.create_task(newcomers.admitted(work(), lambda: True)) for _ in range(2)]
    await asyncio.sleep(0)
    assert not begun
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == 1


def test_the_kernel_tells_how_crowded_a_host_is(tmp_path: Path) -> None:
    wall, account = Clock(), tmp_path / "cpu"

    def told(total: float) -> None:
        account.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total * 1e6:.0f}\nfull total=0\n")

    told(100)
    pressure = Pressure(str(account), wall)
    assert not pressure()  # nothing to compare with
    told(100 + LOOK_SECONDS * CROWDED * 1.1)
    assert not pressure()  # too early to look again
    wall.now += LOOK_SECONDS * 1.01
    assert pressure()
    wall.now += LOOK_SECONDS * 1.01
    assert not pressure()
    account.write_text("nonsense")
    wall.now += LOOK_SECONDS * 1.01
    assert not pressure()
    assert not Pressure(str(tmp_path / "absent"), wall)()


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


async def test_places_for_what_is_charged_later_are_given_one_in_a_turn() -> None:
    clock = Clock()
    newcomers = Newcomers(clock, wall=lambda: clock.now, crowded=lambda: False)
    clock.works(newcomers, MAX_DEBT_SECONDS)  # in debt
    newcomers.look(Mark())
    got: list[int] = []

    async def one(number: int) -> None:
        await newcomers.wait_for_credit()
        got.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(4)]
    tasks[1].cancel()
    await asyncio.sleep(0)
    for _ in range(3):  # in debt, and others work: nobody
        clock.now += 0.01
        await asyncio.sleep(0)
        assert got == []
    given = []
    for _ in range(50):
        clock.now += 0.1  # others' work earns credit
        before = len(got)
        await asyncio.sleep(0)
        given.append(len(got) - before)
    assert got == [0, 2, 3]
    assert max(given) == 1
    await asyncio.gather(*tasks, return_exceptions=True)


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

    acceptor = Acceptor(
        await listen("127.0.0.1", 0, WAITING, ledger.inherited), turned, ledger.descriptors, ledger.newcomers
    )
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
