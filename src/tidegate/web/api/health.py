# SPDX-License-Identifier: Apache-2.0
"""Health of the data provider, asked seldom enough that anybody may ask us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tidegate.errors import ProviderUnavailable, TidegateError
from tidegate.store.contract import Provider

FRESH_SECONDS: Final = 1.0
"""Seconds that an answer of the provider is given again."""
CHECK_SECONDS: Final = 5.0
"""Seconds that the provider may take to answer."""


class Health:
    """The provider's state.

    Args:
        ready: True if the provider was opened.
        monotonic: seconds.
    """

    def __init__(self, provider: Provider, ready: Callable[[], bool], monotonic: Callable[[], float]) -> None:
        self._provider = provider
        self._ready = ready
        self._monotonic = monotonic
        self._problem = ""
        self._asked: float | None = None
        self._lock = asyncio.Lock()

    async def problem(self) -> str:
        """The fault of the provider, empty if it works. One question at a time reaches it."""
        async with self._lock:
            if self._asked is None or self._monotonic() - self._asked >= FRESH_SECONDS:
                self._problem = await self._ask()
                self._asked = self._monotonic()
            return self._problem

    async def _ask(self) -> str:
        if not self._ready():
            return ProviderUnavailable.default_text
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._provider.check()
        except TimeoutError:
            return "data provider does not answer"
        except TidegateError as error:
            return error.text
        return ""
