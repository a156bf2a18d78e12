# SPDX-License-Identifier: Apache-2.0
"""The ledger: counts, budgets, arrivals, deadlines, descriptors, and what they log."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.resources import Arrivals, Ledger, Limits, LimitSettings, StartupLimits
from tidegate.resources.arrivals import GRACE_SECONDS
from tidegate.resources.buffers import PATIENCE_SECONDS, Buffers
from tidegate.resources.count import Count, Share
from tidegate.resources.deadline import Deadline
from tidegate.resources.descriptors import Descriptors
from tidegate.resources.notices import QUIET_SECONDS, Notices
from tidegate.resources.rates import MAX_TRACKED, Budget, Budgets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def handles(notices: Notices, most: int = 10, most_each: int = 4) -> Count:
    return Count(
        notices, rule="limits.handles", rule_each="limits.handles_per_account", unit="open handles",
        most=most, most_each=most_each,
    )  # fmt: skip


def test_an_account_and_the_process_have_limits_that_are_logged_once(clock, caplog):
    caplog.set_level(logging.INFO, "tidegate.resources")
    count = handles(Notices(clock))
    for _ in range(4):
        assert count.full("ada") == ""
        count.take("ada")
    for _ in range(1000):
        assert count.full("ada") == "limits.handles_per_account"
    assert caplog.messages == [
        "limit reached: limits.handles_per_account (ada): 4 open handles, 4 are allowed"
    ]
    for name in ("bob", "cid"):
        count.take(name, 3)
    assert count.full("dan") == "limits.handles"
    count.give("ada")
    assert (
        caplog.messages[2] == "limit no longer reached: limits.handles_per_account (ada): refused 1000 times"
    )
    assert caplog.messages[3] == "limit no longer reached: limits.handles: refused 1 times"
    assert count.full("dan") == ""


def test_a_limit_that_flaps_is_not_logged_again_at_once(clock, caplog):
    caplog.set_level(logging.INFO, "tidegate.resources")
    count = handles(Notices(clock), most_each=1)
    for _ in range(50):
        count.take("ada")
        assert count.full("ada")
        count.give("ada")
        clock.now += 0.1
    assert len(caplog.messages) == 2
    clock.now += QUIET_SECONDS
    count.take("ada")
    assert count.full("ada")
    assert len(caplog.messages) == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), max_size=40))
def test_shares_never_leave_anything_behind(steps):
    count = handles(Notices())
    shares = {name: Share(count, name[:1]) for name in "abc"}
    for name, held in steps:
        shares[name].set(held)
        assert count.used == sum(share.held for share in shares.values())
    for share in shares.values():
        share.set(0)
    assert count.used == 0
    assert not count._each


def test_a_budget_is_regained_evenly():
    budget = Budget(60)
    assert all(budget.take(0.0) for _ in range(60))
    assert not budget.take(0.0)
    assert budget.spent(0.9)
    assert budget.take(1.1)
    assert not budget.take(1.2)
    assert sum(budget.take(1000.0) for _ in range(100)) == 60
    assert all(Budget(0).take(0.0) for _ in range(1000))


def test_budgets_by_source_are_bounded_and_told_once(clock, caplog):
    budgets = Budgets(Notices(clock), rule="limits.key_exchanges_per_source", unit="key exchanges", amount=2)
    assert [budgets.take("192.0.2.1", 0.0) for _ in range(4)] == [True, True, False, False]
    assert budgets.spent("192.0.2.1", 0.0)
    assert not budgets.spent("192.0.2.2", 0.0)
    assert caplog.messages == [
        "limit reached: limits.key_exchanges_per_source (192.0.2.1): more than 2 key exchanges a minute"
    ]
    for number in range(MAX_TRACKED + 10):
        budgets.take(str(number), 0.0)
    assert len(budgets) == MAX_TRACKED


class Peer:
    def __init__(self, *, spoke: bool = False) -> None:
        self.spoke = spoke


def fill(arrivals: Arrivals[Peer], count: int, at: float, source: str = "192.0.2.{}") -> list[Peer]:
    peers = [Peer() for _ in range(count)]
    for number, peer in enumerate(peers):
        arrivals.enter(peer, source.format(number % 250), at)
    return peers


def test_the_oldest_silent_peer_makes_room():
    arrivals: Arrivals[Peer] = Arrivals(lambda: 0.0)
    limits = StartupLimits(4, 30, 8, 0)
    assert not arrivals.check("s", limits, 0.0).refused
    talker, proving = Peer(spoke=True), Peer(spoke=True)
    arrivals.enter(talker, "s", 0.0)
    arrivals.enter(proving, "s", 0.0)
    arrivals.proves(proving)
    silent = fill(arrivals, 2, 1.0)
    assert arrivals.check("s", limits, 1.0 + GRACE_SECONDS).victim is silent[0]
    arrivals.leave(silent[0])
    arrivals.leave(silent[1])
    fill(arrivals, 2, 10.0)
    # those who sent something go only if nobody else can, and those who are proving themselves never
    assert arrivals.check("s", limits, 10.0).victim is talker
    arrivals.leave(talker)
    fill(arrivals, 1, 10.0)
    verdict = arrivals.check("s", limits, 10.0)
    assert (verdict.victim, verdict.refused) == (None, True)


def test_who_just_came_is_refused_at_random_as_openssh_does():
    limits = StartupLimits(10, 30, 100, 0)
    assert [round(limits.probability(n), 2) for n in (9, 10, 55, 99, 100, 500)] == [0, 0.3, 0.65, 0.99, 1, 1]
    drawn = iter([0.29, 0.31, 0.5])
    arrivals: Arrivals[Peer] = Arrivals(lambda: next(drawn))
    fill(arrivals, 10, 0.0)
    assert arrivals.check("new", limits, 0.0).refused
    assert not arrivals.check("new", limits, 0.0).refused
    fill(arrivals, 90, 0.0)
    assert arrivals.check("new", limits, 0.0).refused


def test_the_share_that_is_refused_is_the_probability_that_is_told():
    limits = StartupLimits(100, 30, 400, 0)
    arrivals: Arrivals[Peer] = Arrivals(random.Random(20261130).random)
    for waiting, share in ((100, 0.3), (250, 0.65), (399, 0.998)):
        fill(arrivals, waiting - len(arrivals), 0.0)
        refused = sum(arrivals.check("new", limits, 0.0).refused for _ in range(4000))
        assert refused / 4000 == pytest.approx(share, abs=0.03)


def test_a_source_makes_room_among_its_own():
    limits = StartupLimits(4, 30, 100, 3)
    arrivals: Arrivals[Peer] = Arrivals(lambda: 0.99)
    other = fill(arrivals, 1, 0.0, "other")
    mine = fill(arrivals, 3, 1.0, "mine")
    assert arrivals.check("mine", limits, 5.0).victim is mine[0]
    assert arrivals.check("mine", limits, 1.0).refused
    assert arrivals.check("third", limits, 5.0).victim is other[0]
    for peer in (*other, *mine, *mine):
        arrivals.leave(peer)
    assert (len(arrivals), arrivals._by_source) == (0, {})


def test_who_is_logging_in_counts_for_the_source_too():
    limits = StartupLimits(4, 30, 100, 3)
    arrivals: Arrivals[Peer] = Arrivals(lambda: 0.99)
    fill(arrivals, 1, 0.0, "other")
    mine = fill(arrivals, 3, 1.0, "mine")
    for peer in mine:
        arrivals.proves(peer)
    assert arrivals.check("mine", limits, 5.0).refused
    assert not arrivals.check("third", limits, 5.0).refused
    arrivals.leave(mine[0])
    fill(arrivals, 1, 1.0, "more")
    assert not arrivals.check("mine", limits, 5.0).refused
    for peer in mine:
        arrivals.leave(peer)
    assert arrivals._proving_of == {}


@pytest.mark.parametrize(
    "text", ["", "a", "1:2", "10:0:20", "10:101:20", "20:30:10", "0:30:10", "1:2:3:4", "-1"]
)
def test_texts_that_are_no_startup_limits(text):
    with pytest.raises(ValueError, match="expected"):
        StartupLimits.parse(text, 0)


def test_startup_limits_are_read():
    assert StartupLimits.parse("10:30:60", 5) == StartupLimits(10, 30, 60, 5)
    assert StartupLimits.parse("10", 0).probability(10) == 1.0
    assert StartupLimits.parse("0", 0).probability(10**6) == 0.0


class Holder:
    def __init__(self, size: int) -> None:
        self.buffered_bytes, self.held, self.ended = size, False, ""

    def hold(self, stop: bool) -> None:
        self.held = stop

    def end(self, by: str) -> None:
        self.ended = by


def test_the_largest_holders_wait_while_too_much_is_buffered(clock, caplog):
    caplog.set_level(logging.INFO, "tidegate.resources")
    buffers = Buffers(Notices(clock), limit=100, clock=clock)
    small, large, larger = (Holder(size) for size in (10, 40, 60))
    for holder in (small, large, larger):
        buffers.add(holder)
    buffers.look()
    assert [holder.held for holder in (small, large, larger)] == [False, False, True]
    large.buffered_bytes = 90
    buffers.look()
    assert [holder.held for holder in (small, large, larger)] == [False, True, True]
    larger.buffered_bytes = large.buffered_bytes = 40  # below the limit, and not yet by enough
    buffers.look()
    assert large.held
    assert not large.ended
    larger.buffered_bytes = 0
    buffers.look()
    assert [holder.held for holder in (small, large, larger)] == [False, False, False]
    large.buffered_bytes = 95
    buffers.look()
    clock.now += PATIENCE_SECONDS - 1
    buffers.look()
    assert not large.ended
    clock.now += 1
    buffers.look()
    assert (large.ended, small.ended) == ("limits.buffer_memory", "")
    for holder in (small, large, larger, larger):
        buffers.remove(holder)
    buffers.look()
    assert buffers.total == 0
    assert (
        caplog.messages[0] == "limit reached: limits.buffer_memory: 110 bytes are buffered, 100 are allowed"
    )


async def test_a_deadline_can_stand_still():
    expired = asyncio.Event()
    deadline = Deadline(0.02, expired.set)
    with deadline.stands_still(), deadline.stands_still():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(expired.wait(), 0.1)
        assert 0 < deadline.left <= 0.02
    await asyncio.wait_for(expired.wait(), 5)
    assert deadline.left == 0

    cancelled = asyncio.Event()
    deadline = Deadline(0.01, cancelled.set)
    with deadline.stands_still():
        deadline.cancel()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cancelled.wait(), 0.05)


def test_the_reserve_of_descriptors_is_kept(clock, caplog):
    caplog.set_level(logging.INFO, "tidegate.resources")
    descriptors = Descriptors(Notices(clock), limit=256, reserve=32)
    assert descriptors.admits(223)
    assert not descriptors.admits(224)
    assert not descriptors.admits(230)
    assert not descriptors.short(OSError(errno.ENOENT, "x"))
    assert descriptors.short(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    assert descriptors.admits(220)  # not yet far enough below to say that it is over
    assert len(caplog.messages) == 1
    assert "limits.reserved_descriptors: 224 of 256 descriptors in use, 32 are kept" in caplog.messages[0]
    assert descriptors.admits(100)
    assert caplog.messages[1].startswith("limit no longer reached: limits.reserved_descriptors")
    assert Descriptors(Notices(clock), limit=1 << 20, reserve=32).room()
    assert not Descriptors(Notices(clock), limit=33, reserve=32).room()


def test_limits_follow_the_machine_and_settings_win():
    small = Limits.derive(descriptors=256, memory=1 << 30)
    assert (small.reserved_descriptors, small.handles, small.handles_per_account) == (32, 72, 36)
    big = Limits.derive(descriptors=1 << 20, memory=1 << 36)
    assert (big.reserved_descriptors, big.handles, big.handles_per_account) == (512, 200_000, 50_000)
    for limits in (small, big):
        assert limits.handles * 2 + 2 * limits.reserved_descriptors <= limits.descriptors
    set_ = Limits.derive(LimitSettings(handles=10, reserved_descriptors=7), descriptors=256, memory=1 << 30)
    assert (set_.reserved_descriptors, set_.handles, set_.handles_per_account) == (7, 10, 5)
    assert Ledger(set_).handles.most == 10
