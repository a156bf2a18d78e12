# SPDX-License-Identifier: Apache-2.0
"""A time limit that does not count the time for which a client is waited for."""

from __future__ import annotations

import asyncio
from types import TracebackType

from tidegate.contracts.inspection import Read


class Patience:
    """`asyncio.timeout`, standing still while content is read. Use `read` of it within.

    Args:
        seconds: most that what stands within may take besides reading.
        read: reads content, and may wait for a client as long as that takes.

    Raises:
        TimeoutError: it took longer.
    """

    __slots__ = ("_clock", "_read")

    def __init__(self, seconds: float, read: Read) -> None:
        self._clock = asyncio.timeout(seconds)
        self._read = read

    async def __aenter__(self) -> Patience:
        await self._clock.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clock.__aexit__(kind, error, trace)

    async def read(self, offset: int, size: int) -> bytes:
        """Read; the time does not count."""
        clock, when = self._clock, self._clock.when()
        if when is None or clock.expired():  # another read is waiting, or time is up
            return await self._read(offset, size)
        left = when - asyncio.get_running_loop().time()
        clock.reschedule(None)
        try:
            return await self._read(offset, size)
        finally:
            clock.reschedule(asyncio.get_running_loop().time() + left)
