# SPDX-License-Identifier: Apache-2.0
"""The outbox contract: documents of events that wait in the provider until every kept sink has taken them.

Ids count from 1 without a gap, over all servers that share a provider, and become visible in their order:
who has seen an id has seen every smaller one. Each sink has a cursor, the id it has taken everything up to,
and at any time one server hands on to it (a claim that expires).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event that was stored.

    Attributes:
        id: see above.
        document: the event as JSON, see `tidegate.events.documents`.
    """

    id: int
    document: str


class OutboxStore(Protocol):
    """The outbox of a provider. Each method may raise `ProviderUnavailable`; nothing was done then."""

    async def register(self, sinks: Collection[str]) -> None:
        """Make a cursor for each sink that has none, behind all that is stored now."""
        ...

    async def append(self, documents: Sequence[str]) -> int:
        """Store documents, all or none; returns the id of the last. They get consecutive ids."""
        ...

    async def claim(self, sink: str, server: str, *, seconds: float) -> int | None:
        """Take over or keep up the handing on to a registered sink.

        Args:
            sink: its name.
            server: who asks.
            seconds: until the claim expires, if it is not kept up.

        Returns:
            the sink's cursor; None while another server has the claim.
        """
        ...

    async def after(self, position: int, limit: int) -> list[OutboxRow]:
        """Rows with larger ids, by id."""
        ...

    async def advance(self, sink: str, server: str, position: int) -> bool:
        """Set the cursor; False if another server has the claim by now."""
        ...

    async def release(self, sink: str, server: str) -> None:
        """Give up a claim."""
        ...

    async def trim(self, sinks: Collection[str]) -> int:
        """Remove what all these sinks have taken; returns how many rows are left."""
        ...


@dataclass(slots=True)
class Cursor:
    """The place of a sink in the outbox.

    Attributes:
        position: id of the last row it has.
        server: who has the claim, empty if nobody.
        until: when that expires, seconds since the epoch.
    """

    position: int = 0
    server: str = ""
    until: float = 0.0

    def claim(self, server: str, now: float, seconds: float) -> bool:
        """Take the claim if it is free, expired or ours."""
        if self.server not in ("", server) and self.until > now:
            return False
        self.server, self.until = server, now + seconds
        return True


class MemoryOutbox:
    """An outbox that ends with the process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[int, str] = {}
        self._head = 0
        self._cursors: dict[str, Cursor] = {}

    async def register(self, sinks: Collection[str]) -> None:
        """See `OutboxStore`."""
        for sink in sinks:
            self._cursors.setdefault(sink, Cursor(self._head))

    async def append(self, documents: Sequence[str]) -> int:
        """See `OutboxStore`."""
        for document in documents:
            self._head += 1
            self._rows[self._head] = document
        return self._head

    async def claim(self, sink: str, server: str, *, seconds: float) -> int | None:
        """See `OutboxStore`."""
        cursor = self._cursors[sink]
        return cursor.position if cursor.claim(server, self._clock(), seconds) else None

    async def after(self, position: int, limit: int) -> list[OutboxRow]:
        """See `OutboxStore`."""
        first = max(position, self._head - len(self._rows))
        ids = range(first + 1, min(first + limit, self._head) + 1)
        return [OutboxRow(number, self._rows[number]) for number in ids]

    async def advance(self, sink: str, server: str, position: int) -> bool:
        """See `OutboxStore`."""
        cursor = self._cursors[sink]
        if cursor.server != server:
            return False
        cursor.position = position
        return True

    async def release(self, sink: str, server: str) -> None:
        """See `OutboxStore`."""
        cursor = self._cursors[sink]
        if cursor.server == server:
            cursor.server = ""

    async def trim(self, sinks: Collection[str]) -> int:
        """See `OutboxStore`."""
        least = min((self._cursors[sink].position for sink in sinks), default=0)
        for number in range(self._head - len(self._rows) + 1, least + 1):
            del self._rows[number]
        return len(self._rows)
