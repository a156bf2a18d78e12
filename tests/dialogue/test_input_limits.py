# SPDX-License-Identifier: Apache-2.0
"""Limits on input of a peer that is nobody yet, that broke a rule, or that nobody listens to yet."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import String, UInt32
from tests.support.ssh_world import World, ssh_world

from tidegate.doors.ssh.command import STDIN_LIMIT, Input
from tidegate.doors.ssh.connection import MAX_BYTES_BEFORE_LOGIN, MAX_PACKETS_BEFORE_LOGIN
from tidegate.doors.ssh.lane_keys import key_of
from tidegate.events.kinds import Disconnected
from tidegate.testing.peers import PLAIN_IGNORE, Target, ignore_before_login, packet, seal

ADA = {"username": "ada", "password": "secret"}
MIB = 1 << 20


async def sent_in_clear(world: World, data: bytes) -> Disconnected:
    """Send `data` behind the version line, and tell how that ended."""
    _, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(b"SSH-2.0-peer\r\n" + data)
    try:
        return await world.recorder.wait(Disconnected)
    finally:
        writer.close()


async def test_a_stranger_may_send_so_many_packets(tmp_path: Path):
    async with ssh_world(tmp_path) as world:
        ended = await sent_in_clear(world, PLAIN_IGNORE * (MAX_PACKETS_BEFORE_LOGIN + 300))
        assert ended.by == "flood"


async def test_a_stranger_may_send_so_many_bytes(tmp_path: Path):
    size = 32 * 1024
    ignore = (
        (1 + 1 + 4 + size + 6).to_bytes(4, "big") + b"\x06\x02" + size.to_bytes(4, "big") + bytes(size + 6)
    )
    async with ssh_world(tmp_path) as world:
        ended = await sent_in_clear(world, ignore * (MAX_BYTES_BEFORE_LOGIN // size + 1))
        assert ended.by == "flood"


async def test_a_stranger_with_keys_may_send_so_many_packets(tmp_path: Path):
    async with ssh_world(tmp_path) as world:
        target = Target(world.port, 0, "ada", "secret")
        peer = await ignore_before_login(target, MAX_PACKETS_BEFORE_LOGIN + 300)
        await peer.strike()
        assert (await world.recorder.wait(Disconnected)).by == "flood"
        peer.close()


async def test_after_the_login_packets_are_not_counted(tmp_path: Path):
    async with ssh_world(tmp_path) as world, world.connect(**ADA) as client:
        for _ in range(MAX_PACKETS_BEFORE_LOGIN + 300):
            client.send_packet(2, String(b""))
        assert (await client.run("pwd")).stdout == "/start\n"


async def opened(
    client: asyncssh.SSHClientConnection,
) -> tuple[asyncssh.SSHWriter[bytes], asyncssh.SSHReader[bytes]]:
    writer, reader, _ = await client.open_session(subsystem="sftp", encoding=None)
    writer.write(packet(1, UInt32(3)))
    async with asyncio.timeout(10):
        await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    return writer, reader


def record(
    client: asyncssh.SSHClientConnection, payload: bytes, padding: int, says: int | None = None
) -> bytes:
    """A record of a client's connection with as much padding, and the length, that is said."""
    key = key_of(client._send_encryption, sends=True)
    assert key is not None
    length = 1 + len(payload) + padding
    sealed = memoryview(bytearray(key.around + length))
    sealed[:4] = (length if says is None else says).to_bytes(4, "big")
    sealed[4] = padding
    sealed[5 : 5 + len(payload)] = payload
    key.seal(sealed, client._send_seq)
    return bytes(sealed)


CIPHERS = [
    "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com",
    "aes128-ctr hmac-sha2-256", "aes256-ctr hmac-sha2-256-etm@openssh.com",
]  # fmt: skip


def with_cipher(world: World, cipher: str) -> Any:
    """A connection with that cipher, and the MAC behind it."""
    name, _, mac = cipher.partition(" ")
    return world.connect(**ADA, encryption_algs=[name], mac_algs=[mac] if mac else ())


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("size", [16, 20_000])
@pytest.mark.parametrize("padding", [0, 3])
async def test_too_little_padding_ends_the_connection(tmp_path: Path, cipher: str, size: int, padding: int):
    block = 16 if cipher.startswith("aes") else 8
    async with ssh_world(tmp_path) as world, with_cipher(world, cipher) as client:
        writer, _ = await opened(client)
        head = 1 + 4 + 4
        size += -((5 if cipher.endswith("ctr hmac-sha2-256") else 1) + head + size + padding) % block
        data = packet(17, UInt32(1) + String(b"/" + b"x" * (size - 14)))  # one whole STAT
        assert len(data) == size
        payload = b"\x5e" + UInt32(writer.channel._send_chan) + String(data)
        client._transport.write(record(client, payload, padding))
        await asyncio.wait_for(client.wait_closed(), 10)
        assert "padding" in (await world.recorder.wait(Disconnected)).error


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("says", [0, 7, 45, 1 << 20, (1 << 32) - 16, (1 << 32) - 1])
async def test_a_length_that_no_packet_has_ends_the_connection_at_once(
    tmp_path: Path, cipher: str, says: int
):
    async with ssh_world(tmp_path) as world, with_cipher(world, cipher) as client:
        writer, _ = await opened(client)
        payload = b"\x5e" + UInt32(writer.channel._send_chan) + String(packet(17, UInt32(1) + String(b"/")))
        client._transport.write(record(client, payload, 20, says))
        await asyncio.wait_for(client.wait_closed(), 10)
        error = (await world.recorder.wait(Disconnected)).error
        assert ("multiple" if says == 45 else "MAC" if says < 8 else "packet size") in error


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_length_that_lies_within_limits_ends_the_connection_when_the_bytes_are_there(
    tmp_path: Path, cipher: str
):
    says = 200_000 - 4 * cipher.endswith("ctr hmac-sha2-256")
    async with ssh_world(tmp_path) as world, with_cipher(world, cipher) as client:
        writer, _ = await opened(client)
        payload = b"\x5e" + UInt32(writer.channel._send_chan) + String(packet(17, UInt32(1) + String(b"/")))
        client._transport.write(record(client, payload, 20, says) + bytes(says))
        await asyncio.wait_for(client.wait_closed(), 10)
        assert "MAC" in (await world.recorder.wait(Disconnected)).error


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "plain"])
async def test_who_sends_on_to_a_channel_that_ended_is_cut(tmp_path: Path, lane: bool):
    """A packet that says 256 MiB ends its channel; a window later the connection, if the peer goes on."""
    async with ssh_world(tmp_path, fast_lane=lane) as world:
        async with world.connect(**ADA) as client:
            writer, _ = await opened(client)
            number, piece = UInt32(writer.channel._send_chan), String(bytes(32 * 1024))

            def send() -> None:
                client.send_packet(94, number, String((256 * MIB).to_bytes(4, "big") + b"\x06"))
                for _ in range(16 * MIB // 32768):
                    client.send_packet(94, number, piece)

            peer = seal(client, send, client.abort)
            await peer.strike()
            await asyncio.wait_for(client.wait_closed(), 10)
        ended = await world.recorder.wait(Disconnected)
        assert "Window exceeded" in ended.error


async def test_input_of_a_command_in_tiny_packets_costs_what_it_holds():
    held: list[bool] = []
    stdin = Input(lambda: held.append(True), lambda: held.append(False))
    count = 20_000
    tracemalloc.start()
    try:
        for _ in range(count):
            stdin.put(b"ab")
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2 * 2 * count + 4096
    rest = bytes(STDIN_LIMIT)
    stdin.put(rest)
    assert held == [True]
    stdin.end()
    assert b"".join([bytes(chunk) async for chunk in stdin]) == b"ab" * count + rest
    assert held == [True, False]
