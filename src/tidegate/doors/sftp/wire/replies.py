# SPDX-License-Identifier: Apache-2.0
"""Replies: values to packets, each complete with its length."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, error
from typing import Final

from tidegate.doors.sftp.wire import constants as c
from tidegate.model import Entry, Kind, Space

_NS: Final = 1_000_000_000
_U32_MAX: Final = 0xFFFFFFFF
_U64_MAX: Final = 0xFFFFFFFFFFFFFFFF

_U32: Final = Struct(">I").pack
_HEAD: Final = Struct(">IBI").pack
_HEAD4: Final = Struct(">IBII").pack
_ENTRY: Final = Struct(">IQIIIII").pack
_LIMITS: Final = Struct(">4Q").pack
_STATVFS: Final = Struct(">11Q").pack
_SPACE: Final = Struct(">4QI").pack

_ATTRS_KNOWN: Final = c.ATTR_SIZE | c.ATTR_OWNER | c.ATTR_MODE | c.ATTR_TIMES
MAX_STATUS_TEXT_BYTES: Final = 1024
"""Longest text put in a STATUS reply."""

TYPE_BITS: Final[dict[Kind, int]] = {
    Kind.FILE: 0o100000,
    Kind.DIRECTORY: 0o040000,
    Kind.LINK: 0o120000,
    Kind.OTHER: 0o010000,
}
"""The file type bits of `mode` as POSIX has them; what is none of the three is shown as a pipe."""

_STATVFS_READ_ONLY: Final = 1
_STATVFS_NO_SUID: Final = 2


def string(value: bytes) -> bytes:
    """A string field."""
    return _U32(len(value)) + value


def status(request_id: int, code: int, text: str) -> bytes:
    """STATUS with a text in English."""
    message = text.encode("utf-8", "replace")[:MAX_STATUS_TEXT_BYTES]
    return b"".join(
        (
            _HEAD4(19 + len(message), c.STATUS, request_id, code),
            _U32(len(message)),
            message,
            b"\0\0\0\2en",
        )
    )


def _fixed_status(code: int, text: str) -> tuple[int, bytes]:
    packet = status(0, code, text)
    return len(packet) - 4, packet[9:]


_OK_LENGTH, _OK_TAIL = _fixed_status(c.OK, "success")
_EOF_LENGTH, _EOF_TAIL = _fixed_status(c.EOF, "end of file")


def status_ok(request_id: int) -> bytes:
    """STATUS OK; everything but the id was built beforehand."""
    return _HEAD(_OK_LENGTH, c.STATUS, request_id) + _OK_TAIL


def status_eof(request_id: int) -> bytes:
    """STATUS EOF."""
    return _HEAD(_EOF_LENGTH, c.STATUS, request_id) + _EOF_TAIL


def version(extensions: Iterable[tuple[bytes, bytes]]) -> bytes:
    """VERSION with what the server offers."""
    pairs = b"".join(string(name) + string(value) for name, value in extensions)
    return _HEAD(5 + len(pairs), c.REPLY_VERSION, c.VERSION) + pairs


def handle(request_id: int, value: bytes) -> bytes:
    """HANDLE."""
    return _HEAD4(9 + len(value), c.HANDLE, request_id, len(value)) + value


def data_header(request_id: int, size: int) -> bytes:
    """The `DATA_HEADER_BYTES` in front of `size` bytes of a DATA packet."""
    return _HEAD4(9 + size, c.DATA, request_id, size)


def data(request_id: int, payload: bytes) -> bytes:
    """DATA."""
    return _HEAD4(9 + len(payload), c.DATA, request_id, len(payload)) + payload


def clamp(value: int, most: int = _U32_MAX) -> int:
    """`value`, kept within what the field can hold."""
    return 0 if value < 0 else min(value, most)


def entry_attrs(entry: Entry) -> bytes:
    """ATTRS of an entry. Times outside 1970 to 2106 are shown as the nearest that fits."""
    mode = TYPE_BITS[entry.kind] | (entry.mode & 0o7777)
    atime, mtime = entry.atime_ns // _NS, entry.mtime_ns // _NS
    try:
        return _ENTRY(_ATTRS_KNOWN, entry.size, entry.uid, entry.gid, mode, atime, mtime)
    except error:
        return _ENTRY(
            _ATTRS_KNOWN,
            clamp(entry.size, _U64_MAX),
            clamp(entry.uid),
            clamp(entry.gid),
            mode,
            clamp(atime),
            clamp(mtime),
        )


def attrs(request_id: int, entry: Entry) -> bytes:
    """ATTRS."""
    return _HEAD(37, c.ATTRS, request_id) + entry_attrs(entry)


def name(request_id: int, path: bytes) -> bytes:
    """NAME with one path and no attributes, as REALPATH and READLINK answer."""
    field = string(path)
    return b"".join((_HEAD4(13 + 2 * len(field), c.NAME, request_id, 1), field, field, b"\0\0\0\0"))


def names(request_id: int, count: int, body: bytes) -> bytes:
    """NAME with `count` names already encoded (see `longname.Longnames.lay_out`)."""
    return _HEAD4(9 + len(body), c.NAME, request_id, count) + body


def extended(request_id: int, body: bytes) -> bytes:
    """EXTENDED_REPLY."""
    return _HEAD(5 + len(body), c.EXTENDED_REPLY, request_id) + body


def limits(request_id: int, packet: int, read: int, write: int, handles: int) -> bytes:
    """The answer to limits@openssh.com, in bytes and handles."""
    return extended(request_id, _LIMITS(packet, read, write, handles))


def statvfs(request_id: int, space: Space) -> bytes:
    """The answer to statvfs@openssh.com and fstatvfs@openssh.com."""
    block = max(1, space.block_size)
    flags = _STATVFS_NO_SUID | (_STATVFS_READ_ONLY if space.read_only else 0)
    fields = (
        block,
        block,
        space.total // block,
        space.free // block,
        space.free // block,
        space.files_total,
        space.files_free,
        space.files_free,
        0,
        flags,
        space.name_max,
    )
    return extended(request_id, _STATVFS(*(clamp(value, _U64_MAX) for value in fields)))


def space_available(request_id: int, space: Space) -> bytes:
    """The answer to space-available: bytes on the device, unused, for the user, unused for the user, unit."""
    total, free = clamp(space.total, _U64_MAX), clamp(space.free, _U64_MAX)
    return extended(request_id, _SPACE(total, free, total, free, clamp(space.block_size)))


def id_names(request_id: int, users: Iterable[bytes], groups: Iterable[bytes]) -> bytes:
    """The answer to users-groups-by-id@openssh.com; an empty name means unknown."""
    packed = (b"".join(string(value) for value in side) for side in (users, groups))
    return extended(request_id, b"".join(string(side) for side in packed))
