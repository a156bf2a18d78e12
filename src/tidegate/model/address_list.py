# SPDX-License-Identifier: Apache-2.0
"""Addresses and networks: an IPv4 address inside IPv6 is the IPv4 address it holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from tidegate.model.address import Address, parse_address

__all__ = ["Address", "AddressList", "Network", "parse_address", "parse_network"]

Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_MAPPED_BITS: Final = 96


@lru_cache(maxsize=4096)
def parse_network(text: str) -> Network | None:
    """The network in `text` (CIDR, net/mask or one address), None if it is none. Host bits are ignored."""
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    if (
        isinstance(network, IPv6Network)
        and network.prefixlen >= _MAPPED_BITS
        and network.network_address in _MAPPED
    ):
        low = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((low, network.prefixlen - _MAPPED_BITS))
    return network


class AddressList:
    """Networks in the order of the configuration.

    Attributes:
        texts: the networks as written.
    """

    __slots__ = ("_networks", "texts")

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._networks = tuple(parse_network(text) for text in self.texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def match(self, ip: str | Address | None) -> int | None:
        """Index of the first network that holds `ip`; None if none does or `ip` is no address."""
        address = parse_address(ip) if isinstance(ip, str) else ip
        if address is None:
            return None
        for index, network in enumerate(self._networks):
            if network is not None and network.version == address.version and address in network:
                return index
        return None

    def unreadable(self) -> int | None:
        """Index of the first text that is no network, None if all are."""
        return next((i for i, network in enumerate(self._networks) if network is None), None)
