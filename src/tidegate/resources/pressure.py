# SPDX-License-Identifier: Apache-2.0
"""Pressure on the processors of this host, of the kernel's own account (PSI, Linux 4.20 and later).

``/proc/pressure/cpu`` has the microseconds in which at least one process was ready and had no processor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

PATH: Final = "/proc/pressure/cpu"
LOOK_SECONDS: Final = 0.05
"""An answer is so old at most; a look costs some 10 µs."""
CROWDED: Final = 0.2
"""The share of the time in which somebody waited, from which on the host is crowded."""


class Pressure:
    """Looks at the account now and then. Where there is none, the host is never crowded.

    Args:
        path: of the account.
        wall: seconds that do not go backwards.
    """

    def __init__(self, path: str = PATH, wall: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._wall = wall
        self._looked = 0.0
        self._total = -1
        self._crowded = False

    def __call__(self) -> bool:
        """True if, between the last two looks, processes waited for a processor for `CROWDED` of the time."""
        now = self._wall()
        passed = now - self._looked
        if passed >= LOOK_SECONDS:
            total, before = self._read(), self._total
            self._looked, self._total = now, total
            self._crowded = total >= 0 and before >= 0 and total - before >= passed * 1e6 * CROWDED
        return self._crowded

    def _read(self) -> int:
        """Microseconds; -1 if they are not told."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _, _, text = os.read(file, 256).partition(b"total=")
            finally:
                os.close(file)
            return int(text.split(None, 1)[0])
        except (OSError, ValueError, IndexError):
            return -1


crowded: Final = Pressure()
"""Of this host, for the whole process."""
