# SPDX-License-Identifier: Apache-2.0
"""`MemoryBackend` as a kind of storage, for trials: `tidegate.backends.memory_kind:MemoryStorage`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tidegate.abc import Backend, StorageHost, StorageKind
from tidegate.backends.memory import MemoryBackend
from tidegate.model import StorageSpec


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """Options of a record under ``memoryconfig``.

    Attributes:
        capacity: bytes of content that one root holds.
    """

    capacity: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ValueError("capacity is below 0")


class MemoryStorage:
    """Trees in memory, one for each root; they last as long as the server runs."""

    options: ClassVar[type[MemoryOptions]] = MemoryOptions
    section: ClassVar[str] = "memoryconfig"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._umask = host.umask
        self._trees: dict[str, MemoryBackend] = {}

    async def open(self) -> Sequence[str]:
        """Nothing to get ready."""
        return ()

    def build(self, spec: StorageSpec, options: MemoryOptions) -> Backend:
        """The tree of a root, made when it is first asked for."""
        tree = self._trees.get(spec.key)
        if tree is None:
            tree = self._trees[spec.key] = MemoryBackend(capacity=options.capacity, umask=self._umask)
        return tree

    async def close(self) -> None:
        """Forget every tree."""
        self._trees.clear()


def _proof(kind: MemoryStorage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
