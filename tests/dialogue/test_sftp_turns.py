# SPDX-License-Identifier: Apache-2.0
"""Work that sessions put off is shared out over turns of the loop, however many sessions there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from time import monotonic

from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate.doors.common.owners import AccountNames
from tidegate.doors.common.turns import TURN_SECONDS
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.longname import Longnames
from tidegate.model import Entry, Kind, VPath

LONGNAMES = Longnames(AccountNames(MemorySession().principal))
SESSIONS = 10
WORK_SECONDS = 0.003
MOST = int(TURN_SECONDS / WORK_SECONDS) + 2
"""Pieces of work that may share a turn: what fits, and the one that goes past its end."""


class Work:
    """Counts pieces of work of 3 ms by turn of the loop."""

    def __init__(self) -> None:
        self.turn = 0
        self.done: Counter[int] = Counter()
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.turn += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def one(self) -> None:
        end = monotonic() + WORK_SECONDS
        while monotonic() < end:
            pass
        self.done[self.turn] += 1

    def stop(self) -> None:
        self._handle.cancel()


class Working(MemorySession):
    """A STAT is a piece of work."""

    work: Work

    async def stat(self, path: VPath, *, follow: bool = True) -> Entry:
        self.work.one()
        return await super().stat(path, follow=follow)


async def test_requests_behind_a_slow_one_share_the_turns_with_other_sessions():
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(Peer(Working())) for _ in range(SESSIONS)]
        held = asyncio.Event()
        work = Work()
        for peer in peers:
            peer.session.work = work
            peer.session.gates["mkdir"] = held
            peer.send(p.mkdir(1, "/d"), *(p.stat(2 + more, "/") for more in range(4)))
        held.set()
        for peer in peers:
            assert [reply.rid for reply in await peer.replies(5)] == [1, 2, 3, 4, 5]
        work.stop()
    assert work.done.total() == 4 * SESSIONS
    assert max(work.done.values()) <= MOST


async def test_listings_fetched_ahead_share_the_turns():
    work = Work()

    async def batches():
        while True:
            work.one()
            yield [Entry("f", Kind.FILE, 0, 0o644)]

    listings = [Listing(VPath.parse("/d"), batches(), LONGNAMES) for _ in range(SESSIONS)]
    for listing in listings:
        listing.look_ahead()
    while work.done.total() < SESSIONS:
        await asyncio.sleep(0)
    for listing in listings:
        assert await listing.next_names() is not None
        await listing.close()
    work.stop()
    assert max(work.done.values()) <= MOST


async def test_what_was_planned_ahead_does_not_begin_once_the_handle_is_closed():
    began = []

    async def batches():
        began.append(1)
        yield [Entry("f", Kind.FILE, 0, 0o644)]

    listing = Listing(VPath.parse("/d"), batches(), LONGNAMES)
    listing.look_ahead()
    await listing.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert began == []
