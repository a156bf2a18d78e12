# SPDX-License-Identifier: Apache-2.0
"""Data connections that are there already, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tidegate.doors.ftp.data import DataConnection
from tidegate.doors.ftp.ways import Passive
from tidegate.model.proxies import ProxyOptions

HERE = "127.0.0.1"


@pytest.fixture
def way() -> Iterator[Passive]:
    made = Passive.listen(HERE, (0, 0), HERE)
    yield made
    made.close()


@contextlib.contextmanager
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection((HERE, port), 10) as made:
        yield made


async def test_who_has_connected_is_taken_without_waiting(way: Passive) -> None:
    assert not way.there
    with client(way.port) as one:
        assert way.there
        with await way.connect() as sock:
            assert sock.getpeername() == one.getsockname()
            assert not sock.getblocking()
        # Whoever asks later is not sent to a port that is closed by now: TLS begins early on such a one.
        assert await way.arrives(10)
        assert not way.settled


async def test_who_comes_later_is_waited_for(way: Passive) -> None:
    coming = asyncio.create_task(way.connect())
    await asyncio.sleep(0)
    assert not way.there
    with client(way.port):
        (await coming).close()
    assert await way.arrives(10)


async def test_a_connection_that_nobody_took_is_closed(way: Passive) -> None:
    with client(way.port) as one:
        assert way.there
        way.close()
        assert one.recv(1) == b""


async def test_connections_of_others_are_closed() -> None:
    way = Passive.listen(HERE, (0, 0), "192.0.2.1")
    try:
        with client(way.port) as one:
            assert not way.there
            assert one.recv(1) == b""
    finally:
        way.close()


async def test_behind_a_proxy_its_header_comes_first() -> None:
    way = Passive.listen(HERE, (0, 0), HERE, ProxyOptions())
    try:
        with client(way.port):
            assert not way.there
    finally:
        way.close()


@pytest.mark.parametrize("chatter", [b"", b"what a client of a download has no reason to send"])
async def test_everything_arrives_before_the_end(way: Passive, chatter: bytes) -> None:
    """Unread bytes would have the close reset the connection, and that discards what is sent."""
    content = bytes(range(256)) * 4096

    def read(sock: socket.socket) -> bytes:
        found = b""
        while piece := sock.recv(65536):
            found += piece
        sock.close()
        return found

    one = socket.create_connection((HERE, way.port), 10)
    one.sendall(chatter)
    data = DataConnection(await way.connect(), 10, lambda: None)
    reading = asyncio.create_task(asyncio.to_thread(read, one))
    await data.send(content)
    await data.finish()
    assert await reading == content


class Flooded(socket.socket):
    """A port to which somebody else connects as fast as that can be refused."""

    refused = 0

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.refused += 1
        assert self.refused < 1000
        return socket.socket(), ("192.0.2.9", 1)


async def test_who_floods_a_port_from_elsewhere_holds_nobody_up() -> None:
    with Flooded() as sock:
        assert not Passive(sock, HERE).there


class Ahead(socket.socket):
    """The socket of a client that has always sent more, and takes whatever comes."""

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0) -> int:
        return len(buffer) * 3 // 4

    def send(self, data: bytes, flags: int = 0) -> int:
        return len(data)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_client_that_is_always_ahead_leaves_turns_to_others(direction: str) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    with Ahead() as sock:
        sock.setblocking(False)
        data = DataConnection(sock, 10, lambda: None)
        buffer = memoryview(bytearray(1000))
        end = time.monotonic() + 0.2
        while turns < 5 and time.monotonic() < end:
            if direction == "up":
                await data.receive(buffer)
            else:
                await data.send(buffer)
        data.abort()
    waiting.cancel()
    assert turns == 5
