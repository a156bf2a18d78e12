# SPDX-License-Identifier: Apache-2.0
"""Packets taken apart to requests.

Bytes after the known fields are tolerated in every request (rclone 1.60 sends some).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Final

from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire.requests import (
    NO_ATTRS,
    AskLimits,
    CheckHandle,
    CheckName,
    Close,
    CopyData,
    CopyFile,
    ExpandPath,
    Fsetstat,
    Fstat,
    Fstatvfs,
    Fsync,
    Hardlink,
    HomeDirectory,
    Init,
    Mkdir,
    NamesById,
    Open,
    Opendir,
    Read,
    Readdir,
    Readlink,
    Realpath,
    Remove,
    Rename,
    Request,
    Rmdir,
    Setstat,
    SpaceAvailable,
    Stat,
    Statvfs,
    Symlink,
    Unknown,
    Write,
)
from tidegate.errors import ProtocolViolation
from tidegate.model import Attrs

_U32: Final = Struct(">I").unpack_from
_U64: Final = Struct(">Q").unpack_from
_TWO_U32: Final = Struct(">II").unpack_from
_NS: Final = 1_000_000_000


class Reader:
    """Takes fields off the front of a packet's payload."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    def u8(self) -> int:
        """One byte.

        Raises:
            ProtocolViolation: the packet ends here; so do all methods below.
        """
        position = self._position
        if position >= len(self._data):
            raise ProtocolViolation
        self._position = position + 1
        return self._data[position]

    def u32(self) -> int:
        """A uint32."""
        position = self._position
        end = position + 4
        if end > len(self._data):
            raise ProtocolViolation
        self._position = end
        value: int = _U32(self._data, position)[0]
        return value

    def u64(self) -> int:
        """A uint64."""
        position = self._position
        end = position + 8
        if end > len(self._data):
            raise ProtocolViolation
        self._position = end
        value: int = _U64(self._data, position)[0]
        return value

    def string(self) -> bytes:
        """A string: uint32 length, bytes."""
        data = self._data
        start = self._position + 4
        if start > len(data):
            raise ProtocolViolation
        end: int = start + _U32(data, start - 4)[0]
        if end > len(data):
            raise ProtocolViolation
        self._position = end
        return data[start:end]

    def attrs(self) -> Attrs:
        """ATTRS (section 5). Unknown flag bits are ignored, extended pairs are skipped."""
        flags = self.u32()
        if not flags:
            return NO_ATTRS
        size = self.u64() if flags & c.ATTR_SIZE else None
        uid = gid = mode = atime = mtime = None
        if flags & c.ATTR_OWNER:
            uid, gid = (None if found == c.SAME_OWNER else found for found in (self.u32(), self.u32()))
        if flags & c.ATTR_MODE:
            mode = self.u32() & 0o7777
        if flags & c.ATTR_TIMES:
            atime, mtime = self.u32() * _NS, self.u32() * _NS
        if flags & c.ATTR_EXTENDED:
            count = self.u32()
            if count > c.MAX_ATTR_EXTENSIONS:
                raise ProtocolViolation
            for _ in range(count):
                self.string()
                self.string()
        if not flags & (c.ATTR_SIZE | c.ATTR_OWNER | c.ATTR_MODE | c.ATTR_TIMES):
            return NO_ATTRS
        return Attrs(size, mode, uid, gid, atime, mtime)

    def done(self) -> bool:
        """True if nothing is left."""
        return self._position >= len(self._data)


def _ids(packed: bytes) -> tuple[int, ...]:
    if len(packed) % 4:
        raise ProtocolViolation
    return Struct(f">{len(packed) // 4}I").unpack(packed)


def _check_name(r: Reader) -> CheckName:
    return CheckName(r.string(), r.string(), r.u64(), r.u64(), r.u32())


def _check_handle(r: Reader) -> CheckHandle:
    return CheckHandle(r.string(), r.string(), r.u64(), r.u64(), r.u32())


def _check_paramiko(r: Reader) -> CheckHandle:
    return CheckHandle(r.string(), r.string(), r.u64(), r.u64(), r.u32(), echo=True)


def _copy_data(r: Reader) -> CopyData:
    return CopyData(r.string(), r.u64(), r.u64(), r.string(), r.u64())


EXTENSIONS: Final[dict[bytes, Callable[[Reader], Request]]] = {
    b"posix-rename@openssh.com": lambda r: Rename(r.string(), r.string(), replace=True),
    b"statvfs@openssh.com": lambda r: Statvfs(r.string()),
    b"fstatvfs@openssh.com": lambda r: Fstatvfs(r.string()),
    b"hardlink@openssh.com": lambda r: Hardlink(r.string(), r.string()),
    b"fsync@openssh.com": lambda r: Fsync(r.string()),
    b"lsetstat@openssh.com": lambda r: Setstat(r.string(), r.attrs(), follow=False),
    b"limits@openssh.com": lambda _: AskLimits(),
    b"expand-path@openssh.com": lambda r: ExpandPath(r.string()),
    b"copy-data": _copy_data,
    b"copy-file": lambda r: CopyFile(r.string(), r.string(), bool(r.u8())),
    b"home-directory": lambda r: HomeDirectory(r.string()),
    b"users-groups-by-id@openssh.com": lambda r: NamesById(_ids(r.string()), _ids(r.string())),
    b"check-file-name": _check_name,
    b"check-file-handle": _check_handle,
    b"check-file": _check_paramiko,
    b"space-available": lambda r: SpaceAvailable(r.string()),
}
"""Extension name to its decoder."""


def _extended(r: Reader) -> Request:
    name = r.string()
    decoder = EXTENSIONS.get(name)
    return Unknown(c.EXTENDED, name) if decoder is None else decoder(r)


def _open(body: bytes) -> Request:
    end = 4 + _U32(body)[0]
    flags, attributes = _TWO_U32(body, end)
    if not attributes:
        return Open(body[4:end], flags, NO_ATTRS)
    if attributes == c.ATTR_MODE:  # what OpenSSH and WinSCP send
        return Open(body[4:end], flags, _mode_only(_U32(body, end + 8)[0] & 0o7777))
    return Open(body[4:end], flags, Reader(body, end + 4).attrs())


@lru_cache(maxsize=32)
def _mode_only(mode: int) -> Attrs:
    return Attrs(mode=mode)


def _one_string(body: bytes) -> bytes:
    end = 4 + _U32(body)[0]
    if end > len(body):
        raise ProtocolViolation
    return body[4:end]


def _close(body: bytes) -> Request:
    end = 4 + _U32(body)[0]
    if end > len(body):
        raise ProtocolViolation
    return Close(body[4:end])


def _fields(decoder: Callable[[Reader], Request]) -> Callable[[bytes], Request]:
    return lambda body: decoder(Reader(body))


_DECODERS: Final[dict[int, Callable[[bytes], Request]]] = {
    c.OPEN: _open,
    c.CLOSE: _close,
    c.READ: _fields(lambda r: Read(r.string(), r.u64(), r.u32())),
    c.WRITE: _fields(lambda r: Write(r.string(), r.u64(), r.string())),
    c.LSTAT: lambda body: Stat(_one_string(body), follow=False),
    c.FSTAT: lambda body: Fstat(_one_string(body)),
    c.SETSTAT: _fields(lambda r: Setstat(r.string(), r.attrs())),
    c.FSETSTAT: _fields(lambda r: Fsetstat(r.string(), r.attrs())),
    c.OPENDIR: _fields(lambda r: Opendir(r.string())),
    c.READDIR: lambda body: Readdir(_one_string(body)),
    c.REMOVE: _fields(lambda r: Remove(r.string())),
    c.MKDIR: _fields(lambda r: Mkdir(r.string(), r.attrs())),
    c.RMDIR: _fields(lambda r: Rmdir(r.string())),
    c.REALPATH: _fields(lambda r: Realpath(r.string())),
    c.STAT: lambda body: Stat(_one_string(body)),
    c.RENAME: _fields(lambda r: Rename(r.string(), r.string())),
    c.READLINK: _fields(lambda r: Readlink(r.string())),
    c.SYMLINK: _fields(lambda r: Symlink(r.string(), r.string())),
    c.EXTENDED: _fields(_extended),
}
"""Decoders by type. Those asked once a file or more (OPEN, CLOSE...) use no `Reader`: half the time."""


def decode(kind: int, body: bytes) -> Request:
    """Take a request apart.

    Args:
        kind: the packet type.
        body: what follows the request id.

    Raises:
        ProtocolViolation: the fields do not fit the packet.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return Unknown(kind)
    try:
        return decoder(body)
    except struct_error:
        raise ProtocolViolation from None


def decode_init(body: bytes) -> Init:
    """Take INIT apart (it has no request id).

    Args:
        body: what follows the packet type.

    Raises:
        ProtocolViolation: no version, or a broken extension pair.
    """
    r = Reader(body)
    version = r.u32()
    pairs: list[tuple[bytes, bytes]] = []
    while not r.done():
        pairs.append((r.string(), r.string()))
    return Init(version, tuple(pairs))
