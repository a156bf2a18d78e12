# SPDX-License-Identifier: Apache-2.0
"""Progress of quota scans: those that run, the latest that ended, and lines in the log about long ones.

A scan is seen from the moment it is entered, whoever started it: an administrator, a load, the start after a
crash, or doubts about an account.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from tidegate.errors import Conflict

Kind = Literal["user", "folder"]
"""Subjects of a scan."""
State = Literal["running", "done", "failed", "cancelled"]
"""States of a scan."""

LINE_SECONDS: Final = 10.0
"""Time that a scan runs without a line in the log, and the time between two lines about it."""
LINES: Final = 5
"""Most scans that are told of at once; a last line counts the others."""
ENDED_KEPT: Final = 1000
"""Scans whose outcome is remembered, the latest ones."""

log = logging.getLogger(__name__)
# Progress is put into lines as text: records may be written later, when the numbers are others.


class Scan:
    """One scan that runs or ran.

    Attributes:
        kind: user or folder.
        name: of the account or folder.
        started_ms: Unix milliseconds.
        size: bytes counted so far; files likewise. A count that is repeated begins at 0 again.
        tries: the number of counts, the one that runs included.
        ended_ms: Unix milliseconds, 0 while it runs.
        error: the reason why it failed; empty if it did not.
        exact: nothing changed while it counted; else the server counts again later.
        task: the work, if the scan is not part of other work.
        counting: the part of the work that may be broken off, while it runs.
        cancelled_by: who has cancelled it; empty if nobody has.
    """

    __slots__ = (
        "began", "cancelled_by", "counting", "ended_ms", "error", "exact", "files", "kind", "name", "size",
        "started_ms", "task", "told", "tries",
    )  # fmt: skip

    def __init__(self, kind: Kind, name: str) -> None:
        self.kind = kind
        self.name = name
        self.started_ms = int(time.time() * 1000)
        self.began = self.told = time.monotonic()
        self.size = self.files = self.tries = 0
        self.ended_ms = 0
        self.error = ""
        self.exact = False
        self.task: asyncio.Task[None] | None = None
        self.counting: asyncio.Task[tuple[int, int]] | None = None
        self.cancelled_by = ""

    @property
    def state(self) -> State:
        """Its state."""
        if not self.ended_ms:
            return "running"
        if not self.error:
            return "done"  # also where somebody cancelled it too late
        return "cancelled" if self.cancelled_by else "failed"

    def restart(self) -> None:
        """A count begins, the first one or another one."""
        self.size = self.files = 0
        self.tries += 1

    def count(self, size: int, files: int = 1) -> None:
        """So much more was found."""
        self.size += size
        self.files += files

    def __str__(self) -> str:
        return f"quota scan of {self.kind} {self.name}: {self.files} files, {self.size} bytes"


class Backlog:
    """Accounts that are counted one after the other.

    Attributes:
        total: the number of accounts.
        done: those that were dealt with.
        files: files of those.
    """

    __slots__ = ("began", "done", "files", "told", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.files = 0
        self.began = self.told = time.monotonic()

    def __str__(self) -> str:
        return f"uncertain usage is counted again: {self.done} of {self.total} accounts, {self.files} files"


class ScanList:
    """The scans of a process. To be used on its event loop."""

    def __init__(self) -> None:
        self._running: dict[tuple[Kind, str], Scan] = {}
        self._ended: dict[tuple[Kind, str], Scan] = {}
        self._backlogs: list[Backlog] = []
        self._timer: asyncio.TimerHandle | None = None

    def running(self, kind: Kind | None = None) -> list[Scan]:
        """Scans that run now, of one kind or all."""
        return [scan for scan in self._running.values() if kind is None or scan.kind == kind]

    def ended(self, limit: int) -> list[Scan]:
        """The latest that ended, the newest first."""
        return list(reversed(self._ended.values()))[:limit]

    def busy(self, kind: Kind, name: str) -> bool:
        """True if a scan of that name runs now."""
        return (kind, name) in self._running

    def find(self, kind: Kind, name: str) -> Scan | None:
        """The scan of that name that runs, else the last one if it is among the `ENDED_KEPT` latest."""
        return self._running.get((kind, name)) or self._ended.get((kind, name))

    def enter(self, kind: Kind, name: str) -> Scan:
        """A new scan, which runs until `leave` or `withdraw`.

        Raises:
            Conflict: one of that name runs.
        """
        if (kind, name) in self._running:
            raise Conflict("another scan is already in progress")
        scan = self._running[kind, name] = Scan(kind, name)
        self._wake()
        return scan

    def withdraw(self, scan: Scan) -> None:
        """It never began: there is nothing of that name."""
        del self._running[scan.kind, scan.name]
        self._rest()

    @contextmanager
    def leaving(self, scan: Scan) -> Iterator[None]:
        """Run a scan: whatever ends the block ends the scan, and is its outcome."""
        error = "stopped"
        try:
            yield
            error = ""
        except Exception as failure:
            error = str(failure) or type(failure).__name__
            raise
        finally:
            scan.ended_ms = max(int(time.time() * 1000), scan.started_ms)
            scan.error = error
            scan.exact = scan.exact and not error
            scan.task = None
            key = scan.kind, scan.name
            del self._running[key]
            self._ended.pop(key, None)
            self._ended[key] = scan
            if len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
            if not error and scan.told > scan.began:
                log.info("%s, counted in %.0f s", str(scan), time.monotonic() - scan.began)
            self._rest()

    @contextmanager
    def backlog(self, total: int) -> Iterator[Backlog]:
        """Count that many accounts one after the other."""
        backlog = Backlog(total)
        self._backlogs.append(backlog)
        self._wake()
        try:
            yield backlog
        finally:
            self._backlogs.remove(backlog)
            if backlog.told > backlog.began:
                log.info("%s, in %.0f s", str(backlog), time.monotonic() - backlog.began)
            self._rest()

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINE_SECONDS, self._tell)

    def _rest(self) -> None:
        if self._timer is not None and not self._running and not self._backlogs:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        now = time.monotonic()
        for backlog in self._backlogs:
            if now - backlog.told >= LINE_SECONDS:
                backlog.told = now
                log.info("%s, %.0f s so far", str(backlog), now - backlog.began)
        long = [scan for scan in self._running.values() if now - scan.told >= LINE_SECONDS]
        for number, scan in enumerate(long):
            scan.told = now
            if number < LINES:
                log.info("%s so far, %.0f s", str(scan), now - scan.began)
        if len(long) > LINES:
            log.info("%d more quota scans run", len(long) - LINES)
        told = [scan.told for scan in self._running.values()] + [backlog.told for backlog in self._backlogs]
        soonest = min(told, default=now)
        delay = max(0.001, soonest + LINE_SECONDS - now)  # sums are rounded: 0.0 may still be too early
        self._timer = asyncio.get_running_loop().call_later(delay, self._tell)
