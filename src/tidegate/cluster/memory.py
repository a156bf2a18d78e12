# SPDX-License-Identifier: Apache-2.0
"""Live state of one process: what `cluster.api.Live` means where nobody else shares it."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable
from typing import Final

from tidegate.cluster.api import (
    MAX_FIELD_CHARS,
    MAX_FIELDS,
    MAX_NAME,
    MAX_SUBSCRIBERS,
    Ban,
    Handler,
    Live,
    Message,
    Topic,
)

MAX_COUNTERS: Final = 100_000
"""Counters; those that end first go first."""
MAX_BANS: Final = 100_000
"""Bans; those that end first go first."""

_log = logging.getLogger(__name__)


class _Ending:
    """Names and when they end, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ends: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []

    def put(self, name: str, ends: float, now: float) -> list[str]:
        """Let a name end then; returns names that have ended or had to go."""
        self._ends[name] = ends
        heapq.heappush(self._queue, (ends, name))
        if len(self._queue) > 2 * len(self._ends) + 64:  # each move of an end leaves an entry behind
            self._queue = [(end, one) for one, end in self._ends.items()]
            heapq.heapify(self._queue)
        gone: list[str] = []
        while self._queue and (self._queue[0][0] <= now or len(self._ends) > self._most):
            end, one = heapq.heappop(self._queue)
            if self._ends.get(one) == end:
                del self._ends[one]
                gone.append(one)
        return gone

    def drop(self, name: str) -> None:
        self._ends.pop(name, None)


class MemoryHub:
    """State that the nodes of one process share, to be used from one event loop.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.slots: dict[str, set[tuple[str, str]]] = {}
        self.counters: dict[str, tuple[int, float]] = {}
        self.counters_end = _Ending(MAX_COUNTERS)
        self.bans: dict[str, Ban] = {}
        self.bans_end = _Ending(MAX_BANS)
        self.handlers: dict[Topic, list[tuple[str, Handler]]] = {}


class MemoryLive:
    """`cluster.api.Live` in dictionaries.

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

    async def count(self, name: str, amount: int = 1, *, seconds: float) -> int:
        """See `Live`."""
        now = self._hub.clock()
        value = max(0, await self.counted(_checked(name)) + amount)
        self._hub.counters[name] = value, now + seconds
        for gone in self._hub.counters_end.put(name, now + seconds, now):
            self._hub.counters.pop(gone, None)
        return value

    async def counted(self, name: str) -> int:
        """See `Live`."""
        value, ends = self._hub.counters.get(name, (0, 0.0))
        return value if ends > self._hub.clock() else 0

    async def ban(self, host: str, *, seconds: float, reason: str = "") -> None:
        """See `Live`."""
        now = self._hub.clock()
        former = await self.ban_of(_checked(host))
        if former is not None and former.until >= now + seconds:
            return
        self._hub.bans[host] = Ban(host, now + seconds, reason[:MAX_FIELD_CHARS])
        for gone in self._hub.bans_end.put(host, now + seconds, now):
            self._hub.bans.pop(gone, None)

    async def ban_of(self, host: str) -> Ban | None:
        """See `Live`."""
        found = self._hub.bans.get(host)
        return found if found is not None and found.until > self._hub.clock() else None

    async def lift_ban(self, host: str) -> bool:
        """See `Live`."""
        found = await self.ban_of(host)
        self._hub.bans.pop(host, None)
        self._hub.bans_end.drop(host)
        return found is not None

    async def bans(self) -> list[Ban]:
        """See `Live`."""
        now = self._hub.clock()
        return sorted((ban for ban in self._hub.bans.values() if ban.until > now), key=lambda ban: ban.host)

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


def _checked(name: str) -> str:
    if len(name) > MAX_NAME:
        raise ValueError(f"a name has {len(name)} characters, more than {MAX_NAME}")
    return name


def _keeps_contract(live: MemoryLive) -> Live:
    return live
