# SPDX-License-Identifier: Apache-2.0
"""Deliveries of the `bolt` driver: one JSON text for each, under its id, and an index by when each is due.

Keys of the index: ``w`` with the time at which a waiting row is due and free, or ``d`` with the time at which
a dead one was made, as eight bytes, big end first; the id follows. An index that has not as many keys as
there are rows is of an older version, and made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, TypeVar

from tidegate.store.deliveries import Delivery, State, by_age, free, now_ms
from tidegate.store.kv_outbox import DELIVERIES, DELIVERIES_DUE, Transactions

T = TypeVar("T")

_PREFIX: Final[dict[State, bytes]] = {"waiting": b"w", "dead": b"d"}
_TIME_BYTES: Final = 8


class _Rows:
    """Deliveries and their index in one LMDB transaction."""

    def __init__(self, transaction: Any, tables: dict[str, Any], *, writes: bool) -> None:
        self._transaction = transaction
        self._rows = tables[DELIVERIES]
        self._index = tables[DELIVERIES_DUE]
        whole = self._entries(self._index) == self._entries(self._rows)
        if writes and not whole:
            transaction.drop(self._index, delete=False)
            for row in self.every():
                transaction.put(_key(row), b"", db=self._index)
            whole = True
        self._whole = whole

    def _entries(self, table: Any) -> int:
        return int(self._transaction.stat(table)["entries"])

    def every(self) -> list[Delivery]:
        with self._transaction.cursor(db=self._rows) as cursor:
            return [_decoded(value) for value in cursor.iternext(keys=False, values=True)]

    def find(self, delivery_id: str) -> Delivery | None:
        value = self._transaction.get(delivery_id.encode(), db=self._rows)
        return None if value is None else _decoded(value)

    def put(self, row: Delivery) -> None:
        self.remove(row.id)
        self._transaction.put(row.id.encode(), json.dumps(asdict(row)).encode(), db=self._rows)
        self._transaction.put(_key(row), b"", db=self._index)

    def remove(self, delivery_id: str) -> bool:
        row = self.find(delivery_id)
        if row is None:
            return False
        self._transaction.delete(_key(row), db=self._index)
        return bool(self._transaction.delete(delivery_id.encode(), db=self._rows))

    def keys(self, state: State) -> Iterator[tuple[int, str]]:
        """Times and ids of the rows in a state, by time."""
        if not self._whole:  # nobody has written since an older version did
            found = sorted(_key(row)[1:] for row in self.every() if row.state == state)
            yield from (_parts(key) for key in found)
            return
        prefix = _PREFIX[state]
        with self._transaction.cursor(db=self._index) as cursor:
            if cursor.set_range(prefix):
                for key in cursor.iternext(keys=True, values=False):
                    if not bytes(key).startswith(prefix):
                        return
                    yield _parts(bytes(key)[1:])

    def meant(self, ids: Collection[str] | None) -> list[str]:
        """These ids, or those of every dead row."""
        return [one for _, one in self.keys("dead")] if ids is None else list(ids)


class LmdbDeliveries:
    """See `tidegate.store.deliveries.DeliveryStore`."""

    def __init__(self, run: Transactions, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock

    async def _do(self, work: Callable[[_Rows], T], *, writes: bool = True) -> T:
        return await self._run(
            lambda transaction, tables: work(_Rows(transaction, tables, writes=writes)), writes=writes
        )

    async def add(self, rows: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        if not rows:
            return

        def work(state: _Rows) -> None:
            for row in rows:
                if state.find(row.id) is None:
                    state.put(row)

        await self._do(work)

    async def take(self, server: str, *, limit: int, seconds: float) -> list[Delivery]:
        """See `DeliveryStore`."""
        now = now_ms(self._clock)
        if not await self._do(lambda state: _due(state, now, 1), writes=False):
            return []  # nothing is written by those who only look

        def work(state: _Rows) -> list[Delivery]:
            taken = []
            for one in _due(state, now, limit):
                row = state.find(one)
                if row is not None:
                    taken.append(replace(row, server=server, until=now + int(seconds * 1000)))
                    state.put(taken[-1])
            return taken

        return await self._do(work)

    async def renew(self, server: str, ids: Collection[str], *, seconds: float) -> None:
        """See `DeliveryStore`."""
        until = now_ms(self._clock) + int(seconds * 1000)

        def work(state: _Rows) -> None:
            for one in ids:
                row = state.find(one)
                if row is not None and row.server == server:
                    state.put(replace(row, until=until))

        await self._do(work)

    async def settle(self, done: Collection[str], again: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""

        def work(state: _Rows) -> None:
            for one in done:
                state.remove(one)
            for row in again:
                state.put(free(row))

        await self._do(work)

    async def release(self, server: str) -> None:
        """See `DeliveryStore`."""

        def work(state: _Rows) -> None:
            for row in state.every():
                if row.server == server:
                    state.put(replace(row, server="", until=0))

        await self._do(work)

    async def find(self, delivery_id: str) -> Delivery | None:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.find(delivery_id), writes=False)

    async def listing(self, state: State | None, *, offset: int = 0, limit: int = 100) -> list[Delivery]:
        """See `DeliveryStore`."""

        def work(rows: _Rows) -> list[Delivery]:
            found = sorted((row for row in rows.every() if state in (None, row.state)), key=by_age)
            return found[offset : offset + limit]

        return await self._do(work, writes=False)

    async def count(self, state: State) -> int:
        """See `DeliveryStore`."""
        return await self._do(lambda rows: sum(1 for _ in rows.keys(state)), writes=False)

    async def next_due(self) -> int | None:
        """See `DeliveryStore`."""
        return await self._do(
            lambda state: next((when for when, _ in state.keys("waiting")), None), writes=False
        )

    async def retry(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""

        def work(state: _Rows) -> int:
            found = [row for one in state.meant(ids) if (row := state.find(one)) is not None]
            for row in found:
                state.put(replace(row, state="waiting", due=0, tries=0))
            return len(found)

        return await self._do(work)

    async def drop(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return await self._do(lambda state: sum(state.remove(one) for one in state.meant(ids)))

    async def trim(self, *, keep: int) -> int:
        """See `DeliveryStore`."""
        if await self.count("dead") <= keep:
            return 0

        def work(state: _Rows) -> int:
            dead = state.meant(None)
            return sum(state.remove(one) for one in dead[: max(len(dead) - keep, 0)])

        return await self._do(work)


def _due(state: _Rows, now: int, limit: int) -> list[str]:
    found: list[str] = []
    for when, one in state.keys("waiting"):
        if when > now or len(found) == limit:
            break
        found.append(one)
    return found


def _key(row: Delivery) -> bytes:
    when = max(row.due, row.until) if row.state == "waiting" else row.created_at
    return _PREFIX[row.state] + max(when, 0).to_bytes(_TIME_BYTES, "big") + row.id.encode()


def _parts(key: bytes) -> tuple[int, str]:
    return int.from_bytes(key[:_TIME_BYTES], "big"), key[_TIME_BYTES:].decode()


def _decoded(value: Any) -> Delivery:
    fields = json.loads(bytes(value))
    return Delivery(**{**fields, "done": tuple(fields.get("done", ()))})
