# SPDX-License-Identifier: Apache-2.0
"""The contract on write locks (RFC 4918 sections 6 and 7): one body of checks for every driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tidegate.cluster.memory import MemoryLocks
from tidegate.contracts.cluster import MAX_OWNER, LockLimits, LockRequest, LockTable
from tidegate.errors import InvalidArgument, Locked, NotFound, PeerLimit

DRIVERS = ("memory",)
LIMITS = LockLimits(seconds=3600.0, locks=8, per_account=5)


@dataclass
class Clock:
    """Seconds that a test moves on."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A lock table and its clock."""

    locks: LockTable
    clock: Clock


def memory_table() -> Bench:
    clock = Clock()
    return Bench(MemoryLocks(LIMITS, clock=clock), clock)


@pytest.fixture(params=DRIVERS)
def bench(request: pytest.FixtureRequest) -> Bench:
    made: dict[str, Callable[[], Bench]] = {"memory": memory_table}
    return made[request.param]()


def wanted(place: str, account: str = "eva", **fields: object) -> LockRequest:
    defaults: dict[str, object] = {"place": place, "account": account, "seconds": 60.0}
    return LockRequest(**(defaults | fields))  # type: ignore[arg-type]


async def places(bench: Bench) -> list[str]:
    return [lock.place for lock in await bench.locks.all()]


# -- acquiring -----------------------------------------------------------------------------------------------


async def test_a_lock_is_told_as_it_was_asked_for(bench: Bench) -> None:
    held = await bench.locks.acquire(wanted("s:/a", path="/a", owner="<D:href>me</D:href>", deep=True))

    assert (held.place, held.account, held.path) == ("s:/a", "eva", "/a")
    assert (held.exclusive, held.deep, held.owner) == (True, True, "<D:href>me</D:href>")
    assert held.seconds == held.left == 60.0
    assert await bench.locks.covering("s:/a") == [held]


async def test_tokens_are_uris_that_nobody_guesses(bench: Bench) -> None:
    tokens = set()
    for _ in range(50):
        held = await bench.locks.acquire(wanted("s:/a"))
        tokens.add(held.token)
        assert await bench.locks.release(held.token, "eva")
    assert len(tokens) == 50
    assert all(token.startswith("urn:uuid:") and len(token) == 45 for token in tokens)


@pytest.mark.parametrize("second", ["eva", "bob"])
async def test_an_exclusive_lock_excludes_every_other(bench: Bench, second: str) -> None:
    await bench.locks.acquire(wanted("s:/a"))
    for exclusive in (True, False):
        with pytest.raises(Locked) as caught:
            await bench.locks.acquire(wanted("s:/a", second, exclusive=exclusive))
        assert (caught.value.holder, caught.value.place) == ("eva", "s:/a")
    assert len(await bench.locks.all()) == 1


async def test_shared_locks_go_together_and_keep_exclusive_ones_out(bench: Bench) -> None:
    await bench.locks.acquire(wanted("s:/a", exclusive=False))
    await bench.locks.acquire(wanted("s:/a", "bob", exclusive=False))
    with pytest.raises(Locked):
        await bench.locks.acquire(wanted("s:/a", "cy"))
    assert {lock.account for lock in await bench.locks.covering("s:/a")} == {"eva", "bob"}


@pytest.mark.parametrize(
    ("first", "first_deep", "second", "second_deep", "meet"),
    [
        ("s:/d", True, "s:/d/f", False, True),
        ("s:/d", True, "s:/d/e/f", False, True),
        ("s:/d", False, "s:/d/f", False, False),
        ("s:/d/f", False, "s:/d", True, True),
        ("s:/d/f", False, "s:/d", False, False),
        ("s:/d", True, "s:/dd", True, False),
        ("s:/d-f", True, "s:/d", True, False),
        ("s:/d/e/f", True, "s:/d/g", True, False),
        ("s:/d", True, "t:/d", True, False),
        ("s:", True, "s:/d/e", False, True),
    ],
)
async def test_locks_meet_where_they_cover_the_same(  # noqa: PLR0917
    bench: Bench, first: str, first_deep: bool, second: str, second_deep: bool, meet: bool
) -> None:
    await bench.locks.acquire(wanted(first, deep=first_deep))
    if meet:
        with pytest.raises(Locked):
            await bench.locks.acquire(wanted(second, "bob", deep=second_deep))
    else:
        await bench.locks.acquire(wanted(second, "bob", deep=second_deep))


# -- asking --------------------------------------------------------------------------------------------------


async def test_what_covers_and_what_lies_within(bench: Bench) -> None:
    for place, deep in (("s:/d", True), ("s:/x", False), ("s:/x/y", False), ("s:/x-y", False)):
        await bench.locks.acquire(wanted(place, deep=deep))

    async def covering(place: str) -> list[str]:
        return [lock.place for lock in await bench.locks.covering(place)]

    async def within(place: str) -> list[str]:
        return [lock.place for lock in await bench.locks.within(place)]

    assert await covering("s:/d/e/f") == ["s:/d"]
    assert await covering("s:/x/z") == []
    assert await covering("s:/x") == ["s:/x"]
    assert await within("s:/x") == ["s:/x", "s:/x/y"]
    assert await within("s:/d/e") == []
    assert sorted(await within("s:")) == ["s:/d", "s:/x", "s:/x-y", "s:/x/y"]
    for concerned in ("s:/d", "s:/d/e/f", "s:", "s:/x/z", "s:/x/y/z"):
        assert bench.locks.may_concern(concerned)
    assert not bench.locks.may_concern("s:/other")
    assert not bench.locks.may_concern("t:")


async def test_nothing_is_active_before_the_first_lock_and_after_the_last(bench: Bench) -> None:
    assert not bench.locks.active
    before = bench.locks.generation
    held = await bench.locks.acquire(wanted("s:/a"))
    assert bench.locks.active
    assert bench.locks.generation != before
    await bench.locks.release(held.token, "eva")
    assert not bench.locks.active


# -- ending --------------------------------------------------------------------------------------------------


async def test_a_lock_ends_by_itself(bench: Bench) -> None:
    await bench.locks.acquire(wanted("s:/a", seconds=10.0))
    bench.clock.now += 9.9
    assert [round(lock.left, 3) for lock in await bench.locks.covering("s:/a")] == [0.1]
    bench.clock.now += 0.1
    assert await bench.locks.covering("s:/a") == []
    assert not bench.locks.active
    await bench.locks.acquire(wanted("s:/a", "bob"))


async def test_refreshing_begins_the_time_anew(bench: Bench) -> None:
    held = await bench.locks.acquire(wanted("s:/a", seconds=10.0))
    for _ in range(300):
        bench.clock.now += 9.0
        again = await bench.locks.refresh(held.token, "eva", 10.0)
        assert (again.token, again.left) == (held.token, 10.0)
    bench.clock.now += 10.0
    with pytest.raises(NotFound):
        await bench.locks.refresh(held.token, "eva", 10.0)


async def test_a_shorter_refresh_ends_earlier(bench: Bench) -> None:
    held = await bench.locks.acquire(wanted("s:/a", seconds=1000.0))
    await bench.locks.refresh(held.token, "eva", 5.0)
    bench.clock.now += 5.0
    assert await bench.locks.covering("s:/a") == []


async def test_a_lock_belongs_to_its_account(bench: Bench) -> None:
    held = await bench.locks.acquire(wanted("s:/a"))
    with pytest.raises(NotFound):
        await bench.locks.refresh(held.token, "bob", 10.0)
    assert not await bench.locks.release(held.token, "bob")
    assert await places(bench) == ["s:/a"]
    assert await bench.locks.release(held.token, None)  # an operator
    assert not await bench.locks.release(held.token, "eva")


async def test_locks_of_what_is_gone_end(bench: Bench) -> None:
    for place in ("s:/d", "s:/d/e", "s:/d/e/f", "s:/de"):
        await bench.locks.acquire(wanted(place))
    await bench.locks.forget("s:/d/e")
    assert await places(bench) == ["s:/d", "s:/de"]
    await bench.locks.forget("s:/d")
    assert await places(bench) == ["s:/de"]
    await bench.locks.forget("s:/nothing")


# -- bounds --------------------------------------------------------------------------------------------------


async def test_an_account_and_the_server_hold_so_many(bench: Bench) -> None:
    for number in range(LIMITS.per_account):
        held = await bench.locks.acquire(wanted(f"s:/eva/{number}"))
    with pytest.raises(PeerLimit, match="the account holds 5"):
        await bench.locks.acquire(wanted("s:/eva/more"))
    for number in range(LIMITS.locks - LIMITS.per_account):
        await bench.locks.acquire(wanted(f"s:/bob/{number}", "bob"))
    with pytest.raises(PeerLimit, match="the server holds 8"):
        await bench.locks.acquire(wanted("s:/cy", "cy"))
    await bench.locks.release(held.token, "eva")
    await bench.locks.acquire(wanted("s:/cy", "cy"))
    with pytest.raises(PeerLimit):
        await bench.locks.acquire(wanted("s:/eva/more"))


async def test_what_ran_out_counts_no_more(bench: Bench) -> None:
    for number in range(LIMITS.per_account):
        await bench.locks.acquire(wanted(f"s:/eva/{number}", seconds=1.0))
    bench.clock.now += 1.0
    await bench.locks.acquire(wanted("s:/eva/more"))
    assert await places(bench) == ["s:/eva/more"]


async def test_a_longer_time_than_the_limit_is_the_limit(bench: Bench) -> None:
    held = await bench.locks.acquire(wanted("s:/a", seconds=1e12))
    assert held.seconds == held.left == 3600.0
    assert (await bench.locks.refresh(held.token, "eva", float("inf"))).left == 3600.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
async def test_no_time_is_no_lock(bench: Bench, seconds: float) -> None:
    with pytest.raises(InvalidArgument):
        await bench.locks.acquire(wanted("s:/a", seconds=seconds))
    assert not bench.locks.active


async def test_what_a_client_says_about_the_owner_is_bounded(bench: Bench) -> None:
    await bench.locks.acquire(wanted("s:/a", owner="x" * MAX_OWNER))
    with pytest.raises(InvalidArgument, match="owner"):
        await bench.locks.acquire(wanted("s:/b", owner="x" * (MAX_OWNER + 1)))


# -- storage that moves --------------------------------------------------------------------------------------


async def test_locks_follow_storage_that_moves(bench: Bench) -> None:
    root = await bench.locks.acquire(wanted("s:/a", "eva", deep=False, path="/"))
    inner = await bench.locks.acquire(wanted("s:/a/x/y", "eva", deep=True, path="/x/y", owner="me"))
    bobs = await bench.locks.acquire(wanted("s:/a/z", "bob"))
    beside = await bench.locks.acquire(wanted("s:/ab", "eva"))
    bench.clock.now += 10
    before = bench.locks.generation

    await bench.locks.relocate("s:/a", "t#b", {"eva"})

    assert bench.locks.generation != before
    assert await places(bench) == ["s:/a/z", "s:/ab", "t#b", "t#b/x/y"]
    (held,) = await bench.locks.covering("t#b/x/y/deeper")
    assert (held.token, held.path, held.owner, held.left) == (inner.token, "/x/y", "me", 50.0)
    with pytest.raises(Locked):
        await bench.locks.acquire(wanted("t#b/x/y", "bob"))
    assert await bench.locks.covering("s:/a/x/y") == []
    for held in (root, inner, beside):
        assert await bench.locks.release(held.token, "eva")
    assert await bench.locks.release(bobs.token, "bob")
    assert not bench.locks.may_concern("t#b")


@pytest.mark.parametrize(("source", "target"), [("s:/a", "s:/a"), ("s:/a", "s:/a/b"), ("s:/a/b", "s:/a")])
async def test_no_storage_moves_into_itself(bench: Bench, source: str, target: str) -> None:
    held = await bench.locks.acquire(wanted("s:/a/b"))
    await bench.locks.relocate(source, target, {"eva"})
    assert await bench.locks.covering("s:/a/b") == [held]


async def test_a_lock_that_has_ended_does_not_follow(bench: Bench) -> None:
    await bench.locks.acquire(wanted("s:/a"))
    bench.clock.now += 60
    await bench.locks.relocate("s:/a", "t:/a", {"eva"})
    assert await places(bench) == []
