# SPDX-License-Identifier: Apache-2.0
"""CPU pressure of this host by the kernel's pressure stall information (PSI, Linux 4.20 and later).

``/proc/pressure/cpu`` has the microseconds in which at least one process was ready and waited for a CPU.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

PATH: Final = "/proc/pressure/cpu"
LOOK_SECONDS: Final = 0.05
"""Greatest age of an answer; reading the file costs some 10 µs."""
CROWDED: Final = 0.2
"""Share of the time with a waiting process from which the host counts as crowded."""


class Pressure:
    """Reads the file at most every `LOOK_SECONDS`. Without PSI the host never counts as crowded.

    Args:
        path: of the PSI file.
        wall: monotonic clock, seconds.
    """

    def __init__(self, path: str = PATH, wall: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._wall = wall
        self._looked = 0.0
        self._total = -1
        self._crowded = False

    def __call__(self) -> bool:
        """True if processes waited for a CPU in at least `CROWDED` of the time between the last two reads."""
        now = self._wall()
        passed = now - self._looked
        if passed >= LOOK_SECONDS:
            total, before = self._read(), self._total
            self._looked, self._total = now, total
            self._crowded = total >= 0 and before >= 0 and total - before >= passed * 1e6 * CROWDED
        return self._crowded

    def _read(self) -> int:
        """Microseconds since the start of the host; -1 if there is no PSI."""
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
