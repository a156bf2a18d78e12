# SPDX-License-Identifier: Apache-2.0
"""The environment as the kernel shows it: the block that the process was started with, secrets included.

``/proc/PID/environ`` is that block of memory. Changing `os.environ` leaves it as it was.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_ENV_START, _ENV_END = 47, 48
"""Places of `env_start` and `env_end` in /proc/PID/stat (proc(5): 50 and 51), counted behind the name."""

MOST_BYTES: Final = 64 << 20
"""A longer block is not believed; the kernel takes a quarter of the stack at most."""


def hide_environment() -> bool:
    """Overwrite the block with zeros. `os.environ` and getenv(3) go on as before: variables move to the heap.

    For a process without threads: one that is in getenv(3) meanwhile would read nothing. Returns False where
    the block cannot be found.
    """
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
    except (OSError, IndexError, ValueError):
        return False
    if not 0 < start < end <= start + MOST_BYTES:
        return False
    for name, value in os.environb.items():
        if not name:
            continue  # an entry that begins with "=" is no variable, and nothing finds it
        os.putenv(name, value)  # a copy; the variable no longer points into the block
    ctypes.memset(start, 0, end - start)
    return True
