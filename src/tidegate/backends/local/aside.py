# SPDX-License-Identifier: Apache-2.0
"""Files that are set aside while their successors wait for a verdict; see `tidegate.abc.SetsAside`.

The old file gets a second, hidden name (a hard link), so nothing of it changes: content, times, owner,
extended attributes. Where the file system or the system refuses a link, a copy gets that name. The journal
notes it with its place, and with what came there; after a crash `sweep_aside` decides by that. What is under
way in this process is in `tidegate.backends.local.undecided`.

Everything here blocks; it may raise OSError.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from typing import Final

from tidegate.backends.local.files import copy_range
from tidegate.backends.local.names import ASIDE_PREFIX, STAGED
from tidegate.backends.local.root import Root
from tidegate.backends.local.syscalls import rename_noreplace
from tidegate.backends.local.uploads import SAFE

STALE_ASIDE_SECONDS: Final = 86_400
"""Age from which a file that nobody here waits for does not keep its directory from being removed."""
MAX_NAMES: Final = 100
"""Names that are tried for what a crash left."""
NO_SUCH_STEP: Final = frozenset((errno.ENOSYS, errno.EINVAL))
"""Errors of renameat2(2) where the system or the file system does not have it."""
_NO_LINK: Final = frozenset(
    (errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV)
)


def keep(root: Root, raw: bytes, name: bytes) -> bool:
    """Give a regular file a hidden name besides its own; False if there is no such file."""
    with root.parent(raw) as parent:
        found = parent.lstat()
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        try:
            os.link(parent.name, name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            _copy(parent.fd, parent.name, name)
    return True


def _copy(dir_fd: int, name: bytes, copy: bytes) -> None:
    source = os.open(name, os.O_RDONLY | SAFE, dir_fd=dir_fd)
    try:
        target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600, dir_fd=dir_fd)
        try:
            found = os.fstat(source)
            copy_range(source, target, 0, found.st_size)
            with suppress(OSError):  # else it is ours, as every file that is uploaded
                os.fchown(target, found.st_uid, found.st_gid)
            os.fchmod(target, stat.S_IMODE(found.st_mode))
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        except BaseException:
            os.unlink(copy, dir_fd=dir_fd)
            raise
        finally:
            os.close(target)
    finally:
        os.close(source)


def look(root: Root, raw: bytes) -> os.stat_result:
    """Attributes of what has a name, itself if it is a link.

    Raises:
        FileNotFoundError: nothing has it.
    """
    with root.parent(raw) as parent:
        found = parent.lstat()
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return found


def note_of(found: os.stat_result) -> str:
    """The text in the journal for a successor; another file has another one, a changed file likewise."""
    return f"{found.st_ino}:{found.st_mtime_ns}"


def remove(root: Root, raw: bytes) -> None:
    """Remove what was set aside."""
    with root.parent(raw) as parent:
        unlink(parent.fd, parent.name)


def sweep_aside(dir_fd: int, name: bytes, target: bytes, successor: str, *, alone: bool = False) -> str:
    """Decide what becomes of a file that a process set aside which is no more, or of what came alone.

    Args:
        dir_fd: the directory.
        name: hidden, in it.
        target: the name that it had.
        successor: `note_of` what came there; empty if that is not known.
        alone: nothing was there before: what came is removed.

    Returns:
        ``removed``; ``kept`` if it is in use; ``gone`` if it was put back, or nothing of that name is left.
    """
    if os.fsdecode(name) in STAGED:
        return "kept"
    there = _lstat(dir_fd, target)
    came = there is not None and successor != "" and note_of(there) == successor
    old = _lstat(dir_fd, name)
    if old is None:
        if alone and came:
            unlink(dir_fd, target)
            return "removed"
        return "gone"
    if there is None or came:
        give_back(dir_fd, name, target)
        return "gone"
    if successor or target == name or (old.st_dev, old.st_ino) == (there.st_dev, there.st_ino):
        unlink(dir_fd, name)
        return "removed"
    # The crash came before the note of the successor, so this may be it, or a file that others agreed to.
    show(dir_fd, name, target, b"replaced")
    return "gone"


def clear_stale_aside(dir_fd: int, name: bytes) -> str:
    """As `staged.clear_stale`, of a file that was set aside: a name like that says when it was made."""
    if os.fsdecode(name) in STAGED or not name.startswith(ASIDE_PREFIX):
        return "kept"
    if time.time() - os.lstat(name, dir_fd=dir_fd).st_ctime < STALE_ASIDE_SECONDS:
        return "kept"  # another server may wait for a verdict
    unlink(dir_fd, name)
    return "removed"


def show(dir_fd: int, name: bytes, target: bytes, what: bytes) -> None:
    """Give what is hidden a name like the one that it was to have, or had; `what` says why."""
    for number in range(1, MAX_NAMES):
        try:
            move(dir_fd, name, b"%s (%s %d)" % (target[:200], what, number))
        except FileExistsError:
            continue
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def move(dir_fd: int, name: bytes, target: bytes) -> None:
    """Rename without replacing; where the system has no such step, look first.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        rename_noreplace(dir_fd, name, dir_fd, target)
    except OSError as error:
        if error.errno not in NO_SUCH_STEP:
            raise
        if _lstat(dir_fd, target) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(name, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def give_back(dir_fd: int, name: bytes, target: bytes) -> None:
    """Give a file its name again, in place of what has it."""
    os.rename(name, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    unlink(dir_fd, name)  # rename(2) of two names of one file does nothing


def unlink(dir_fd: int, name: bytes) -> None:
    """Remove a name, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


def _lstat(dir_fd: int, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
