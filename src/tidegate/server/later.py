# SPDX-License-Identifier: Apache-2.0
"""Parts of a server that are made, and loaded, when they are first asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidegate.config.load import Loaded
from tidegate.events.bus import Bus
from tidegate.packages import load_beside

if TYPE_CHECKING:
    from tidegate.logs.search import LogReader
    from tidegate.metrics.measures import Measures
    from tidegate.server.doors import Composition
    from tidegate.server.monitor import Monitor
    from tidegate.server.storage_moves import StorageMoves
    from tidegate.web.api.log_lines import LogSearches

MOVES_DIRECTORY: Final = "storage.moves"
"""The directory in the configuration directory that notes moves of files to other storage."""


class LaterParts:
    """Makes them.

    Args:
        bus: of events.
        composition: the other parts of the server.
        loaded: the configuration as of the moment.
        log: gives what reads the log; None where there is none.

    Attributes:
        log_searches: gives searches in the log; None where there is none.
    """

    def __init__(
        self,
        bus: Bus,
        composition: Callable[[], Composition],
        loaded: Callable[[], Loaded],
        log: Callable[[], LogReader] | None = None,
    ) -> None:
        self.log_searches = None if log is None else self._log_searches
        self._log = log
        self._searches: LogSearches | None = None
        self._bus = bus
        self._composition = composition
        self._loaded = loaded
        self._moves: StorageMoves | None = None
        self._measures: Measures | None = None
        self._monitor: Monitor | None = None

    def moves(self) -> StorageMoves:
        """Moves of files to other storage."""
        if self._moves is None:
            from tidegate.server.storage_moves import StorageMoves

            place = self._loaded().config_dir / MOVES_DIRECTORY
            self._moves = StorageMoves(place, self._composition(), self._loaded)
        return self._moves

    def measures(self) -> Measures:
        """The counts."""
        if self._measures is None:
            from tidegate.metrics.measures import Measures

            self._measures = Measures(self._bus.add)
        return self._measures

    def monitor(self) -> Monitor:
        """The state of the server, for monitoring."""
        if self._monitor is None:
            from tidegate.server.monitor import Monitor

            self._monitor = Monitor(self._composition(), self._loaded)
        return self._monitor

    async def _log_searches(self) -> LogSearches:
        """Searches in the log."""
        if self._searches is None:
            await load_beside("tidegate.web.api.log_lines")
            from tidegate.web.api.log_lines import LogSearches

            assert self._log is not None
            self._searches = self._searches or LogSearches(self._log())
        return self._searches

    def summary(self) -> str:
        """Sessions, and what is wrong as far as anybody has looked."""
        composition = self._composition()
        sessions = len(composition.registry.all())
        text = f"{sessions} {'session' if sessions == 1 else 'sessions'}"
        if not composition.provider_ready():
            return f"{text}; the data provider does not answer"
        report = None if self._monitor is None else self._monitor.checks.last
        bad = [] if report is None else [name for name, one in report.findings.items() if one.state]
        return f"{text}; look at {', '.join(bad)}" if bad else text

    def close(self, stack: contextlib.AsyncExitStack) -> None:
        """Have what was made released when the stack is."""
        if self._measures is not None:
            stack.push_async_callback(self._measures.close)
        if self._monitor is not None:
            stack.push_async_callback(self._monitor.stop)
        if self._moves is not None:
            stack.push_async_callback(self._moves.moves.close)
