# SPDX-License-Identifier: Apache-2.0
"""A connection whose client changes, in a later key exchange, to a cipher without a lane: it serves on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.lane_echo import connect, exchange, frame, open_echo, running_echo

GCM = "aes128-gcm@openssh.com"
CHACHA = "chacha20-poly1305@openssh.com"
CTR = "aes192-ctr hmac-sha2-256"
ETM = "aes128-ctr hmac-sha2-512-etm@openssh.com"
NO_LANE = "aes256-cbc hmac-sha2-256"
UMAC = "aes256-ctr umac-64@openssh.com"
ALL = [GCM, CHACHA, CTR, ETM, NO_LANE, UMAC]
SIZES = [0, 1000, 100_000, 5]


async def _rekey_to(client: Any, cipher: str) -> None:
    name, _, mac = cipher.partition(" ")
    client._enc_algs = [name.encode()]
    if mac:
        client._mac_algs = [mac.encode()]
    client._send_kexinit()
    client._kexinit_sent = True
    for _ in range(2000):
        if client._kex_complete and client._next_recv_encryption is None:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("no new keys")


class _Trickle:
    """A transport that hands on the bytes in pieces, so that a record is cut anywhere."""

    def __init__(self, transport: Any, size: int) -> None:
        self._transport = transport
        self._size = size
        self._waiting = bytearray()
        self._task: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._waiting += data
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    async def _run(self) -> None:
        while self._waiting:
            self._transport.write(bytes(self._waiting[: self._size]))
            del self._waiting[: self._size]
            await asyncio.sleep(0.001)
        self._task = None


@pytest.mark.parametrize("first", [GCM, CTR, ETM])
@pytest.mark.parametrize("cipher", ALL)
async def test_data_flows_on_after_keys_for_another_cipher(first, cipher):
    name, _, mac = first.partition(" ")
    async with (
        running_echo(ciphers=ALL) as server,
        connect(server, encryption_algs=[name], mac_algs=[mac] if mac else ()) as client,
    ):
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(size) for size in SIZES])
        await asyncio.wait_for(_rekey_to(client, cipher), 5)
        await asyncio.wait_for(exchange(writer, reader, [frame(size) for size in SIZES]), 5)

        assert [lane._detached for lane in server.lanes] == [cipher in (NO_LANE, UMAC)]


@pytest.mark.parametrize("piece", [7, 64])
async def test_keys_that_come_in_pieces(piece):
    async with (
        running_echo(ciphers=[GCM, NO_LANE]) as server,
        connect(server, encryption_algs=[GCM]) as client,
    ):
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(size) for size in SIZES])
        plain = client._transport
        client._transport = trickle = _Trickle(plain, piece)
        await asyncio.wait_for(_rekey_to(client, NO_LANE), 5)
        while trickle._task is not None:
            await asyncio.sleep(0.001)
        client._transport = plain
        await asyncio.wait_for(exchange(writer, reader, [frame(size) for size in SIZES]), 5)

        assert [lane._detached for lane in server.lanes] == [True]


async def test_a_peer_that_does_not_read_is_not_buffered_without_bound_after_that_either():
    async with (
        running_echo(ciphers=[GCM, NO_LANE], window=300_000) as server,
        connect(server, encryption_algs=[GCM]) as client,
    ):
        writer, reader = await open_echo(client, window=65536)
        await exchange(writer, reader, [frame(10)])
        await asyncio.wait_for(_rekey_to(client, NO_LANE), 5)
        writer.channel.pause_reading()
        frames = [frame(100_000) for _ in range(40)]
        sender = asyncio.ensure_future(_send(writer, frames))
        done, _ = await asyncio.wait([sender], timeout=0.3)
        transport = server.transports[0]

        assert not done
        assert transport.unconsumed + transport._channel._send_buf_len <= 2 * server.window
        writer.channel.resume_reading()
        expected = b"".join(frames)
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 5) == expected
        await sender


async def _send(writer: Any, frames: list[bytes]) -> None:
    for one in frames:
        writer.write(one)
        await writer.drain()
