# SPDX-License-Identifier: Apache-2.0
"""Bans in the data provider, and the decision about an address by what is stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tidegate.accounts.lists import every_entry
from tidegate.cli.target import Document, Turned
from tidegate.errors import NotFound
from tidegate.model.address import parse_address
from tidegate.model.address_list import AddressList
from tidegate.model.listed import ListKind

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
        """Remove the stored bans that hold an address, by whatever prefix they were made.

        Raises:
            NotFound: there is none.
        """
        wanted = parse_address(address)
        entries = [one for one in await every_entry(self._context.provider) if one.type == ListKind.BAN]
        found = [one for one in entries if AddressList([one.ipornet]).match(wanted) is not None]
        if not found:
            raise NotFound(f"no ban of {address} is stored")
        for one in found:
            await self._context.administration.lists.remove(one.name, by=self._context.actor)


async def from_records(context: AdminContext, address: str, protocol: str) -> Document:
    """The answer by the configuration and the records, without what only a running server knows."""
    from tidegate.defence.explaining import explain
    from tidegate.defence.lists import AddressLists
    from tidegate.defence.pipeline import Defence
    from tidegate.model.address_list import parse_network
    from tidegate.model.sources import name_of
    from tidegate.server.address_checks import AddressChecks
    from tidegate.server.defence_options import options, proxies

    now = time.time()
    defence = Defence(options(context.loaded))
    entries = await every_entry(context.provider)
    defence.lists = AddressLists(entries)
    for entry in entries:
        network = parse_network(entry.ipornet) if entry.type == ListKind.BAN else None
        until = entry.expires_at / 1000 or float("inf")
        if network is not None and until > now:
            defence.defender.ban(name_of(network), until)
    checks = AddressChecks()
    try:
        checks.changed = lambda found: setattr(defence, "checks", tuple(found))
        checks.listed = lambda found: setattr(defence, "file_lists", found)
        await checks.open(context.loaded)
        answer = await explain(
            defence, address, protocol, now=now, monotonic=time.monotonic(), proxies=proxies(context.loaded),
            running=False,
        )  # fmt: skip
    finally:
        await checks.close()
    return answer.to_document()
