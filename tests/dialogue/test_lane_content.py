# SPDX-License-Identifier: Apache-2.0
"""Content that is read straight into outgoing records: every size of packets, short reads, windows, key exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.lane_echo import connect, open_echo, running_echo

from tidegate.doors.ssh.lane_output import Output
from tidegate.doors.ssh.lane_transport import FastTransport
from tidegate.doors.ssh.plain_transport import BATCH_BYTES, PlainTransport

HEAD = b"0123456789abc"


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def fill(room: Sequence[memoryview], data: bytes) -> None:
    """As storage does: in order, as far as the data goes."""
    for view in room:
        part = data[: len(view)]
        view[: len(part)] = part
        data = data[len(part) :]


def put(transport: FastTransport, size: int, count: int) -> bytes:
    """Send `count` of `size` reserved bytes; returns what arrives."""
    room = transport.reserve(len(HEAD), size)
    assert room is not None
    assert sum(map(len, room)) == size
    content = pattern(count)
    fill(room, content)
    transport.commit(HEAD, count)
    return HEAD + content


SIZES = [(1, 1), (700, 700), (700, 1)]
LARGE = [(40_000, 40_000), (40_000, 12_345)]


@pytest.mark.parametrize(
    ("packet", "size", "count"),
    [(packet, *sizes) for packet in (3, 13, 14, 100, 1000, 32768, 70_000) for sizes in SIZES]
    + [(packet, *sizes) for packet in (100, 1000, 32768, 70_000) for sizes in LARGE],
)
async def test_content_arrives_whole_and_in_order(packet: int, size: int, count: int):
    async with running_echo() as server, connect(server) as client:
        _, reader = await open_echo(client, max_pktsize=packet)
        transport = server.transports[0]
        transport.send(b"before")
        expected = b"before" + put(transport, size, count) + put(transport, size, count)
        transport.send(b"after")
        transport.flush()
        assert await reader.readexactly(len(expected) + 5) == expected + b"after"


async def test_a_reservation_that_is_not_committed_leaves_nothing():
    async with running_echo() as server, connect(server) as client:
        _, reader = await open_echo(client)
        transport = server.transports[0]
        for size in (10, 200_000):
            assert transport.reserve(len(HEAD), size) is not None
        transport.send(b"only this")
        transport.flush()
        assert await reader.readexactly(9) == b"only this"


@pytest.mark.parametrize("lack", ["window", "keys", "pending"])
async def test_content_waits_where_it_cannot_leave(lack: str):
    async with running_echo() as server, connect(server) as client:
        _, reader = await open_echo(client)
        transport = server.transports[0]
        channel, connection = transport._channel, server.connections[0]
        window = channel._send_window
        if lack == "window":
            channel._send_window = 100
        elif lack == "keys":
            connection._kex_complete = False
        else:
            channel._send_window = 0
            transport.send(b"first")
            transport.flush()
        expected = put(transport, 40_000, 30_000)
        transport.flush()
        assert transport.congested
        channel._send_window += window - (100 if lack == "window" else 0) if lack != "keys" else 0
        connection._kex_complete = True
        transport.room()
        first = b"first" if lack == "pending" else b""
        assert await reader.readexactly(len(first) + len(expected)) == first + expected
        assert not transport.congested


async def test_a_channel_that_is_gone_takes_nothing():
    async with running_echo() as server, connect(server) as client:
        await open_echo(client)
        transport = server.transports[0]
        transport.connection_lost()
        assert transport.reserve(13, 100) is None


async def test_window_is_given_back_while_keys_are_exchanged():
    """RFC 4253 section 7.1: until NEWKEYS nothing but key exchange may be sent, so asyncssh keeps the packet."""
    async with running_echo() as server, connect(server) as client:
        await open_echo(client)
        transport, connection = server.transports[0], server.connections[0]
        sent: list[tuple[Any, ...]] = []
        transport._channel.send_packet = lambda *what: sent.append(what)
        window = transport._channel._recv_window
        transport._unacknowledged = 1000
        connection._kex_complete = False
        transport._adjust_window()
        connection._kex_complete = True

        assert sent == [(93, (1000).to_bytes(4, "big"))]
        assert transport._channel._recv_window == window + 1000
        assert transport._unacknowledged == 0


class Channel:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def test_the_plain_transport_carries_the_same():
    channel = Channel()
    transport = PlainTransport(channel)  # type: ignore[arg-type]
    transport.send(b"before")
    expected = b"before"
    for size, count in ((100, 100), (40_000, 7), (BATCH_BYTES - len(HEAD), 1000), (2 * BATCH_BYTES, 5)):
        room = transport.reserve(len(HEAD), size)
        assert room is not None
        assert sum(map(len, room)) == min(size, BATCH_BYTES - len(HEAD))
        fill(room, pattern(count))
        transport.commit(HEAD, count)
        expected += HEAD + pattern(count)
    transport.reserve(len(HEAD), 50)
    transport.flush()
    assert channel.sent == expected
    assert not transport.tight(1 << 40)
    transport.connection_lost()
    assert transport.reserve(1, 1) is None


async def test_input_that_comes_while_input_is_offered_waits_its_turn():
    taken: list[bytes] = []

    class Reader:
        saturated = False

        def feed(self, data: memoryview) -> int:
            taken.append(bytes(data))
            if len(taken) == 1:
                transport.data_received(b"second")  # as a reply that makes room does
            return len(data)

        def eof_received(self) -> None: ...

        def connection_lost(self) -> None: ...

    transport = PlainTransport(Channel())  # type: ignore[arg-type]
    transport.attach(Reader())
    transport.data_received(b"first")
    await asyncio.sleep(0)
    transport.resume()
    assert b"".join(taken) == b"firstsecond"


@pytest.mark.parametrize("end", ["flush", "send", "close", "error", "window", "keys"])
async def test_what_full_records_leave_over_goes_in_front_of_what_comes_next(end: str, monkeypatch):
    """A client that asks for as much as its packets hold costs one record for each answer, not two."""
    sealed: list[int] = []
    original = Output.seal

    def seal(self: Output, record: memoryview, *words: int) -> None:
        sealed.append(words[-1])
        original(self, record, *words)

    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client, max_pktsize=32768, window=4 << 20)
        transport, connection = server.transports[0], server.connections[0]
        monkeypatch.setattr(Output, "seal", seal)
        expected = b"".join(put(transport, 32768, 32768) for _ in range(20))
        assert sealed == [32768] * 20
        assert transport.sendable == transport._channel._send_window - 20 * len(HEAD)
        if end == "window":
            transport._channel._send_window = 100
            assert transport.sendable == 0
            assert transport.tight(101 - 20 * len(HEAD) + 1)
        elif end == "keys":
            connection._kex_complete = False
        if end == "close":
            transport.close(status=0)
        else:
            if end == "send":
                transport.send(b"more")
                expected += b"more"
            if end == "error":
                transport.error(b"told")
            transport.flush()
        if end in ("window", "keys"):
            assert transport.congested
            connection._kex_complete = True
            transport._channel._send_window += 4 << 20
            transport.room()
        got = await asyncio.wait_for(reader.readexactly(len(expected)), 10)
        assert got == expected
        if end == "close":
            await asyncio.wait_for(writer.channel.wait_closed(), 10)
            assert writer.channel.get_exit_status() == 0


async def test_a_rest_is_kept_while_a_reservation_is_forgotten():
    async with running_echo() as server, connect(server) as client:
        _, reader = await open_echo(client, max_pktsize=1000, window=4 << 20)
        transport = server.transports[0]
        expected = b""
        for size in (990, 5, 2000, 1, 989, 70_000):
            expected += put(transport, size, size)
            assert transport.reserve(len(HEAD), 5000) is not None  # and nothing was read
        transport.flush()
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 10) == expected
