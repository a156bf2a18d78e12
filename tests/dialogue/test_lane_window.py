# SPDX-License-Identifier: Apache-2.0
"""The peer's window makes a large answer wait for room, and nothing else."""

from __future__ import annotations

import asyncio

from tests.support import sftp_packets as p
from tests.support.lane_echo import connect, open_echo, running_echo
from tests.support.sftp_peer import Peer

from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.ssh.subsystem import LARGEST_REPLY


async def test_a_small_answer_never_waits_for_window():
    async with running_echo() as server, connect(server) as client:
        await open_echo(client)
        sender = server.transports[0]
        window = sender._channel._send_window
        sender._channel._send_window = 20_000

        assert not sender.tight(20_000)
        assert sender._nudge is None
        assert sender.tight(20_001)
        assert sender.tight(LARGEST_REPLY)

        waiting = sender._nudge
        assert waiting is not None
        assert sender._blocked()
        sender._channel._send_window = window
        assert not sender.tight(LARGEST_REPLY)


async def test_a_window_that_stands_still_is_not_waited_for_twice():
    async with running_echo() as server, connect(server) as client:
        await open_echo(client)
        sender = server.transports[0]
        sender._channel._send_window = 20_000
        asked: list[bool] = []
        offered = asyncio.Event()

        class Reader:
            saturated = False

            def feed(self, data: memoryview) -> int:
                asked.append(sender.tight(30_000))
                offered.set()
                return 0 if asked[-1] else len(data)

            def eof_received(self) -> None:
                assert not asked[-1], "the request that waits is not lost"

            def connection_lost(self) -> None: ...

        sender._conversation = Reader()
        sender._append(b"request")
        sender.pump()
        sender.eof_received()
        assert asked[-1] is True
        offered.clear()
        async with asyncio.timeout(10):
            while asked[-1]:
                await offered.wait()
                offered.clear()
        assert asked[-1] is False
        assert sender.unconsumed == 0


async def test_requests_behind_a_read_that_waits_keep_their_order():
    async with Peer() as peer:
        peer.session.put("/f", b"x" * 100)
        handle = await peer.open("/f")
        transport: PacketTransport = peer.transport
        room = False
        transport.tight = lambda size: not room and size > 90  # type: ignore[method-assign]

        peer.send(p.read(1, handle, 0, 50) + p.read(2, handle, 0, 100) + p.stat(3, "/f"))
        first = await peer.replies(1)
        assert [reply.rid for reply in first] == [1]
        await peer.turns()
        assert peer.take() == []

        room = True
        transport.resume()
        assert [reply.rid for reply in await peer.replies(2)] == [2, 3]
