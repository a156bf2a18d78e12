# SPDX-License-Identifier: Apache-2.0
"""Attributes: what stat(2) says as an `Entry`, and setting them without following anything by accident."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from tidegate.backends.local.errors import NOT_REGULAR
from tidegate.backends.local.root import Root
from tidegate.backends.local.walk import O_PATH
from tidegate.errors import InvalidArgument, IsADirectory, Unsupported
from tidegate.model import Attrs, Entry, Kind

MAX_OFFSET: Final = (1 << 63) - 1
"""Largest size and offset of a file."""
_MAX_ID: Final = (1 << 32) - 2
_MAX_TIME_NS: Final = (1 << 63) - 1
SET_ID: Final = stat.S_ISUID | stat.S_ISGID
"""Bits that go with any change of content."""
PROC: Final = O_PATH != os.O_RDONLY and os.path.isdir("/proc/self/fd")
"""An open file can be named by its descriptor."""

_KINDS: Final = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}
_MODES_KEPT: Final = 4096
MODES: Final[dict[int, tuple[Kind, int]]] = {}
"""Results of `mode_of`: a directory has few different modes."""
new_entry = tuple.__new__
"""Makes an Entry of a tuple without the keyword handling of Entry(...): listings make one of these a name."""


def mode_of(mode: int) -> tuple[Kind, int]:
    """Kind and permission bits of a `st_mode`."""
    if len(MODES) >= _MODES_KEPT:
        MODES.clear()
    made = MODES[mode] = _KINDS.get(mode & 0o170000, Kind.OTHER), mode & 0o7777
    return made


def entry_of(name: str, found: os.stat_result) -> Entry:
    """The result of stat(2) as an entry."""
    mode, _, _, nlink, uid, gid, size = found[:7]
    kind, bits = MODES.get(mode) or mode_of(mode)
    return new_entry(Entry, (name, kind, size, bits, uid, gid, found.st_mtime_ns, found.st_atime_ns, nlink))


def check_attrs(attrs: Attrs) -> None:
    """Refuse values the system cannot take.

    Raises:
        InvalidArgument: it names the attribute.
    """
    if attrs.size is not None and not 0 <= attrs.size <= MAX_OFFSET:
        raise InvalidArgument("invalid argument: size")
    if attrs.mode is not None and not 0 <= attrs.mode <= 0o7777:
        raise InvalidArgument("invalid argument: mode")
    # (uid_t)-1 would mean "leave as it is".
    for value in (attrs.uid, attrs.gid):
        if value is not None and not 0 <= value <= _MAX_ID:
            raise InvalidArgument("invalid argument: owner")
    if abs(attrs.atime_ns or 0) > _MAX_TIME_NS or abs(attrs.mtime_ns or 0) > _MAX_TIME_NS:
        raise InvalidArgument("invalid argument: time")


def times_of(attrs: Attrs, found: os.stat_result) -> tuple[int, int] | None:
    """Access and modification time to set, the missing one as it is; None if neither is asked for."""
    if attrs.atime_ns is None and attrs.mtime_ns is None:
        return None
    atime = found.st_atime_ns if attrs.atime_ns is None else attrs.atime_ns
    mtime = found.st_mtime_ns if attrs.mtime_ns is None else attrs.mtime_ns
    return atime, mtime


def set_on_fd(fd: int, attrs: Attrs) -> tuple[int, int] | None:
    """Set attributes of an open file: size, owner, mode, times, in the order that keeps each.

    Returns:
        the times that were set, to be set again after later writes.
    """
    if attrs.size is not None:
        os.ftruncate(fd, attrs.size)
        bits = os.fstat(fd).st_mode
        if bits & SET_ID:  # the system clears them, but not for root
            os.fchmod(fd, bits & 0o1777)
    if attrs.uid is not None or attrs.gid is not None:
        os.fchown(fd, -1 if attrs.uid is None else attrs.uid, -1 if attrs.gid is None else attrs.gid)
    if attrs.mode is not None:
        os.fchmod(fd, attrs.mode)
    times = times_of(attrs, os.fstat(fd))
    if times is not None:
        os.utime(fd, ns=times)
    return times


def set_on_path(root: Root, raw: bytes, attrs: Attrs, *, follow: bool) -> None:
    """Set attributes of what `raw` names."""
    plain = (os.O_RDONLY if attrs.size is None else os.O_WRONLY) | os.O_NONBLOCK
    access = O_PATH if PROC else plain
    if not raw or follow:
        fd = root.resolve(raw, access)
    else:
        with root.parent(raw) as parent:
            found = os.lstat(parent.name, dir_fd=parent.fd)
            if stat.S_ISLNK(found.st_mode):
                _set_on_link(parent.fd, parent.name, found, attrs)
                return
            fd = os.open(parent.name, access | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    try:
        found = os.fstat(fd)
        if stat.S_ISLNK(found.st_mode):  # swapped in after lstat
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if attrs.size is not None:
            check_regular(found.st_mode)
        if PROC:
            _set_through_proc(fd, found, attrs)
        else:
            set_on_fd(fd, attrs)
    finally:
        os.close(fd)


def _set_through_proc(fd: int, found: os.stat_result, attrs: Attrs) -> None:
    # An O_PATH descriptor needs no permission on the file and opens no device; the kernel's magic link
    # leads to exactly that inode, whatever has its name by now.
    path = f"/proc/self/fd/{fd}"
    if attrs.size is not None:
        os.truncate(path, attrs.size)
        if found.st_mode & SET_ID:
            os.chmod(path, found.st_mode & 0o1777)
    if attrs.uid is not None or attrs.gid is not None:
        os.chown(path, -1 if attrs.uid is None else attrs.uid, -1 if attrs.gid is None else attrs.gid)
    if attrs.mode is not None:
        os.chmod(path, attrs.mode)
    times = times_of(attrs, found)
    if times is not None:
        os.utime(path, ns=times)


def _set_on_link(dir_fd: int, name: bytes, found: os.stat_result, attrs: Attrs) -> None:
    if attrs.size is not None:
        raise InvalidArgument("invalid argument: size of a link")
    # Clients that preserve attributes send the mode that every link has; only another one cannot be had.
    if attrs.mode is not None and attrs.mode != stat.S_IMODE(found.st_mode):
        raise Unsupported("operation unsupported: mode of a link")
    if attrs.uid is not None or attrs.gid is not None:
        uid = -1 if attrs.uid is None else attrs.uid
        os.chown(name, uid, -1 if attrs.gid is None else attrs.gid, dir_fd=dir_fd, follow_symlinks=False)
    times = times_of(attrs, found)
    if times is not None:
        os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)


def check_regular(mode: int) -> None:
    """Refuse what is no regular file.

    Raises:
        IsADirectory, Unsupported.
    """
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectory
    raise Unsupported(NOT_REGULAR)
