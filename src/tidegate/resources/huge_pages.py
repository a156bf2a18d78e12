# SPDX-License-Identifier: Apache-2.0
"""Memory of a server that is up, in large pages.

A login comes when the processor has done something else. It finds neither what it needs nor where in memory
that is; with pages of 2 MiB instead of 4 KiB the second takes a few hundred times fewer look-ups.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from typing import Final

PAGE: Final = 2 * 1024**2
"""Bytes of a large page."""

LEAST_IN_USE: Final = 0.9
"""Part of an area that has to be in use already: the rest of it would cost memory for nothing."""

_COLLAPSE: Final = 25
"""MADV_COLLAPSE of Linux 6.1 and later: put what is there in large pages, now."""

_AREA: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *(?:\[heap\])?")


def areas(smaps: str) -> Iterator[tuple[int, int]]:
    """Address and size of the parts of private memory that large pages fit into.

    Args:
        smaps: as `/proc/PID/smaps` has it.
    """
    start = end = 0
    for line in smaps.splitlines():
        if line.startswith("Rss:"):
            rss = int(line.split()[1]) * 1024
            first, last = -(-start // PAGE) * PAGE, end // PAGE * PAGE
            if first < last and rss >= LEAST_IN_USE * (end - start):
                yield first, last - first
            start = end = 0
        elif (found := _AREA.fullmatch(line)) is not None:
            start, end = int(found[1], 16), int(found[2], 16)


def use_huge_pages() -> int:
    """Put the memory that is in use now in large pages, where the system can; some milliseconds, blocking.

    Returns:
        bytes that are in large pages now, of those that were tried.
    """
    try:
        with open("/proc/self/smaps", encoding="ascii", errors="replace") as file:
            smaps = file.read()
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(size for start, size in areas(smaps) if advise(start, size, _COLLAPSE) == 0)
