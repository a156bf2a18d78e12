# SPDX-License-Identifier: Apache-2.0
"""Password work off the event loop: bounded threads, a bounded queue, equal cost for every refusal."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from tidegate.errors import LoginRefused
from tidegate.identity.cache import VerifiedCache
from tidegate.identity.passwords import (
    DEFAULT_OPTIONS,
    HashOptions,
    Unusable,
    check,
    hash_password,
    needs_upgrade,
)
from tidegate.policy.addresses import host_of

WORKERS: Final = 4
"""Hashes computed at once; argon2id takes 64 MiB for each by default."""
MAX_WAITING: Final = 128
"""Hashes asked for and not done; the next login is refused as ``busy``."""
MAX_WAITING_PER_SOURCE: Final = 32
"""The share of one host (IPv6: of one /64), so that a single guesser cannot shut everybody else out."""
_MAX_REPORTED: Final = 1000
"""Unusable stored hashes that are remembered as reported."""

Check = Callable[[str, str], bool]
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class HashPool:
    """Threads for hashing; hashing libraries compute without holding the interpreter."""

    def __init__(
        self,
        *,
        workers: int = WORKERS,
        max_waiting: int = MAX_WAITING,
        max_waiting_per_source: int = MAX_WAITING_PER_SOURCE,
    ) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="tidegate-hash")
        self._max_waiting = max_waiting
        self._max_per_source = max_waiting_per_source
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Hashes asked for and not done."""
        return self._waiting.total()

    async def run(self, source: str, function: Callable[[], _T]) -> _T:
        """Call `function` in a thread. A cancelled caller whose turn has not come leaves the queue.

        Args:
            source: whose share of the queue this takes, usually an address (of which the host counts, so that
                nobody fills the queue from one IPv6 network); empty for our own work.

        Raises:
            LoginRefused: the queue, or the source's share of it, is full; nothing was started.
        """
        source = host_of(source)
        if self.waiting >= self._max_waiting or (source and self._waiting[source] >= self._max_per_source):
            raise LoginRefused("busy")
        loop = asyncio.get_running_loop()
        self._waiting[source] += 1
        try:
            job = self._executor.submit(function)
        except RuntimeError:
            self._leave(source)
            raise LoginRefused("shutdown") from None

        def done(_: Future[_T]) -> None:
            # The loop may have ended while a thread was still computing; then nobody counts any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._leave, source)

        job.add_done_callback(done)
        return await asyncio.wrap_future(job)

    def _leave(self, source: str) -> None:
        self._waiting[source] -= 1
        if self._waiting[source] <= 0:
            del self._waiting[source]

    async def close(self) -> None:
        """Drop what has not begun and wait for what has; legal twice."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)


class PasswordChecker:
    """Checks passwords of accounts so that a refusal tells nothing by its time.

    An unknown user, one without a password and one with an unusable hash cost one check of a hash with the
    preferred parameters that nothing fits. A wrong password against a hash of another kind costs that check
    and the preferred one on top: cheap legacy hashes do not stand out.
    """

    def __init__(
        self,
        pool: HashPool,
        cache: VerifiedCache,
        *,
        options: HashOptions = DEFAULT_OPTIONS,
        check: Check = check,
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._options = options
        self._check = check
        self._decoy = decoy_hash(options)
        self._reported: OrderedDict[tuple[str, int], None] = OrderedDict()

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        """Whether `password` is the one of `stored`; pass an empty `stored` where there is none.

        Raises:
            LoginRefused: too many checks are waiting (reason ``busy``).
        """
        if stored and password and self._cache.knows(username, stored, password):
            return True
        right, problem = await self._pool.run(source, lambda: self._compute(stored, password))
        if right:
            self._cache.remember(username, stored, password)
        elif problem:
            self._report(username, stored, problem)
        return right

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
        return await self._pool.run(source, lambda: hash_password(password, self._options))

    async def off_loop(self, source: str, function: Callable[[], _T]) -> _T:
        """Call something short that blocks in one of the hashing threads.

        Raises:
            LoginRefused: too many checks are waiting (reason ``busy``).
        """
        return await self._pool.run(source, function)

    def _compute(self, stored: str, password: str) -> tuple[bool, str]:
        """In a thread: whether it fits, and what is wrong with the stored hash."""
        problem = ""
        if stored:
            try:
                if self._check(password, stored) and password:
                    return True, ""
            except Unusable as error:
                problem = str(error)
        if problem or not stored or needs_upgrade(stored, self._options):
            self._check(password, self._decoy)
        return False, problem

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
    """A well-formed hash with the preferred parameters that no known password fits."""
    if options.algorithm == "bcrypt":
        # The last salt character carries two bits and the last digest character four: keep them legal.
        body = base64.b64encode(secrets.token_bytes(39), altchars=b"./").decode()
        return f"$2b${options.bcrypt_cost:02d}${body[:21]}u{body[21:51]}u"
    salt, tag = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    costs = f"m={options.argon2_memory_kib},t={options.argon2_iterations},p={options.argon2_parallelism}"
    return f"$argon2id$v=19${costs}${salt}${tag}"
