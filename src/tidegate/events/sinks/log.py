# SPDX-License-Identifier: Apache-2.0
"""Writes events as log lines."""

from __future__ import annotations

import logging

from tidegate.abc import Sink
from tidegate.events.sinks.lines import line_of

_record = logging.getLogger("tidegate.record")


class LogSink:
    """Hands each event's line to the log, which takes out secrets and writes it off the loop."""

    async def open(self) -> None:
        """Nothing to get ready: the log is open before any event."""

    async def handle(self, event: object) -> None:
        """Log one event."""
        line = line_of(event)
        if line is not None and _record.isEnabledFor(line.level):
            _record.log(line.level, "", extra={"sender": line.sender, "fields": line.fields})

    async def close(self) -> None:
        """Nothing to release: the log outlives its sinks."""


def _keeps_contract(sink: LogSink) -> Sink:
    return sink
