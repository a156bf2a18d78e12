# SPDX-License-Identifier: Apache-2.0
"""TLS handshakes of the HTTP listener: charged to strangers, and not begun while these have no credit."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.support.certificates import certificate

from tidegate.doors.http.handshakes import MAX_RECORD_BYTES, first_record
from tidegate.doors.http.listener import HttpLimits, Listener
from tidegate.resources import Ledger
from tidegate.resources.newcomers import Newcomers

COST = 0.25
"""Processor seconds that a handshake costs, as the clock of these tests has it."""


class Gated(Newcomers):
    """Strangers have credit when the test says so; processor time passes within handshakes alone."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(lambda: self.now)
        self.open = True
        self.waiting: list[Callable[[], None]] = []
        self.came = asyncio.Event()

    @property
    def may_work(self) -> bool:
        return self.open

    def later(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)
        self.came.set()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class World:
    """A listener with TLS, and clients that trust it."""

    def __init__(self, directory: Path) -> None:
        pem = certificate(directory, "tls")
        self.newcomers = Gated()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, directory / "key.pem")
        context.sni_callback = self._answers
        self.client = ssl.create_default_context(cafile=str(pem))
        ledger = Ledger()
        ledger.newcomers = self.newcomers
        sock = socket.create_server(("127.0.0.1", 0))
        self.listener = Listener(hello, [sock], context, HttpLimits(head_seconds=20), ledger)

    def _answers(self, *_: object) -> None:
        self.newcomers.now += COST

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.listener.port, ssl=self.client)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as one:
        yield one


def test_what_a_handshake_costs_is_charged_to_strangers(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        await world.listener.open()
        for number in (1, 2, 3):
            assert (await ask(*await world.connect())).endswith(b"ok")
            assert world.newcomers.strange_seconds == number * COST
        await world.listener.close()

    runner.run(work())


def test_without_credit_no_handshake_begins_and_who_says_nothing_asks_for_none(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def work() -> None:
        world = World(tmp_path)
        newcomers = world.newcomers
        newcomers.open = False
        await world.listener.open()
        with socket.create_connection(("127.0.0.1", world.listener.port)):  # says nothing
            client = asyncio.create_task(world.connect())
            await asyncio.wait_for(newcomers.came.wait(), 20)
            assert newcomers.strange_seconds == 0
            assert not client.done()
            (give,) = newcomers.waiting
            entered = newcomers._entered
            newcomers.open = True
            give()
            assert newcomers._entered == entered + 1  # its turn ends: what it costs is not known yet
            assert (await ask(*await client)).endswith(b"ok")
            assert newcomers.strange_seconds == COST
        await world.listener.close()

    runner.run(work())


def test_a_client_that_hangs_up_while_it_waits_leaves_its_place(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.newcomers.open = False
        await world.listener.open()
        client = asyncio.create_task(world.connect())
        await asyncio.wait_for(world.newcomers.came.wait(), 20)
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        world.newcomers.open = True
        for give in world.newcomers.waiting:
            give()
        async with asyncio.timeout(20):
            while world.listener.admission.connections:
                await asyncio.sleep(0.01)
        await world.listener.close()

    runner.run(work())


def record(size: int, kind: int = 22) -> bytes:
    return struct.pack(">BHH", kind, 0x0301, size) + bytes(size)


@pytest.mark.parametrize(
    ("pieces", "after"),
    [
        ([record(300)], 1),
        ([record(300)[:3], record(300)[3:200], record(300)[200:] + b"more"], 3),
        ([b"GET / HTTP/1.1\r\n"], 1),
        ([record(10, kind=21)[:1]], 1),
        ([record(0xFFFF)[:MAX_RECORD_BYTES]], 1),
    ],
)
async def test_the_first_record_is_waited_for_and_left_where_it_is(pieces: list[bytes], after: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        waiting = asyncio.create_task(first_record(ours))
        for number, piece in enumerate(pieces, start=1):
            await asyncio.sleep(0)
            assert not waiting.done()
            theirs.sendall(piece)
            if number < after:
                for _ in range(5):
                    await asyncio.sleep(0)
        await asyncio.wait_for(waiting, 20)
        assert ours.recv(1 << 20) == b"".join(pieces)


@pytest.mark.parametrize("half", [False, True], ids=["closed", "half closed"])
@pytest.mark.parametrize("sent", [b"", record(300)[:1], record(300)[:7]])
async def test_who_goes_away_before_the_first_record_is_complete_is_not_waited_for(
    sent: bytes, half: bool
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        waiting = asyncio.create_task(first_record(ours))
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR) if half else theirs.close()
        with pytest.raises(ConnectionAbortedError):
            await asyncio.wait_for(waiting, 20)
