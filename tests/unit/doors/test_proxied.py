# SPDX-License-Identifier: Apache-2.0
"""The PROXY header on real sockets: split, slow, endless, forged, missing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from tidegate.doors.common import proxied
from tidegate.doors.common.proxied import HeaderReader, ProxyGate, header_of
from tidegate.doors.common.proxy_header import MAX_V1_BYTES, BadProxyHeader
from tidegate.model.address_list import AddressList
from tidegate.model.proxies import Ends, ProxyOptions
from tidegate.model.refusal import Refusal

LINE = b"PROXY TCP4 192.0.2.1 10.0.0.9 50000 22\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class World:
    """A gate with a listening socket before it; what came through and what did not."""

    def __init__(self, options: ProxyOptions) -> None:
        self.passed: list[tuple[socket.socket, Ends]] = []
        self.turned: list[tuple[str, Refusal]] = []
        self.gate = ProxyGate(lambda: options, self._took, self._told)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.clients: list[socket.socket] = []
        self._happened = asyncio.Event()

    def _took(self, sock: socket.socket, ends: Ends) -> None:
        self.passed.append((sock, ends))
        self._happened.set()

    def _told(self, address: str, refusal: Refusal) -> None:
        self.turned.append((address, refusal))
        self._happened.set()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(self.listening.getsockname(), 5, (source, 0))
        self.clients.append(client)
        taken, address = self.listening.accept()
        taken.setblocking(False)
        self.gate.take(taken, address)
        return client

    async def outcome(self) -> None:
        async with asyncio.timeout(5):
            await self._happened.wait()
        self._happened.clear()

    def close(self) -> None:
        self.gate.close()
        for sock in [self.listening, *self.clients, *(sock for sock, _ in self.passed)]:
            sock.close()


Make = Callable[..., World]


@pytest.fixture
async def world() -> AsyncIterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(mode: int = 1, allowed: str = "127.0.0.1", skipped: tuple[str, ...] = ()) -> World:
            made = World(
                ProxyOptions(mode=mode, allowed=AddressList([allowed]), skipped=AddressList(skipped))
            )
            stack.callback(made.close)
            return made

        yield make


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize(
    "header", [LINE, SIGNATURE + b"\x21\x11\x00\x0c\xc0\0\2\1\x0a\0\0\x09\xc3\x50\0\x16"]
)
async def test_a_header_in_single_bytes_is_taken_out_and_nothing_else(world: Make, mode: int, header: bytes):
    made = world(mode)
    client = made.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in header[:-1]:
        client.sendall(bytes([byte]))
        await turns()
    assert not made.passed
    client.sendall(header[-1:] + b"SSH-2.0-x\r\n")
    await made.outcome()
    sock, ends = made.passed[0]
    assert ends == Ends(("192.0.2.1", 50000), ("10.0.0.9", 22), "127.0.0.1")
    assert sock.recv(100) == b"SSH-2.0-x\r\n"
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


@pytest.mark.parametrize("first", [b"SSH-2.0-x\r\n", b"PROPFIND / HTTP/1.1\r\n"])
async def test_without_a_header_all_bytes_are_left(world: Make, first: bytes):
    made = world(1)
    client = made.connect()
    client.sendall(first[:3])  # PRO may become PROXY
    await turns()
    client.sendall(first[3:])
    await made.outcome()
    sock, ends = made.passed[0]
    assert (sock.recv(100), ends.remote[0], ends.proxy) == (first, "127.0.0.1", "")


async def test_who_waits_for_the_server_to_speak_is_taken_without_a_header(
    world: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(proxied, "SILENT_SECONDS", 0.05)
    made = world(1)
    made.connect()
    await made.outcome()
    assert made.passed[0][1].proxy == ""


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"SSH-2.0-x\r\n", "there is no PROXY header"),
        (b"PROXY TCP4 nonsense\r\n", "version 1"),
        (b"PROXY " + b"x" * MAX_V1_BYTES, "no end of line"),
        (SIGNATURE + b"\x21\x11\xff\xff", "at most"),
    ],
)
async def test_a_missing_a_wrong_and_an_endless_header_are_refused(world: Make, first: bytes, why: str):
    made = world(2)
    client = made.connect()
    client.sendall(first)
    await made.outcome()
    assert why in made.turned[0][1].text
    assert made.turned[0][1].rule == "common.proxy_protocol"
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""


@pytest.mark.parametrize("first", [b"", b"PROXY TC"])
async def test_a_header_that_is_not_there_in_time_is_refused(
    world: Make, first: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(proxied, "HEADER_SECONDS", 0.05)
    made = world(2)
    client = made.connect()
    client.sendall(first)
    await made.outcome()
    assert "within" in made.turned[0][1].text
    assert not len(made.gate)


async def test_a_client_that_is_gone_holds_nothing(world: Make):
    made = world(2)
    client = made.connect()
    client.sendall(b"PROXY T")
    await turns()
    client.close()
    client = made.connect()
    client.close()
    await made.outcome()
    assert len(made.gate) <= 1  # the other is found out by time


async def test_an_address_that_is_not_listed_is_not_read(world: Make):
    made = world(1, allowed="192.0.2.200")
    client = made.connect()
    client.sendall(LINE)
    await made.outcome()
    sock, ends = made.passed[0]
    assert (ends.remote[0], ends.proxy) == ("127.0.0.1", "")
    assert sock.recv(len(LINE)) == LINE
    strict = world(2, allowed="192.0.2.200", skipped=("127.0.0.9",))
    strict.connect()
    strict.connect("127.0.0.9")
    assert [address for address, _ in strict.turned] == ["127.0.0.1"]
    assert [ends.remote[0] for _, ends in strict.passed] == ["127.0.0.9"]


async def test_those_that_wait_for_a_header_are_bounded_and_closed_at_the_end(
    world: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(proxied, "MAX_WAITING", 3)
    made = world(2)
    clients = [made.connect() for _ in range(5)]
    assert len(made.gate) == 3
    assert [client.recv(1) for client in clients[:2]] == [b"", b""]
    made.gate.close()
    assert [client.recv(1) for client in clients[2:]] == [b"", b"", b""]


async def test_the_header_of_one_connection():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(LINE + b"data")
        found = await header_of(ours, required=True)
        assert found is not None
        assert found.source == ("192.0.2.1", 50000)
        assert ours.recv(10) == b"data"
        theirs.sendall(b"data")
        with pytest.raises(BadProxyHeader):
            await header_of(ours, required=True)


async def test_looks_that_find_nothing_new_are_followed_by_a_pause(monkeypatch: pytest.MonkeyPatch):
    looks = []
    whole = HeaderReader._look

    def counted(reader: HeaderReader) -> None:
        looks.append(None)
        whole(reader)

    monkeypatch.setattr(HeaderReader, "_look", counted)
    monkeypatch.setattr(proxied, "HEADER_SECONDS", 0.2)
    ours, theirs = socket.socketpair()  # which knows no SO_RCVLOWAT: it stays readable
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"PROXY TCP4")
        with pytest.raises(BadProxyHeader):
            await header_of(ours, required=True)
    assert len(looks) < 20
