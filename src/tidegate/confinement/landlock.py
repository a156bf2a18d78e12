# SPDX-License-Identifier: Apache-2.0
"""Landlock (Linux 5.13): which files a process and all that it starts may reach, for good; two marks besides.

A ruleset denies every right that it handles, but for what its rules give below a directory or on a file. The
thread that enforces it, and what that starts, can be narrowed further and never widened. stat, chmod, chown,
utimes and connecting to a Unix socket are not handled by versions up to 8.

Imports the standard library only, see the package.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

NR_CREATE, NR_ADD, NR_RESTRICT = 444, 445, 446
"""System calls; the same on every architecture but alpha."""

# linux/landlock.h
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
BY_ABI: Final = (0, (1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
"""Rights on files that a version of Landlock handles; the last one is that of all later ones."""
NET_ABI, NET = 4, 3
SCOPE_ABI, SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 6, 1, 2
RULE_PATH_BENEATH = 1

READ: Final = READ_FILE | READ_DIR
CHANGE: Final = (
    READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
)
ON_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""Rights that a rule about a file may hold."""

SYSTEM: Final = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store")
"""Directories of programs and libraries; those that exist can be read."""

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def version() -> int:
    """The version of Landlock in this kernel; 0 if there is none, or it is off."""
    return max(0, int(_libc.syscall(NR_CREATE, None, ctypes.c_size_t(0), 1)))


def forbid_new_privileges() -> None:
    """Set no_new_privs: programs get no rights by set-user-id bits or capabilities of their files.

    Raises:
        OSError: the system refuses.
    """
    _call("prctl", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def set_undumpable() -> None:
    """Have no core dump made of this process, and let no other process of its user look into it.

    Until the next execve: programs that it starts are as any other.

    Raises:
        OSError: the system refuses.
    """
    _call("prctl", _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


class Ruleset:
    """Rules that are put together and then enforced.

    Args:
        found: `version`, at least 1.
        network: handle TCP too (from version 4): binding and connecting are denied.
        scopes: `SCOPE_SIGNALS`, `SCOPE_ABSTRACT_SOCKETS`, or both (from version 6): not beyond the domain.

    Raises:
        OSError: the system refuses.
    """

    def __init__(self, found: int, *, network: bool, scopes: int) -> None:
        self._handled = BY_ABI[min(found, len(BY_ABI) - 1)]
        block = struct.pack(
            "=QQQ",
            self._handled,
            NET if network and found >= NET_ABI else 0,
            scopes if found >= SCOPE_ABI else 0,
        )
        size = 24 if found >= SCOPE_ABI else 16 if found >= NET_ABI else 8
        self._fd = _call("create_ruleset", _libc.syscall(NR_CREATE, block[:size], ctypes.c_size_t(size), 0))

    def allow(self, fd: int, rights: int) -> None:
        """A rule for what a descriptor leads to, and everything below it.

        Raises:
            OSError: the system refuses.
        """
        rights &= self._handled
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= ON_FILES
        if rights:
            rule = struct.pack("=Qi", rights, fd)
            _call("add_rule", _libc.syscall(NR_ADD, self._fd, RULE_PATH_BENEATH, rule, 0))

    def allow_paths(self, paths: Iterable[str], rights: int) -> None:
        """Rules for those paths that exist; links are followed.

        Raises:
            OSError: the system refuses a rule.
        """
        for path in paths:
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                self.allow(fd, rights)
            finally:
                os.close(fd)

    def enforce(self) -> None:
        """Restrict this thread, and what it starts from now on. Needs no_new_privs, or CAP_SYS_ADMIN.

        Raises:
            OSError: the system refuses.
        """
        _call("restrict_self", _libc.syscall(NR_RESTRICT, self._fd, 0))
        os.close(self._fd)


def _call(name: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock {name}: {os.strerror(code)}")
    return result
