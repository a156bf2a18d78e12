# SPDX-License-Identifier: Apache-2.0
"""Progress of copies, and of renames that copy: among the session's transfers, and in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tidegate.vfs.context import Context

LINE_SECONDS: Final = 10.0
"""Time that work goes on without a line in the log, and the time between two lines about it."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Progress:
    """Work that goes on, as the registry shows it (`cluster.registry.LiveWork`).

    Backends count in it too (`tidegate.abc.Steps`).

    Attributes:
        operation_type: ``copy``, ``move``, ``rename``, ``upload`` or ``download``.
        virtual_path: the target.
        started: seconds since the epoch.
        size: bytes done.
        files: files done.
        total_size: bytes in all, 0 while that is not known.
        total_files: files in all, 0 while that is not known.
    """

    operation_type: str
    virtual_path: str
    started: float
    size: int = 0
    files: int = 0
    total_size: int = 0
    total_files: int = 0

    def __str__(self) -> str:
        files = f"{self.files} of {self.total_files}" if self.total_files else f"{self.files}"
        size = f"{self.size} of {self.total_size}" if self.total_size else f"{self.size}"
        return f"{self.operation_type} to {self.virtual_path}: {files} files, {size} bytes"


@contextmanager
def showing(context: Context, progress: Progress, *, always: bool) -> Iterator[Progress]:
    """Show work for the time of the block.

    Args:
        always: the log gets a line at the end; else only if it took `LINE_SECONDS`.
    """
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    connection_id = context.peer.connection_id
    timer: asyncio.TimerHandle

    def tell() -> None:
        nonlocal timer
        timer = loop.call_later(LINE_SECONDS, tell)
        log.info("%s: %s so far, %.0f s", connection_id, str(progress), time.monotonic() - began)

    timer = loop.call_later(LINE_SECONDS, tell)
    context.transfers.add(progress)
    how = "broken off"
    try:
        yield progress
        how = "done"
    finally:
        timer.cancel()
        context.transfers.discard(progress)
        elapsed = time.monotonic() - began
        if always or elapsed >= LINE_SECONDS:
            log.info("%s: %s, %s after %.1f s", connection_id, str(progress), how, elapsed)
