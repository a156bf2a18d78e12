# SPDX-License-Identifier: Apache-2.0
"""Sinks by name; see `tidegate.plugins`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidegate.abc import KeptSink, Sink
from tidegate.errors import ConfigError, Problem
from tidegate.events.batches import KeptUse
from tidegate.events.documents import KEPT, NAMES, name_of
from tidegate.events.kinds import Event
from tidegate.plugins import create_parts

GROUP: Final = "tidegate.sinks"
"""The entry point group."""
BUILT_IN: Final = {
    "file": "tidegate.events.sinks.file:FileSink",
    "opentelemetry": "tidegate.events.sinks.traces:TraceSink",
}
"""Our own sinks by name."""


@dataclass(frozen=True, slots=True)
class SinkUse:
    """A sink as it is configured.

    Attributes:
        use: its name among installed ones, or where it is imported from.
        name: of its cursor; empty is `use`.
        events: names of the events that it gets; empty are all for a lossy sink, `KEPT` for a kept one.
        options: what it is given.
    """

    use: str
    name: str = ""
    events: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None


def create_sinks(wanted: Sequence[SinkUse]) -> tuple[list[Sink], list[KeptUse]]:
    """Make lossy and kept sinks; importing may take a while, so call it off the loop.

    Raises:
        ConfigError: one cannot be found or made; every problem is named.
    """
    where = "events.sinks"
    problems: list[Problem] = []
    names: set[str] = set()
    for index, one in enumerate(wanted):
        name = one.name or one.use
        if name in names:
            problems.append(Problem(f"{where}[{index}].name", f"{name!r} is the name of another sink, too"))
        names.add(name)
        problems += [
            Problem(f"{where}[{index}].events[{place}]", f"there is no event {event!r}; {_known()}")
            for place, event in enumerate(one.events)
            if event not in NAMES
        ]
    if problems:
        raise ConfigError(problems)
    parts = create_parts(
        [(one.use, one.options or {}) for one in wanted],
        where=where,
        word="sink",
        group=GROUP,
        methods=("open", "close"),
        built_in=BUILT_IN,
    )
    lossy: list[Sink] = []
    kept: list[KeptUse] = []
    for index, (one, part) in enumerate(zip(wanted, parts, strict=True)):
        if isinstance(part, KeptSink):
            kept.append(KeptUse(one.name or one.use, part, frozenset(one.events or KEPT)))
        elif callable(getattr(part, "handle", None)):
            lossy.append(_Only(part, one.events) if one.events else part)
        else:
            text = f"{one.use!r} makes no sink: it has neither deliver nor handle"
            raise ConfigError([Problem(f"{where}[{index}]", text)])
    return lossy, kept


def _known() -> str:
    return f"there are: {', '.join(sorted(NAMES))}"


class _Only:
    """A lossy sink that gets some events."""

    def __init__(self, sink: Sink, events: Collection[str]) -> None:
        self._sink = sink
        self._events = frozenset(events)

    async def open(self) -> None:
        await self._sink.open()

    async def handle(self, event: object) -> None:
        if isinstance(event, Event) and name_of(event) in self._events:
            await self._sink.handle(event)

    async def close(self) -> None:
        await self._sink.close()
