# SPDX-License-Identifier: Apache-2.0
"""The unfinished requests of one channel: how many, what they hold, and the tasks that carry them out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.common.turns import turns_of
from tidegate.vfs import eager


class Work:
    """Counts unfinished requests, has replies flushed and input resumed.

    Args:
        transport: of the channel.
        requests: most unfinished requests.
        held_bytes: most bytes that they may hold; one request may go beyond.

    Attributes:
        pending: unfinished requests.
        held: bytes that they hold.
        saturated: a bound is reached, or other sessions have their turn: no input is taken.
        feeding: input is being processed; replies are flushed at its end.
        gone: no further reply can be sent.
        tasks: those of requests that wait.
    """

    def __init__(self, transport: PacketTransport, requests: int, held_bytes: int) -> None:
        self._transport = transport
        self._most_pending = requests
        self._most_held = held_bytes
        self.loop = asyncio.get_running_loop()
        self._turns = turns_of(self.loop)
        self.pending = 0
        self.held = 0
        self.saturated = False
        self.feeding = False
        self.gone = False
        self.tasks: set[asyncio.Task[None]] = set()
        self._flush_planned = False
        self._resume_planned = False
        self._idle_waiters: list[asyncio.Future[None]] = []

    def begin(self, cost: int) -> None:
        """A request that holds `cost` bytes is unfinished."""
        self.pending += 1
        self.held += cost

    def launch(self, work: Coroutine[Any, Any, None], cost: int) -> None:
        """Begin a request that has to wait; `work` calls `settle`."""
        self.begin(cost)
        task, _ = eager.start(work, self.loop)
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def settle(self, cost: int) -> None:
        """A request has ended and its reply is queued."""
        self.pending -= 1
        self.held -= cost
        if self.gone:
            return
        if not self.feeding and not self._flush_planned:
            # Several may end in one turn of the loop; their replies go out together.
            self._flush_planned = True
            self.loop.call_soon(self._flush)
        if self.saturated and self.pending <= self._most_pending // 2 and self.held <= self._most_held // 2:
            self.plan_resume()
        self.look_idle()

    def _flush(self) -> None:
        self._flush_planned = False
        if not self.gone:
            self._transport.flush()

    def hold(self) -> None:
        """Take no input before an unfinished request has ended."""
        self.saturated = True

    def plan_resume(self) -> None:
        """Take input again in a later turn of the loop."""
        if not self._resume_planned:
            self._resume_planned = True
            self._turns.later(self._resume)

    def _resume(self) -> None:
        self._resume_planned = False
        self.saturated = False
        if not self.gone:
            self._transport.resume()

    def look_idle(self) -> None:
        """Wake those who wait for the end of all requests, if none is unfinished."""
        if self._idle_waiters and not self.pending:
            self.loop.call_soon(self.wake)

    async def next_idle(self) -> None:
        """Return when the last unfinished request has ended, or the peer is gone."""
        waiter = self.loop.create_future()
        self._idle_waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """Wake those who wait in `next_idle`."""
        for waiter in self._idle_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._idle_waiters.clear()
