# SPDX-License-Identifier: Apache-2.0
"""Notes on the host of what a crash would leave half done on other hosts: uploads in parts, renames, trees.

Each process has a directory of its own in the journal, whose file ``lock`` it holds with flock(2) as long as
it lives. Whoever opens a root takes over the notes that dead processes left about it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

LOCK: Final = "lock"
ASIDE: Final = "not-completed-"
"""Prefix of files of the journal that hold notes which were too old."""
MAX_NOTE_BYTES: Final = 16 * 1024
"""Longest note that is read."""
UPLOAD: Final = "upload"
RENAME: Final = "rename"
STAGE: Final = "stage"
"""A hidden tree; `Note.other` is the key that it was to get, if it is all that there is of what was moved."""
EXCHANGE: Final = "exchange"
"""The content of `Note.other` is replaced; the old one is kept at `Note.key`."""

REPLACED: Final = "replaced"
"""`Note.other` was replaced, and what came waits for a verdict; the old one is kept at `Note.key`."""
NEW: Final = "new"
"""A new object at `Note.key`, where nothing was, waits for a verdict."""


@dataclass(frozen=True, slots=True)
class Note:
    """One act that is under way.

    Attributes:
        kind: `UPLOAD`, `RENAME`, `STAGE`, `EXCHANGE`, `REPLACED` or `NEW`.
        bucket: the service, if it is not the usual one, and the location of the bucket (`Bucket.location` of
            nothing); or the location of a root.
        key: of the object, or prefix of the directory that is renamed, or of a hidden tree without a slash.
        other: id of the upload, prefix that it is renamed to, or key whose place a tree takes.
        version: of what came at `other`, if something is set aside, or at `key`; empty if that is not known.
        before: version of what was replaced.
        begun: time at which the note was written, seconds since 1970; that of the file, which is not in it.
    """

    kind: str
    bucket: str
    key: str
    other: str
    version: str = ""
    before: str = ""
    begun: float = 0.0


class Journal:
    """The notes of this process, and those that dead ones left. Methods block for a few system calls.

    Args:
        directory: of the journal; made when it is needed.
        owner: family of storage whose notes these are; others have their own in the same directory.
    """

    def __init__(self, directory: str, owner: str = "objects") -> None:
        self._directory = directory
        self._prefix = f"{owner}-"
        self._own = ""
        self._lock = -1
        self._left: dict[str, Note] = {}
        self._making = threading.Lock()  # several threads note at the same time

    def add(self, note: Note) -> str:
        """Write a note.

        Returns:
            its path.

        Raises:
            OSError.
        """
        path = os.path.join(self._own_directory(), secrets.token_hex(8))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump({name: value for name, value in asdict(note).items() if name != "begun"}, file)
        return path

    def remove(self, path: str) -> None:
        """Remove a note; what is missing does not matter."""
        with suppress(OSError):
            os.unlink(path)

    def set_aside(self, path: str) -> str:
        """Keep a note that is not to be acted on; returns where it is now.

        Raises:
            OSError.
        """
        aside = os.path.join(self._directory, ASIDE + os.path.basename(path))
        os.rename(path, aside)
        return aside

    def put_back(self, left: Mapping[str, Note]) -> None:
        """Leave notes that were taken over, and whose acts are not ended, to the next who asks."""
        self._left |= left

    def left_behind(self, bucket: str, prefix: str) -> list[tuple[str, Note]]:
        """Take over the notes of dead processes about one root, and those that were put back.

        Args:
            bucket: as in `Note`.
            prefix: what the keys of the root begin with.

        Returns:
            the path of each by now, and the note.
        """
        found: list[tuple[str, Note]] = []
        for path, kept in list(self._left.items()):
            if _is_about(kept, bucket, prefix) and self._left.pop(path, None) is not None:
                found.append((path, kept))
        for directory in self._others():
            lock = _locked(os.path.join(directory, LOCK))
            if lock < 0:
                continue  # its process lives
            try:
                for path in _files(directory):
                    note = _read(path)
                    if note is not None and _is_about(note, bucket, prefix):
                        mine = os.path.join(self._own_directory(), secrets.token_hex(8))
                        with suppress(OSError):
                            os.rename(path, mine)
                            found.append((mine, note))
                if not any(_files(directory)):
                    with suppress(OSError):
                        os.unlink(os.path.join(directory, LOCK))
                        os.rmdir(directory)
            finally:
                os.close(lock)
        return found

    def close(self) -> None:
        """End this process's part; what is noted by now is left for others."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            with suppress(OSError):
                if not any(_files(self._own)):
                    os.unlink(os.path.join(self._own, LOCK))
                    os.rmdir(self._own)

    def _own_directory(self) -> str:
        with self._making:
            if self._lock < 0:
                own = os.path.join(self._directory, self._prefix + secrets.token_hex(8))
                os.makedirs(self._directory, 0o700, exist_ok=True)
                os.mkdir(own, 0o700)
                lock = os.open(os.path.join(own, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:  # another process took it for a dead one's
                    os.close(lock)
                    raise
                self._own, self._lock = own, lock
            return self._own

    def _others(self) -> list[str]:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        paths = [os.path.join(self._directory, name) for name in names if name.startswith(self._prefix)]
        return [path for path in paths if path != self._own]


def _is_about(note: Note, bucket: str, prefix: str) -> bool:
    keys = (note.key, note.other) if note.kind in (RENAME, EXCHANGE, REPLACED) else (note.key,)
    return note.bucket == bucket and all(key.startswith(prefix) for key in keys)


def _locked(path: str) -> int:
    """A descriptor that holds the lock; -1 if another process does, or there is none."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _files(directory: str) -> Iterator[str]:
    with suppress(OSError):
        for name in os.listdir(directory):
            if name != LOCK:
                yield os.path.join(directory, name)


def _read(path: str) -> Note | None:
    try:
        with open(path, encoding="ascii") as file:
            found = json.loads(file.read(MAX_NOTE_BYTES))
            begun = os.fstat(file.fileno()).st_mtime
        if not all(isinstance(value, str) for value in found.values()):
            return None
        return Note(**found, begun=begun)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
