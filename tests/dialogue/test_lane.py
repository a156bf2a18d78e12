# SPDX-License-Identifier: Apache-2.0
"""The fast lane under a real asyncssh client: rekeying, windows, packets, several channels, ends of all kinds."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest
from tests.support.lane_echo import connect, exchange, frame, open_echo, running_echo

from tidegate.doors.ssh import lane_keys, records

CTR = ["aes256-ctr hmac-sha2-256", "aes128-ctr hmac-sha2-512-etm@openssh.com"]
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", *CTR]
ALL_CTR = [
    f"aes{bits}-ctr hmac-sha2-{size}{etm}"
    for bits in (128, 192, 256)
    for size in (256, 512)
    for etm in ("", "-etm@openssh.com")
]
OLD_CTR = ["aes128-ctr hmac-sha1", "aes128-ctr hmac-sha1-96-etm@openssh.com", "aes192-ctr hmac-sha2-512-96",
           "aes256-ctr hmac-sha384@ssh.com"]  # fmt: skip
SIZES = [0, 1, 3, 15, 16, 17, 1000, 32755, 32756, 32768, 100_000, 255_000, 5, 600_000]


def test_self_check_accepts_the_installed_libraries():
    assert lane_keys.self_check() == ""
    records.self_check()


def test_self_check_finds_keys_that_moved(monkeypatch):
    monkeypatch.setattr(lane_keys, "key_of", lambda encryption, *, sends: None)

    assert lane_keys.self_check() == "asyncssh does not open what the lane seals with aes128-gcm@openssh.com"


def test_self_check_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(lane_keys, "REQUIRED", (*lane_keys.REQUIRED, "_gone"))
    monkeypatch.setattr(lane_keys, "REQUIRED_STATE", (*lane_keys.REQUIRED_STATE, "_gone_too"))

    assert lane_keys.self_check() == "asyncssh has no _gone, _gone_too"


@pytest.mark.parametrize("cipher", [*CIPHERS[:3], *ALL_CTR, *OLD_CTR])
async def test_frames_of_every_size_come_back(cipher):
    macs = [mac] if (mac := cipher.partition(" ")[2]) else ()
    async with running_echo(ciphers=[cipher]) as server, connect(server, mac_algs=macs) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(n) for n in SIZES])

        assert len(server.lanes) == 1
        assert server.transports[0].unconsumed == 0


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("side", ["server", "client"])
async def test_keys_change_every_64_kib(cipher, side):
    server_rekey = 65536 if side == "server" else 1 << 30
    client_rekey = 65536 if side == "client" else 1 << 30
    async with (
        running_echo(ciphers=[cipher], rekey_bytes=server_rekey) as server,
        connect(server, rekey_bytes=client_rekey) as client,
    ):
        kexes = 0
        connection = server.connections[0]
        original = connection.send_newkeys

        def counted(*arguments):
            nonlocal kexes
            kexes += 1
            original(*arguments)

        connection.send_newkeys = counted
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(n) for n in SIZES])

        assert kexes >= 5
        assert not any(one._detached for one in server.lanes)


@pytest.mark.parametrize("window", [1 << 21, 700_000])
@pytest.mark.parametrize("client_window", [1000, 70_000])
@pytest.mark.parametrize("packet", [37, 1024, 65536])
async def test_small_windows_and_packets(window, client_window, packet):
    async with running_echo(window=window, packet=packet) as server, connect(server) as client:
        writer, reader = await open_echo(client, window=client_window, max_pktsize=packet)
        await exchange(writer, reader, [frame(n) for n in (0, 7, 40_000, 9, 100_000)])


async def test_two_channels_at_once_do_not_mix():
    async with running_echo(rekey_bytes=200_000) as server, connect(server) as client:
        ends = [await open_echo(client) for _ in range(3)]
        await asyncio.gather(*(exchange(w, r, [frame(n) for n in SIZES]) for w, r in ends))

        assert len(server.lanes) == 1


async def test_what_one_connection_has_sealed_survives_what_another_seals():
    """All lanes of a process share one output buffer; a batch that waits in it belongs to its lane alone."""
    async with running_echo() as server, connect(server) as ada, connect(server) as bob:
        (ada_writer, ada_reader), (bob_writer, bob_reader) = await open_echo(ada), await open_echo(bob)
        await exchange(ada_writer, ada_reader, [frame(10)])
        await exchange(bob_writer, bob_reader, [frame(10)])
        first = server.transports[0]
        waiting = frame(50_000)
        first._emit(memoryview(waiting))  # sealed, and not on the wire yet
        await exchange(bob_writer, bob_reader, [frame(n) for n in (1, 60_000)])
        first.flush()

        assert await ada_reader.readexactly(len(waiting)) == waiting
        await exchange(ada_writer, ada_reader, [frame(1000)])


async def test_many_connections_with_short_windows_at_once():
    async with running_echo() as server:
        clients = [await connect(server) for _ in range(5)]
        try:
            ends = [
                await open_echo(client, window=size) for client, size in zip(clients, WINDOWS, strict=True)
            ]
            await asyncio.gather(*(exchange(w, r, [frame(n) for n in SIZES]) for w, r in ends))
        finally:
            for client in clients:
                client.close()
            for client in clients:
                await client.wait_closed()


WINDOWS = [3000, 40_000, 100_000, 300_000, 1 << 21]


async def test_half_close_delivers_everything_and_exit_status_0():
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client)
        frames = [frame(300_000), frame(1)]
        for one in frames:
            writer.write(one)
        writer.write_eof()
        got = await reader.read()
        await writer.channel.wait_closed()

        assert got == b"".join(frames)
        assert writer.channel.get_exit_status() == 0
        await _no_channels(server)


async def test_a_peer_that_does_not_read_is_not_buffered_without_bound():
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client, window=65536)
        reader_channel = writer.channel
        reader_channel.pause_reading()
        frames = [frame(200_000) for _ in range(40)]
        sender = asyncio.ensure_future(_send(writer, frames))
        done, _ = await asyncio.wait([sender], timeout=0.3)
        held = server.transports[0].unconsumed

        assert not done
        assert held <= server.window
        reader_channel.resume_reading()
        assert await reader.readexactly(sum(map(len, frames))) == b"".join(frames)
        await sender


async def _no_channels(server):
    """The server hears of the end a moment after the client."""
    async with asyncio.timeout(5):
        while any(one.channels for one in server.lanes):
            await asyncio.sleep(0.005)


async def _send(writer, frames):
    for one in frames:
        writer.write(one)
        await writer.drain()


@pytest.mark.parametrize("how", ["abort", "channel", "close"])
async def test_abrupt_ends_leave_nothing(how):
    async with running_echo() as server:
        client = await connect(server)
        writer, _reader = await open_echo(client)
        writer.write(frame(200_000)[:100_000])
        await asyncio.sleep(0)
        if how == "abort":
            client.abort()
        elif how == "channel":
            writer.channel.abort()
        else:
            client.close()
        await writer.channel.wait_closed()
        client.abort()
        await client.wait_closed()

        await _no_channels(server)


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_damaged_record_ends_the_connection(cipher):
    async with running_echo(ciphers=[cipher]) as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        client._transport.write(bytes(200))

        with pytest.raises((asyncssh.DisconnectError, asyncssh.ConnectionLost, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
            raise asyncssh.ConnectionLost("eof")


async def test_extended_data_and_unknown_requests_still_reach_asyncssh():
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        assert await client._make_global_request(b"keepalive@openssh.com") is not None
        await exchange(writer, reader, [frame(100_000)])
        second_writer, second_reader = await open_echo(client)
        await exchange(second_writer, second_reader, [frame(10)])
        assert len(server.transports) == 2
