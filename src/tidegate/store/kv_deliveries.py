# SPDX-License-Identifier: Apache-2.0
"""Deliveries of the `bolt` driver: one JSON text for each, under its id.

Each call reads all rows, in one transaction; there are as many as deliveries fail, which is few.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from tidegate.store.deliveries import Delivery, RowDeliveries, State
from tidegate.store.kv_outbox import DELIVERIES, Transactions

T = TypeVar("T")


class LmdbDeliveries:
    """See `tidegate.store.deliveries.DeliveryStore`."""

    def __init__(self, run: Transactions, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock

    async def _do(self, work: Callable[[RowDeliveries], T], *, writes: bool = True) -> T:
        def within(transaction: Any, tables: dict[str, Any]) -> T:
            table = tables[DELIVERIES]
            with transaction.cursor(db=table) as cursor:
                rows = [_decoded(bytes(value)) for value in cursor.iternext(keys=False, values=True)]
            state = RowDeliveries({row.id: row for row in rows}, self._clock)
            done = work(state)
            for one in state.changed:
                row = state.rows.get(one)
                if row is None:
                    transaction.delete(one.encode(), db=table)
                else:
                    transaction.put(one.encode(), json.dumps(asdict(row)).encode(), db=table)
            return done

        return await self._run(within, writes=writes)

    async def add(self, rows: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        await self._do(lambda state: state.add(rows))

    async def take(self, server: str, *, limit: int, seconds: float) -> list[Delivery]:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.take(server, limit, seconds))

    async def renew(self, server: str, ids: Collection[str], *, seconds: float) -> None:
        """See `DeliveryStore`."""
        await self._do(lambda state: state.renew(server, ids, seconds))

    async def settle(self, done: Collection[str], again: Sequence[Delivery]) -> None:
        """See `DeliveryStore`."""
        await self._do(lambda state: state.settle(done, again))

    async def release(self, server: str) -> None:
        """See `DeliveryStore`."""
        await self._do(lambda state: state.release(server))

    async def find(self, delivery_id: str) -> Delivery | None:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.rows.get(delivery_id), writes=False)

    async def listing(self, state: State | None, *, offset: int = 0, limit: int = 100) -> list[Delivery]:
        """See `DeliveryStore`."""
        return await self._do(lambda rows: rows.listing(state, offset, limit), writes=False)

    async def count(self, state: State) -> int:
        """See `DeliveryStore`."""
        return await self._do(
            lambda rows: sum(row.state == state for row in rows.rows.values()), writes=False
        )

    async def next_due(self) -> int | None:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.next_due(), writes=False)

    async def retry(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.retry(ids))

    async def drop(self, ids: Collection[str] | None) -> int:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.drop(ids))

    async def trim(self, *, keep: int) -> int:
        """See `DeliveryStore`."""
        return await self._do(lambda state: state.trim(keep))


def _decoded(value: bytes) -> Delivery:
    fields = json.loads(value)
    return Delivery(**{**fields, "done": tuple(fields.get("done", ()))})
