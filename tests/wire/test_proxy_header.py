# SPDX-License-Identifier: Apache-2.0
"""The PROXY header, against bytes written by hand and against another implementation."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6, ProxyResultLocal, ProxyResultUnix
from proxyprotocol.tlv import ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from tidegate.doors.common import proxy_header
from tidegate.doors.common.proxy_header import (
    MAX_V1_BYTES,
    MAX_V2_BYTES,
    BadProxyHeader,
    MoreBytes,
    ProxyHeader,
    crc32c,
    parse,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FOUR = b"\xc0\x00\x02\x01\x0a\x00\x00\x09\xc3\x50\x00\x16"
"""192.0.2.1:50000 to 10.0.0.9:22"""


def v2(body: bytes = FOUR, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2) + body


@pytest.mark.parametrize(
    ("data", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.1 10.0.0.9 50000 22\r\n", ("192.0.2.1", 50000), ("10.0.0.9", 22)),
        (b"PROXY TCP6 2001:DB8:0::1 ::1 0 65535\r\n", ("2001:db8::1", 0), ("::1", 65535)),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ("192.0.2.1", 1), ("::1", 2)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None, None),
        (v2(), ("192.0.2.1", 50000), ("10.0.0.9", 22)),
        (v2(FOUR + b"\x04\x00\x02ab" + b"\x02\x00\x01x"), ("192.0.2.1", 50000), ("10.0.0.9", 22)),
        (v2(command=0x20), None, None),
        (v2(b"", command=0x20, family=0x00), None, None),
        (v2(b"junk", command=0x20, family=0xFF), None, None),
        (v2(b"", family=0x00), None, None),
        (v2(b"/run/a\0" + bytes(209), family=0x31), None, None),
    ],
)
def test_headers(data: bytes, source: object, destination: object) -> None:
    for behind in (b"", b"SSH-2.0-x\r\n"):
        found = parse(data + behind)
        assert isinstance(found, ProxyHeader)
        assert (found.size, found.source, found.destination) == (len(data), source, destination)


def test_what_else_a_header_says() -> None:
    local, unix = parse(v2(command=0x20)), parse(v2(b"/run/a\0" + bytes(209), family=0x31))
    fields = parse(v2(FOUR + b"\x05\x00\x02id\xee\x00\x00"))
    assert isinstance(local, ProxyHeader)
    assert isinstance(unix, ProxyHeader)
    assert isinstance(fields, ProxyHeader)
    assert (local.local, unix.path, fields.tlvs) == (True, "/run/a", ((5, b"id"), (0xEE, b"")))


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 10.0.0.9 50000\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.9 50000 22 \r\n",
        b"PROXY TCP4  192.0.2.1 10.0.0.9 50000 22\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.9 050 22\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.9 65536 22\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.9 -1 22\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.9 \xd9\xa1 22\r\n",
        b"PROXY TCP4 192.0.2.01 10.0.0.9 1 22\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1 22\r\n",
        b"PROXY TCP6 192.0.2.1 10.0.0.9 1 22\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 22\r\n",
        b"PROXY UDP4 192.0.2.1 10.0.0.9 1 22\r\n",
        b"PROXY tcp4 192.0.2.1 10.0.0.9 1 22\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN " + b"x" * MAX_V1_BYTES,
        b"PROXY UNKNOWN" + b" " * (MAX_V1_BYTES - 14) + b"\r\n",
        v2(command=0x11),
        v2(command=0x22),
        v2(family=0x41),
        v2(family=0x13),
        v2(family=0x12),
        v2(FOUR[:-1]),
        v2(FOUR, length=MAX_V2_BYTES),
        v2(FOUR + b"\x04\x00"),
        v2(FOUR + b"\x04\x00\x05ab"),
        v2(FOUR + b"\x04\x00\x00" * 65),
        v2(FOUR + b"\x03\x00\x04abcd"),
        v2(FOUR + b"\x03\x00\x02ab"),
    ],
)
def test_broken_headers_are_told(data: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        parse(data)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x", b"USER a\r\n", b"GET / HTTP/1.1\r\n", b"PROPFIND /", b"\x16\x03", b"\r\n\r\nx"]
)
def test_what_is_no_header_is_left(data: bytes) -> None:
    assert parse(data) is None


@pytest.mark.parametrize(
    "data", [b"PROXY TCP4 192.0.2.1 10.0.0.9 50000 22\r\n", v2(), v2(FOUR + b"\x04\x00\x02ab")]
)
def test_every_beginning_asks_for_more_than_there_is_and_never_for_too_much(data: bytes) -> None:
    for size in range(len(data)):
        found = parse(data[:size])
        assert isinstance(found, MoreBytes)
        assert size < found.least <= len(data)


def test_the_longest_line_of_the_specification_is_taken() -> None:
    line = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
    assert len(line) == MAX_V1_BYTES
    assert isinstance(parse(line), ProxyHeader)


def test_the_checksum_is_that_of_the_standard() -> None:
    # RFC 3720 appendix B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


ports = st.integers(0, 65_535)
fours = st.tuples(st.builds(IPv4Address, st.integers(0, 2**32 - 1)), ports)
sixes = st.tuples(st.builds(IPv6Address, st.integers(0, 2**128 - 1)), ports)
values = st.binary(max_size=40)
fields = st.builds(
    lambda own: ProxyProtocolTLV(init={0xE0 + index: value for index, value in enumerate(own)}),
    st.lists(values, max_size=4),
)


def plain(end: tuple[IPv4Address | IPv6Address, int]) -> tuple[str, int]:
    address = end[0].ipv4_mapped or end[0] if isinstance(end[0], IPv6Address) else end[0]
    return str(address), end[1]


@given(st.one_of(st.tuples(fours, fours), st.tuples(sixes, sixes)), fields, st.binary(max_size=20))
def test_headers_of_another_implementation_are_read(ends, tlv, behind) -> None:  # type: ignore[no-untyped-def]
    kind = ProxyResultIPv4 if isinstance(ends[0][0], IPv4Address) else ProxyResultIPv6
    result = kind(*ends, protocol=socket.SOCK_STREAM, tlv=tlv)
    for version in (ProxyProtocolV1(), ProxyProtocolV2()):
        data = version.pack(result)
        found = parse(data + behind)
        assert isinstance(found, ProxyHeader)
        assert (found.size, found.source, found.destination) == (len(data), plain(ends[0]), plain(ends[1]))
    assert {kind: value for kind, value in found.tlvs if kind != 3} == dict(tlv)


@given(
    st.sampled_from([ProxyResultLocal(), ProxyResultUnix("/run/a", "/run/b", protocol=socket.SOCK_STREAM)])
)
def test_headers_without_addresses_are_read(result) -> None:  # type: ignore[no-untyped-def]
    found = parse(ProxyProtocolV2().pack(result))
    assert isinstance(found, ProxyHeader)
    assert found.source is None
    assert (found.local, found.path) == (
        isinstance(result, ProxyResultLocal),
        "" if found.local else "/run/a",
    )


@given(fours, fours, st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_found_by_the_checksum(source, destination, at, change) -> None:  # type: ignore[no-untyped-def]
    result = ProxyResultIPv4(source, destination, protocol=socket.SOCK_STREAM)
    data = bytearray(ProxyProtocolV2().pack(result))
    data[16 + at % 12] ^= change
    with pytest.raises(BadProxyHeader, match="checksum"):
        parse(bytes(data))


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]),
)
def test_any_bytes_are_a_header_none_too_few_or_refused(data: bytes, beginning: bytes) -> None:
    try:
        found = parse(beginning + data)
    except BadProxyHeader:
        return
    if isinstance(found, MoreBytes):
        assert len(beginning + data) < found.least <= MAX_V2_BYTES
    elif found is not None:
        assert found.size <= len(beginning + data)
    assert proxy_header.MAX_V1_BYTES == 107
