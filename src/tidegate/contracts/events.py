# SPDX-License-Identifier: Apache-2.0
"""Contracts of receivers of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class Sink(Protocol):
    """Takes events as they happen. Life: constructed, `open`, `handle` for each event, `close`.

    It is *lossy*: events wait for it in memory, in a bounded queue, and are lost when that is full or the
    process ends. What must miss nothing is a `KeptSink`.

    A sink that never waits MAY also have ``handle_nowait(event) -> None``; the bus then calls that instead,
    which spares a task's wake-up for every event, and gathers those of 20 ms unless the sink has a true
    ``prompt``. Beside it there MAY be ``take_nowait(waiting) -> None``, which gets all of them at once in a
    `collections.deque` and takes each out before it handles it. One that takes some kinds alone MAY have
    ``kinds``, a tuple of classes of `tidegate.events.kinds`; the bus then hands it no others.
    """

    async def open(self) -> None:
        """Get ready."""
        ...

    async def handle(self, event: object) -> None:
        """Take one event; the bus calls this from one task, in order."""
        ...

    async def close(self) -> None:
        """Flush and release."""
        ...


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as a `KeptSink` gets it.

    Attributes:
        id: counts up; never given twice by one data provider. Who has seen it may ignore the event.
        event: a kind of `tidegate.events.kinds`.
        document: the same as values of JSON; see docs/reference/events.md.
    """

    id: int
    event: object
    document: Mapping[str, object]


@runtime_checkable
class KeptSink(Protocol):
    """Takes events that must not be lost. Life: constructed, `open`, `deliver`..., `close`.

    They are in the data provider before the client is told that what they tell of is done, and stay there
    until every kept sink has taken them, over crashes and restarts. Each comes at least once, in the order
    of ids; again after `deliver` failed or was cut off, and after a crash what came the half second before.
    """

    async def open(self) -> None:
        """Get ready."""
        ...

    async def deliver(self, events: Sequence[KeptEvent]) -> None:
        """Take a batch; returning means that all of it is safe.

        An error means that nothing of it need be: the batch comes again after a while, and nothing before it
        was taken. It has `tidegate.events.outbox.DELIVER_SECONDS`.
        """
        ...

    async def close(self) -> None:
        """Release everything."""
        ...
