# SPDX-License-Identifier: Apache-2.0
"""Entries of directories, and attributes that can be set."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class Kind(enum.IntEnum):
    """The kind of an entry."""

    FILE = 1
    DIRECTORY = 2
    LINK = 3
    OTHER = 4


class Entry(NamedTuple):
    """One file, directory or link as a backend reports it.

    A named tuple and not a dataclass: listings make one of these per name, and a frozen dataclass costs
    four times as much to build.

    Attributes:
        name: last component; empty for the root of a mount.
        kind: see `Kind`.
        size: bytes; for a link the length of its text.
        mode: permission bits (07777), without the file type.
        uid: owner id, 0 where the backend has no owners.
        gid: group id, 0 where the backend has no owners.
        mtime_ns: last modification, nanoseconds since the epoch.
        atime_ns: last access, nanoseconds since the epoch.
        nlink: number of hard links.
    """

    name: str
    kind: Kind
    size: int
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    atime_ns: int = 0
    nlink: int = 1

    @property
    def is_dir(self) -> bool:
        """True if this is a directory."""
        return self.kind is Kind.DIRECTORY

    @property
    def is_file(self) -> bool:
        """True if this is a regular file."""
        return self.kind is Kind.FILE

    @property
    def is_link(self) -> bool:
        """True if this is a symbolic link."""
        return self.kind is Kind.LINK


@dataclass(frozen=True, slots=True)
class Attrs:
    """Attributes to set; None means leave as it is.

    Attributes:
        size: bytes to truncate or extend to.
        mode: permission bits.
        uid: owner; given together with `gid`.
        gid: group; given together with `uid`.
        atime_ns: nanoseconds since the epoch; given together with `mtime_ns`.
        mtime_ns: nanoseconds since the epoch.
    """

    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a mount, in bytes and files; quota may narrow what the disk says.

    Attributes:
        block_size: bytes per block, for protocols that count blocks.
        total: bytes in all.
        free: bytes free.
        files_total: number of files that fit in all.
        files_free: number of files that still fit.
        name_max: longest name in bytes.
        read_only: True if the storage refuses writes.
        counted: bytes in use by the count of the quota that `total` is; -1 if it is no quota.
    """

    block_size: int
    total: int
    free: int
    files_total: int
    files_free: int
    name_max: int = 255
    read_only: bool = False
    counted: int = -1

    @property
    def used(self) -> int:
        """Bytes in use (``quota-used-bytes`` of RFC 4331), also if the disk has less room than the quota."""
        return self.counted if self.counted >= 0 else max(0, self.total - self.free)
