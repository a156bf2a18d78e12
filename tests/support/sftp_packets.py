# SPDX-License-Identifier: Apache-2.0
"""A client's side of SFTP 3: builders of requests, a reader of replies."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any


def s(value: bytes | str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return struct.pack(">I", len(raw)) + raw


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def attrs(
    *,
    size: int | None = None,
    owner: tuple[int, int] | None = None,
    mode: int | None = None,
    times: tuple[int, int] | None = None,
    extended: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    flags, body = 0, b""
    if size is not None:
        flags, body = flags | 1, body + u64(size)
    if owner is not None:
        flags, body = flags | 2, body + u32(owner[0]) + u32(owner[1])
    if mode is not None:
        flags, body = flags | 4, body + u32(mode)
    if times is not None:
        flags, body = flags | 8, body + u32(times[0]) + u32(times[1])
    if extended:
        flags |= 0x80000000
        body += u32(len(extended)) + b"".join(s(k) + s(v) for k, v in extended)
    return u32(flags) + body


NO_ATTRS = attrs()

FLAGS = {"r": 1, "w": 2 | 8 | 16, "a": 2 | 4 | 8, "x": 2 | 8 | 32, "r+": 3, "w+": 1 | 2 | 8 | 16}


def init(version: int = 3, extensions: bytes = b"") -> bytes:
    return packet(1, u32(version) + extensions)


def open_(rid: int, path: bytes | str, flags: int | str = "r", attributes: bytes = NO_ATTRS) -> bytes:
    bits = FLAGS[flags] if isinstance(flags, str) else flags
    return packet(3, u32(rid) + s(path) + u32(bits) + attributes)


def close(rid: int, handle: bytes) -> bytes:
    return packet(4, u32(rid) + s(handle))


def read(rid: int, handle: bytes, offset: int, size: int) -> bytes:
    return packet(5, u32(rid) + s(handle) + u64(offset) + u32(size))


def write(rid: int, handle: bytes, offset: int, data: bytes) -> bytes:
    return packet(6, u32(rid) + s(handle) + u64(offset) + s(data))


def lstat(rid: int, path: bytes | str) -> bytes:
    return packet(7, u32(rid) + s(path))


def fstat(rid: int, handle: bytes) -> bytes:
    return packet(8, u32(rid) + s(handle))


def setstat(rid: int, path: bytes | str, attributes: bytes) -> bytes:
    return packet(9, u32(rid) + s(path) + attributes)


def fsetstat(rid: int, handle: bytes, attributes: bytes) -> bytes:
    return packet(10, u32(rid) + s(handle) + attributes)


def opendir(rid: int, path: bytes | str) -> bytes:
    return packet(11, u32(rid) + s(path))


def readdir(rid: int, handle: bytes) -> bytes:
    return packet(12, u32(rid) + s(handle))


def remove(rid: int, path: bytes | str) -> bytes:
    return packet(13, u32(rid) + s(path))


def mkdir(rid: int, path: bytes | str, attributes: bytes = NO_ATTRS) -> bytes:
    return packet(14, u32(rid) + s(path) + attributes)


def rmdir(rid: int, path: bytes | str) -> bytes:
    return packet(15, u32(rid) + s(path))


def realpath(rid: int, path: bytes | str) -> bytes:
    return packet(16, u32(rid) + s(path))


def stat(rid: int, path: bytes | str) -> bytes:
    return packet(17, u32(rid) + s(path))


def rename(rid: int, old: bytes | str, new: bytes | str) -> bytes:
    return packet(18, u32(rid) + s(old) + s(new))


def readlink(rid: int, path: bytes | str) -> bytes:
    return packet(19, u32(rid) + s(path))


def symlink(rid: int, text: bytes | str, link: bytes | str) -> bytes:
    """In OpenSSH's order: what it says, then where it stands."""
    return packet(20, u32(rid) + s(text) + s(link))


def extended(rid: int, name: str, body: bytes = b"") -> bytes:
    return packet(200, u32(rid) + s(name) + body)


@dataclass
class Name:
    name: bytes
    longname: bytes
    attrs: dict[str, Any]


@dataclass
class Reply:
    kind: int
    rid: int
    code: int = -1
    text: str = ""
    handle: bytes = b""
    data: bytes = b""
    names: list[Name] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    extensions: dict[bytes, bytes] = field(default_factory=dict)


class Fields:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data), "reply is cut short"
        self.at += count
        return self.data[self.at - count : self.at]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def s(self) -> bytes:
        return self.take(self.u32())

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def attrs(self) -> dict[str, Any]:
        flags = self.u32()
        found: dict[str, Any] = {}
        if flags & 1:
            found["size"] = self.u64()
        if flags & 2:
            found["uid"], found["gid"] = self.u32(), self.u32()
        if flags & 4:
            found["mode"] = self.u32()
        if flags & 8:
            found["atime"], found["mtime"] = self.u32(), self.u32()
        assert not flags & ~15
        return found


def parse(raw: bytes) -> Reply:
    """One reply, without its length; refuses bytes too many."""
    f = Fields(raw)
    kind, rid = f.take(1)[0], f.u32()
    reply = Reply(kind, rid)
    if kind == 101:
        reply.code, reply.text = f.u32(), f.s().decode()
        f.s()
    elif kind == 102:
        reply.handle = f.s()
    elif kind == 103:
        reply.data = f.s()
    elif kind == 104:
        for _ in range(f.u32()):
            reply.names.append(Name(f.s(), f.s(), f.attrs()))
    elif kind == 105:
        reply.attrs = f.attrs()
    elif kind == 2:
        while f.at < len(raw):
            name = f.s()
            reply.extensions[name] = f.s()
    elif kind == 201:
        reply.data = f.rest()
    else:
        raise AssertionError(f"unexpected reply type {kind}")
    assert f.at == len(raw), "bytes too many in a reply"
    return reply


def split(stream: bytes) -> tuple[list[Reply], bytes]:
    """All complete replies of a stream, and what is left."""
    found, at = [], 0
    while len(stream) - at >= 4:
        length = int.from_bytes(stream[at : at + 4], "big")
        if len(stream) - at - 4 < length:
            break
        found.append(parse(stream[at + 4 : at + 4 + length]))
        at += 4 + length
    return found, stream[at:]
