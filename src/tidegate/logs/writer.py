# SPDX-License-Identifier: Apache-2.0
"""The thread that puts lines on the disk.

Waking a thread costs more than making a line does, and it takes the interpreter away from the event loop.
So the thread, once woken, gathers for a moment and writes what came meanwhile in one piece; lines keep the
order in which they were put.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from tidegate.logs.lines import own_line

GATHER_SECONDS: Final = 0.1
"""seconds that lines are gathered before they are written; a crash of the process loses as much at most"""

PIECE_LINES: Final = 1024
"""lines written in one piece"""


class Order:
    """Something for the writing thread to do, other than a line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = threading.Event()


class Writer:
    """Takes lines from any thread without blocking; one thread of its own hands them on.

    Args:
        limit: lines that wait at most; beyond it the newest are lost, counted and reported.
        write: called in the thread with whole lines.
        rotate: called in the thread for `rotate`.
        slow: why lines are lost, for the line that says so.

    Attributes:
        lost: lines that found no room.
    """

    def __init__(
        self,
        limit: int,
        write: Callable[[bytes], None],
        rotate: Callable[[], None] = lambda: None,
        *,
        slow: str = "the disk is too slow",
    ) -> None:
        self.lost = 0
        self._slow = slow
        self._limit = limit
        self._write = write
        self._rotate = rotate
        self._waiting: deque[bytes | Order] = deque()
        self._awake = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line, its end included. Never blocks, never raises."""
        if len(self._waiting) >= self._limit:
            self.lost += 1
            return
        self._waiting.append(line)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def rotate(self) -> None:
        """Rotate after what was put before; dropped if lines are being lost."""
        if len(self._waiting) < self._limit:
            self._order(Order("rotate"))

    def wait_written(self, seconds: float) -> None:
        """Wait until everything put before is written."""
        self._order(mark := Order("mark"))
        mark.done.wait(seconds)

    def stop(self, seconds: float) -> None:
        """Write what is queued and end the thread."""
        self._order(Order("stop"))
        self._thread.join(seconds)

    def _order(self, order: Order) -> None:
        self._waiting.append(order)
        self._hurry.set()
        self._awake = True
        self._wake.set()

    def _run(self) -> None:
        reported = 0
        while True:
            if len(self._waiting) < PIECE_LINES:  # else it would write no more than a piece in that time
                self._hurry.wait(GATHER_SECONDS)
            order = self._write_some()
            if self.lost > reported and len(self._waiting) <= self._limit // 2:
                count, reported = self.lost - reported, self.lost
                self._do(self._write, own_line(f"{count} lines lost: {self._slow}"))
            if order is not None:
                if order.name == "stop":
                    return
                if order.name == "rotate":
                    self._do(self._rotate)
                order.done.set()
            if not self._waiting:
                self._sleep()

    def _do(self, act: Callable[..., None], *arguments: bytes) -> None:
        try:
            act(*arguments)
        except Exception as error:  # the log must never take the server down
            with contextlib.suppress(Exception):
                sys.stderr.write(f"tidegate: log: {type(error).__name__}\n")

    def _sleep(self) -> None:
        """Until there is something to do; `put` may come in between any two of these lines."""
        self._wake.clear()
        self._awake = False
        if self._waiting:
            self._awake = True
        else:
            self._wake.wait()

    def _write_some(self) -> Order | None:
        """Write a piece; returns the order that stood behind it."""
        waiting = self._waiting
        piece: list[bytes] = []
        order: Order | None = None
        while waiting and len(piece) < PIECE_LINES:
            item = waiting.popleft()
            if isinstance(item, Order):
                order = item
                break
            piece.append(item)
        if not waiting:
            self._hurry.clear()
        if piece:
            self._do(self._write, b"".join(piece))
        return order
