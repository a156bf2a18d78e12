# SPDX-License-Identifier: Apache-2.0
"""The outbox of every provider: ids in order, cursors, claims, and what is removed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.contract.conftest import Opened, OptionsOf

from tidegate.store.contract import Provider
from tidegate.store.outbox import OutboxRow

ODD = '{"path": "/caf\\u00e9\\udcff"}'


async def test_rows_come_in_order_and_once_for_each_sink(provider: Provider) -> None:
    outbox = provider.outbox
    await outbox.register(["one", "two"])
    assert await outbox.append(["a", ODD]) == 2
    await outbox.register(["one", "late"])
    assert await outbox.append(["c"]) == 3
    assert await outbox.append([]) == 3

    assert await outbox.claim("one", "s", seconds=60) == 0
    assert await outbox.claim("late", "s", seconds=60) == 2
    assert await outbox.after(0, 2) == [OutboxRow(1, "a"), OutboxRow(2, ODD)]
    assert await outbox.after(2, 100) == [OutboxRow(3, "c")]
    assert await outbox.after(3, 100) == []

    assert await outbox.advance("one", "s", 3)
    assert await outbox.trim(["one", "two", "late"]) == 3
    assert await outbox.claim("two", "s", seconds=60) == 0
    assert await outbox.advance("two", "s", 1)
    assert await outbox.trim(["one", "two", "late"]) == 2
    assert await outbox.after(0, 100) == [OutboxRow(2, ODD), OutboxRow(3, "c")]
    assert await outbox.trim(["one"]) == 0
    assert await outbox.after(0, 100) == []
    assert await outbox.append(["d"]) == 4
    assert await outbox.after(0, 100) == [OutboxRow(4, "d")]


async def test_one_server_at_a_time_hands_on(provider: Provider) -> None:
    outbox = provider.outbox
    await outbox.register(["log"])
    await outbox.append(["a"])

    assert await outbox.claim("log", "one", seconds=60) == 0
    assert await outbox.claim("log", "one", seconds=60) == 0
    assert await outbox.claim("log", "two", seconds=60) is None
    assert not await outbox.advance("log", "two", 1)
    await outbox.release("log", "two")
    assert await outbox.claim("log", "two", seconds=60) is None
    assert await outbox.advance("log", "one", 1)
    await outbox.release("log", "one")
    assert await outbox.claim("log", "two", seconds=0) == 1
    assert await outbox.claim("log", "one", seconds=60) == 1  # that of two has expired
    assert not await outbox.advance("log", "two", 1)


async def test_who_reads_while_many_write_misses_nothing(provider: Provider) -> None:
    """Ids that become visible out of order would be passed over by a cursor."""
    outbox = provider.outbox
    await outbox.register(["log"])
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 60:
            seen.extend(row.id for row in await outbox.after(seen[-1] if seen else 0, 7))
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(read(), *(outbox.append(["x"] * (1 + n % 3)) for n in range(30)))
    assert seen == list(range(1, 61))


@pytest.mark.parametrize("kept", ["sqlite", "bolt", "postgresql", "mysql"])
async def test_what_was_stored_outlives_the_process(kept: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(kept)
    first = await opened(options)
    await first.outbox.register(["log"])
    await first.outbox.append(["a", "b"])
    await first.outbox.claim("log", "one", seconds=60)
    await first.outbox.advance("log", "one", 1)
    await first.close()

    again = await opened(options)
    assert await again.outbox.claim("log", "one", seconds=60) == 1
    assert await again.outbox.after(1, 10) == [OutboxRow(2, "b")]
    assert await again.outbox.append(["c"]) == 3


async def test_a_dump_read_again_leaves_the_outbox(
    tmp_path: Path, opened: Opened, options_of: OptionsOf
) -> None:
    (tmp_path / "dump.json").write_text('{"users": []}')
    provider = await opened(options_of("memory", name="dump.json"))
    await provider.outbox.register(["log"])
    await provider.outbox.append(["a"])
    await provider.reload()
    assert await provider.outbox.after(0, 10) == [OutboxRow(1, "a")]
