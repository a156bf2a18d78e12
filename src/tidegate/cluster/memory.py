# SPDX-License-Identifier: Apache-2.0
"""Live state of one process: what `contracts.cluster.Live` means where nobody else shares it.

Write locks have no timers: whatever asks the table first ends what has run out.
"""

from __future__ import annotations

import heapq
import logging
import time
import uuid
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tidegate.contracts.cluster import (
    MAX_FIELD_CHARS,
    MAX_FIELDS,
    MAX_NAME,
    MAX_OWNER,
    MAX_SUBSCRIBERS,
    Handler,
    HeldLock,
    Live,
    LockLimits,
    LockRequest,
    LockTable,
    Message,
    Topic,
)
from tidegate.errors import InvalidArgument, Locked, NotFound, OperatorError, PeerLimit

_log = logging.getLogger(__name__)


class MemoryHub:
    """State that the nodes of one process share, to be used from one event loop."""

    def __init__(self) -> None:
        self.slots: dict[str, set[tuple[str, str]]] = {}
        self.handlers: dict[Topic, list[tuple[str, Handler]]] = {}


class MemoryLive:
    """`contracts.cluster.Live` in dictionaries.

    Args:
        node: name of this node.
        hub: shared with other nodes of this process; None keeps everything to itself, as a server does.
    """

    def __init__(self, node: str = "local", *, hub: MemoryHub | None = None) -> None:
        self._node = node
        self._shared = hub is not None
        self._hub = hub or MemoryHub()

    @property
    def node(self) -> str:
        """See `Live`."""
        return self._node

    @property
    def shared(self) -> bool:
        """See `Live`."""
        return self._shared

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Give back the slots of this node, and end its subscriptions."""
        for name, holders in list(self._hub.slots.items()):
            for node, holder in list(holders):
                if node == self._node:
                    self.give_slot(name, holder)
        for handlers in self._hub.handlers.values():
            handlers[:] = [one for one in handlers if one[0] != self._node]

    async def take_slot(self, name: str, holder: str, *, limit: int = 0) -> bool:
        """See `Live`."""
        holders = self._hub.slots.get(_checked(name), set())
        mine = self._node, _checked(holder)
        if mine not in holders:
            if limit and len(holders) >= limit:
                return False
            self._hub.slots.setdefault(name, holders).add(mine)
        return True

    def give_slot(self, name: str, holder: str) -> None:
        """See `Live`."""
        holders = self._hub.slots.get(name)
        if holders is not None:
            holders.discard((self._node, holder))
            if not holders:
                del self._hub.slots[name]

    async def slots(self, name: str) -> int:
        """See `Live`."""
        return len(self._hub.slots.get(name, ()))

    async def publish(self, topic: Topic, **fields: str) -> None:
        """See `Live`."""
        if len(fields) > MAX_FIELDS or any(len(text) > MAX_FIELD_CHARS for text in fields.values()):
            raise ValueError(f"a message on {topic} is too large")
        message = Message(topic, self.node, fields)
        for _, handler in list(self._hub.handlers.get(topic, ())):
            try:
                await handler(message)
            except Exception:
                _log.exception("a message on %s was not handled", topic)

    def subscribe(self, topic: Topic, handler: Handler) -> Callable[[], None]:
        """See `Live`."""
        handlers = self._hub.handlers.setdefault(topic, [])
        mine = self._node, handler
        if (
            sum(node == self._node for each in self._hub.handlers.values() for node, _ in each)
            >= MAX_SUBSCRIBERS
        ):
            raise ValueError(f"more than {MAX_SUBSCRIBERS} subscriptions")
        handlers.append(mine)

        def end() -> None:
            if mine in handlers:
                handlers.remove(mine)

        return end


def create(node: str, options: Mapping[str, Any]) -> MemoryLive:
    """The driver ``memory`` of the configuration.

    Raises:
        OperatorError: it is given options, and has none.
    """
    if options:
        raise OperatorError(f"memory has no options, and {', '.join(sorted(options))} is given")
    return MemoryLive(node)


def _checked(name: str) -> str:
    if len(name) > MAX_NAME:
        raise ValueError(f"a name has {len(name)} characters, more than {MAX_NAME}")
    return name


def _keeps_contract(live: MemoryLive) -> Live:
    return live


# -- write locks ---------------------------------------------------------------------------------------------

_SPARE_ENDS: Final = 64
"""Outdated entries of the queue of ends that are kept beside as many as there are locks."""


@dataclass(slots=True, eq=False)
class _Lock:
    """A lock and its end, in seconds of the clock."""

    request: LockRequest
    token: str
    seconds: float
    end: float


class MemoryLocks:
    """`contracts.cluster.LockTable` in dictionaries, to be used from one event loop.

    Args:
        limits: bounds; they may be replaced while it is used.
        clock: seconds that only grow.
    """

    def __init__(
        self, limits: LockLimits | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits or LockLimits()
        self.active = False
        self.generation = 0
        self._clock = clock
        self._by_token: dict[str, _Lock] = {}
        self._by_place: dict[str, list[_Lock]] = {}
        self._places: list[str] = []  # sorted keys of `_by_place`
        self._ends: list[tuple[float, str]] = []
        self._held: Counter[str] = Counter()

    def may_concern(self, place: str) -> bool:
        """See `LockTable`."""
        if not self._places:
            return False
        return any(above in self._by_place for above in _above(place)) or self._lies_below(place)

    async def acquire(self, wanted: LockRequest) -> HeldLock:
        """See `LockTable`."""
        if len(wanted.owner) > MAX_OWNER:
            raise InvalidArgument(f"owner of a lock: more than {MAX_OWNER} characters")
        seconds = self._granted(wanted.seconds)
        self._expire()
        for lock in self._meets(wanted):
            if wanted.exclusive or lock.request.exclusive:
                raise Locked(holder=lock.request.account, place=lock.request.place)
        if len(self._by_token) >= self.limits.locks:
            raise PeerLimit(f"locks: the server holds {self.limits.locks}, and no more")
        if self._held[wanted.account] >= self.limits.per_account:
            raise PeerLimit(f"locks: the account holds {self.limits.per_account}, and no more")
        lock = _Lock(wanted, f"urn:uuid:{uuid.uuid4()}", seconds, 0.0)
        self._by_token[lock.token] = lock
        self._place(lock)
        self._held[wanted.account] += 1
        self.active = True
        self.generation += 1
        self._ends_at(lock, self._clock() + seconds)
        return self._told(lock)

    async def refresh(self, token: str, account: str, seconds: float) -> HeldLock:
        """See `LockTable`."""
        seconds = self._granted(seconds)
        self._expire()
        lock = self._by_token.get(token)
        if lock is None or lock.request.account != account:
            raise NotFound("no such lock")
        lock.seconds = seconds
        self._ends_at(lock, self._clock() + seconds)
        return self._told(lock)

    async def release(self, token: str, account: str | None) -> bool:
        """See `LockTable`."""
        self._expire()
        lock = self._by_token.get(token)
        if lock is None or (account is not None and lock.request.account != account):
            return False
        self._drop(lock)
        return True

    async def covering(self, place: str) -> list[HeldLock]:
        """See `LockTable`."""
        self._expire()
        return [self._told(lock) for lock in self._covering(place)]

    async def within(self, place: str) -> list[HeldLock]:
        """See `LockTable`."""
        self._expire()
        return [self._told(lock) for lock in self._within(place)]

    async def forget(self, place: str) -> None:
        """See `LockTable`."""
        for lock in list(self._within(place)):
            self._drop(lock)

    async def relocate(self, source: str, target: str, accounts: Collection[str]) -> None:
        """See `LockTable`."""
        self._expire()
        if f"{target}/".startswith(f"{source}/") or f"{source}/".startswith(f"{target}/"):
            return
        moving = [lock for lock in self._within(source) if lock.request.account in accounts]
        for lock in moving:
            self._unplace(lock)
            lock.request = replace(lock.request, place=f"{target}{lock.request.place[len(source) :]}")
            self._place(lock)
        if moving:
            self.generation += 1

    async def all(self, account: str | None = None) -> list[HeldLock]:
        """See `LockTable`."""
        self._expire()
        return [
            self._told(lock)
            for place in self._places
            for lock in self._by_place[place]
            if account is None or lock.request.account == account
        ]

    # -- pieces ----------------------------------------------------------------------------------------------

    def _granted(self, seconds: float) -> float:
        if not seconds > 0:
            raise InvalidArgument("a lock lasts longer than 0 seconds")
        return min(seconds, self.limits.seconds)

    def _covering(self, place: str) -> Iterator[_Lock]:
        for above in _above(place):
            for lock in self._by_place.get(above, ()):
                if lock.request.deep or above == place:
                    yield lock

    def _within(self, place: str) -> Iterator[_Lock]:
        yield from self._by_place.get(place, ())
        for index in range(self._first_below(place), len(self._places)):
            if not self._places[index].startswith(f"{place}/"):
                return
            yield from self._by_place[self._places[index]]

    def _first_below(self, place: str) -> int:
        return bisect_left(self._places, f"{place}/")

    def _lies_below(self, place: str) -> bool:
        index = self._first_below(place)
        return index < len(self._places) and self._places[index].startswith(f"{place}/")

    def _meets(self, wanted: LockRequest) -> Iterator[_Lock]:
        """Locks that cover something that the wanted one would cover."""
        yield from self._covering(wanted.place)
        if wanted.deep:
            yield from (lock for lock in self._within(wanted.place) if lock.request.place != wanted.place)

    def _ends_at(self, lock: _Lock, end: float) -> None:
        lock.end = end
        heapq.heappush(self._ends, (end, lock.token))
        if len(self._ends) > 2 * len(self._by_token) + _SPARE_ENDS:  # refreshed again and again
            self._ends = [(each.end, each.token) for each in self._by_token.values()]
            heapq.heapify(self._ends)

    def _expire(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            end, token = heapq.heappop(self._ends)
            lock = self._by_token.get(token)
            if lock is not None and lock.end == end:
                self._drop(lock)

    def _drop(self, lock: _Lock) -> None:
        del self._by_token[lock.token]
        self._unplace(lock)
        self._held[lock.request.account] -= 1
        if not self._held[lock.request.account]:
            del self._held[lock.request.account]
        if not self._by_token:
            self.active = False
            self._ends.clear()

    def _place(self, lock: _Lock) -> None:
        place = lock.request.place
        if place not in self._by_place:
            insort(self._places, place)
        self._by_place.setdefault(place, []).append(lock)

    def _unplace(self, lock: _Lock) -> None:
        place = lock.request.place
        beside = self._by_place[place]
        beside.remove(lock)
        if not beside:
            del self._by_place[place]
            del self._places[bisect_left(self._places, place)]

    def _told(self, lock: _Lock) -> HeldLock:
        request = lock.request
        return HeldLock(
            place=request.place,
            account=request.account,
            path=request.path,
            exclusive=request.exclusive,
            deep=request.deep,
            owner=request.owner,
            seconds=lock.seconds,
            token=lock.token,
            left=max(0.0, lock.end - self._clock()),
        )


def _above(place: str) -> Iterator[str]:
    """The place, and each directory above it."""
    while place:
        yield place
        place = place.rpartition("/")[0]


def _locks_keep_contract(locks: MemoryLocks) -> LockTable:
    return locks
