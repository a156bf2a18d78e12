# SPDX-License-Identifier: Apache-2.0
"""Trees that are made beside a name and take its place in one step; see `tidegate.abc.ReplacesTrees`.

A hidden name holds the new tree until it is complete, and then the old one until that is removed. Whatever
a crash leaves under it is removed at the next start, unless it is all that there is of what was moved: that
gets a name that is seen.

Everything here blocks; it may raise OSError.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from typing import Final

from tidegate.backends.local.aside import NO_SUCH_STEP, clear_stale_aside, move, show
from tidegate.backends.local.names import ASIDE_PREFIX, MOVED_PREFIX, OLD_SUFFIX, STAGED, TREE_PREFIX
from tidegate.backends.local.root import Root
from tidegate.backends.local.syscalls import rename_exchange
from tidegate.errors import NotFound

STALE_TREE_SECONDS: Final = 86_400
"""Age from which a tree that nobody here works on does not keep its directory from being removed."""


def exchange(root: Root, hidden: bytes, target: bytes) -> None:
    """Give a hidden name and a visible one each other's content; both are in one directory.

    In one step where the system and the file system can (renameat2), else in three, of which each leaves
    something complete under the visible name or the hidden ones.

    Raises:
        NotFound: one of them is not there.
    """
    with root.parent(hidden) as old, root.parent(target) as new:
        if old.lstat() is None or new.lstat() is None:
            raise NotFound
        try:
            rename_exchange(old.fd, old.name, new.fd, new.name)
        except OSError as error:
            if error.errno not in NO_SUCH_STEP:
                raise
            _in_three_steps(old.fd, old.name, new.name)


def _in_three_steps(dir_fd: int, hidden: bytes, name: bytes) -> None:
    aside = hidden + OLD_SUFFIX
    os.rename(name, aside, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    try:
        os.rename(hidden, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        os.rename(aside, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        raise
    os.rename(aside, hidden, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def rename_hidden(root: Root, hidden: bytes, name: bytes) -> None:
    """Give what has a hidden name another name in the same directory, which nothing has."""
    with root.parent(hidden) as parent:
        move(parent.fd, parent.name, name)


def is_there(root: Root, hidden: bytes) -> bool:
    """True if something has a hidden name."""
    try:
        with root.parent(hidden) as parent:
            return parent.lstat() is not None
    except FileNotFoundError:
        return False


# -- after a crash -------------------------------------------------------------------------------------------


def sweep_tree(dir_fd: int, name: bytes, target: bytes) -> str:
    """Clear up what a process left that is no more.

    Args:
        dir_fd: the directory.
        name: hidden, in it.
        target: the name whose place it was to take.

    Returns:
        ``removed``; ``kept`` if it is in use; ``gone`` if nothing of that name is left.
    """
    if os.fsdecode(name) in STAGED:
        return "kept"
    aside = name + OLD_SUFFIX
    if _lexists(dir_fd, aside):  # cut off between two of three steps
        if target and not _lexists(dir_fd, target):
            move(dir_fd, aside, target)
        else:
            _remove(dir_fd, aside)
    if not _lexists(dir_fd, name):
        return "gone"
    if name.startswith(MOVED_PREFIX) and target:
        show(dir_fd, name, target, b"moved")
        return "gone"
    _remove(dir_fd, name)
    return "removed"


def clear_stale(dir_fd: int, name: bytes) -> str:
    """Remove a hidden tree that nobody works on, for who removes its directory.

    Returns:
        ``removed``, ``kept``, or empty if it is no such name.
    """
    if not name.startswith(TREE_PREFIX):
        return ""
    if name.startswith(ASIDE_PREFIX):
        return clear_stale_aside(dir_fd, name)
    if os.fsdecode(name) in STAGED or name.startswith(MOVED_PREFIX) or name.endswith(OLD_SUFFIX):
        return "kept"
    if time.time() - os.lstat(name, dir_fd=dir_fd).st_mtime < STALE_TREE_SECONDS:
        return "kept"  # another server may work on it
    _remove(dir_fd, name)
    return "removed"


def _lexists(dir_fd: int, name: bytes) -> bool:
    try:
        os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def _remove(dir_fd: int, name: bytes) -> None:
    """Remove a file, a link or a whole tree; no link is followed."""
    if stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode):
        shutil.rmtree(name, dir_fd=dir_fd)
    else:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)
