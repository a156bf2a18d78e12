# SPDX-License-Identifier: Apache-2.0
"""The fast lane under somebody on the way who changes bytes, and under peers with absurd limits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest
from tests.support.lane_echo import Echo, connect, exchange, frame, open_echo, running_echo
from tests.support.ssh_world import ssh_world

from tidegate.doors.ssh.lane_output import Output
from tidegate.doors.ssh.packets import TURN_PACKETS, PacketConnection

ADA = {"username": "ada", "password": "secret"}
CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr hmac-sha2-256",
           "aes256-ctr hmac-sha2-256-etm@openssh.com"]  # fmt: skip


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_forged_record_does_not_change_the_proved_one_before_it(cipher, monkeypatch):
    fed: list[bytes] = []
    original = Echo.feed

    def feed(self, data):
        fed.append(bytes(data))
        return original(self, data)

    async with running_echo(ciphers=[cipher]) as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])  # the lane is on
        monkeypatch.setattr(Echo, "feed", feed)
        wire: list[bytes] = []
        monkeypatch.setattr(client, "_transport", _Recording(client._transport, wire))
        good = frame(100)
        writer.write(good)
        first = b"".join(wire)
        wire.clear()
        writer.write(frame(100))
        second = bytearray(b"".join(wire))
        second[5] ^= 0xFF  # somebody on the way turns bits of the next record's head
        client._transport.real.write(first + bytes(second))

        async with asyncio.timeout(5):
            while not server.lost:
                await asyncio.sleep(0.005)

    assert fed and all(data == good for data in fed)


class _Recording:
    """A transport that keeps what is written instead of sending it."""

    def __init__(self, real, wire):
        self.real = real
        self._wire = wire

    def write(self, data):
        self._wire.append(bytes(data))

    def writelines(self, parts):
        self._wire.extend(map(bytes, parts))

    def __getattr__(self, name):
        return getattr(self.real, name)


def _packet(kind: int, body: bytes) -> bytes:
    return (1 + len(body)).to_bytes(4, "big") + bytes([kind]) + body


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("size", [1, 7, 20])
async def test_a_peer_that_takes_tiny_packets_gets_the_right_bytes(tmp_path: Path, size: int):
    data = bytes(range(256)) * 160
    async with ssh_world(tmp_path) as world:
        world.sessions.files["/start/a"] = data
        async with world.connect(**ADA) as client:
            writer, reader, _ = await client.open_session(
                subsystem="sftp", encoding=None, max_pktsize=size, window=4 << 20
            )
            writer.write(_packet(1, (3).to_bytes(4, "big")))
            await _reply(reader)
            writer.write(_packet(3, bytes(4) + _text(b"/start/a") + (1).to_bytes(4, "big") + bytes(4)))
            handle = (await _reply(reader))[9:]
            request = bytes(4) + _text(handle) + bytes(8) + (40_000).to_bytes(4, "big")
            writer.write(_packet(5, request))
            reply = await _reply(reader)
            assert reply[0] == 103
            assert reply[9:] == data[:40_000]
            client.abort()


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("size", [1, 7, 300])
async def test_a_peer_that_takes_tiny_packets_holds_no_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, lane: bool
) -> None:
    """Of a long answer some packets are sealed in each turn of the loop, however large the peer's window is."""
    sealed = most = 0
    home, name = (Output, "seal") if lane else (PacketConnection, "send_packet")
    original = getattr(home, name)

    def count(self: object, *args: object, **more: object) -> object:
        nonlocal sealed
        sealed += 1
        return original(self, *args, **more)

    def turn() -> None:
        nonlocal sealed, most, ticking
        most = max(most, sealed)
        sealed = 0
        ticking = loop.call_soon(turn)

    monkeypatch.setattr(home, name, count)
    loop = asyncio.get_running_loop()
    ticking = loop.call_soon(turn)
    data = bytes(range(256)) * 12 * size
    async with ssh_world(tmp_path, fast_lane=lane) as world:
        world.sessions.files["/start/a"] = data
        async with world.connect(**ADA) as client:
            writer, reader, _ = await client.open_session(
                subsystem="sftp", encoding=None, max_pktsize=size, window=4 << 20
            )
            writer.write(_packet(1, (3).to_bytes(4, "big")))
            await _reply(reader)
            writer.write(_packet(3, bytes(4) + _text(b"/start/a") + (1).to_bytes(4, "big") + bytes(4)))
            handle = (await _reply(reader))[9:]
            wanted = min(len(data), 200_000)
            request = bytes(4) + _text(handle) + bytes(8) + wanted.to_bytes(4, "big")
            for _ in range(4):
                writer.write(_packet(5, request))
            for _ in range(4):
                assert (await _reply(reader))[9:] == data[:wanted]
            client.abort()
    ticking.cancel()
    # What is left of one turn, and what the next one begins with, may fall into one run of the loop.
    assert TURN_PACKETS // 2 < most <= 2 * TURN_PACKETS + 16


async def _reply(reader: asyncssh.SSHReader[bytes]) -> bytes:
    async with asyncio.timeout(20):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
