# SPDX-License-Identifier: Apache-2.0
"""Opening the data provider, now or as soon as it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.store.contract import Provider

RETRY_SECONDS: Final = 3.0
"""Seconds between two attempts to reach a data provider that was down at start."""

log = logging.getLogger(__name__)


class ProviderStart:
    """Opens a data provider.

    Args:
        provider: not open yet.
        migrate: bring its schema up to date.

    Attributes:
        ready: True once it has answered.
    """

    def __init__(self, provider: Provider, *, migrate: bool) -> None:
        self._provider = provider
        self._migrate = migrate
        self.ready = False

    async def now(self) -> bool:
        """Open it; False if it does not answer.

        Raises:
            ProviderError: it cannot be used.
        """
        try:
            await self._provider.open(migrate=self._migrate)
        except ProviderUnavailable as error:
            log.error("data provider: %s; logins are refused until it answers", error)
            return False
        self.ready = True
        return True

    async def later(self, then: Callable[[], Awaitable[None]]) -> None:
        """Try again and again; call `then` when it is open."""
        while not self.ready:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._provider.open(migrate=self._migrate)
            except ProviderUnavailable:
                continue
            except ProviderError as error:
                log.error("data provider: %s", error)
                continue
            self.ready = True
        log.info("data provider: answers again, logins are possible")
        await then()
