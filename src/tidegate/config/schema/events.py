# SPDX-License-Identifier: Apache-2.0
"""Section ``events``: who is told what happens, besides the log."""

from __future__ import annotations

from typing import Any, Literal

from tidegate.config.schema.base import Section, key


class SinkKeys(Section):
    """One sink."""

    use: str = key(
        "",
        "`file`, the name of an installed sink (entry point group `tidegate.sinks`), or "
        "`package.module:name`.",
    )
    name: str = key("", "What it is remembered by if it is a kept one; empty is `use`.")
    events: list[str] = key(
        [],
        "Names of the events it gets (docs/reference/events.md); empty are all, for a kept sink finished "
        "transfers, removals, renames, logins and administration.",
    )
    options: dict[str, Any] = key({}, "What the sink is given; see its documentation.", secret=True)


class EventKeys(Section):
    """Receivers of events besides the log."""

    sinks: list[SinkKeys] = key(
        [], "Sinks; kept ones get each event at least once, over crashes and restarts."
    )
    outbox_limit: int = key(
        100_000,
        "Events that may wait in the data provider for kept sinks.",
        unit="events",
        ge=1,
        le=100_000_000,
    )
    outbox_full: Literal["drop", "refuse"] = key(
        "drop",
        "`drop` loses the newest events while the outbox is full, and says so; `refuse` refuses logins and "
        "file operations until there is room.",
    )
