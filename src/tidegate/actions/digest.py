# SPDX-License-Identifier: Apache-2.0
"""Gathers messages of one action for a while, so that many events make one message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.actions.outcome import Outcome

MAX_GATHERED: Final = 200
"""Messages of one digest; the next one begins a new one."""

Sends = Callable[[list[str]], Awaitable[Outcome]]


class Digest:
    """One that is being gathered. Everybody who gave a message waits until it was sent."""

    def __init__(self, seconds: float, send: Sends, over: Callable[[], None]) -> None:
        self._texts: list[str] = []
        self._full = asyncio.Event()
        self._send = send
        self._over = over
        self._task = asyncio.create_task(self._run(seconds), name="digest")

    async def add(self, text: str) -> Outcome:
        """Add a message; returns when the digest was sent."""
        self._texts.append(text)
        if len(self._texts) >= MAX_GATHERED:
            self._over()
            self._full.set()
        return await asyncio.shield(self._task)

    async def cancel(self) -> None:
        """Give up."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, seconds: float) -> Outcome:
        try:
            async with asyncio.timeout(seconds):
                await self._full.wait()
        except TimeoutError:
            pass
        self._over()
        return await self._send(self._texts)


class Digests:
    """Those of all actions, by the name of the action. Life: constructed, `add`..., `close`."""

    def __init__(self) -> None:
        self._open: dict[str, Digest] = {}

    async def add(self, name: str, seconds: float, text: str, send: Sends) -> Outcome:
        """Add a message to the digest of an action, begun if there is none."""
        digest = self._open.get(name)
        if digest is None:

            def over() -> None:
                if self._open.get(name) is digest:
                    del self._open[name]

            digest = Digest(seconds, send, over)
            self._open[name] = digest
        return await digest.add(text)

    async def close(self) -> None:
        """Send nothing more: what was gathered is told again after the next start."""
        for digest in list(self._open.values()):
            await digest.cancel()
        self._open.clear()
