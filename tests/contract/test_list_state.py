# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses in every provider: small questions tell whether they are as they were, and what changed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf

from tidegate.accounts.lists import every_entry
from tidegate.errors import NotFound
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.server.defence_lists import StoredLists
from tidegate.store.contract import Provider


def entry(number: int, kind: ListKind = ListKind.DEFENDER) -> ListEntry:
    network = f"192.0.{number // 256}.{number % 256}/32"
    return ListEntry(
        name=entry_name(kind, network),
        type=kind,
        ipornet=network,
        mode=ListMode.DENY,
    )


class Node(StoredLists):
    """The lists of one server, which counts how often it read all of them."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self.read = 0

    async def _read(self, state: str) -> None:
        self.read += 1
        await super()._read(state)

    def held(self) -> dict[str, ListEntry]:
        return {one.name: one for one in (*self.lists.entries(), *self.bans)}


async def stored(provider: Provider) -> dict[str, ListEntry]:
    return {one.name: one for one in await every_entry(provider)}


@pytest.mark.parametrize("driver", DRIVERS)
async def test_nodes_agree_after_each_change_and_read_everything_only_after_a_large_one(
    driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    options = options_of(driver)
    first = await opened(options)
    second = first if driver in ("bolt", "memory") else await opened(options)  # two servers, one database
    nodes, chance = [Node(first), Node(second)], random.Random(14)
    for node in nodes:
        await node.refresh()
    for step in range(40):
        provider, number = chance.choice((first, second)), chance.randrange(8)
        one = entry(number, chance.choice((ListKind.DEFENDER, ListKind.BAN)))
        there = await provider.list_entry(one.name) is not None
        if not there:
            await provider.add_list_entry(one)
        elif chance.random() < 0.5:
            await provider.update_list_entry(replace(one, description=str(step)))
        else:
            await provider.delete_list_entry(one.name)
        for node in chance.choice((nodes, nodes[:1], [])):
            await node.refresh()
            assert node.held() == await stored(first)
    for node in nodes:
        await node.refresh()
        assert node.held() == await stored(first)

    async def adds(provider: Provider, begin: int) -> None:
        for number in range(begin, begin + 10):
            await provider.add_list_entry(entry(number))

    async def looks() -> None:
        for _ in range(20):
            for node in nodes:
                await node.refresh()
            await asyncio.sleep(0)

    # Several write at once: what one of them commits late is not passed over.
    await asyncio.gather(adds(first, 100), adds(second, 200), adds(first, 300), looks())
    for node in nodes:
        await node.refresh()
        assert node.held() == await stored(first)
    assert [node.read for node in nodes] == [1, 1]

    async def batches(count: int) -> AsyncIterator[Sequence[ListEntry]]:
        yield [entry(number) for number in range(count)]

    # SQL notes a large load as one change of everything; the others note each entry.
    for count, reads in ((20, 1), (300, 1 if driver in ("bolt", "memory") else 2)):
        await second.load_batches(batches(count))
        for node in nodes:
            await node.refresh()
            assert node.held() == await stored(first)
        assert [node.read for node in nodes] == [reads, reads]


async def test_every_change_of_an_entry_is_seen(provider: Provider) -> None:
    states = [await provider.list_state()]

    async def changed() -> None:
        states.append(await provider.list_state())
        assert states[-1] not in states[:-1]
        assert await provider.list_state() == states[-1]

    for number in (1, 2, 3):
        await provider.add_list_entry(entry(number))
        await changed()
    for _ in range(3):  # within a millisecond too
        await provider.update_list_entry(replace(entry(2), description="again"))
        await changed()
    await provider.delete_list_entry(entry(3).name)
    await changed()
    await provider.add_list_entry(entry(3))  # as many as before
    await changed()
    try:
        await provider.delete_list_entry(entry(9).name)
    except NotFound:
        assert await provider.list_state() == states[-1]
    else:
        raise AssertionError("an entry that is not there was removed")
