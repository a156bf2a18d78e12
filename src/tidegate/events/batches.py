# SPDX-License-Identifier: Apache-2.0
"""Batches of stored events: which sink gets which, what it has by now, and what need not be read again."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tidegate.abc import KeptEvent, KeptSink
from tidegate.events.documents import decode, name_of
from tidegate.events.kinds import Event

if TYPE_CHECKING:
    from tidegate.store.outbox import OutboxRow

BATCH_EVENTS: Final = 100
"""Events handed on at a time."""
CLAIM_SECONDS: Final = 90.0
"""After this long without a sign of the server that hands on to a sink, another one may."""
ADVANCE_SECONDS: Final = 0.5
"""Time after which the cursor of a sink is written at the latest; a crash repeats what it had since."""
RECENT_LIMIT: Final = 1_000
"""Stored events that are kept in memory, so that they need not be read again to be handed on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeptUse:
    """A kept sink in use.

    Attributes:
        name: of its cursor; it must not change.
        sink: see `tidegate.abc.KeptSink`.
        events: names of the events it gets, see `tidegate.events.documents`.
        active: those of them that it gets now, where that changes; `Bus.look` follows a change.
        wants: asked about each such event, if there is one.
        documents: the sink reads `KeptEvent.document`; else it may be empty.
    """

    name: str
    sink: KeptSink
    events: frozenset[str]
    active: Callable[[], frozenset[str]] | None = None
    wants: Callable[[Event], bool] | None = None
    documents: bool = True

    def names(self) -> frozenset[str]:
        """Names of the events it gets now."""
        return self.events if self.active is None else self.active()

    def takes(self, event: Event) -> bool:
        """True if the sink gets an event."""
        return name_of(event) in self.names() and (self.wants is None or self.wants(event))


@dataclass(slots=True, eq=False)
class Place:
    """The place of a sink in the outbox.

    Attributes:
        news: something was stored.
        position: id of the last event that the sink has; None while another server hands on to it.
        written: the same in the store.
        advanced: time of that; handed: of the last batch; claimed: of the last sign of this server.
    """

    use: KeptUse
    news: asyncio.Event = field(default_factory=asyncio.Event)
    position: int | None = None
    written: int | None = None
    advanced: float = 0.0
    handed: float = 0.0
    claimed: float = -CLAIM_SECONDS

    def late(self) -> bool:
        """True if the cursor is to be written now."""
        return time.monotonic() - self.advanced > ADVANCE_SECONDS


@dataclass(frozen=True, slots=True)
class RecentRow:
    """An event that was stored a moment ago."""

    id: int
    event: Event
    document: str


class Recent:
    """The last events that were stored here, without a gap.

    Attributes:
        last: id of the last one; 0 if there is none.
    """

    def __init__(self) -> None:
        self._rows: deque[RecentRow] = deque(maxlen=RECENT_LIMIT)
        self.last = 0

    def add(self, first: int, batch: Sequence[tuple[Event, str]]) -> None:
        """Remember events with their texts, whose ids begin at `first`."""
        if self.last != first - 1:  # others have stored some in between
            self._rows.clear()
        self._rows.extend(RecentRow(number, event, text) for number, (event, text) in enumerate(batch, first))
        self.last = first + len(batch) - 1

    def after(self, position: int) -> list[RecentRow]:
        """The next batch after a position; empty if it is not known."""
        rows = self._rows
        if not rows or not rows[0].id <= position + 1 <= self.last:
            return []
        start = position + 1 - rows[0].id
        return [rows[index] for index in range(start, min(start + BATCH_EVENTS, len(rows)))]


async def deliver(use: KeptUse, rows: Sequence[OutboxRow | RecentRow]) -> None:
    """Hand events to a sink: those that it gets."""
    batch: list[KeptEvent] = []
    for row in rows:
        if isinstance(row, RecentRow):
            if name_of(row.event) in use.events:
                batch.append(KeptEvent(row.id, row.event, json.loads(row.document) if use.documents else {}))
            continue
        try:
            event, document = decode(row.document)
        except (ValueError, TypeError, KeyError) as error:
            log.error("kept sink %s: event %d is left out: %s", use.name, row.id, error)
            continue
        if document.get("event") in use.events:
            batch.append(KeptEvent(row.id, event, document))
    if batch:
        await use.sink.deliver(batch)
