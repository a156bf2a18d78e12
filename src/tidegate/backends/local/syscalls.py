# SPDX-License-Identifier: Apache-2.0
"""System calls that the standard library does not offer: openat2(2) and renameat2(2), through libc.

Each raises OSError like its neighbours in `os`; ENOSYS where the system (or a seccomp filter, which answers
EPERM) does not have it, so that callers fall back to their portable way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import Final

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08

_NR_OPENAT2: Final = 437  # the same on every architecture since Linux 5.6, but for alpha
_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_HOW: Final = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve

_LINUX: Final = sys.platform == "linux" and os.uname().machine != "alpha"
_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
_renameat2: Final = getattr(_libc, "renameat2", None) if _LINUX else None
if _renameat2 is not None:
    _renameat2.restype = ctypes.c_int
    _renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


def openat2(dir_fd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open beneath a directory, by the system call of that name.

    The descriptor is close-on-exec. `mode` MUST be 0 unless `flags` say to create.
    """
    if not _LINUX:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how = _HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        fd = int(_syscall(_NR_OPENAT2, dir_fd, path, how, _HOW.size))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def openat2_works(dir_fd: int) -> bool:
    """True if this kernel, and what filters our system calls, lets us use `openat2`; asked until it does."""
    global _openat2_worked  # neither the kernel nor the filters of a process give it back
    if _openat2_worked:
        return True
    try:
        os.close(openat2(dir_fd, b".", os.O_RDONLY | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG}:
            return False
        raise
    _openat2_worked = True
    return True


_openat2_worked = False


def rename_noreplace(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
    """Rename in one step that fails with EEXIST if `target` exists.

    Raises:
        OSError: ENOSYS or EINVAL where the system or the file system cannot do that.
    """
    _rename2(source_fd, source, target_fd, target, _RENAME_NOREPLACE)


def rename_exchange(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
    """Give two things each other's name in one step.

    Raises:
        OSError: ENOSYS or EINVAL where the system or the file system cannot do that.
    """
    _rename2(source_fd, source, target_fd, target, _RENAME_EXCHANGE)


def _rename2(source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _renameat2(source_fd, source, target_fd, target, flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
