# SPDX-License-Identifier: Apache-2.0
"""Memory for the content of objects: one amount for all transfers of the process; who needs more waits.

Who reads gives back what it fetched ahead when others need it. Who writes cannot, so two rules keep writers
from waiting for each other for ever: one of them at a time may go beyond the limit until its part is stored,
and who has waited too long is refused.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from tidegate.errors import PeerLimit

DEFAULT_BUDGET: Final = 256 * 1024 * 1024
"""Bytes."""
WAIT_SECONDS: Final = 60.0
"""After so long without memory a transfer is refused."""


class Shrinks(Protocol):
    """A holder of bytes that nobody waits for."""

    def shrink(self) -> None:
        """Give back what can be fetched again; at once."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting:
    holder: object
    size: int
    ready: asyncio.Future[None]


class ByteBudget:
    """Bytes that may be held at the same time.

    Args:
        limit: bytes.
        wait: seconds that `take` waits.

    Attributes:
        held: bytes that are held now.
    """

    def __init__(self, limit: int = DEFAULT_BUDGET, wait: float = WAIT_SECONDS) -> None:
        self.limit = limit
        self.wait = wait
        self.held = 0
        self._beyond: object = None
        self._waiting: deque[_Waiting] = deque()
        self._idle: OrderedDict[Shrinks, None] = OrderedDict()

    def take_nowait(self, size: int) -> bool:
        """Hold more bytes; False if they do not fit or others wait, and nothing has changed then."""
        if self._waiting or self.held + size > self.limit:
            return False
        self.held += size
        return True

    async def take(self, holder: object, size: int) -> None:
        """Hold more bytes, after waiting until they fit.

        Args:
            holder: who may go beyond the limit with these bytes; one at a time does.

        Raises:
            PeerLimit: there was no room for `wait` seconds.
        """
        if self.take_nowait(size):
            return
        self._reclaim(holder, size)
        if self.take_nowait(size) or (not self._waiting and self._takes_beyond(holder, size)):
            return
        mine = _Waiting(holder, size, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(self.wait):
                await mine.ready
        except BaseException as error:
            if mine.ready.done() and not mine.ready.cancelled():
                self.give_back(size)
            else:
                with suppress(ValueError):  # it was passed over already
                    self._waiting.remove(mine)
                self._wake()
            if isinstance(error, TimeoutError):
                raise PeerLimit("the memory for transfers is in use: try again later") from None
            raise

    def give_back(self, size: int) -> None:
        """Hold that many fewer."""
        self.held -= size
        if self.held <= self.limit:
            self._beyond = None
        self._wake()

    def used(self, holder: Shrinks) -> None:
        """Note that `holder` is in use; it is the last one to be asked for its bytes."""
        self._idle[holder] = None
        self._idle.move_to_end(holder)

    def ended(self, holder: Shrinks) -> None:
        """Forget `holder`."""
        self._idle.pop(holder, None)

    def _reclaim(self, holder: object, size: int) -> None:
        for idle in list(self._idle):
            if self.held + size <= self.limit:
                return
            if idle is not holder:
                idle.shrink()

    def _takes_beyond(self, holder: object, size: int) -> bool:
        if self._beyond is not None and self._beyond is not holder:
            return False
        self._beyond = holder
        self.held += size
        return True

    def _wake(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if first.ready.cancelled():  # who gives up at this moment
                self._waiting.popleft()
                continue
            if self.held + first.size <= self.limit:
                self.held += first.size
            elif not self._takes_beyond(first.holder, first.size):
                return
            self._waiting.popleft()
            first.ready.set_result(None)
