# SPDX-License-Identifier: Apache-2.0
"""Bytes of one part while it is filled, copied once: a bytearray that grows copies a part nine times."""

from __future__ import annotations

import zlib
from typing import Final

from typing_extensions import Buffer

from tidegate.backends.objects.sums import THREAD_BYTES
from tidegate.resources.pages import fresh_pages

SMALL_BYTES: Final = 256 * 1024
"""Least size of a buffer that had to grow."""
GROWTH: Final = 4
"""A buffer that is full becomes so many times larger, up to the size of a part."""
RESERVED_BYTES: Final = 64 * 1024 * 1024
"""Most that is reserved ahead; larger parts grow."""


class PartBuffer:
    """Bytes that are added at the end, and handed over as a whole.

    Args:
        summed: keep a CRC-32 of them. It is computed as they come, when they are in the processor's caches,
            for half of what it takes later; what comes in pieces that would hold up the loop is left out.
    """

    __slots__ = ("_crc", "_size", "_summed", "_view")

    def __init__(self, *, summed: bool = False) -> None:
        self._view = memoryview(b"")
        self._size = 0
        self._summed = summed
        self._crc: int | None = 0 if summed else None

    def __len__(self) -> int:
        return self._size

    def add(self, data: Buffer, room: int) -> None:
        """Add bytes.

        Args:
            data: contiguous.
            room: bytes that the whole will have at most; only a bound of what is reserved.
        """
        view = memoryview(data).cast("B")
        end = self._size + len(view)
        if end == self._size:
            return
        if end > len(self._view):
            self._grow(end, room)
        self._view[self._size : end] = view
        self._size = end
        if self._crc is not None:
            self._crc = None if len(view) > THREAD_BYTES else zlib.crc32(view, self._crc)

    @property
    def crc32(self) -> str:
        """CRC-32 of the bytes, hex; empty if it was not kept."""
        return "" if self._crc is None else f"{self._crc:08x}"

    def _grow(self, end: int, room: int) -> None:
        # The first bytes are often all of them.
        size = end if not self._size else max(end, min(room, max(SMALL_BYTES, GROWTH * len(self._view))))
        # Pages of its own are resident as they are filled, and go back to the system at the end.
        grown = fresh_pages(size) if size >= SMALL_BYTES else memoryview(bytearray(size))
        grown[: self._size] = self._view[: self._size]
        self._view = grown

    def reserve(self, room: int) -> None:
        """Have memory for so many bytes, taken up as it is filled; only while the buffer is empty."""
        self._view = fresh_pages(min(room, RESERVED_BYTES))

    def reuse(self, view: memoryview) -> None:
        """Fill this memory next, which nobody reads any more; only while the buffer is empty."""
        self._view = view

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes."""
        if size < self._size:
            self._size, self._crc = size, None

    def view(self) -> memoryview:
        """The bytes; to be used before any other call."""
        return self._view[: self._size]

    def take(self) -> memoryview:
        """The bytes, which do not change any more; the buffer is empty then."""
        taken = self.view()
        self._view, self._size = memoryview(b""), 0
        self._crc = 0 if self._summed else None
        return taken
