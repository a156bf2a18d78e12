# SPDX-License-Identifier: Apache-2.0
"""Names of the server's own that rsync made: removed, and told.

Unfinished uploads have hidden names (`RESERVED`). rsync neither sends nor removes those, but nothing in it
keeps it from making one that its client names: no filter holds for what a server receives. Nobody could see,
fetch or remove such a file afterwards, so it is removed once rsync has ended, and its client is told.

Names of exactly the server's form stay: one cannot tell them from uploads that were interrupted. They go as
those do, after some time.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

RESERVED: Final = (".tidegate-part.", ".tidegate-upload.")
"""The beginnings of hidden names (`tidegate.backends.local.names`)."""

SWEEP_SECONDS: Final = 30.0
"""Seconds that names are looked for after one run."""

_OWN: Final = re.compile(r"\.tidegate-(part\.[0-9a-f]{32}|upload\.[0-9a-f]{16}\.[0-9a-f]{8})")


def remove_foreign(directories: Sequence[int]) -> int:
    """Remove reserved names that are not of the server's making, in and below some directories; blocks.

    Links are not followed. What cannot be looked at or removed is left.

    Args:
        directories: descriptors, O_PATH will do.

    Returns:
        how many were removed.
    """
    removed = 0
    until = time.monotonic() + SWEEP_SECONDS
    for directory in directories:
        for _, folders, files, fd in os.fwalk(".", dir_fd=directory, follow_symlinks=False):
            if time.monotonic() > until:
                log.warning("reserved names: not all directories were looked at in %d seconds", SWEEP_SECONDS)
                return removed
            for name in [name for name in (*folders, *files) if _foreign(name, fd)]:
                if name in folders:
                    folders.remove(name)
                removed += _remove(name, fd)
    return removed


def _foreign(name: str, fd: int) -> bool:
    if not name.startswith(RESERVED):
        return False
    if not _OWN.fullmatch(name):
        return True
    with suppress(OSError):
        return not stat.S_ISREG(os.lstat(name, dir_fd=fd).st_mode)
    return False


def _remove(name: str, fd: int) -> bool:
    with suppress(OSError):
        os.unlink(name, dir_fd=fd)
        return True
    with suppress(OSError):
        shutil.rmtree(name, dir_fd=fd)
        return True
    return False
