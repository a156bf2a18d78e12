# SPDX-License-Identifier: Apache-2.0
"""Remembers the named temporaries of uploads, so that a crash leaves nothing that must be searched for.

One small file for each active one in a directory of the server's own. Most uploads need none: an ATOMIC
upload has no name at all until it is published (O_TMPFILE). At start `sweep_journal` goes through the journal
and not through the users' trees.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tidegate.backends.local.names import ASIDE_PREFIX, PART_PREFIX, TREE_PREFIX, UPLOAD_PREFIX
from tidegate.backends.local.root import Root
from tidegate.errors import TidegateError

PARTIAL_KEEP_DAYS: Final = 7
"""Days after its last write until a partial that nobody took up again is removed."""
STALE_UPLOAD_SECONDS: Final = 3600
"""Age from which a listing removes a named temporary nobody writes to."""
MAX_ENTRY_BYTES: Final = 64 * 1024
"""Longest journal file that is read."""
_SUFFIX: Final = ".pending"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """The outcome of `sweep_journal`.

    Attributes:
        removed: temporaries removed.
        kept: partials that are young enough, or in use.
        gone: entries whose file had gone already.
        failed: entries that could not be judged now (their storage is not there); they are tried again.
    """

    removed: int = 0
    kept: int = 0
    gone: int = 0
    failed: int = 0


class Journal:
    """Writes entries for one root. Methods block for a few system calls.

    Args:
        directory: where entries are kept, mode 0700; None keeps none.
        root: host path of the storage root.
    """

    __slots__ = ("_directory", "_root")

    def __init__(self, directory: str | None, root: str) -> None:
        self._directory = directory
        self._root = root

    def open(self) -> None:
        """Make the directory."""
        if self._directory is not None and not os.path.isdir(self._directory):
            os.makedirs(self._directory, mode=0o700, exist_ok=True)

    def add(
        self, folder: bytes, name: bytes, target: bytes = b"", successor: str = "", *, alone: bool = False
    ) -> str | None:
        """Note that `name` in the directory with key `folder` exists, as well as that goes.

        Args:
            folder: key of a directory.
            name: in it.
            target: the name beside it whose place it is to take, if it is a tree; of what is set aside, the
                name that it had.
            successor: see `aside.sweep_aside`.
            alone: likewise.

        Returns:
            what `drop` wants.
        """
        if self._directory is None:
            return None
        noted = {"root": self._root, "folder": os.fsdecode(folder), "name": os.fsdecode(name)}
        more = {"target": os.fsdecode(target), "successor": successor, "alone": "yes" if alone else ""}
        body = json.dumps(noted | {key: text for key, text in more.items() if text})
        tag = hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        path = os.path.join(self._directory, tag + _SUFFIX)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, body.encode())
            finally:
                os.close(fd)
        except OSError as error:
            # No reason to refuse an upload: listings sweep too.
            logger.warning("upload journal cannot be written: %s", errno.errorcode.get(error.errno or 0, "?"))
        return path

    @staticmethod
    def drop(entry: str | None) -> None:
        """Forget an entry; one that cannot be removed is found without its file by the next sweep."""
        if entry is not None:
            with suppress(OSError):
                os.unlink(entry)


def sweep_journal(journal_dir: str) -> Swept:
    """Remove what a crash left behind. Blocks; run it at start, in a thread.

    Leftovers of ATOMIC uploads go, and of trees that were to take the place of others. What was set aside
    for a verdict that never came is put back. Partials of RESUMABLE uploads stay: they are charged to
    accounts, and who charges for them removes them when they are too old. A file that another process is
    writing is left alone.
    """
    removed = kept = gone = failed = 0
    with suppress(FileNotFoundError), os.scandir(journal_dir) as entries:
        for entry in entries:
            if not entry.name.endswith(_SUFFIX) or not entry.is_file(follow_symlinks=False):
                continue
            try:
                verdict = _sweep_one(entry.path)
            except (OSError, TidegateError):
                failed += 1
                continue
            removed += verdict == "removed"
            kept += verdict == "kept"
            gone += verdict == "gone"
            if verdict != "kept":
                Journal.drop(entry.path)
    return Swept(removed, kept, gone, failed)


def _sweep_one(path: str) -> str:
    with open(path, "rb") as file:
        text = file.read(MAX_ENTRY_BYTES)
    try:
        body = json.loads(text)
        where, folder, name = body["root"], os.fsencode(body["folder"]), os.fsencode(body["name"])
        target, successor = os.fsencode(body.get("target", "")), str(body.get("successor", ""))
        alone = body.get("alone") == "yes"
    except (ValueError, KeyError, TypeError):
        return "gone"  # cut off by the crash itself, before the file it would have named
    if b"/" in name + target or not name.startswith((PART_PREFIX, UPLOAD_PREFIX, TREE_PREFIX)):
        return "gone"
    root = Root(where)
    root.open()
    try:
        with root.parent(folder + b"/" + name if folder else name) as parent:
            if name.startswith(ASIDE_PREFIX):
                from tidegate.backends.local.aside import sweep_aside

                return sweep_aside(parent.fd, name, target, successor, alone=alone) if target else "gone"
            if name.startswith(TREE_PREFIX):
                from tidegate.backends.local.staged import sweep_tree  # a crash left one

                return sweep_tree(parent.fd, name, target)
            if name.startswith(UPLOAD_PREFIX):
                return remove_stale(parent.fd, name, UPLOAD_PREFIX, 0)
            os.lstat(name, dir_fd=parent.fd)
            return "kept"  # it is charged to an account: listings and scans remove it when it is too old
    except FileNotFoundError:
        return "gone"
    finally:
        root.close()


def remove_stale(dir_fd: int, name: bytes, prefix: bytes, age_seconds: float) -> str:
    """Remove a hidden file with `prefix` if it is old enough and nobody writes to it.

    Returns:
        ``removed``, ``kept``, ``gone``, or empty if the name does not have the prefix.
    """
    if not name.startswith(prefix):
        return ""
    try:
        # For writing, because some network file systems lock nothing else; ours are always writable.
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return "gone"
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return "kept"
        if age_seconds and time.time() - found.st_mtime < age_seconds:  # clocks of storage may be ahead
            return "kept"
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return "kept"
        # Locked by us: whoever opens it now waits or turns away, and looks at the name again after.
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)
        return "removed"
    finally:
        os.close(fd)
