# SPDX-License-Identifier: Apache-2.0
"""Values read from files, read again when a file changes. A file that became unreadable keeps its value."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

LOOK_SECONDS: Final = 2.0
"""Time between looks at the files; a look is one `stat` of each."""
QUIET_SECONDS: Final = 1.0
"""A file is read again when it was not written for so long: whoever writes it may be in the middle."""

Stamp = tuple[int, int, int]

log = logging.getLogger(__name__)

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """One file and the value read from it. Its methods block: they are called in a thread.

    Args:
        path: of the file.
        read: makes the value from the file.
        errors: what `read` raises of a file that cannot be used, besides OSError.

    Attributes:
        value: as it was read last; None before.
        error: why the file as it is now could not be used; empty if it could.
    """

    def __init__(self, path: str, read: Callable[[str], T], errors: tuple[type[Exception], ...]) -> None:
        self.path = path
        self.value: T | None = None
        self.error = ""
        self._read = read
        self._errors: tuple[type[Exception], ...] = (OSError, *errors)
        self._stamp: Stamp | None = None

    def look(self, now: float | None = None) -> bool:
        """Read the file if it is another than before.

        Args:
            now: Unix seconds.

        Returns:
            True if `value` is a new one.
        """
        try:
            found = os.stat(self.path)
        except OSError as error:
            return self._failed(None, error)
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == self._stamp:
            return False
        now = time.time() if now is None else now
        if self._stamp is not None and 0 <= now - found.st_mtime < QUIET_SECONDS:
            return False
        try:
            value = self._read(self.path)
        except self._errors as error:
            return self._failed(stamp, error)
        if self.error:
            log.warning("%s can be read again", self.path)
        self.value, self.error, self._stamp = value, "", stamp
        return True

    def _failed(self, stamp: Stamp | None, error: Exception) -> bool:
        self._stamp = stamp if stamp is not None else self._stamp
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        if text != self.error:
            kept = "; what was read before is kept" if self.value is not None else ""
            log.warning("%s cannot be used: %s%s", self.path, text, kept)
        self.error = text
        return False
