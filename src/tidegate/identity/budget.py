# SPDX-License-Identifier: Apache-2.0
"""A quantity that jobs share, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """So much of something, of which jobs take parts. To be used from one event loop.

    Args:
        total: what there is; a job that wants more gets all of it, alone.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """The part that nobody has taken."""
        return self._free

    async def take(self, amount: int) -> None:
        """Wait for one's turn and take a part; a cancelled caller takes nothing."""
        amount = min(amount, self._total)
        if not self._queue and amount <= self._free:
            self._free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came, and nobody is left to use it
                self.give(amount)
            else:
                self._queue.remove((amount, turn))
                self._serve()
            raise

    def give(self, amount: int) -> None:
        """Put back what `take` took."""
        self._free += min(amount, self._total)
        self._serve()

    def _serve(self) -> None:
        while self._queue and self._queue[0][0] <= self._free:
            amount, turn = self._queue.popleft()
            self._free -= amount
            turn.set_result(None)
