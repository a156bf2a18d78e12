# SPDX-License-Identifier: Apache-2.0
"""Places for calls: bounded, in order, and no source takes them all."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.errors import OutsideBusy
from tidegate.outgoing.line import Line


async def hold(line: Line, source: str, release: asyncio.Event, order: list[str]) -> None:
    async with line.place(source):
        order.append(source)
        await release.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_source_gets_half_and_others_pass_it() -> None:
    line, release, order = Line(4, 8), asyncio.Event(), list[str]()
    tasks = [asyncio.create_task(hold(line, "flood", release, order)) for _ in range(6)]
    await settle()
    assert line.running == 2
    assert line.queued == 4
    tasks.append(asyncio.create_task(hold(line, "other", release, order)))
    await settle()
    assert order == ["flood", "flood", "other"]
    release.set()
    await asyncio.gather(*tasks)
    assert (line.running, line.queued) == (0, 0)


async def test_the_queue_has_an_end_and_a_share_for_each_source() -> None:
    line, release, order = Line(1, 4), asyncio.Event(), list[str]()
    tasks = [asyncio.create_task(hold(line, "flood", release, order)) for _ in range(3)]
    await settle()
    with pytest.raises(OutsideBusy):
        await hold(line, "flood", release, order)
    tasks += [asyncio.create_task(hold(line, name, release, order)) for name in ("a", "b")]
    await settle()
    with pytest.raises(OutsideBusy):
        await hold(line, "c", release, order)
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["flood", "flood", "flood", "a", "b"]


async def test_who_is_cancelled_leaves_the_queue() -> None:
    line, release, order = Line(1, 1), asyncio.Event(), list[str]()
    first = asyncio.create_task(hold(line, "a", release, order))
    await settle()
    second = asyncio.create_task(hold(line, "b", release, order))
    await settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(hold(line, "c", release, order))
    await settle()
    assert line.queued == 1
    release.set()
    await asyncio.gather(first, third)
    assert order == ["a", "c"]


async def test_a_place_given_to_somebody_who_is_cancelled_goes_on_to_the_next() -> None:
    line, order = Line(1, 2), list[str]()
    gates = {name: asyncio.Event() for name in "abc"}
    tasks = {name: asyncio.create_task(hold(line, name, gates[name], order)) for name in "abc"}
    await settle()
    gates["a"].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks["b"].cancel()  # its turn has come, it has not run yet
    gates["c"].set()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert line.running == 0
    assert order[-1] == "c"
    async with asyncio.timeout(1):
        await line.wait_idle()
