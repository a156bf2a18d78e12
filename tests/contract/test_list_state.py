# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses in every provider: one small question tells whether they are as they were."""

from __future__ import annotations

from dataclasses import replace

from tidegate.errors import NotFound
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.store.contract import Provider


def entry(number: int) -> ListEntry:
    network = f"192.0.2.{number}/32"
    return ListEntry(
        name=entry_name(ListKind.DEFENDER, network),
        type=ListKind.DEFENDER,
        ipornet=network,
        mode=ListMode.DENY,
    )


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
