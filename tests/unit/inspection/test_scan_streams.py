# SPDX-License-Identifier: Apache-2.0
"""Places for uploads that are scanned while they arrive: one account does not have them all."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.abc import ALLOWED, Inspected, InspectedAct, NotNow
from tidegate.contracts.inspection import Read
from tidegate.inspection.clamd import Turn
from tidegate.inspection.factory import ClamdOptions
from tidegate.inspection.policies import Result, Scan
from tidegate.inspection.scanner import ScanInspector
from tidegate.model import Origin


class Scans:
    """Reads to the end, and finds nothing."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.begun = asyncio.Condition()

    async def __call__(self, act: InspectedAct, read: Read, turn: Turn | None = None) -> Scan:
        del turn
        async with self.begun:
            self.users.append(act.origin.username)
            self.begun.notify_all()
        while await read(0, 1):
            pass
        return Scan(Result.CLEAN)

    async def wait(self, number: int) -> None:
        async with asyncio.timeout(10), self.begun:
            await self.begun.wait_for(lambda: len(self.users) >= number)


def upload(user: str, gate: asyncio.Event, *, once: bool) -> InspectedAct:
    async def read(offset: int, size: int) -> bytes:
        del offset, size
        await gate.wait()
        return b""

    origin = Origin("SFTP_1", user, "SFTP", "192.0.2.1")
    return InspectedAct(Inspected.UPLOAD, origin, "/f", read=read, arriving=True, once=once)


async def test_clients_that_wait_leave_places_to_other_accounts() -> None:
    scans, gate, opened = Scans(), asyncio.Event(), asyncio.Event()
    opened.set()
    inspector = ScanInspector("s", ClamdOptions("x", seconds=20, streams=4), scans)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(inspector.inspect(upload("slow", gate, once=True)))
        await scans.wait(2)
        assert await inspector.inspect(upload("ana", opened, once=True)) == ALLOWED
        assert scans.users == ["slow", "slow", "ana"]
        gate.set()
    assert scans.users == ["slow", "slow", "ana", "slow", "slow"]


async def test_what_can_be_read_again_is_left_for_later() -> None:
    scans, gate, opened = Scans(), asyncio.Event(), asyncio.Event()
    opened.set()
    inspector = ScanInspector("s", ClamdOptions("x", seconds=20, streams=2), scans)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(inspector.inspect(upload("slow", gate, once=False)))
        await scans.wait(1)
        with pytest.raises(NotNow):
            await inspector.inspect(upload("slow", opened, once=False))
        assert await inspector.inspect(upload("ana", opened, once=False)) == ALLOWED
        gate.set()
    assert await inspector.inspect(upload("slow", opened, once=False)) == ALLOWED
