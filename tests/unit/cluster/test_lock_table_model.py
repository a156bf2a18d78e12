# SPDX-License-Identifier: Apache-2.0
"""The lock table against a slow and clear model of RFC 4918 sections 6 and 7, over random histories."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tidegate.cluster.memory import MemoryLocks
from tidegate.contracts.cluster import LockLimits, LockRequest
from tidegate.errors import Locked, NotFound, PeerLimit

T = TypeVar("T")

PLACES = ("s:", "s:/a", "s:/a/b", "s:/a/b/c", "s:/a-b", "s:/a0", "s:/d", "s:/d/e", "t:/a")
ACCOUNTS = ("eva", "bob")
LIMITS = LockLimits(seconds=50.0, locks=6, per_account=4)

places = st.sampled_from(PLACES)
accounts = st.sampled_from(ACCOUNTS)
times = st.integers(1, 60).map(float)


@dataclass(eq=False)
class Lock:
    """A lock of the model; everything is asked by looking at every lock."""

    place: str
    account: str
    exclusive: bool
    deep: bool
    end: float
    token: str = ""

    def covers(self, place: str) -> bool:
        return place == self.place or (self.deep and below(place, self.place))


def below(place: str, directory: str) -> bool:
    steps, above = place.split("/"), directory.split("/")
    return len(steps) > len(above) and steps[: len(above)] == above


def run(work: Coroutine[Any, Any, T]) -> T:
    """The table in memory never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waited")


class Tables(RuleBasedStateMachine):
    """A lock table and its model, side by side."""

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.table = MemoryLocks(LIMITS, clock=lambda: self.now)
        self.model: list[Lock] = []

    def living(self) -> list[Lock]:
        self.model = [lock for lock in self.model if lock.end > self.now]
        return self.model

    @rule(
        target=tokens,
        place=places,
        account=accounts,
        exclusive=st.booleans(),
        deep=st.booleans(),
        seconds=times,
    )
    def acquire(self, place: str, account: str, *, exclusive: bool, deep: bool, seconds: float) -> str:
        wanted = Lock(place, account, exclusive, deep, self.now + min(seconds, LIMITS.seconds))
        meets = [
            lock
            for lock in self.living()
            if any(lock.covers(each) and wanted.covers(each) for each in PLACES)
        ]
        request = LockRequest(place=place, account=account, exclusive=exclusive, deep=deep, seconds=seconds)
        try:
            held = run(self.table.acquire(request))
        except Locked as error:
            named = error.holder, error.place
            blocking = [lock for lock in meets if exclusive or lock.exclusive]
            assert named in {(lock.account, lock.place) for lock in blocking}
            return "refused"
        except PeerLimit:
            mine = [lock for lock in self.model if lock.account == account]
            assert len(self.model) == LIMITS.locks or len(mine) == LIMITS.per_account
            return "refused"
        assert not any(exclusive or lock.exclusive for lock in meets)
        wanted.token = held.token
        assert held.token not in {lock.token for lock in self.model}
        self.model.append(wanted)
        return held.token

    @rule(token=tokens, account=accounts, seconds=times)
    def refresh(self, token: str, account: str, seconds: float) -> None:
        mine = [lock for lock in self.living() if (lock.token, lock.account) == (token, account)]
        try:
            held = run(self.table.refresh(token, account, seconds))
        except NotFound:
            assert mine == []
            return
        mine[0].end = self.now + held.left
        assert held.left == min(seconds, LIMITS.seconds)

    @rule(token=tokens, account=st.one_of(accounts, st.none()))
    def release(self, token: str, account: str | None) -> None:
        mine = [lock for lock in self.living() if lock.token == token and account in (None, lock.account)]
        assert run(self.table.release(token, account)) is bool(mine)
        self.model = [lock for lock in self.model if lock not in mine]

    @rule(place=places)
    def forget(self, place: str) -> None:
        run(self.table.forget(place))
        self.model = [lock for lock in self.living() if not (lock.place == place or below(lock.place, place))]

    @rule(seconds=st.integers(1, 40))
    def later(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def every_question_has_the_same_answer(self) -> None:
        living = self.living()
        for place in PLACES:
            covering = {lock.token for lock in run(self.table.covering(place))}
            within = {lock.token for lock in run(self.table.within(place))}
            assert covering == {lock.token for lock in living if lock.covers(place)}
            inside = {lock.token for lock in living if lock.place == place or below(lock.place, place)}
            assert within == inside
            above = any(below(place, lock.place) for lock in living)
            assert self.table.may_concern(place) is bool(inside or above)
        assert sorted(lock.token for lock in run(self.table.all())) == sorted(lock.token for lock in living)
        assert self.table.active is bool(living)
        for lock in run(self.table.all("eva")):
            assert lock.account == "eva"
            assert 0 < lock.left <= LIMITS.seconds


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_waiting_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="it waited"):
        run(asyncio.sleep(0))
