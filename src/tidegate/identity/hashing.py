# SPDX-License-Identifier: Apache-2.0
"""Password work off the event loop: bounded threads, memory and queues, equal time for every refusal."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import secrets
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from tidegate.errors import LoginRefused
from tidegate.identity.budget import Budget
from tidegate.identity.cache import VerifiedCache
from tidegate.identity.passwords import (
    DEFAULT_OPTIONS,
    HashOptions,
    Unusable,
    check,
    hash_password,
    needs_upgrade,
    refusal_seconds,
    settled,
)
from tidegate.model.sources import Sources
from tidegate.policy.hash_costs import NO_COST, HashCost, cost_of

WORKERS: Final = 4
"""Hashes computed at once."""
MAX_WAITING: Final = 128
"""Hashes asked for and not done; the next login is refused as ``busy``."""
MAX_WAITING_PER_SOURCE: Final = 32
"""The share of one source, so that a single guesser cannot shut everybody else out."""
RESERVED_PART: Final = 4
"""One part in so many of the queue is for hosts that have nothing in it, so that a few guessers together
cannot shut everybody else out either."""
MEMORY_KIB: Final = 256 * 1024
"""Memory of the hashes that are computed at once, in KiB; what does not fit waits."""
DEAR_MILLISECONDS: Final = 250.0
"""A hash that takes longer, or more than half of `MEMORY_KIB`, is dear. Dear ones have one thread and as much
memory of their own: logins with ordinary ones do not wait behind them."""
HASH_NICENESS: Final = 10
"""The threads are so much nicer than the thread of the loop."""
SPARING_WORKERS: Final = 1
"""Hashes of one kind computed at once while transfers go short of what they take (`resources.newcomers`)."""
MAX_DEAR_WAITING: Final = 16
"""Dear hashes asked for and not done."""
_MAX_REPORTED: Final = 1000
"""Unusable stored hashes that are remembered as reported."""

Check = Callable[[str, str], bool]
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def yield_to_the_loop() -> None:
    """Have the calling thread run behind the others of its process.

    Guesses at passwords then take what transfers leave of the processor. On Linux threads have priorities of
    their own; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            number = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, number, os.getpriority(os.PRIO_PROCESS, number) + HASH_NICENESS)


class _Line:
    """Threads that compute one kind of hashes, and the memory that they may take together."""

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        self.executor = ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=yield_to_the_loop)
        self.memory = Budget(MEMORY_KIB)
        self.max_waiting = max_waiting
        self.waiting = 0
        self._workers = workers
        self._running = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def begin(self, spares: Callable[[], bool]) -> None:
        """Wait for a thread, in order; `end` has to follow. While `spares()` is true one thread works."""
        if self._queue or self._running >= (SPARING_WORKERS if spares() else self._workers):
            place = asyncio.get_running_loop().create_future()
            self._queue.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.cancelled():
                    with contextlib.suppress(ValueError):  # `end` has passed it over
                        self._queue.remove(place)
                else:
                    self.end(spares)  # the thread was given to us at this very moment
                raise
        else:
            self._running += 1

    def drop(self) -> None:
        """Cancel those who wait."""
        for place in self._queue:
            place.cancel()
        self._queue.clear()

    def end(self, spares: Callable[[], bool]) -> None:
        """Give back a thread; those who wait get as many as may work now."""
        self._running -= 1
        most = SPARING_WORKERS if self._queue and spares() else self._workers
        while self._queue and self._running < most:
            place = self._queue.popleft()
            if not place.done():
                self._running += 1
                place.set_result(None)


class HashPool:
    """Threads for hashing; hashing libraries compute without holding the interpreter.

    Bounds: hashes that wait, in all and by host; the memory of those computed at once; one at a time for an
    account, so that guesses at one name take one thread at most; dear hashes have a thread of their own.

    Args:
        spares: True while threads take from transfers what they compute with; then each kind has one.
        sources: the rule on whose share of the queue one is.
    """

    def __init__(
        self,
        *,
        sources: Sources | None = None,
        workers: int = WORKERS,
        max_waiting: int = MAX_WAITING,
        max_waiting_per_source: int = MAX_WAITING_PER_SOURCE,
        spares: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spares = spares
        self._sources = sources or Sources()
        self._usual = _Line("tidegate-hash", workers=workers, max_waiting=max_waiting)
        self._dear = _Line("tidegate-dear-hash", workers=1, max_waiting=min(max_waiting, MAX_DEAR_WAITING))
        self._max_per_source = max_waiting_per_source
        self._by_source: Counter[str] = Counter()
        self._turns: dict[str, _Turn] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """Hashes asked for and not done."""
        return self._usual.waiting + self._dear.waiting

    async def run(
        self, source: str, function: Callable[[], _T], *, account: str = "", cost: HashCost = NO_COST
    ) -> _T:
        """Call `function` in a thread. A cancelled caller whose turn has not come leaves the queue.

        Args:
            source: whose share of the queue this takes, usually an address (of which the source counts, so
                that nobody fills the queue from one IPv6 network); empty for our own work.
            account: of those with one name one is computed at a time; empty for no such limit.
            cost: what it takes.

        Raises:
            LoginRefused: the queue, or the source's share of it, is full, or the pool is closed; nothing was
                started.
        """
        source = self._sources.of(source)
        dear = cost.milliseconds > DEAR_MILLISECONDS or cost.memory_kib > MEMORY_KIB // 2
        line = self._dear if dear else self._usual
        mine = self._by_source[source] if source else 0
        room = line.max_waiting - (line.max_waiting // RESERVED_PART if mine else 0)
        if line.waiting >= room or mine >= self._max_per_source:
            raise LoginRefused("busy")
        loop = asyncio.get_running_loop()
        held = contextlib.ExitStack()  # what the job holds until it is really over
        held.callback(self._leave, line, source)
        line.waiting += 1
        self._by_source[source] += 1
        try:
            if account:
                await self._take_turn(account, held)
            await line.memory.take(cost.memory_kib)
            held.callback(line.memory.give, cost.memory_kib)
            await line.begin(self._spares)
            held.callback(line.end, self._spares)
            if self._closed:
                raise LoginRefused("shutdown")
            job = line.executor.submit(function)
        except BaseException:
            held.close()
            raise

        def done(_: Future[_T]) -> None:
            # The loop may have ended while a thread was still computing; then nobody counts any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(held.close)

        job.add_done_callback(done)
        return await asyncio.wrap_future(job)

    async def _take_turn(self, account: str, held: contextlib.ExitStack) -> None:
        turn = self._turns.get(account)
        if turn is None:
            turn = self._turns[account] = _Turn()
        turn.wanted += 1
        held.callback(self._leave_turn, account, turn)
        await turn.lock.acquire()
        held.callback(turn.lock.release)

    def _leave_turn(self, account: str, turn: _Turn) -> None:
        turn.wanted -= 1
        if not turn.wanted:
            del self._turns[account]

    def _leave(self, line: _Line, source: str) -> None:
        line.waiting -= 1
        self._by_source[source] -= 1
        if self._by_source[source] <= 0:
            del self._by_source[source]

    async def close(self) -> None:
        """Drop what has not begun and wait for what has, about a second at most; legal twice."""
        self._closed = True
        for line in (self._usual, self._dear):
            line.drop()
            await asyncio.to_thread(line.executor.shutdown, wait=True, cancel_futures=True)


class _Turn:
    """One account's turn; `wanted` counts those that hold it or wait for it."""

    __slots__ = ("lock", "wanted")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


class _Found(NamedTuple):
    """The end of one check.

    Attributes:
        right: the password fits.
        problem: why nobody can log in with what is stored; empty if it can be checked.
        seconds: of computing.
    """

    right: bool
    problem: str
    seconds: float


class PasswordChecker:
    """Checks passwords of accounts so that a refusal tells nothing by its time.

    An unknown user, one without a password and one with an unusable hash cost one check of a hash with the
    preferred parameters that nothing fits. Whatever was computed, a refusal comes no sooner than the time
    that the dearest common hash takes on this machine (`refusal_seconds`); only hashes that are dearer still
    can be told.

    Args:
        monotonic: seconds; measures what was computed.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        pool: HashPool,
        cache: VerifiedCache,
        *,
        options: HashOptions = DEFAULT_OPTIONS,
        check: Check = check,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._options = options
        self._check = check
        self._monotonic = monotonic
        self._pause = pause
        self._decoy = ""
        self._least = 0.0
        self._reported: OrderedDict[tuple[str, int], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Hashes asked for and not done."""
        return self._pool.waiting

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        """True if `password` is the one of `stored`; pass an empty `stored` where there is none.

        Raises:
            LoginRefused: too many checks are waiting (reason ``busy``).
        """
        if stored and password and self._cache.knows(username, stored, password):
            return True
        if not self._decoy:
            await self._pool.run("", self._measure)
        found = await self._pool.run(
            source,
            lambda: self._compute(stored, password),
            account=username,
            cost=cost_of(stored or self._decoy),
        )
        if found.right:
            self._cache.remember(username, stored, password)
            return True
        if found.problem:
            self._report(username, stored, found.problem)
        await self._pause(max(0.0, self._least - found.seconds))
        return False

    async def replacement(self, username: str, stored: str, password: str) -> str | None:
        """A preferred hash of a password that was just right, or None if `stored` is preferred already."""
        if not needs_upgrade(stored, self._options):
            return None
        made = await self.hash(password)
        self._cache.remember(username, made, password)
        return made

    async def hash(self, password: str, *, source: str = "") -> str:
        """A new hash with the preferred parameters.

        Raises:
            InvalidArgument: the password cannot be hashed (empty, too long, NUL).
            LoginRefused: too many hashes are waiting (reason ``busy``).
        """
        return await self._pool.run(
            source, lambda: hash_password(password, self._options), cost=cost_of(self._decoy)
        )

    async def off_loop(self, source: str, function: Callable[[], _T]) -> _T:
        """Call something short that blocks in one of the hashing threads.

        Raises:
            LoginRefused: too many checks are waiting (reason ``busy``).
        """
        return await self._pool.run(source, function)

    def _measure(self) -> None:
        """In a thread, once: settle costs and the time of refusals."""
        self._least = refusal_seconds(self._options)
        self._decoy = decoy_hash(settled(self._options))

    def _compute(self, stored: str, password: str) -> _Found:
        """In a thread: check, against the decoy if nothing usable is stored."""
        began = self._monotonic()
        right, problem = False, ""
        if stored:
            try:
                right = self._check(password, stored) and bool(password)
            except Unusable as error:
                problem = str(error)
        if not stored or problem:
            self._check(password, self._decoy)
        return _Found(right, problem, self._monotonic() - began)

    def _report(self, username: str, stored: str, problem: str) -> None:
        """Say once for each account and hash that nobody can log in with it."""
        known = (username, hash(stored))
        if known in self._reported:
            return
        self._reported[known] = None
        if len(self._reported) > _MAX_REPORTED:
            self._reported.popitem(last=False)
        _log.warning("password of user %r cannot be checked: %s", username, problem)


def decoy_hash(options: HashOptions) -> str:
    """A well-formed hash with the preferred parameters, which are settled, that no known password fits."""
    if options.algorithm == "bcrypt":
        # The last salt character carries two bits and the last digest character four: keep them legal.
        body = base64.b64encode(secrets.token_bytes(39), altchars=b"./").decode()
        return f"$2b${options.bcrypt_cost:02d}${body[:21]}u{body[21:51]}u"
    salt, tag = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    costs = f"m={options.argon2_memory_kib},t={options.argon2_iterations},p={options.argon2_parallelism}"
    return f"$argon2id$v=19${costs}${salt}${tag}"
