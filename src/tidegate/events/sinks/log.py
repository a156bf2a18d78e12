# SPDX-License-Identifier: Apache-2.0
"""Writes events as log lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tidegate.abc import Sink
from tidegate.events.kinds import Event
from tidegate.events.sinks.lines import line_of
from tidegate.logs.lines import wanted, write
from tidegate.model.geography import Location

LOCATED: Final = frozenset(("login", "connection_failed", "connected", "disconnected", "refused"))
"""Senders of lines that say where the client is, if the server has databases of locations."""


class LogSink:
    """Hands each event's line to the log, which takes out secrets and writes it off the loop.

    Args:
        locate: looks up where an address is; None of a server without databases.
    """

    def __init__(self, locate: Callable[[str], Location | None] | None = None) -> None:
        self._locate = locate

    async def open(self) -> None:
        """Nothing to get ready: the log is open before any event."""

    async def handle(self, event: object) -> None:
        """Log one event."""
        self.handle_nowait(event)

    def handle_nowait(self, event: object) -> None:
        """Log one event."""
        line = line_of(event)
        if line is None or not wanted(line.level):
            return
        if self._locate is not None and line.sender in LOCATED:
            location = self._locate(line.fields.get("ip") or line.fields.get("client_ip") or "")
            if location is not None:
                line.fields["country"], line.fields["asn"] = location.country, location.asn
        created = event.at if isinstance(event, Event) else time.time()
        write(created, line.level, line.sender, line.fields)

    async def close(self) -> None:
        """Nothing to release: the log outlives its sinks."""


def _keeps_contract(sink: LogSink) -> Sink:
    return sink
