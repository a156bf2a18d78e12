# SPDX-License-Identifier: Apache-2.0
"""A log whose lines a test writes, and a server that reads it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.events.kinds import Event
from tidegate.events.sinks.lines import line_of
from tidegate.logs.lines import event_line
from tidegate.logs.recent import RecentLines
from tidegate.logs.search import LogReader


@dataclass
class WrittenLog:
    """Lines go into the file, and into memory while somebody watches, as the server's own do.

    Attributes:
        path: of the file; None keeps lines in memory alone.
    """

    path: Path | None
    recent: RecentLines = field(default_factory=RecentLines)
    at: float = field(default_factory=lambda: time.time() - 3_600)

    def __post_init__(self) -> None:
        self.recent.always = self.path is None

    def reader(self) -> LogReader:
        return LogReader(self.path, self.recent, "standard error" if self.path is None else str(self.path))

    def raw(self, lines: bytes) -> None:
        self.recent.add(lines)
        if self.path is not None:
            with self.path.open("ab") as file:
                file.write(lines)

    def write(self, sender: str, level: int = 20, *, after: float = 1.0, **fields: Any) -> None:
        """A line, so many seconds after the one before."""
        self.at += after
        self.raw(event_line(self.at, level, sender, fields))

    def event(self, event: Event, *, after: float = 1.0) -> None:
        """The line of an event."""
        line = line_of(event)
        assert line is not None
        self.write(line.sender, line.level, after=after, **line.fields)
