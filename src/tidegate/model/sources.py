# SPDX-License-Identifier: Apache-2.0
"""Sources: what limits, scores, bans and penalties by address count as one client.

A source is the network of an address with a prefix of a configured length, by default the address itself
with IPv4 and its /64 with IPv6. It is written as an address if the prefix is the whole of it, else as CIDR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tidegate.model.address import MAX_CHARACTERS, MAX_REMEMBERED, parse_address
from tidegate.model.address_list import Network, parse_network

FULL: Final = {4: 32, 6: 128}
"""Bits of an address of each version of IP."""


@dataclass(frozen=True, slots=True)
class SourcePrefixes:
    """Lengths of prefixes.

    Attributes:
        ipv4: bits; addresses that begin with the same ones are one source.
        ipv6: likewise. Whoever has one IPv6 address usually has its /64, hence the default.
    """

    ipv4: int = 32
    ipv6: int = 64


class Sources:
    """The one rule of a server on what is a source; every room that limits by address is given the same.

    Attributes:
        prefixes: in force; replaced when the configuration is read again.
    """

    __slots__ = ("prefixes",)

    def __init__(self, prefixes: SourcePrefixes | None = None) -> None:
        self.prefixes = prefixes or SourcePrefixes()

    def of(self, address: str) -> str:
        """The source of an address; what is no address is returned as it is."""
        prefixes = self.prefixes
        return source_of(address, prefixes.ipv4, prefixes.ipv6)


def source_of(address: str, ipv4: int, ipv6: int) -> str:
    """The source of an address with prefixes of given lengths; what is no address is returned as it is."""
    if len(address) <= MAX_CHARACTERS:
        return _remembered(address, ipv4, ipv6)
    return _find(address, ipv4, ipv6)


def _find(address: str, ipv4: int, ipv6: int) -> str:
    parsed = parse_address(address)
    if parsed is None:
        return address
    network = parse_network(f"{parsed}/{ipv4 if parsed.version == 4 else ipv6}")
    return address if network is None else name_of(network)


_remembered: Final = lru_cache(maxsize=MAX_REMEMBERED)(_find)


def name_of(network: Network) -> str:
    """A network as sources are written."""
    whole = network.prefixlen == FULL[network.version]
    return str(network.network_address) if whole else str(network)
