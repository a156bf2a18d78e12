# SPDX-License-Identifier: Apache-2.0
"""The lists of addresses: who may connect, who is never banned or never gets in, whom no rate limit holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tidegate.defence.networks import NetworkTable
from tidegate.model.address_list import parse_network
from tidegate.model.listed import PROTOCOLS, ListEntry, ListKind

ANY: Final = 15
"""Bits of all protocols."""


class AddressLists:
    """Entries of every list; of those that hold an address the most specific one for the protocol counts."""

    def __init__(self, entries: Iterable[ListEntry] = ()) -> None:
        self._tables: dict[int, NetworkTable[ListEntry]] = {
            kind: NetworkTable() for kind in (ListKind.ALLOW, ListKind.DEFENDER, ListKind.RATE_SAFE)
        }
        for entry in entries:
            self.put(entry)
        if len(self):  # else whoever fills it does, once
            self.arrange()

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def put(self, entry: ListEntry) -> bool:
        """Add or replace an entry; what is of another list or no network is left out: then it is False."""
        table, network = self._tables.get(entry.type), parse_network(entry.ipornet)
        if table is None or network is None:
            return False
        table.put(network, entry)
        return True

    def arrange(self) -> None:
        """Get ready for look-ups after many changes; see `NetworkTable.arrange`."""
        for table in self._tables.values():
            table.arrange()

    def drop(self, name: str) -> None:
        """Remove an entry by the name of its record; unknown is no error."""
        kind, _, text = name.partition("/")
        table, network = self._tables.get(int(kind) if kind.isdigit() else 0), parse_network(text)
        if table is not None and network is not None:
            table.drop(network)

    def entries(self) -> Iterator[ListEntry]:
        """All entries, in no order."""
        for table in self._tables.values():
            yield from table.values()

    def find(self, kind: ListKind, address: str, protocol: str, now: float) -> ListEntry | None:
        """The entry that counts for an address, None if there is none.

        Args:
            kind: of the list.
            address: of a client.
            protocol: see `PROTOCOLS`; another one meets entries for all protocols.
            now: Unix seconds; entries that have ended by then do not count.
        """
        bit = PROTOCOLS.get(protocol, 0)
        for entry in self._tables[kind].holding(address):
            if entry.protocols and not entry.protocols & bit and entry.protocols & ANY != ANY:
                continue
            if entry.expires_at and entry.expires_at <= now * 1000:
                continue
            return entry
        return None
