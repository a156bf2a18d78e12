# SPDX-License-Identifier: Apache-2.0
"""Shows how far long work is: a bar with rate and time left on a terminal, a line now and then elsewhere.

Both go to standard error; work that ends at once shows nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

QUIET_SECONDS: Final = 1.0
"""Work that takes less shows nothing on a terminal."""
LINE_SECONDS: Final = 10.0
"""Time between two lines where there is no terminal."""
_NOTHING: Final = 1e-9


class Meter:
    """Counts what is done.

    Args:
        what: what is done, for people: ``loading``.
        unit: what is counted, for people: ``users``; ``bytes`` are shown as such.
        total: number in all, 0 unknown.
    """

    def __init__(self, what: str, unit: str, total: int = 0) -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.done = 0
        self._start = self._told = time.monotonic()
        self._shown: tuple[Progress, TaskID] | None = None
        self._terminal = sys.stderr.isatty()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.at(self.done + count)

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done by now."""
        self.done = done
        self.total = self.total if total is None else total
        now = time.monotonic()
        if self._terminal:
            if self._shown is None and now - self._start >= QUIET_SECONDS:
                self._show()
            if self._shown is not None:
                bar, task = self._shown
                bar.update(task, description=self.what, completed=done, total=self.total or None)
        elif now - self._told >= LINE_SECONDS:
            self._told = now
            sys.stderr.write(f"{self.line(now - self._start)}\n")
            sys.stderr.flush()

    def line(self, seconds: float) -> str:
        """The progress after so many seconds, for a log."""
        rate = self.done / max(seconds, _NOTHING)
        text = f"{self.what}: {self.done:,}"
        if self.total:
            text += (
                f" of {self.total:,} {self.unit} ({100 * self.done // self.total} %), {rate:,.0f} a second"
            )
            left = max(0, self.total - self.done) / max(rate, _NOTHING)
            return f"{text}, {left:.0f} s left"
        return f"{text} {self.unit}, {rate:,.0f} a second"

    def _show(self) -> None:
        from rich import progress
        from rich.console import Console
        from rich.text import Text

        class Rate(progress.ProgressColumn):
            def render(self, task: progress.Task) -> Text:
                return Text(f"{task.speed or 0:,.0f}/s")

        in_bytes = self.unit == "bytes"
        bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn() if in_bytes else progress.MofNCompleteColumn(),
            progress.TransferSpeedColumn() if in_bytes else Rate(),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._shown = bar, bar.add_task(self.what, completed=self.done, total=self.total or None)
        bar.start()

    def close(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown[0].stop()
            self._shown = None


@contextmanager
def meter(what: str, unit: str, total: int = 0) -> Iterator[Meter]:
    """A `Meter` for the time of the work."""
    found = Meter(what, unit, total)
    try:
        yield found
    finally:
        found.close()
