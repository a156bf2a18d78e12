# SPDX-License-Identifier: Apache-2.0
"""An SFTP channel of log level ``trace``: stands between transport and dialogue and reads along.

Without that level it is not there, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from time import monotonic
from typing import Final

from tidegate.doors.common.trace import UNKNOWN, trace
from tidegate.doors.common.transport import Conversation, PacketTransport
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import requests as r
from tidegate.doors.sftp.wire.decoding import decode
from tidegate.errors import TidegateError
from tidegate.vfs.api import Session

MOST_WAITING: Final = 4096
"""Requests whose answers are waited for; those beyond have no line."""

_U32: Final = Struct(">I").unpack_from
_NAMES: Final = {
    c.OPEN: "OPEN", c.CLOSE: "CLOSE", c.READ: "READ", c.WRITE: "WRITE", c.LSTAT: "LSTAT", c.FSTAT: "FSTAT",
    c.SETSTAT: "SETSTAT", c.FSETSTAT: "FSETSTAT", c.OPENDIR: "OPENDIR", c.READDIR: "READDIR",
    c.REMOVE: "REMOVE", c.MKDIR: "MKDIR", c.RMDIR: "RMDIR", c.REALPATH: "REALPATH", c.STAT: "STAT",
    c.RENAME: "RENAME", c.READLINK: "READLINK", c.SYMLINK: "SYMLINK",
}  # fmt: skip
_IO: Final = Struct(">I8sQI")
_FIELDS: Final = ("path", "source", "link")
_TARGETS: Final = ("target", "text")


class _Asked:
    __slots__ = ("at", "handle", "name", "path", "size", "target")

    def __init__(self, name: str, path: str, target: str, handle: bytes, size: int) -> None:
        self.name, self.path, self.target, self.handle, self.size = name, path, target, handle, size
        self.at = monotonic()


class Traced:
    """Both sides of one channel: `Conversation` for the transport, `PacketTransport` for the dialogue.

    Args:
        session: whose peer and account the lines name.
        transport: of the channel.
    """

    def __init__(self, session: Session, transport: PacketTransport) -> None:
        self._peer = session.peer
        self._username = session.principal.username
        self._transport = transport
        self._conversation: Conversation | None = None
        self._noted = 0
        self._asked: dict[int, _Asked] = {}
        self._handles: dict[bytes, str] = {}

    def attach(self, conversation: Conversation) -> None:
        """Name the conversation; before any byte comes."""
        self._conversation = conversation

    # -- what the transport calls ------------------------------------------------------------------------

    @property
    def _inner(self) -> Conversation:
        assert self._conversation is not None
        return self._conversation

    @property
    def saturated(self) -> bool:
        """As the dialogue says."""
        return self._inner.saturated

    def feed(self, data: memoryview) -> int:
        """Read along, then have the dialogue consume."""
        try:
            self._note(data)
        except (TidegateError, IndexError, ValueError):
            self._noted = len(data)  # the dialogue ends the channel
        consumed = self._inner.feed(data)
        self._noted = max(0, self._noted - consumed)
        return consumed

    def eof_received(self) -> None:
        """Pass on."""
        self._inner.eof_received()

    def connection_lost(self) -> None:
        """Pass on."""
        self._inner.connection_lost()

    def _note(self, view: memoryview) -> None:
        while len(view) - self._noted >= 5:
            at = self._noted
            length: int = _U32(view, at)[0]
            end = at + 4 + length
            if not 1 <= length <= c.MAX_PACKET_BYTES or end > len(view):
                return
            self._noted = end
            kind = view[at + 4]
            if kind == c.INIT:
                trace(self._peer, self._username, "INIT", code=c.OK)
                continue
            if end - at < 9 or len(self._asked) >= MOST_WAITING:
                continue
            self._asked[_U32(view, at + 5)[0]] = self._request(kind, view, at, end)

    def _request(self, kind: int, view: memoryview, at: int, end: int) -> _Asked:
        name = _NAMES.get(kind, f"TYPE_{kind}")
        if kind in (c.READ, c.WRITE) and end - at >= 9 + _IO.size and _U32(view, at + 9)[0] == c.HANDLE_BYTES:
            _, handle, _, size = _IO.unpack_from(view, at + 9)
            return _Asked(
                name, self._handles.get(handle, UNKNOWN), UNKNOWN, b"", size if kind == c.WRITE else 0
            )
        if kind == c.EXTENDED and end - at >= 13:
            size = min(_U32(view, at + 9)[0], 64)
            name = bytes(view[at + 13 : min(end, at + 13 + size)]).decode("ascii", "replace")
        try:
            request = decode(kind, bytes(view[at + 9 : end]))
        except TidegateError:
            return _Asked(name, UNKNOWN, UNKNOWN, b"", 0)
        handle = getattr(request, request.HANDLES[0], b"") if request.HANDLES else b""
        if request.HANDLES:
            path = self._handles.get(handle, UNKNOWN)
        else:
            path = _text(request, _FIELDS)
        return _Asked(name, path, UNKNOWN if request.HANDLES else _text(request, _TARGETS), handle, 0)

    def _answered(self, packet: bytes | bytearray, size: int = 0) -> None:
        at = 0
        while len(packet) - at >= 9:
            length: int = _U32(packet, at)[0]
            kind = packet[at + 4]
            asked = self._asked.pop(_U32(packet, at + 5)[0], None) if kind != c.REPLY_VERSION else None
            if asked is not None:
                self._tell(asked, kind, packet, at, size)
            at += 4 + length

    def _tell(self, asked: _Asked, kind: int, packet: bytes | bytearray, at: int, size: int) -> None:
        code: int = c.OK
        if kind == c.STATUS and len(packet) - at >= 13:
            code = _U32(packet, at + 9)[0]
        elif kind == c.HANDLE:
            self._handles[bytes(packet[at + 13 : at + 13 + _U32(packet, at + 9)[0]])] = asked.path
        elif kind == c.DATA and len(packet) - at >= c.DATA_HEADER_BYTES:
            size = _U32(packet, at + 9)[0]
        if asked.name == "CLOSE":
            self._handles.pop(asked.handle, None)
        trace(
            self._peer,
            self._username,
            asked.name,
            path=asked.path,
            target=asked.target,
            code=code,
            seconds=monotonic() - asked.at,
            size=asked.size or size,
        )

    # -- what the dialogue calls ---------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """As the transport says."""
        return self._transport.congested

    @property
    def sendable(self) -> int:
        """As the transport says."""
        return self._transport.sendable

    def when_sendable(self, callback: Callable[[], None]) -> None:
        """Pass on."""
        self._transport.when_sendable(callback)

    def tight(self, size: int) -> bool:
        """As the transport says."""
        return self._transport.tight(size)

    def send(self, packet: bytes | bytearray) -> None:
        """Read along, then send."""
        self._answered(packet)
        self._transport.send(packet)

    def reserve(self, head: int, size: int) -> Sequence[memoryview] | None:
        """Pass on."""
        return self._transport.reserve(head, size)

    def commit(self, head: bytes, size: int) -> None:
        """Read along, then commit."""
        self._answered(head)
        self._transport.commit(head, size)

    def flush(self) -> None:
        """Pass on."""
        self._transport.flush()

    def resume(self) -> None:
        """Pass on."""
        self._transport.resume()

    def error(self, data: bytes) -> None:
        """Pass on."""
        self._transport.error(data)

    def close(self, *, status: int) -> None:
        """Pass on."""
        self._transport.close(status=status)


def _text(request: r.Request, names: tuple[str, ...]) -> str:
    """The first of these fields that the request has."""
    for name in names:
        value = getattr(request, name, None)
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
    return UNKNOWN
