# SPDX-License-Identifier: Apache-2.0
"""Hashing under attack: costs, memory, turns and the time of a refusal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from tests.support.accounts import plain_account
from tests.support.people import CHEAP, HASHED, LEGACY, SECRET

from tidegate.errors import BadRecord, LoginRefused
from tidegate.identity import hashing, passwords
from tidegate.identity.budget import Budget
from tidegate.identity.cache import VerifiedCache
from tidegate.identity.hashing import MEMORY_KIB, HashPool, PasswordChecker
from tidegate.model import Admin, ApiKey
from tidegate.policy.hash_costs import MAX_MEMORY_KIB, NO_COST, HashCost, cost_of
from tidegate.store.validate import check_account, check_admin, check_api_key

TAIL = "$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43
BODY = "a" * 53
ALLOWED = [
    f"$argon2id$v=19$m={MAX_MEMORY_KIB},t=4,p=64{TAIL}",
    f"$argon2i$m=1024,t=1024,p=1{TAIL}",
    f"$2a$14${BODY}",
    "$pbkdf2-sha256$2000000$salt$" + "A" * 43 + "=",
    "$6$rounds=1000000$salt$" + "a" * 86,
    "{CRYPT}$5$rounds=1000000$salt$" + "a" * 43,
    "$y$j9T$salt$" + "a" * 43,
    "$y$jDT$salt$" + "a" * 43,  # 256 MiB
    "$7$DU..../....2Q9obwLhin8qvQl6sisAO/$" + "a" * 43,
]
TOO_DEAR = [
    (f"$argon2id$v=19$m={MAX_MEMORY_KIB + 1},t=1,p=1{TAIL}", "262145 KiB"),
    (f"$argon2id$v=19$m={MAX_MEMORY_KIB},t=5,p=1{TAIL}", "5 passes"),
    (f"$argon2d$v=19$m=1048576,t=1,p=1{TAIL}", "1048576 KiB"),
    (f"$argon2id$m=64,t=1,p=65{TAIL}", "65 lanes"),
    (f"$2a$15${BODY}", "bcrypt cost 15"),
    (f"$2y$20${BODY}", "bcrypt cost 20"),
    (f"$2b$99${BODY}", "bcrypt cost 99"),
    ("$pbkdf2-b64salt-sha256$2000001$salt$AAAA", "2000001 iterations"),
    ("$pbkdf2-sha512$99999999999999999999$salt$AAAA", "99999999999999999999 iterations"),
    ("$6$rounds=1000001$salt$a", "1000001 rounds"),
    ("{CRYPT}$5$rounds=999999999$salt$a", "999999999 rounds"),
    ("$y$jET$salt$a", "KiB of memory"),
    ("{CRYPT}$gy$jzT$salt$a", "KiB of memory"),
    ("$7$IU..../....salt$a", "KiB of memory"),
    ("$7$DU....//...salt$a", "lanes"),
]


@pytest.mark.parametrize("stored", ALLOWED)
def test_what_software_of_this_field_writes_is_allowed(stored: str) -> None:
    assert cost_of(stored).excess == ""
    assert check_account(plain_account("a", password=stored)).password == stored


@pytest.mark.parametrize(("stored", "text"), TOO_DEAR)
def test_a_hash_that_costs_too_much_is_neither_stored_nor_computed(stored: str, text: str) -> None:
    for check, record, field in (
        (check_account, plain_account("a", password=stored), "users\\[3\\].password"),
        (check_admin, Admin(username="a", password=stored, permissions=("*",)), "users\\[3\\].password"),
        (check_api_key, ApiKey(id="a", name="a", key=stored, scope=1), "users\\[3\\].key"),
    ):
        with pytest.raises(BadRecord, match=f"{field}.*{text}") as caught:
            check(record, where="users[3].")  # type: ignore[operator]
        assert stored not in str(caught.value)
    if stored.startswith(passwords.PREFIXES):
        with pytest.raises(passwords.Unusable, match=text):
            passwords.check("password", stored)


@pytest.mark.parametrize(
    "stored", ["", "plain", "$1$abcdefgh$x", "{MD5}x", "$argon2id$", "$2a$", "$6$salt$x"]
)
def test_hashes_without_a_cost_have_none(stored: str) -> None:
    assert cost_of(stored) == NO_COST


@pytest.mark.parametrize(
    ("stored", "memory", "milliseconds", "excess"),
    [
        (f"$argon2id$v=19$m={MAX_MEMORY_KIB},t=4,p=64{TAIL}", MAX_MEMORY_KIB, 1024, ""),
        (f"$argon2id$m=1024,t=1024,p=1{TAIL}", 1024, 1024, ""),
        (f"$argon2id$m=1024,t=1025,p=1{TAIL}", 1024, 1025,
         "argon2 hash asks for 1025 passes over 1024 KiB, more than 1048576 in all"),
        (f"$argon2i$m=262145,t=1,p=1{TAIL}", 262145, 256,
         "argon2 hash asks for 262145 KiB of memory, more than 262144"),
        (f"$argon2id$m=520,t=1,p=65{TAIL}", 520, 0.508, "argon2 hash asks for 65 lanes, more than 64"),
        (f"$2a$04${BODY}", 0, 0.96, ""),
        (f"$2b$14${BODY}", 0, 983.04, ""),
        (f"$2y$15${BODY}", 0, 1966.08, "bcrypt cost 15 is above 14"),
        ("$pbkdf2-sha256$2000000$salt$AAAA", 0, 1000, ""),
        ("$pbkdf2-sha256$2000001$salt$AAAA", 0, 1000, "PBKDF2 hash asks for 2000001 iterations, more than 2000000"),
        ("$5$rounds=1000000$salt$a", 0, 666.7, ""),
        ("{CRYPT}$6$rounds=1000001$salt$a", 0, 666.7, "$6$ hash asks for 1000001 rounds, more than 1000000"),
        ("$7$DU..../....salt$a", 131072, 384, ""),  # N 2^15, r 32, p 1
        ("$y$j9T$salt$a", 16384, 48, ""),
        ("$y$j95$salt$a", 4096, 12, ""),
        ("$gy$jDT$salt$a", 262144, 768, ""),
        ("$y$jET$salt$a", 524288, 1536, "$y$ hash asks for 524288 KiB of memory, more than 262144"),
    ],
)  # fmt: skip
def test_what_a_hash_costs(stored: str, memory: int, milliseconds: float, excess: str) -> None:
    cost = cost_of(stored)
    assert (cost.memory_kib, cost.excess) == (memory, excess)
    assert cost.milliseconds == pytest.approx(milliseconds, rel=0.01)


@pytest.mark.parametrize(
    ("lanes", "count"), [("/....", 1), ("./...", 64), ("//...", 65), ("z/...", 127), ("../..", 4096)]
)
def test_lanes_of_scrypt(lanes: str, count: int) -> None:
    """Numbers of scrypt have their least significant digit first."""
    cost = cost_of(f"$7$2/....{lanes}salt$a")
    assert cost.memory_kib == 2
    assert cost.milliseconds == pytest.approx(6 * count / 1024)
    assert cost.excess == (f"$7$ hash asks for {count} lanes, more than 64" if count > 64 else "")


# -- the pool ----------------------------------------------------------------------------------------------


@pytest.fixture
async def pool() -> AsyncIterator[HashPool]:
    pool = HashPool(workers=2)
    yield pool
    await pool.close()


class Stage:
    """Jobs that say when they run, and wait until they may end."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.entered = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self._lock = threading.Lock()

    def job(self, name: str) -> None:
        with self._lock:
            self.running.append(name)
            self.most = max(self.most, len(self.running))
        self.entered.release()
        assert self.may_end.acquire(timeout=20)
        with self._lock:
            self.running.remove(name)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, True, 20)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    for _ in range(100):
        stage.may_end.release()


async def turns() -> None:
    """Let everything happen that can without the threads."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_job_at_a_time_for_an_account(pool: HashPool, stage: Stage) -> None:
    guesses = [
        asyncio.create_task(pool.run(f"192.0.2.{n}", lambda: stage.job("guess"), account="ada"))
        for n in range(5)
    ]
    await stage.wait_entered()
    other = asyncio.create_task(pool.run("192.0.2.99", lambda: stage.job("other"), account="bob"))
    await stage.wait_entered()
    assert sorted(stage.running) == ["guess", "other"]  # the second thread was left for bob
    guesses[1].cancel()  # one that waits leaves
    for _ in range(5):
        stage.may_end.release()
    await asyncio.gather(*guesses, other, return_exceptions=True)
    await turns()
    assert stage.most == 2 and pool.waiting == 0 and not pool._turns and not pool._by_source


async def test_memory_in_flight_is_bounded(pool: HashPool, stage: Stage) -> None:
    half = HashCost(MEMORY_KIB // 2, 1.0)
    jobs = [asyncio.create_task(pool.run("", lambda: stage.job("half"), cost=half)) for _ in range(2)]
    for _ in jobs:
        await stage.wait_entered()
    small = asyncio.create_task(pool.run("", lambda: stage.job("small"), cost=HashCost(1, 1.0)))
    await turns()
    assert stage.running == ["half", "half"]
    jobs[0].cancel()  # the caller leaves, the thread goes on and keeps its memory
    await turns()
    assert pool._usual.memory.free == 0 and not small.done()
    stage.may_end.release()
    await stage.wait_entered()
    for _ in range(2):
        stage.may_end.release()
    await asyncio.gather(jobs[1], small)
    await turns()
    assert pool._usual.memory.free == MEMORY_KIB and pool.waiting == 0


async def test_dear_hashes_do_not_keep_ordinary_ones_out(pool: HashPool, stage: Stage) -> None:
    for dear in (cost_of(f"$2a$14${BODY}"), cost_of(f"$argon2id$m={MAX_MEMORY_KIB},t=1,p=1{TAIL}")):
        jobs = [
            asyncio.create_task(pool.run(f"192.0.2.{n}", lambda: stage.job("dear"), cost=dear))
            for n in range(16)
        ]
        await stage.wait_entered()
        with pytest.raises(LoginRefused, match="busy"):
            await pool.run("192.0.2.99", lambda: stage.job("dear"), cost=dear)
        ordinary = asyncio.create_task(
            pool.run("192.0.2.7", lambda: stage.job("ordinary"), cost=HashCost(65536))
        )
        await stage.wait_entered()
        assert sorted(stage.running) == ["dear", "ordinary"]
        for _ in range(17):
            stage.may_end.release()
        await asyncio.gather(*jobs, ordinary)
        while not stage.entered.acquire(blocking=False):
            pass
        while stage.entered.acquire(blocking=False):
            pass
        await turns()


async def test_a_pool_that_closes_starts_nothing_more(stage: Stage) -> None:
    pool = HashPool(workers=1)
    first = asyncio.create_task(pool.run("", lambda: stage.job("first"), account="ada"))
    await stage.wait_entered()
    queued = asyncio.create_task(pool.run("", lambda: stage.job("queued")))
    behind = asyncio.create_task(pool.run("", lambda: stage.job("behind"), account="ada"))
    await turns()
    closing = asyncio.create_task(pool.close())
    with pytest.raises(asyncio.CancelledError):
        await queued
    stage.may_end.release()
    await asyncio.gather(first, closing)
    with pytest.raises(LoginRefused, match="shutdown"):
        await behind
    assert stage.entered.acquire(blocking=False) is False


async def test_while_transfers_go_short_hashes_are_computed_one_at_a_time(stage: Stage) -> None:
    sparing = True
    pool = HashPool(workers=3, spares=lambda: sparing)
    jobs = [asyncio.create_task(pool.run("", lambda n=n: stage.job(str(n)))) for n in range(6)]
    await stage.wait_entered()
    await turns()
    assert not stage.entered.acquire(blocking=False)
    jobs[1].cancel()  # who leaves makes no room
    await turns()
    stage.may_end.release()
    await stage.wait_entered()
    await turns()
    assert not stage.entered.acquire(blocking=False)
    sparing = False
    stage.may_end.release()
    for _ in range(3):
        await stage.wait_entered()  # as many as there are threads
    for _ in range(3):
        stage.may_end.release()
    done = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(one, BaseException) for one in done] == [number == 1 for number in range(6)]
    await pool.close()


async def test_budget_is_first_come_first_served_and_survives_leavers() -> None:
    budget = Budget(10)
    await budget.take(6)
    large = asyncio.create_task(budget.take(99))  # more than there is: all of it, alone
    small = asyncio.create_task(budget.take(1))
    await turns()
    assert not large.done() and not small.done()
    large.cancel()
    await turns()
    assert small.done() and budget.free == 3
    budget.give(1)
    budget.give(6)
    alone = asyncio.create_task(budget.take(99))
    await turns()
    assert alone.done() and budget.free == 0
    late = asyncio.create_task(budget.take(5))
    await turns()
    budget.give(99)  # late's turn has come...
    late.cancel()  # ...and nobody is left to use it
    await turns()
    assert budget.free == 10


# -- what a refusal tells ----------------------------------------------------------------------------------


class Clock:
    """Seconds that pass only while a hash is computed."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def check(self, password: str, stored: str) -> bool:
        self.now += {"dear": 9.0}.get(stored, 0.010 if stored == LEGACY else 0.050)
        if stored == "broken":
            raise passwords.Unusable("broken")
        return password == SECRET and stored in (HASHED, LEGACY, "dear")

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.mark.parametrize("stored", ["", HASHED, LEGACY, "broken"], ids=["none", "usual", "legacy", "broken"])
async def test_every_refusal_takes_the_same_time(pool: HashPool, stored: str) -> None:
    clock = Clock()
    checker = PasswordChecker(
        pool, VerifiedCache(lambda: 0.0), options=CHEAP, check=clock.check,
        monotonic=lambda: clock.now, pause=clock.pause,
    )  # fmt: skip
    assert not await checker.fits("", "warm-up", "", "x")
    checker._least = 0.4
    began = clock.now
    assert not await checker.fits("", "ada", stored, "wrong")
    assert (clock.now - began) + clock.pauses[-1] == pytest.approx(0.4)
    if stored in (HASHED, LEGACY):
        paused = len(clock.pauses)
        assert await checker.fits("", "ada", stored, SECRET)
        assert len(clock.pauses) == paused  # who is right does not wait


async def test_only_what_is_dearer_than_common_can_be_told(pool: HashPool) -> None:
    clock = Clock()
    checker = PasswordChecker(
        pool, VerifiedCache(lambda: 0.0), options=CHEAP, check=clock.check,
        monotonic=lambda: clock.now, pause=clock.pause,
    )  # fmt: skip
    assert not await checker.fits("", "ada", "dear", "wrong")
    assert clock.pauses == [0.0]


def test_the_time_of_refusals_is_above_common_hashes_of_this_machine() -> None:
    cheap = replace(CHEAP, bcrypt_cost=4)
    assert 0 < passwords.refusal_seconds(cheap) < passwords.refusal_seconds(replace(cheap, bcrypt_cost=8))
    assert passwords.refusal_seconds(replace(cheap, bcrypt_cost=10)) > hashing.DEAR_MILLISECONDS / 10_000


async def test_a_few_guessers_together_leave_room_for_others():
    pool = HashPool(workers=1, max_waiting=8, max_waiting_per_source=4)
    go_on = threading.Event()
    tasks = []
    try:
        for number in range(8):
            source = f"192.0.2.{number % 2}"
            tasks.append(asyncio.create_task(pool.run(source, go_on.wait, account="alice")))
        await asyncio.sleep(0)
        assert pool.waiting == 6
        tasks.append(asyncio.create_task(pool.run("198.51.100.1", go_on.wait, account="bob")))
        await asyncio.sleep(0)
        assert pool.waiting == 7
        with pytest.raises(LoginRefused):
            await pool.run("198.51.100.1", go_on.wait, account="bob")
    finally:
        go_on.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await pool.close()
    assert sum(isinstance(end, LoginRefused) for end in ended) == 2
