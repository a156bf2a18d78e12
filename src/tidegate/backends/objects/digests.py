# SPDX-License-Identifier: Apache-2.0
"""Digests of what passes through an upload, computed off the event loop where that takes long."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from typing_extensions import Buffer

from tidegate.backends.objects.metadata import DIGEST_PREFIX

INLINE_BYTES: Final = 64 * 1024
"""Up to so many bytes are summed up on the loop: a thread would take longer."""


class Digests:
    """Digests of consecutive pieces of one content.

    Args:
        algorithms: ``blake3`` or names of `hashlib`.
    """

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._hashers: dict[str, Any] = {name: _hasher(name) for name in algorithms}
        self._turn = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._hashers)

    def forget(self) -> None:
        """Sum up no more; there are no digests."""
        self._hashers.clear()

    async def update(self, data: Buffer) -> None:
        """Add bytes; calls take effect in the order in which they begin."""
        if not self._hashers:
            return
        async with self._turn:
            if memoryview(data).nbytes <= INLINE_BYTES:
                self._update(data)
            else:
                await asyncio.to_thread(self._update, data)

    def _update(self, data: Buffer) -> None:
        for hasher in list(self._hashers.values()):
            hasher.update(data)

    def metadata(self) -> dict[str, str]:
        """The digests so far, as metadata of an object."""
        return {DIGEST_PREFIX + name: hasher.hexdigest() for name, hasher in self._hashers.items()}


def _hasher(name: str) -> Any:
    if name == "blake3":
        from blake3 import blake3  # loaded by the first who asks

        return blake3()
    return hashlib.new(name, usedforsecurity=False)
