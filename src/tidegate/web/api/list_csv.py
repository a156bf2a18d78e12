# SPDX-License-Identifier: Apache-2.0
"""All lists of addresses as one CSV, for REST and the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.list_texts import read_csv, write_csv
from tidegate.accounts.lists import every_entry
from tidegate.model.listed import ListEntry
from tidegate.web.api.services import Services

MAX_BYTES: Final = 16 * 1024 * 1024
"""Longest CSV of lists; some 300,000 entries."""


async def export_lists(services: Services) -> str:
    """Every entry of all lists but bans, in the columns list, network, protocols, until, description."""
    entries = await every_entry(services.provider)
    return await asyncio.to_thread(lambda: "".join(write_csv(entries)))


async def import_lists(services: Services, text: str, *, by: Actor) -> int:
    """Add the entries of a CSV in one transaction, in place of those that are there; returns their number.

    Raises:
        BadRecords: with every wrong line; nothing is stored. Denied: they may not.
    """
    found = await asyncio.to_thread(read_csv, text)

    async def batches() -> AsyncIterator[Sequence[ListEntry]]:
        yield found.entries

    await services.administration.loads.store(batches(), by=by, requires="manage_ip_lists")
    if services.defence is not None:
        await services.defence.refresh()
    return len(found.entries)
