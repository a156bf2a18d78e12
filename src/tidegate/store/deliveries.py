# SPDX-License-Identifier: Apache-2.0
"""Deliveries of event rules that are not over: those to be tried again, and those that were given up.

What succeeds at once never gets a row. A row is claimed by the server that works on it; a claim that is
not kept up expires, so that another server goes on after a crash.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

State = Literal["waiting", "dead"]

MAX_ERROR_CHARS: Final = 500
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One rule on one event.

    Attributes:
        id: of the event and the rule; the same at each try.
        rule: name of the rule.
        facts: the event as `tidegate.rules.facts` writes it.
        state: ``waiting`` until `due`, or ``dead``: given up, until somebody has it sent again.
        done: names of actions that need not run again.
        tries: number of times that it was tried.
        due: when it is tried next, Unix milliseconds.
        error: why it failed last.
        created_at: Unix milliseconds.
        server: who works on it, empty if nobody.
        until: when that claim expires, Unix milliseconds.
    """

    id: str
    rule: str
    facts: str
    state: State = "waiting"
    done: tuple[str, ...] = ()
    tries: int = 0
    due: int = 0
    error: str = ""
    created_at: int = 0
    server: str = ""
    until: int = 0


class DeliveryStore(Protocol):
    """The deliveries of a provider. Each method may raise `ProviderUnavailable`; nothing was done then."""

    async def add(self, rows: Sequence[Delivery]) -> None:
        """Store new rows; an id that is there already stays as it is."""
        ...

    async def take(self, server: str, *, limit: int, seconds: float) -> list[Delivery]:
        """Claim rows that are due and nobody's, the oldest first, for so long."""
        ...

    async def renew(self, server: str, ids: Collection[str], *, seconds: float) -> None:
        """Keep up claims."""
        ...

    async def settle(self, done: Collection[str], again: Sequence[Delivery]) -> None:
        """Remove rows that are over, and replace others by what is given, free of claims."""
        ...

    async def release(self, server: str) -> None:
        """Give up every claim of a server, as it ends."""
        ...

    async def find(self, delivery_id: str) -> Delivery | None:
        """One row."""
        ...

    async def listing(self, state: State | None, *, offset: int = 0, limit: int = 100) -> list[Delivery]:
        """Rows by the time they were made."""
        ...

    async def count(self, state: State) -> int:
        """The number of rows in a state."""
        ...

    async def next_due(self) -> int | None:
        """Time at which the next waiting row is due and free, Unix milliseconds; None if there is none."""
        ...

    async def retry(self, ids: Collection[str] | None) -> int:
        """Have rows tried again now (None: every dead one); returns how many."""
        ...

    async def drop(self, ids: Collection[str] | None) -> int:
        """Remove rows (None: every dead one); returns how many."""
        ...

    async def trim(self, *, keep: int) -> int:
        """Remove the oldest dead rows beyond so many; returns how many."""
        ...


def now_ms(clock: Callable[[], float] = time.time) -> int:
    """Unix milliseconds."""
    return int(clock() * 1000)


def free(row: Delivery) -> Delivery:
    """The row without a claim."""
    return replace(row, server="", until=0, error=row.error[:MAX_ERROR_CHARS])


def by_age(row: Delivery) -> tuple[int, str]:
    """The order of listings."""
    return row.created_at, row.id


class RowDeliveries:
    """The rows of `MemoryDeliveries`. A change is one call.

    Args:
        rows: by id.
        clock: seconds since the epoch.
    """

    def __init__(self, rows: dict[str, Delivery], clock: Callable[[], float] = time.time) -> None:
        self.rows = rows
        self._clock = clock

    def _put(self, row: Delivery) -> None:
        self.rows[row.id] = row

    def _remove(self, delivery_id: str) -> bool:
        return self.rows.pop(delivery_id, None) is not None

    def add(self, rows: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        for row in rows:
            if row.id not in self.rows:
                self._put(row)

    def take(self, server: str, limit: int, seconds: float) -> list[Delivery]:
        """See `DeliveryStore`."""
        now = now_ms(self._clock)
        due = [
            row
            for row in self.rows.values()
            if row.state == "waiting" and row.due <= now and row.until <= now
        ]
        due.sort(key=lambda row: (row.due, row.id))
        taken = [replace(row, server=server, until=now + int(seconds * 1000)) for row in due[:limit]]
        for row in taken:
            self._put(row)
        return taken

    def renew(self, server: str, ids: Collection[str], seconds: float) -> None:
        """See `DeliveryStore`."""
        until = now_ms(self._clock) + int(seconds * 1000)
        for row in [self.rows[one] for one in ids if one in self.rows]:
            if row.server == server:
                self._put(replace(row, until=until))

    def settle(self, done: Collection[str], again: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        for one in done:
            self._remove(one)
        for row in again:
            self._put(free(row))

    def release(self, server: str) -> None:
        """See `DeliveryStore`."""
        for row in [row for row in self.rows.values() if row.server == server]:
            self._put(replace(row, server="", until=0))

    def listing(self, state: State | None, offset: int, limit: int) -> list[Delivery]:
        """See `DeliveryStore`."""
        rows = sorted((row for row in self.rows.values() if state in (None, row.state)), key=by_age)
        return rows[offset : offset + limit]

    def next_due(self) -> int | None:
        """See `DeliveryStore`."""
        return min(
            (max(row.due, row.until) for row in self.rows.values() if row.state == "waiting"), default=None
        )

    def retry(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        rows = [row for row in self.rows.values() if (row.state == "dead" if ids is None else row.id in ids)]
        for row in rows:
            self._put(replace(row, state="waiting", due=0, tries=0))
        return len(rows)

    def drop(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        names = [
            row.id for row in self.rows.values() if (row.state == "dead" if ids is None else row.id in ids)
        ]
        return sum(self._remove(name) for name in names)

    def trim(self, keep: int) -> int:
        """See `DeliveryStore`."""
        dead = self.listing("dead", 0, len(self.rows))
        return sum(self._remove(row.id) for row in dead[: max(len(dead) - keep, 0)])


class MemoryDeliveries:
    """Deliveries that end with the process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._rows = RowDeliveries({}, clock)

    async def add(self, rows: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        self._rows.add(rows)

    async def take(self, server: str, *, limit: int, seconds: float) -> list[Delivery]:
        """See `DeliveryStore`."""
        return self._rows.take(server, limit, seconds)

    async def renew(self, server: str, ids: Collection[str], *, seconds: float) -> None:
        """See `DeliveryStore`."""
        self._rows.renew(server, ids, seconds)

    async def settle(self, done: Collection[str], again: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        self._rows.settle(done, again)

    async def release(self, server: str) -> None:
        """See `DeliveryStore`."""
        self._rows.release(server)

    async def find(self, delivery_id: str) -> Delivery | None:
        """See `DeliveryStore`."""
        return self._rows.rows.get(delivery_id)

    async def listing(self, state: State | None, *, offset: int = 0, limit: int = 100) -> list[Delivery]:
        """See `DeliveryStore`."""
        return self._rows.listing(state, offset, limit)

    async def count(self, state: State) -> int:
        """See `DeliveryStore`."""
        return sum(row.state == state for row in self._rows.rows.values())

    async def next_due(self) -> int | None:
        """See `DeliveryStore`."""
        return self._rows.next_due()

    async def retry(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return self._rows.retry(ids)

    async def drop(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return self._rows.drop(ids)

    async def trim(self, *, keep: int) -> int:
        """See `DeliveryStore`."""
        return self._rows.trim(keep)


def shown_delivery(row: Delivery) -> dict[str, object]:
    """A delivery for lists."""
    try:
        facts = json.loads(row.facts)
    except ValueError:
        facts = {}
    return {
        "id": row.id,
        "rule": row.rule,
        "state": row.state,
        "tries": row.tries,
        "next_try": row.due if row.state == "waiting" else 0,
        "created_at": row.created_at,
        "error": row.error,
        "event": facts.get("event", ""),
        "username": facts.get("name", ""),
        "path": facts.get("virtual_path", "") or facts.get("object_name", ""),
    }
