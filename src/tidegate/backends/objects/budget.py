# SPDX-License-Identifier: Apache-2.0
"""Memory for the content of objects: one amount for the process, and of that a share for each owner.

An owner is an account's home, or a folder. Who needs more than there is waits. Who reads gives back what it
fetched ahead when others need it. Who writes cannot, so these rules keep writers from waiting for each other
for ever: of each owner one at a time may go beyond its share, and one in the process beyond the whole, until
its part is stored; and who has waited too long is refused. An owner whose share is spent holds up nobody
else; the others are served in turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakValueDictionary

from tidegate.errors import PeerLimit

MIB: Final = 1024 * 1024
DEFAULT_BUDGET: Final = 256 * MIB
"""Bytes."""
DEFAULT_SHARE: Final = 64 * MIB
"""Bytes of one owner."""
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
        wait: seconds that `Share.take` waits.
        share: bytes that one owner may hold; at most `limit`.

    Attributes:
        held: bytes that are held now.
        beyond: the one that goes beyond the limit.
        short: somebody waits who would have room in their share.
        queue: shares of which somebody waits, in the order in which they are served.
        idle: who can give back bytes, the longest unused first, and whose they are.
    """

    def __init__(
        self, limit: int = DEFAULT_BUDGET, wait: float = WAIT_SECONDS, share: int = DEFAULT_SHARE
    ) -> None:
        self.limit = limit
        self.wait = wait
        self.share = min(share, limit)
        self.held = 0
        self.beyond: object = None
        self.short = False
        self._shares: WeakValueDictionary[Hashable, Share] = WeakValueDictionary()
        self.queue: OrderedDict[Share, None] = OrderedDict()
        self.idle: OrderedDict[Shrinks, Share] = OrderedDict()

    def of(self, owner: Hashable) -> Share:
        """The share of an owner; one for all that ask for it."""
        found = self._shares.get(owner)
        if found is None:
            found = self._shares[owner] = Share(self)
        return found

    def reclaim(self, share: Share, holder: object, size: int) -> None:
        """Ask others than `holder` for what they can fetch again, until a share could take `size` bytes."""
        for idle, owner in list(self.idle.items()):
            short = self.held + size > self.limit
            if not short and share.held + size <= self.share:
                return
            if idle is not holder and (short or owner is share):
                idle.shrink()

    def grab(self, share: Share, holder: object, size: int) -> bool:
        """Hold more bytes for a share, beyond the limits if the holder may; False if nothing has changed."""
        if not share.has_room(holder, size):
            return False
        over = self.held + size > self.limit
        if over and self.beyond is not None and self.beyond is not holder:
            return False
        if over:
            self.beyond = holder
        share.add(holder, size)
        self.held += size
        return True

    def release(self, size: int) -> None:
        """Hold that many fewer, and serve those who wait; called by `Share`."""
        self.held -= size
        if self.held <= self.limit:
            self.beyond = None
        self.wake()

    def wake(self) -> None:
        """Serve those who wait: of each owner the first, owner after owner."""
        self.short = False
        served = True
        while served:
            served = False
            for share in list(self.queue):
                first = share.first()
                if first is None:
                    self.queue.pop(share, None)
                elif not share.has_room(first.holder, first.size):
                    continue
                elif not self.grab(share, first.holder, first.size):
                    self.short = True
                    return
                else:
                    share.waiting.popleft()
                    first.ready.set_result(None)
                    self.queue.move_to_end(share)
                    served = True


class Share:
    """Bytes of one owner; see `ByteBudget.of`.

    Attributes:
        held: bytes that it holds now.
        waiting: those of its holders that wait, in order.
    """

    __slots__ = ("__weakref__", "_beyond", "_budget", "held", "waiting")

    def __init__(self, budget: ByteBudget) -> None:
        self.held = 0
        self.waiting: deque[_Waiting] = deque()
        self._budget = budget
        self._beyond: object = None

    def take_nowait(self, size: int) -> bool:
        """Hold more bytes; False if they do not fit or others wait, and nothing has changed then."""
        budget = self._budget
        if self.waiting or budget.short:
            return False
        if self.held + size > budget.share or budget.held + size > budget.limit:
            return False
        self.held += size
        budget.held += size
        return True

    async def take(self, holder: object, size: int) -> None:
        """Hold more bytes, after waiting until they fit.

        Args:
            holder: who may go beyond the limits with these bytes; one at a time does.

        Raises:
            PeerLimit: there was no room for `ByteBudget.wait` seconds.
        """
        budget = self._budget
        if self.take_nowait(size):
            return
        budget.reclaim(self, holder, size)
        if self.take_nowait(size):
            return
        # Whoever is beyond goes on, past those who wait for it to end.
        goes_on = holder is self._beyond or holder is budget.beyond
        if (goes_on or not (self.waiting or budget.short)) and budget.grab(self, holder, size):
            return
        mine = _Waiting(holder, size, asyncio.get_running_loop().create_future())
        own = not budget.short and (bool(self.waiting) or not self.has_room(holder, size))
        self.waiting.append(mine)
        budget.queue.setdefault(self)
        budget.short = budget.short or not own
        try:
            async with asyncio.timeout(budget.wait):
                await mine.ready
        except BaseException as error:
            if mine.ready.done() and not mine.ready.cancelled():
                self.give_back(size)
            else:
                with suppress(ValueError):  # it was passed over already
                    self.waiting.remove(mine)
                budget.wake()
            if isinstance(error, TimeoutError):
                what = "share of the memory" if own else "memory"
                raise PeerLimit(f"the {what} for transfers is in use: try again later") from None
            raise

    def give_back(self, size: int) -> None:
        """Hold that many fewer."""
        self.held -= size
        if self.held <= self._budget.share:
            self._beyond = None
        self._budget.release(size)

    def used(self, holder: Shrinks) -> None:
        """Note that `holder` is in use; it is the last one to be asked for its bytes."""
        self._budget.idle[holder] = self
        self._budget.idle.move_to_end(holder)

    def ended(self, holder: Shrinks) -> None:
        """Forget `holder`."""
        self._budget.idle.pop(holder, None)

    def has_room(self, holder: object, size: int) -> bool:
        """True if the share leaves room for that many more bytes, or `holder` may go beyond it."""
        fits = self.held + size <= self._budget.share
        return fits or self._beyond is None or self._beyond is holder

    def add(self, holder: object, size: int) -> None:
        """Count bytes in that there is room for."""
        self.held += size
        if self.held > self._budget.share:
            self._beyond = holder

    def first(self) -> _Waiting | None:
        """The first that waits."""
        while self.waiting and self.waiting[0].ready.cancelled():  # who gives up at this moment
            self.waiting.popleft()
        return self.waiting[0] if self.waiting else None


__all__ = ["DEFAULT_BUDGET", "DEFAULT_SHARE", "WAIT_SECONDS", "ByteBudget", "Share", "Shrinks"]
