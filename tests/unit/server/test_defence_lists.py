# SPDX-License-Identifier: Apache-2.0
"""Stored lists as a server follows them: one entry of 100,000, and changes that were made past the provider."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.server.defence_lists import CHECK_LOOKS, StoredLists
from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.store.memory import MemoryProvider

COUNT = 100_000
ENOUGH_SECONDS = 0.02
"""Processor time for one change; reading everything takes a second and more."""


def entry(number: int, **more: object) -> ListEntry:
    network = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/32"
    fields: dict[str, object] = {
        "name": entry_name(ListKind.DEFENDER, network),
        "type": ListKind.DEFENDER,
        "ipornet": network,
        "mode": ListMode.DENY,
    }
    return ListEntry(**{**fields, **more})  # type: ignore[arg-type]


@pytest.fixture
def provider(tmp_path: Path) -> MemoryProvider:
    made = create_provider(ProviderOptions(driver="memory", name="", base_dir=tmp_path))
    assert isinstance(made, MemoryProvider)
    return made


def refuses(stored: StoredLists, number: int) -> bool:
    address = entry(number).ipornet.partition("/")[0]
    return stored.lists.find(ListKind.DEFENDER, address, "SSH", 0.0) is not None


async def test_a_change_of_one_entry_of_many_costs_milliseconds(provider: MemoryProvider) -> None:
    async def batches() -> AsyncIterator[Sequence[ListEntry]]:
        yield [entry(2 * number) for number in range(COUNT)]

    await provider.load_batches(batches())
    stored, spent = StoredLists(provider), []
    await stored.refresh()
    lists = stored.lists
    assert len(lists) == COUNT

    async def takes_over() -> None:
        began = time.thread_time()
        await stored.refresh()
        refuses(stored, 5)  # the first look-up, which may have to arrange the table
        spent.append(time.thread_time() - began)

    for number in (3, 77_777, 2 * COUNT - 1):
        await provider.add_list_entry(entry(number))
        await takes_over()
        assert refuses(stored, number)
        await provider.delete_list_entry(entry(number - 1).name)
        await takes_over()
        assert not refuses(stored, number - 1)
        await provider.update_list_entry(entry(number, expires_at=1))
        await takes_over()
        assert stored.lists.find(ListKind.DEFENDER, entry(number).ipornet[:-3], "SSH", 1.0) is None
    assert stored.lists is lists  # changed where it is
    assert median(spent) < ENOUGH_SECONDS


async def test_what_was_changed_past_the_provider_is_found_in_the_end(provider: MemoryProvider) -> None:
    for number in range(3):
        await provider.add_list_entry(entry(number))
    stored = StoredLists(provider)
    await stored.refresh()
    provider._state.drop("ip_lists", entry(1).name)  # nothing is noted
    for _ in range(CHECK_LOOKS):
        assert refuses(stored, 1)
        await stored.refresh()
    await stored.refresh()
    assert [refuses(stored, number) for number in range(3)] == [True, False, True]


async def test_bans_and_entries_of_unknown_lists_are_kept_apart(provider: MemoryProvider) -> None:
    stored = StoredLists(provider)
    await stored.refresh()
    ban = entry(1, name=entry_name(ListKind.BAN, "10.0.0.1/32"), type=ListKind.BAN)
    other = entry(2, name="77/10.0.0.2/32", type=77)
    for one in (ban, other):
        await provider.add_list_entry(one)
    await stored.refresh()
    assert [one.name for one in stored.bans] == [ban.name]
    assert len(stored.lists) == 0
    await provider.update_list_entry(replace(ban, description="again"))
    await provider.delete_list_entry(other.name)
    await stored.refresh()
    assert [one.description for one in stored.bans] == ["again"]
    await provider.delete_list_entry(ban.name)
    await stored.refresh()
    assert not stored.bans

    # What is of no known list is no difference that everything would be read for again and again.
    await provider.add_list_entry(other)
    await stored.refresh()
    lists = stored.lists
    for _ in range(CHECK_LOOKS + 2):
        await stored.refresh()
    assert stored.lists is lists
