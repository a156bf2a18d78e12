# SPDX-License-Identifier: Apache-2.0
"""A table of networks that finds the most specific one that holds an address.

One dictionary for each length of prefix in use: a look-up asks at most 33 of them for IPv4 and 129 for IPv6,
however many networks there are, and adding or removing one costs no more. Figures are in ADR 0060.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from tidegate.model.address import Address, parse_address
from tidegate.model.address_list import Network

T = TypeVar("T")


class _Family(Generic[T]):
    """The networks of one version of IP."""

    __slots__ = ("_bits", "_levels", "_tables")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._tables: dict[int, dict[int, T]] = {}
        self._levels: tuple[tuple[int, dict[int, T]], ...] = ()

    def put(self, network: Network, value: T) -> None:
        shift = self._bits - network.prefixlen
        table = self._tables.get(shift)
        if table is None:
            table = self._tables[shift] = {}
            self._arrange()
        table[int(network.network_address) >> shift] = value

    def get(self, network: Network) -> T | None:
        shift = self._bits - network.prefixlen
        return self._tables.get(shift, {}).get(int(network.network_address) >> shift)

    def drop(self, network: Network) -> None:
        shift = self._bits - network.prefixlen
        table = self._tables.get(shift)
        if table is not None:
            table.pop(int(network.network_address) >> shift, None)
            if not table:
                del self._tables[shift]
                self._arrange()

    def _arrange(self) -> None:
        self._levels = tuple(sorted(self._tables.items()))

    def tables(self) -> Iterator[dict[int, T]]:
        return (table for _, table in self._levels)

    def holding(self, number: int) -> Iterator[T]:
        for shift, table in self._levels:
            found = table.get(number >> shift)
            if found is not None:
                yield found


class NetworkTable(Generic[T]):
    """Networks of both versions, each with a value."""

    __slots__ = ("_four", "_six")

    def __init__(self) -> None:
        self._four: _Family[T] = _Family(32)
        self._six: _Family[T] = _Family(128)

    def __len__(self) -> int:
        return sum(len(table) for family in (self._four, self._six) for table in family.tables())

    def put(self, network: Network, value: T) -> None:
        """Add a network, or replace its value."""
        self._of(network.version).put(network, value)

    def get(self, network: Network) -> T | None:
        """The value of exactly this network."""
        return self._of(network.version).get(network)

    def drop(self, network: Network) -> None:
        """Remove a network; unknown is no error."""
        self._of(network.version).drop(network)

    def holding(self, address: str | Address) -> Iterator[T]:
        """Values of the networks that hold an address, the most specific first; none if it is no address."""
        parsed = parse_address(address) if isinstance(address, str) else address
        if parsed is None:
            return iter(())
        return self._of(parsed.version).holding(int(parsed))

    def _of(self, version: int) -> _Family[T]:
        return self._four if version == 4 else self._six
