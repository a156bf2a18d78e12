# SPDX-License-Identifier: Apache-2.0
"""A table of networks that finds the most specific one that holds an address.

All networks of one version of IP are cut into ranges that do not overlap, each with the networks that hold
it; a look-up is one binary search for the range. ADR 0061 has figures, also of radix trees.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

from tidegate.model.address import Address, number_of
from tidegate.model.address_list import Network

T = TypeVar("T")


class _Family(Generic[T]):
    """The networks of one version of IP."""

    __slots__ = ("_bits", "_fresh", "_holders", "_starts", "values")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.values: dict[tuple[int, int], T] = {}
        self._starts: list[int] = []
        self._holders: list[tuple[T, ...]] = []
        self._fresh = True

    def key(self, network: Network) -> tuple[int, int]:
        return int(network.network_address), network.prefixlen

    def changed(self) -> None:
        self._fresh = False

    def arrange(self) -> None:
        if self._fresh:
            return
        starts: list[int] = []
        holders: list[tuple[T, ...]] = []
        within: list[
            tuple[int, tuple[T, ...]]
        ] = []  # networks that hold what comes next: last address, holders

        def begin(start: int, held_by: tuple[T, ...]) -> None:
            if starts and starts[-1] == start:
                holders[-1] = held_by
            else:
                starts.append(start)
                holders.append(held_by)

        def leave() -> None:
            last, _ = within.pop()
            begin(last + 1, within[-1][1] if within else ())

        for first, prefix in sorted(self.values):
            while within and within[-1][0] < first:
                leave()
            outer = within[-1][1] if within else ()
            held_by = (self.values[first, prefix], *outer)
            within.append((first + (1 << (self._bits - prefix)) - 1, held_by))
            begin(first, held_by)
        while within:
            leave()
        self._starts, self._holders, self._fresh = starts, holders, True

    def holding(self, number: int) -> Sequence[T]:
        if not self._fresh:
            self.arrange()
        index = bisect_right(self._starts, number)
        return self._holders[index - 1] if index else ()


class NetworkTable(Generic[T]):
    """Networks of both versions, each with a value."""

    __slots__ = ("_four", "_six")

    def __init__(self) -> None:
        self._four: _Family[T] = _Family(32)
        self._six: _Family[T] = _Family(128)

    def __len__(self) -> int:
        return len(self._four.values) + len(self._six.values)

    def put(self, network: Network, value: T) -> None:
        """Add a network, or replace its value."""
        family = self._of(network.version)
        family.values[family.key(network)] = value
        family.changed()

    def get(self, network: Network) -> T | None:
        """The value of exactly this network."""
        family = self._of(network.version)
        return family.values.get(family.key(network))

    def drop(self, network: Network) -> None:
        """Remove a network; unknown is no error."""
        family = self._of(network.version)
        family.values.pop(family.key(network), None)
        family.changed()

    def arrange(self) -> None:
        """Get ready for look-ups, as else the first one after a change does; 0.2 s for 100,000 networks."""
        self._four.arrange()
        self._six.arrange()

    def holding(self, address: str | Address) -> Sequence[T]:
        """Values of the networks that hold an address, the most specific first; none if it is no address."""
        if not self._four.values and not self._six.values:
            return ()
        if isinstance(address, str):
            found = number_of(address)
            return () if found is None else self._of(found[0]).holding(found[1])
        return self._of(address.version).holding(int(address))

    def _of(self, version: int) -> _Family[T]:
        return self._four if version == 4 else self._six
