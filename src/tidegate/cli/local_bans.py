# SPDX-License-Identifier: Apache-2.0
"""Bans in the data provider."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tidegate.accounts.lists import canonical, every_entry
from tidegate.cli.target import Turned
from tidegate.model.listed import ListKind, entry_name

if TYPE_CHECKING:
    from tidegate.cli.provider import AdminContext


class LocalBans:
    """Bans that are stored."""

    def __init__(self, context: AdminContext) -> None:
        self._context: Final = context

    async def all(self) -> list[Turned]:
        """Those that have not ended."""
        now = time.time() * 1000
        return [
            Turned(entry.ipornet, "ban", entry.expires_at, entry.description)
            for entry in await every_entry(self._context.provider)
            if entry.type == ListKind.BAN and not 0 < entry.expires_at <= now
        ]

    async def remove(self, address: str) -> None:
        """Remove the stored ban of an address."""
        name = entry_name(ListKind.BAN, canonical(address))
        await self._context.administration.lists.remove(name, by=self._context.actor)
