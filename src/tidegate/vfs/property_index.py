# SPDX-License-Identifier: Apache-2.0
"""Tells which storage roots have dead properties, without asking the data provider."""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final

from tidegate.errors import ProviderError, Unsupported

if TYPE_CHECKING:
    from tidegate.model.properties import KeepsProperties, PropertyLimits, PropertyPatch, PropertyStore

REFRESH_SECONDS: Final = 30.0
"""Seconds that a server may not know that another one has set the first property of a storage root."""

SWEEP_SECONDS: Final = 86_400.0
"""Properties of files that are gone are looked for so often, in storage that somebody uses."""
MAX_SWEPT: Final = 100_000
"""Storages whose last sweep is remembered."""

log = logging.getLogger(__name__)


class PropertyIndex:
    """Storage roots that have properties; one for all sessions of the process.

    Args:
        provider: keeps them; None if there is none: then nothing can be set.
        limits: bounds; None for those of the contract.

    Attributes:
        active: False as long as no property exists, as far as is known.
        swept: the place where the last sweep of a storage ended, see `tidegate.vfs.property_sweep`.
    """

    def __init__(self, provider: KeepsProperties | None, limits: PropertyLimits | None = None) -> None:
        self._provider = provider
        self._limits = limits
        self.active = False
        self._roots: list[str] = []
        self.swept: dict[str, str] = {}
        self._sweeps: dict[str, float] = {}

    def takes_sweep(self, storage: str, now: float | None = None) -> bool:
        """True once in `SWEEP_SECONDS` for a storage; the caller sweeps it."""
        now = time.monotonic() if now is None else now
        if now < self._sweeps.get(storage, now):
            return False
        if len(self._sweeps) >= MAX_SWEPT:
            self._sweeps.clear()
            self.swept.clear()
        self._sweeps[storage] = now + SWEEP_SECONDS
        return True

    @property
    def limits(self) -> PropertyLimits:
        """Bounds."""
        if self._limits is None:
            from tidegate.model.properties import PropertyLimits  # needed by who sets one

            self._limits = PropertyLimits()
        return self._limits

    @property
    def store(self) -> PropertyStore:
        """The store of the data provider.

        Raises:
            Unsupported: nowhere.
        """
        if self._provider is None:
            raise Unsupported("no data provider keeps properties")
        return self._provider.properties

    async def learn(self) -> None:
        """Ask the data provider.

        Raises:
            ProviderUnavailable: not now.
        """
        if self._provider is not None:
            for root in await self._provider.property_roots():
                self._note(root)

    async def keep_learning(self, seconds: float = REFRESH_SECONDS) -> None:
        """`learn`, again and again; for a task."""
        failed = False
        while True:
            try:
                await self.learn()
                failed = False
            except ProviderError as error:
                if not failed:
                    log.warning("properties that other servers set are not noticed: %s", error)
                failed = True
            await asyncio.sleep(seconds)

    def may_have(self, place: str) -> bool:
        """False if certainly nothing at a place, or below it, has properties. Never waits."""
        roots = self._roots
        if not roots:
            return False
        above = place
        while above:
            index = bisect_left(roots, above)
            if index < len(roots) and roots[index] == above:
                return True
            above = above.rpartition("/")[0]
        index = bisect_left(roots, f"{place}/")
        return index < len(roots) and roots[index].startswith(f"{place}/")

    async def patch(self, change: PropertyPatch) -> None:
        """See `PropertyStore.patch`."""
        await self.store.patch(change, self.limits)
        self._note(change.root)

    async def move(self, source: str, target: str, root: str) -> None:
        """See `PropertyStore.move`."""
        await self.store.move(source, target, root)
        self._note(root)

    async def copy_tree(self, source: str, target: str) -> None:
        """See `PropertyStore.copy_tree`; the target is a storage root."""
        await self.store.copy_tree(source, target, target)
        self._note(target)

    async def copy(self, source: str, target: str, root: str, account: str) -> None:
        """See `PropertyStore.copy`."""
        await self.store.copy(source, target, root, account, self.limits)
        self._note(root)

    def _note(self, root: str) -> None:
        index = bisect_left(self._roots, root)
        if index == len(self._roots) or self._roots[index] != root:
            insort(self._roots, root)
        self.active = True
