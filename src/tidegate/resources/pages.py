# SPDX-License-Identifier: Apache-2.0
"""Buffers that take up memory as they are used."""

from __future__ import annotations

import mmap


def fresh_pages(size: int) -> memoryview:
    """Writable memory of `size` bytes, zero; a `bytearray` writes its zeros, and is resident, at once."""
    if hasattr(mmap, "MAP_ANONYMOUS"):
        return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return memoryview(bytearray(size))
