# SPDX-License-Identifier: Apache-2.0
"""Requests as frozen values; `decoding` takes packets apart to them.

READ and WRITE have requests here for completeness and tests; the dialogue takes those two apart in place.
Strings stay bytes: what is a path is the dialogue's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, Final

from tidegate.model import Attrs

NO_ATTRS: Final = Attrs()
"""The attributes of a request that sets none: always this object."""

IO_HEADER: Final = Struct(">IBIIQQI")
"""A READ or WRITE whose handle has `HANDLE_BYTES` bytes: length, type, id, handle length, handle, offset,
size. WRITE's data follows."""


@dataclass(frozen=True, slots=True)
class Request:
    """Base of all requests. `HANDLES` names the fields that hold handles."""

    HANDLES: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Init(Request):
    """INIT: the highest version the client speaks, and its extensions."""

    version: int
    extensions: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Open(Request):
    """OPEN; `flags` are the FLAG_ bits."""

    path: bytes
    flags: int
    attrs: Attrs


@dataclass(frozen=True, slots=True)
class HandleRequest(Request):
    """A request that names one handle."""

    HANDLES = ("handle",)

    handle: bytes


@dataclass(frozen=True, slots=True)
class Close(HandleRequest):
    """CLOSE of a file or a listing."""


@dataclass(frozen=True, slots=True)
class Fstat(HandleRequest):
    """FSTAT."""


@dataclass(frozen=True, slots=True)
class Readdir(HandleRequest):
    """READDIR."""


@dataclass(frozen=True, slots=True)
class Fsetstat(HandleRequest):
    """FSETSTAT."""

    attrs: Attrs


@dataclass(frozen=True, slots=True)
class Read(HandleRequest):
    """READ."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Write(HandleRequest):
    """WRITE."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Stat(Request):
    """STAT, or LSTAT with `follow` False."""

    path: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class Setstat(Request):
    """SETSTAT, or lsetstat@openssh.com with `follow` False."""

    path: bytes
    attrs: Attrs
    follow: bool = True


@dataclass(frozen=True, slots=True)
class Mkdir(Request):
    """MKDIR."""

    path: bytes
    attrs: Attrs


@dataclass(frozen=True, slots=True)
class PathRequest(Request):
    """A request that names one path and nothing else."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Opendir(PathRequest):
    """OPENDIR."""


@dataclass(frozen=True, slots=True)
class Remove(PathRequest):
    """REMOVE."""


@dataclass(frozen=True, slots=True)
class Rmdir(PathRequest):
    """RMDIR."""


@dataclass(frozen=True, slots=True)
class Realpath(PathRequest):
    """REALPATH."""


@dataclass(frozen=True, slots=True)
class Readlink(PathRequest):
    """READLINK."""


@dataclass(frozen=True, slots=True)
class Rename(Request):
    """RENAME, or posix-rename@openssh.com with `replace` True."""

    source: bytes
    target: bytes
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Symlink(Request):
    """SYMLINK in OpenSSH's order of arguments: the link's text first (the draft has it the other way)."""

    text: bytes
    link: bytes


@dataclass(frozen=True, slots=True)
class Hardlink(Request):
    """hardlink@openssh.com."""

    source: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Statvfs(PathRequest):
    """statvfs@openssh.com."""


@dataclass(frozen=True, slots=True)
class Fstatvfs(HandleRequest):
    """fstatvfs@openssh.com."""


@dataclass(frozen=True, slots=True)
class Fsync(HandleRequest):
    """fsync@openssh.com."""


@dataclass(frozen=True, slots=True)
class AskLimits(Request):
    """limits@openssh.com."""


@dataclass(frozen=True, slots=True)
class ExpandPath(PathRequest):
    """expand-path@openssh.com: REALPATH that knows ``~`` and ``~user``."""


@dataclass(frozen=True, slots=True)
class HomeDirectory(Request):
    """home-directory: where a user's home is; an empty name means oneself."""

    username: bytes


@dataclass(frozen=True, slots=True)
class CopyData(Request):
    """copy-data; `length` 0 copies to the end of the source."""

    HANDLES = ("source", "target")

    source: bytes
    offset: int
    length: int
    target: bytes
    target_offset: int


@dataclass(frozen=True, slots=True)
class CopyFile(Request):
    """copy-file."""

    source: bytes
    target: bytes
    replace: bool


@dataclass(frozen=True, slots=True)
class CheckName(Request):
    """check-file-name: digests of a range of a file."""

    path: bytes
    algorithms: bytes
    offset: int
    length: int
    block: int


@dataclass(frozen=True, slots=True)
class CheckHandle(HandleRequest):
    """check-file-handle; `echo` for paramiko's ``check-file``, whose answer repeats the extension's name."""

    algorithms: bytes
    offset: int
    length: int
    block: int
    echo: bool = False


@dataclass(frozen=True, slots=True)
class SpaceAvailable(PathRequest):
    """space-available."""


@dataclass(frozen=True, slots=True)
class NamesById(Request):
    """users-groups-by-id@openssh.com."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unknown(Request):
    """A packet type or an extension that this server does not have."""

    kind: int
    extension: bytes = b""
