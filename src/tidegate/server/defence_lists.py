# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses and bans as they are stored, followed change by change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from tidegate.accounts.lists import every_entry
from tidegate.defence.lists import AddressLists
from tidegate.model.listed import ListEntry, ListKind
from tidegate.store.contract import Provider

MANY: Final = 2_000
"""Entries from which on the table is built in a thread."""
CHECK_LOOKS: Final = 20
"""Looks after which everything is compared with what is stored, by one query: some five minutes."""

log = logging.getLogger(__name__)


class StoredLists:
    """The lists of a provider, in memory.

    A change of one entry costs one entry, however many there are. What is changed past the provider (by hand,
    by a restored backup) is found by the comparison, and read as a whole.

    Attributes:
        lists: entries of the lists; another object after everything was read, else changed where it is.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.lists = AddressLists()
        self._apart: dict[str, ListEntry] = {}  # bans, and what is of no list that we know
        self._state = ""
        self._looks = 0

    @property
    def bans(self) -> list[ListEntry]:
        """Stored bans."""
        return [entry for entry in self._apart.values() if entry.type == ListKind.BAN]

    async def refresh(self) -> None:
        """Take over what has changed.

        Raises:
            ProviderUnavailable: that is not possible now; all stays as it was.
        """
        found = await self._provider.list_changes(self._state)
        if found.entries is None:
            await self._read(found.state)
            return
        for name, entry in found.entries.items():
            self._take(name, entry)
        self._state = found.state
        self._looks += 1
        if self._looks >= CHECK_LOOKS:
            self._looks = 0
            await self._compare()

    def _take(self, name: str, entry: ListEntry | None) -> None:
        if entry is None:
            if self._apart.pop(name, None) is None:
                self.lists.drop(name)
        elif not self.lists.put(entry):
            self._apart[name] = entry

    async def _read(self, state: str) -> None:
        """Everything; what changes meanwhile is noted behind `state`, and found by the next look."""
        entries = await every_entry(self._provider)
        many = len(entries) > MANY
        found = await asyncio.to_thread(_sorted, entries) if many else _sorted(entries)
        (self.lists, self._apart), self._looks = found, 0
        self._state = state
        await self._compare()

    async def _compare(self) -> None:
        """Forget the state if what is stored is something else, so that the next look reads everything."""
        stored = await self._provider.list_state()
        if not stored:
            return
        count, _, times = stored.split(" ")
        many = len(self.lists) > MANY
        if (int(count), int(times)) != (await asyncio.to_thread(self._sums) if many else self._sums()):
            changed = await self._provider.list_changes(self._state)
            if changed.entries == {}:
                log.info("lists of addresses differ from what is stored: they are read again")
                self._state = ""

    def _sums(self) -> tuple[int, int]:
        """The number of entries that are held, and the sum of their times."""
        held = [*self.lists.entries(), *self._apart.values()]
        return len(held), sum(entry.updated_at for entry in held)


def _sorted(entries: Iterable[ListEntry]) -> tuple[AddressLists, dict[str, ListEntry]]:
    """The lists, and by name what is in none of them."""
    lists = AddressLists()
    # Arranged once, behind all: an empty table counts as not arranged.
    apart = {entry.name: entry for entry in entries if not lists.put(entry)}
    lists.arrange()
    return lists, apart
