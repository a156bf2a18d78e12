# SPDX-License-Identifier: Apache-2.0
"""The PROXY header, versions 1 and 2, from bytes. No sockets, no clock.

It is the first thing on a connection that a proxy opens (HAProxy, "The PROXY protocol", 2020/03/05) and tells
the addresses of the connection that the proxy accepted. Nobody but a proxy that the operator lists may be
believed; that is for the caller (`doors.common.proxied`).
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from tidegate.model.address import plain_address

V1_PREFIX: Final = b"PROXY "
V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"

MAX_V1_BYTES: Final = 107
"""Longest header of version 1 with its end of line (section 2.1)."""
MAX_V2_BYTES: Final = 16 + 4096
"""Longest header of version 2 that is taken; its length field could say 65,535 bytes more than the first 16.
A client's certificate in a TLV fits."""
MAX_TLVS: Final = 64
"""Additional fields of one header."""

_V2_FIXED: Final = 16
_CRC32C: Final = 0x03
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_ADDRESS_BYTES: Final = {0: 0, 1: 12, 2: 36, 3: 216}
_UNIX_PATH: Final = 108


class BadProxyHeader(ValueError):
    """A PROXY header that breaks the rules; the text says which."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The words of a proxy about a connection.

    Attributes:
        size: bytes of the header.
        version: 1 or 2.
        source: address and port of the client; None if the proxy speaks for itself (LOCAL), does not know
            (UNKNOWN, UNSPEC), or the client came by a Unix socket.
        destination: address and port that the client reached; None as `source`.
        local: True if the proxy opened the connection for itself, to see if the server is well.
        path: of the Unix socket that the client came by; empty if it did not.
        tlvs: type and value of additional fields, of version 2.
    """

    size: int
    version: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    local: bool = False
    path: str = ""
    tlvs: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class MoreBytes:
    """The header is not complete.

    Attributes:
        least: bytes from the beginning of the connection that are needed to go on.
    """

    least: int


def parse(data: bytes) -> ProxyHeader | MoreBytes | None:
    """Read the header at the beginning of `data`; None if there is none.

    Raises:
        BadProxyHeader: it begins as one and is none, or is longer than may be.
    """
    if data.startswith(V1_PREFIX):
        return _version_1(data)
    if data.startswith(V2_SIGNATURE):
        return _version_2(data)
    if V1_PREFIX.startswith(data):
        return MoreBytes(len(V1_PREFIX))
    if V2_SIGNATURE.startswith(data):
        return MoreBytes(_V2_FIXED)
    return None


def _version_1(data: bytes) -> ProxyHeader | MoreBytes:
    line = data[:MAX_V1_BYTES]
    end = line.find(b"\r\n")
    if end < 0:
        if len(line) == MAX_V1_BYTES:
            raise BadProxyHeader(f"version 1: no end of line within {MAX_V1_BYTES} bytes")
        return MoreBytes(len(line) + 1)
    size, words = end + 2, line[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(size, 1)
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise BadProxyHeader("version 1: expected TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    return ProxyHeader(size, 1, _text_end(kind, words[2], words[4]), _text_end(kind, words[3], words[5]))


def _text_end(kind: type[IPv4Address | IPv6Address], address: bytes, port: bytes) -> tuple[str, int]:
    if b"%" in address or _PORT.fullmatch(port) is None or int(port) > 0xFFFF:
        raise BadProxyHeader("version 1: an address or a port is none")
    try:
        return plain_address(str(kind(address.decode("ascii")))), int(port)
    except ValueError:
        raise BadProxyHeader("version 1: an address is none of its family") from None


def _version_2(data: bytes) -> ProxyHeader | MoreBytes:
    if len(data) < _V2_FIXED:
        return MoreBytes(_V2_FIXED)
    version_command, family_transport, length = struct.unpack_from("!BBH", data, len(V2_SIGNATURE))
    command, family, transport = version_command & 15, family_transport >> 4, family_transport & 15
    if version_command >> 4 != 2 or command > 1:
        raise BadProxyHeader(f"version 2: 0x{version_command:02x} is no version and command")
    if command and (family not in _ADDRESS_BYTES or transport > 2):
        raise BadProxyHeader(f"version 2: 0x{family_transport:02x} is no family and transport")
    size = _V2_FIXED + length
    if size > MAX_V2_BYTES:
        raise BadProxyHeader(f"version 2: {size} bytes, at most {MAX_V2_BYTES} are taken")
    if len(data) < size:
        return MoreBytes(size)
    body, addresses = data[_V2_FIXED:size], _ADDRESS_BYTES.get(family, MAX_V2_BYTES)
    if not command and len(body) < addresses:
        return ProxyHeader(size, 2, local=True)  # section 2.2: of LOCAL the family is ignored
    if len(body) < addresses:
        raise BadProxyHeader("version 2: too short for its addresses")
    tlvs = _tlvs(data[:size], _V2_FIXED + addresses)
    if not command:
        return ProxyHeader(size, 2, local=True, tlvs=tlvs)
    if family == 0 or transport == 0:
        return ProxyHeader(size, 2, tlvs=tlvs)
    if transport == 2:
        raise BadProxyHeader("version 2: datagrams do not come by a stream")
    if family == 3:
        path = body[:_UNIX_PATH].split(b"\0", 1)[0]
        return ProxyHeader(size, 2, path=path.decode("utf-8", "replace"), tlvs=tlvs)
    wide = addresses // 2 - 2
    ports = struct.unpack_from("!HH", body, 2 * wide)
    version = socket.AF_INET if family == 1 else socket.AF_INET6
    ends = [
        (plain_address(socket.inet_ntop(version, body[at : at + wide])), port)
        for at, port in zip((0, wide), ports, strict=True)
    ]
    return ProxyHeader(size, 2, ends[0], ends[1], tlvs=tlvs)


def _tlvs(header: bytes, at: int) -> tuple[tuple[int, bytes], ...]:
    """The additional fields of a whole header from offset `at` on; a checksum among them has to be right."""
    found: list[tuple[int, bytes]] = []
    checksum: int | None = None
    while at < len(header):
        if len(header) - at < 3 or len(found) == MAX_TLVS:
            raise BadProxyHeader("version 2: an additional field is cut off, or there are too many")
        kind, length = struct.unpack_from("!BH", header, at)
        at += 3
        if length > len(header) - at:
            raise BadProxyHeader("version 2: an additional field is longer than the header")
        if kind == _CRC32C:
            if checksum is not None or length != 4:
                raise BadProxyHeader("version 2: expected one checksum of 4 bytes")
            checksum = at
        found.append((kind, header[at : at + length]))
        at += length
    if checksum is not None:
        plain = header[:checksum] + bytes(4) + header[checksum + 4 :]
        if crc32c(plain) != int.from_bytes(header[checksum : checksum + 4]):
            raise BadProxyHeader("version 2: the checksum is wrong")
    return tuple(found)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 4960 appendix B."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
