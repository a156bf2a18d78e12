# SPDX-License-Identifier: Apache-2.0
"""Addresses of clients: how they are read, and which are local."""

from __future__ import annotations

# Its parser of texts alone: rooms that are pure have no `socket`.
from _socket import AF_INET, AF_INET6, inet_pton
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

MAX_REMEMBERED: Final = 4096
"""Addresses whose parsed form is remembered: a login asks for the same one some four times."""

MAX_CHARACTERS: Final = 64
"""A longer text is not remembered: no address without a zone is longer than 45 characters."""


def parse_address(text: str) -> Address | None:
    """The address in `text`, None if it is none.

    Brackets and the zone of a link-local address are taken off; ``::ffff:a.b.c.d`` is ``a.b.c.d``.
    """
    return _parsed(text)[0] if len(text) <= MAX_CHARACTERS else _parse(text)


@lru_cache(maxsize=MAX_REMEMBERED)
def _parsed(text: str) -> tuple[Address | None, str]:
    """The answers of `parse_address` and `plain_address`."""
    address = _parse(text)
    return address, text if address is None else str(address)


def _parse(text: str) -> Address | None:
    text = text.strip()
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def number_of(text: str) -> tuple[int, int] | None:
    """Version and number of an address, None if it is none; read as by `parse_address`, but quicker."""
    try:
        return 4, int.from_bytes(inet_pton(AF_INET, text), "big")
    except (OSError, ValueError):
        pass
    try:
        number = int.from_bytes(inet_pton(AF_INET6, text), "big")
    except (OSError, ValueError):
        address = parse_address(text)
        return None if address is None else (address.version, int(address))
    return (4, number & 0xFFFFFFFF) if number >> 32 == 0xFFFF else (6, number)


def plain_address(text: str) -> str:
    """An address without brackets and zone, IPv4 written as IPv4; what is no address is returned as it is."""
    if len(text) <= MAX_CHARACTERS:
        return _parsed(text)[1]
    parsed = _parse(text)
    return text if parsed is None else str(parsed)


_LOCAL_FOUR: Final = tuple(
    (int(network.network_address), int(network.broadcast_address))
    for network in map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
        ),
    )
)
_LOCAL_SIX: Final = tuple(
    (int(network.network_address), int(network.broadcast_address))
    for network in map(IPv6Network, ("::/127", "fc00::/7", "fe80::/10"))
)


def is_local(text: str) -> bool:
    """True of addresses that are of no country and on no blocklist: private, loopback and link-local ones.

    Those of RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193 and RFC 3927 are; what is no address is too.
    """
    address = parse_address(text)
    if address is None:
        return True
    number = int(address)
    ranges = _LOCAL_FOUR if address.version == 4 else _LOCAL_SIX
    return any(first <= number <= last for first, last in ranges)
