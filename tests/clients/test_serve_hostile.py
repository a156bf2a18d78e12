# SPDX-License-Identifier: Apache-2.0
"""Peers that are broken or mean, against the running product: it answers with an error or closes, it goes on
serving others, and nothing is left of them: no descriptor, no memory, no file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import AsyncIterator

import asyncssh
import pytest
from tests.support import sftp_packets as p
from tests.support.raw_sftp import RawSftp, raw_channel
from tests.support.running import Person, Running, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MIB = 1 << 20
GROWTH = 24 * MIB
"""Memory that may be kept after an attack: caches and what the allocator holds on to."""


async def served(person: Person) -> None:
    """An honest client is served, and soon."""
    async with asyncio.timeout(10), person.connect() as client, client.start_sftp_client() as files:
        async with files.open("/honest", "wb") as file:
            await file.write(b"honest")
        async with files.open("/honest", "rb") as file:
            assert await file.read() == b"honest"
        await files.remove("/honest")


@pytest.fixture
async def victim(server: Running) -> AsyncIterator[Person]:
    """An account of a server that has to be as before when the test is over."""
    person = server.account()
    for _ in range(2):
        await served(person)
    descriptors, resident = await asyncio.to_thread(settled, server), server.resident()
    yield person
    await served(person)
    await asyncio.to_thread(
        wait_for, lambda: server.descriptors() <= descriptors,
        f"{server.descriptors()} descriptors, {descriptors} before", 15,
    )  # fmt: skip
    grown = server.resident() - resident
    assert grown < GROWTH, f"{grown / MIB:.0f} MiB more than before"
    assert person.leftovers() == []


def settled(server: Running) -> int:
    """The number of descriptors once it does not change any more."""
    seen = [-1]

    def same() -> bool:
        seen.append(server.descriptors())
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_for(same, "the server is not idle")
    return seen[-1]


async def closed(raw: RawSftp) -> None:
    """The server ends the channel, whatever it says before."""
    with contextlib.suppress(EOFError):
        async with asyncio.timeout(15):
            while True:
                await raw.receive()


BROKEN = {
    "length of 4 GiB": struct.pack(">IB", 0xFFFFFFFF, 3),
    "length of 2 GiB": struct.pack(">IB", 0x7FFFFFFF, 6),
    "length just too long": struct.pack(">IB", 16 * MIB, 6),
    "length zero": struct.pack(">I", 0),
    "length of a type alone": struct.pack(">IB", 1, 17),
    "second version": p.init(),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_packets_that_cannot_be(victim: Person, name: str):
    async with victim.connect() as client:
        raw, other = await raw_channel(client), await raw_channel(client)
        raw.send(BROKEN[name] + b"x" * 1000)
        await closed(raw)
        # the connection and its other channels live on
        assert (await other.ask(p.stat, "/")).kind == 105


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "a shell's greeting": b"Last login: today\n" + p.init(),
    "a request": p.stat(1, "/"),
    "zeros": bytes(5000),
    "noise": bytes(range(255, -1, -1)) * 20,
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_before_the_version(victim: Person, name: str):
    async with victim.connect() as client:
        raw = await raw_channel(client, hello=False)
        raw.send(GARBAGE[name])
        await closed(raw)
        assert (await (await raw_channel(client)).ask(p.stat, "/")).kind == 105


STRINGS = {
    "path longer than the packet": p.packet(17, p.u32(1) + p.u32(1000) + b"short"),
    "handle longer than the packet": p.packet(4, p.u32(1) + p.u32(0xFFFFFFFF)),
    "write longer than the packet": p.packet(6, p.u32(1) + p.s("h") + p.u64(0) + p.u32(1 << 30) + b"x"),
    "extended without a name": p.packet(200, p.u32(1)),
    "a million attributes": p.packet(9, p.u32(1) + p.s("/f") + p.u32(0x80000000) + p.u32(1_000_000)),
    "a type nobody knows": p.packet(99, p.u32(1) + b"x" * 100),
}


@pytest.mark.parametrize("name", STRINGS)
async def test_requests_with_wrong_insides_get_an_answer(victim: Person, name: str):
    """BAD_MESSAGE (5), FAILURE (4) or OP_UNSUPPORTED (8), and the channel lives on or is closed."""
    async with victim.connect() as client:
        raw = await raw_channel(client)
        raw.send(STRINGS[name])
        with contextlib.suppress(EOFError):
            reply = await raw.receive()
            assert (reply.kind, reply.rid) == (101, 1)
            assert reply.code in {4, 5, 8}
            assert (await raw.ask(p.stat, "/")).kind == 105


async def test_half_packets(victim: Person):
    """Requests cut at every byte are understood; those that stay half are forgotten with the connection."""
    (victim.home / "f").write_bytes(b"content")
    for _ in range(10):
        client = await victim.connect()
        raw = await raw_channel(client)
        for byte in p.open_(7, "/f", "r"):
            raw.send(bytes([byte]))
            await asyncio.sleep(0)
        reply = await raw.receive()
        assert (reply.kind, reply.rid) == (102, 7)
        raw.send(p.write(8, reply.handle, 0, b"x" * 200_000)[:100_000])
        raw.send(p.read(9, reply.handle, 0, 10)[:-1])
        client.abort()
        with contextlib.suppress(asyncssh.Error, OSError):
            await client.wait_closed()
    assert (victim.home / "f").read_bytes() == b"content"


async def test_ten_thousand_opens(victim: Person):
    (victim.home / "f").write_bytes(b"content")
    async with victim.connect() as client:
        raw = await raw_channel(client)
        for number in range(10_000):
            raw.send(p.open_(number, "/f", "r"))
        replies = [await raw.receive() for _ in range(10_000)]
        handles = [reply.handle for reply in replies if reply.kind == 102]
        refused = [reply for reply in replies if reply.kind == 101]
        assert len(set(handles)) == len(handles) <= 1024
        assert {(reply.code) for reply in refused} == {4}
        assert "too many open" in refused[0].text
        # what is open still works, and closing one makes room for one
        assert (await raw.ask(p.read, handles[0], 0, 100)).data == b"content"
        assert (await raw.ask(p.open_, "/f", "r")).kind == 101
        assert (await raw.ask(p.close, handles[0])).code == 0
        assert (await raw.ask(p.open_, "/f", "r")).kind == 102
        for build, args in ((p.read, (0, 10)), (p.close, ()), (p.fstat, ()), (p.write, (0, b"x"))):
            assert (await raw.ask(build, handles[0], *args)).kind == 101
        await served(victim)


async def test_listings_that_nobody_ends(victim: Person):
    for number in range(50):
        (victim.home / f"{number}").touch()
    async with victim.connect() as client:
        raw = await raw_channel(client)
        for number in range(3_000):
            raw.send(p.opendir(number, "/"))
        opened = [reply for reply in [await raw.receive() for _ in range(3_000)] if reply.kind == 102]
        assert 0 < len(opened) <= 1024
        await served(victim)


async def test_a_reader_that_never_reads(victim: Person):
    """It asks for gigabytes and takes nothing: the server waits, with little memory."""
    with open(victim.home / "f", "wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(300 * MIB)
    server = victim.server
    before = server.resident()
    clients = []
    for _ in range(6):
        client = await victim.connect()
        clients.append(client)
        raw = await raw_channel(client)
        handle = (await raw.ask(p.open_, "/f", "r")).handle
        # asyncssh takes 2 MiB in and then no more: the window is closed
        for number in range(4_000):
            raw.send(p.read(number, handle, number * 65_536, 65_536))
    await served(victim)
    grown = server.resident() - before
    assert grown < 6 * 16 * MIB, f"{grown / MIB:.0f} MiB for 6 readers"
    for client in clients:
        client.abort()
    for client in clients:
        with contextlib.suppress(asyncssh.Error, OSError):
            await client.wait_closed()
    (victim.home / "f").unlink()


async def test_disconnects_in_the_middle_of_writes(victim: Person):
    for number in range(20):
        client = await victim.connect()
        raw = await raw_channel(client)
        handle = (await raw.ask(p.open_, f"/{number}", "w")).handle
        for part in range(8):
            raw.send(p.write(part, handle, part * 100_000, b"w" * 100_000))
        raw.send(p.write(9, handle, 800_000, b"w" * 100_000)[: 5_000 * number])
        await asyncio.sleep(0)
        client.abort()
        with contextlib.suppress(asyncssh.Error, OSError):
            await client.wait_closed()
    for number in range(20):
        await asyncio.to_thread(
            victim.server.wait_line,
            "Upload",
            username=victim.name,
            virtual_path=f"/{number}",
            status="failed",
        )
        found = (victim.home / f"{number}").read_bytes()
        assert found == b"w" * len(found)  # a beginning of what was sent, and no packet torn
        assert len(found) % 100_000 == 0
    assert len(victim.server.lines("Upload", username=victim.name, status="failed")) == 20


async def test_many_half_open_connections(victim: Person):
    """Silent ones, half a version line, half a key exchange: those who are logged in do not notice."""
    async with victim.connect() as client, client.start_sftp_client() as files:
        sockets = []
        for number in range(150):
            reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
            sockets.append(writer)
            if number % 3 == 1:
                writer.write(b"SSH-2.0-ha")
            elif number % 3 == 2:
                writer.write(b"SSH-2.0-half\r\n" + b"\0\0\1\0\x10\x14" + b"\1" * 50)
            del reader
        await files.stat("/")
        assert victim.server.descriptors() < 300
        for writer in sockets:
            writer.transport.abort()
    await asyncio.to_thread(settled, victim.server)


async def test_channels_and_connections_in_haste(victim: Person):
    """Open, ask, leave without a word, many times over."""

    async def visit() -> None:
        client = await victim.connect()
        raw = await raw_channel(client, hello=False)
        raw.send(p.init() + p.opendir(1, "/") + p.stat(2, "/") + p.open_(3, "/x", "w"))
        client.abort()
        with contextlib.suppress(asyncssh.Error, OSError):
            await client.wait_closed()

    for _ in range(5):
        await asyncio.gather(*(visit() for _ in range(8)))
    with contextlib.suppress(FileNotFoundError):
        (victim.home / "x").unlink()
