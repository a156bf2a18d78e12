# SPDX-License-Identifier: Apache-2.0
"""Notes on this host of the locks of git that a push makes on storage elsewhere.

A server that is killed between a lock and its rename leaves the lock, and nobody removes a lock by its age.
The next push through the same configuration directory knows by its note that the lock is its own, and whose:
the note is locked (flock) as long as the process lives that made it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 << 20
"""Of one note; a push of some 500,000 names."""


class LockNote:
    """The note of one push. Life: constructed, `begin`, `end`. Blocks.

    Args:
        directory: for notes; made if it is missing.
        place: of the repository; pushes of one process to it wait for each other.

    Attributes:
        left: digests of locks of a process that is gone, filled by `begin`; who removes one takes it out.
    """

    def __init__(self, directory: Path, place: str) -> None:
        self._directory = directory
        self._path = (
            directory / f"{hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()}.json"
        )
        self._fd = -1
        self.left: dict[str, str] = {}

    def begin(self, locks: Mapping[str, str]) -> None:
        """Note locks that are about to be made; `left` then has those of a process that is gone.

        Args:
            locks: digest of the content of each lock, by the name that it locks.

        Raises:
            OSError: the note cannot be written.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process pushes to it now, and has its own note
            os.close(fd)
            return
        self._fd = fd
        self.left = _read(fd)
        self._write({**self.left, **locks})

    def end(self) -> None:
        """The locks are gone: remove the note, but for what is left of others. Safe to call twice."""
        if self._fd < 0:
            return
        try:
            if self.left:
                self._write(self.left)
            else:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _write(self, locks: Mapping[str, str]) -> None:
        data = json.dumps(dict(locks)).encode("utf-8", "surrogateescape")
        os.ftruncate(self._fd, 0)
        at = 0
        while at < len(data):
            at += os.pwrite(self._fd, data[at:], at)
        os.fsync(self._fd)


def _read(fd: int) -> dict[str, str]:
    """The locks in a note; none if it was cut off while it was written: its locks were not made then."""
    with contextlib.suppress(ValueError):
        found = json.loads(os.pread(fd, MAX_BYTES, 0).decode("utf-8", "surrogateescape"))
        if isinstance(found, dict):
            return {str(name): str(value) for name, value in found.items()}
    return {}
