# SPDX-License-Identifier: Apache-2.0
"""Latency without waiting: calls that are under way at the same time end in the same round, and rounds are counted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tidegate.abc import Backend
from tidegate.testing.flavours import Flavour

T = TypeVar("T")

TURNS = 12
"""Turns of the loop in which nothing new may begin before a round is over: others may still be about to join."""


class Rounds:
    """A clock that goes on when everybody waits. One round stands for one latency of a remote storage."""

    def __init__(self) -> None:
        self.count = 0
        self.most = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._quiet = 0
        self._ticking = False

    async def wait(self) -> None:
        """Return in the next round."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        self._quiet = 0
        if not self._ticking:
            self._ticking = True
            loop.call_soon(self._tick)
        await future

    def _tick(self) -> None:
        self._quiet += 1
        if self._quiet <= TURNS:
            asyncio.get_running_loop().call_soon(self._tick)
            return
        self._ticking = False
        self.count += 1
        waiting, self._waiting = self._waiting, []
        self.most = max(self.most, len(waiting))
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Remote(Flavour):
    """A storage that is some rounds away.

    Args:
        inner: holds the bytes.
        rounds: the clock.
        draw: makes a call take one to three rounds; None makes all take one.
    """

    def __init__(self, inner: Backend, rounds: Rounds, draw: random.Random | None = None) -> None:
        super().__init__(inner)
        self.rounds = rounds
        self.draw = draw
        self.slow: dict[str, int] = {}
        self.calls: list[str] = []

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(name)
        count = self.slow.get(name, 1) if self.draw is None else self.draw.randint(1, 3)
        for _ in range(count):
            await self.rounds.wait()
        return await act()


def bytes_of(memory: Any) -> dict[str, tuple[bytes | None, str]]:
    """Content of every file and None for every directory of a `MemoryBackend`."""
    found: dict[str, tuple[bytes | None, str]] = {}

    def walk(node: Any, path: str) -> None:
        for name, child in (node.children or {}).items():
            below = f"{path}/{name}"
            found[below] = (None if child.children is not None else bytes(child.data), oct(child.mode))
            walk(child, below)

    walk(memory._root, "")
    return found
