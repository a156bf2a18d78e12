# SPDX-License-Identifier: Apache-2.0
"""Answers that go out alone on the fast lane: nonces, windows, full sockets, cut records, ends at bad moments."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import asyncssh
import pytest
from tests.support.lane_echo import Echo, EchoSession, connect, exchange, frame, open_echo, running_echo

from tidegate.doors.ssh import lane_output, records, records_ctr
from tidegate.doors.ssh.lane_output import Output

GCM = "aes128-gcm@openssh.com"
CHACHA = "chacha20-poly1305@openssh.com"
CTR = "aes256-ctr hmac-sha2-256"
ETM = "aes128-ctr hmac-sha2-512-etm@openssh.com"
CIPHERS = [GCM, CHACHA, CTR, ETM]


async def _ask_one_by_one(writer: Any, reader: Any, sizes: list[int]) -> None:
    """As a client that waits for each answer, which is what sends answers alone."""
    async with asyncio.timeout(10):
        for size in sizes:
            one = frame(size)
            writer.write(one)
            assert await reader.readexactly(len(one)) == one


@pytest.fixture
def alone(monkeypatch) -> list[bool]:
    """The outcome of each attempt to send an answer alone."""
    tried: list[bool] = []
    original = Output.send_alone

    def send_alone(self: Output, number: int, data: bytes) -> bool:
        tried.append(original(self, number, data))
        return tried[-1]

    monkeypatch.setattr(Output, "send_alone", send_alone)
    return tried


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_no_nonce_is_used_twice_while_keys_change_between_answers(cipher, alone, monkeypatch):
    seen: list[tuple[int, bytes | int]] = []
    kept: list[object] = []
    gcm = records.GcmRecords.seal

    def seal_gcm(self, record, seq):
        gcm(self, record, seq)
        kept.append(self)  # so that no other key gets its id
        seen.append((id(self), bytes(self._nonce)))

    def numbered(original):
        def seal(self, record, seq):
            original(self, record, seq)
            kept.append(self)
            seen.append((id(self), seq))

        return seal

    monkeypatch.setattr(records.GcmRecords, "seal", seal_gcm)
    for kind in (records.ChachaRecords, records_ctr.CtrRecords, records_ctr.EtmRecords):
        monkeypatch.setattr(kind, "seal", numbered(kind.seal))
    async with (
        running_echo(ciphers=[cipher], rekey_bytes=1500) as server,
        connect(server, rekey_bytes=4000) as client,
    ):
        writer, reader = await open_echo(client)
        await _ask_one_by_one(writer, reader, [7, 300, 20, 90] * 30)
        limit = server.connections[0]._rekey_bytes
        assert server.connections[0]._rekey_bytes_sent <= limit + 400

    assert len(seen) == len(set(seen))
    assert len({key for key, _ in seen}) >= 5
    assert alone.count(True) >= 50
    assert False in alone  # a key exchange stood in the way


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("takes", [0, 1, 17, -1])
async def test_a_socket_that_takes_only_a_part(cipher, takes, alone, monkeypatch):
    """`takes` bytes of each write; -1 is all but one."""
    real, short = os.write, 0

    class Stingy:
        @staticmethod
        def write(fd: int, data: memoryview) -> int:
            nonlocal short
            short += 1
            if not takes:
                raise BlockingIOError
            return real(fd, data[:takes])

    async with running_echo(ciphers=[cipher]) as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        monkeypatch.setattr(lane_output, "os", Stingy)
        await _ask_one_by_one(writer, reader, [0, 5, 100, 3000, 30_000])
        await asyncio.wait_for(exchange(writer, reader, [frame(n) for n in (1, 200_000, 2, 3)]), 10)

    assert True in alone
    assert short


async def test_what_the_transport_still_holds_goes_first(alone):
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        client._transport.pause_reading()
        transport, sender = server.connections[0]._transport, server.transports[0]
        sent = []
        while not transport.get_write_buffer_size():  # the socket is full then
            sent.append(frame(30_000))
            sender._channel._send_window += 30_004
            client._channels[writer.channel._recv_chan]._recv_window += 30_004
            sender.send(sent[-1])
            sender.flush()
        alone.clear()
        sent.append(b"the last one")
        sender.send(sent[-1])
        sender.flush()

        assert True not in alone
        client._transport.resume_reading()
        expected = b"".join(sent)
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 10) == expected


@pytest.mark.parametrize("window", [1, 33, 64, 104])
async def test_answers_against_a_window_of_a_few_bytes(window, alone):
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client, window=window)
        await _ask_one_by_one(writer, reader, [29, 100, 60, 4, 29, 30])
        # What was sent and what was granted: asyncssh ends the connection of a peer that sends more.
        assert server.transports[0]._channel._send_window <= window

    assert (True in alone) == (window > 30)


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_record_cut_at_every_byte(cipher, monkeypatch):
    async with running_echo(ciphers=[cipher]) as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        (lane,) = server.lanes
        wire = _Recording(client._transport)
        monkeypatch.setattr(client, "_transport", wire)
        cut, length = 0, 1
        while cut < length:
            frames = [frame(9), frame(33)]
            for one in frames:
                writer.write(one)
            data = wire.take()
            length = len(data)
            for part in (data[:cut], data[cut : cut + 1], data[cut + 1 :]):
                if part:
                    lane.get_buffer(-1)[: len(part)] = part
                    lane.buffer_updated(len(part))
            got = await asyncio.wait_for(reader.readexactly(13 + 37), 5)
            assert got == b"".join(frames), f"cut at {cut}"
            cut += 1
        monkeypatch.undo()
        await exchange(writer, reader, [frame(1000)])


class _Recording:
    """A transport that keeps what is written."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._wire = bytearray()

    def write(self, data: bytes) -> None:
        self._wire += data

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def take(self) -> bytes:
        data = bytes(self._wire)
        self._wire.clear()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("cut", [0, 3, 15, 16, 17, 40])
async def test_a_record_that_asyncssh_has_begun_to_read(cipher, cut, monkeypatch):
    """The lane is attached while a part of a record is there: of its first block, all of it, and more."""
    attach = EchoSession.attach
    begun: list[EchoSession] = []
    monkeypatch.setattr(EchoSession, "attach", lambda self: begun.append(self))
    async with running_echo(ciphers=[cipher]) as server, connect(server) as client:
        writer, reader = await open_echo(client)
        wire = _Recording(client._transport)
        monkeypatch.setattr(client, "_transport", wire)
        frames = [frame(100), frame(20_000)]
        for one in frames:
            writer.write(one)
        data = wire.take()
        connection = server.connections[0]
        if cut:
            connection.data_received(data[:cut])
        monkeypatch.undo()
        (session,) = begun
        attach(session)
        client._transport.write(data[cut:])
        async with asyncio.timeout(5):
            assert await reader.readexactly(104 + 20_004) == b"".join(frames)
        await exchange(writer, reader, [frame(n) for n in (0, 50_000)])
        assert len(server.lanes) == 1


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("place", ["tag", "body"])
@pytest.mark.parametrize("size", [20, 9000])
async def test_a_changed_record_is_not_heard_and_ends_the_connection(cipher, place, size, monkeypatch):
    fed = []
    original = Echo.feed

    def feed(self, data):
        fed.append(bytes(data))
        return original(self, data)

    async with running_echo(ciphers=[cipher]) as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        monkeypatch.setattr(Echo, "feed", feed)
        wire = _Recording(client._transport)
        monkeypatch.setattr(client, "_transport", wire)
        writer.write(frame(size))
        data = bytearray(wire.take())
        data[-1 if place == "tag" else len(data) // 2] ^= 1
        monkeypatch.undo()
        client._transport.write(bytes(data))
        with pytest.raises((asyncssh.DisconnectError, asyncssh.ConnectionLost, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)

    assert fed == []


async def test_an_answer_that_comes_after_the_channel_was_closed_is_dropped(monkeypatch):
    """The peer closed it, asyncssh has answered that, and the channel is told only in the loop's next turn."""
    late: list[object] = []
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        sender, connection = server.transports[0], server.connections[0]
        channel, close_send = sender._channel, sender._channel._close_send
        heard = sender._conversation.frames

        def then_answer() -> None:
            close_send()
            before = connection._send_seq
            try:
                sender._append(frame(30))  # as if it had waited for room
                sender.resume()
                for answers in ([frame(20)], [frame(20), frame(200)], [frame(40_000)]):
                    for one in answers:
                        sender.send(one)
                    sender.flush()
            except Exception as error:
                late.append(error)
            late.append(connection._send_seq - before)
            late.append(sender._conversation.frames - heard)

        monkeypatch.setattr(channel, "_close_send", then_answer)
        writer.channel.close()
        await asyncio.wait_for(writer.channel.wait_closed(), 5)
        async with asyncio.timeout(5):
            while not server.lost:
                await asyncio.sleep(0.001)
        again, answers = await open_echo(client)
        await exchange(again, answers, [frame(10)])  # the connection lives on for other channels

    assert late[:2] == [0, 0]
    assert not any(isinstance(one, Exception) for one in late)


async def test_nothing_is_written_to_a_descriptor_that_may_be_another_by_now(alone, monkeypatch):
    async with running_echo() as server:
        client = await connect(server)
        writer, reader = await open_echo(client)
        await exchange(writer, reader, [frame(10)])
        sender = server.transports[0]
        server.connections[0]._transport.close()

        class Never:
            @staticmethod
            def write(*_: object) -> int:
                raise AssertionError("written")

        monkeypatch.setattr(lane_output, "os", Never)
        alone.clear()
        sender.send(frame(20))
        sender.flush()
        assert alone == [False]
        client.abort()
        await client.wait_closed()


async def test_an_answer_waits_for_the_keys_that_are_exchanged(alone):
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await _ask_one_by_one(writer, reader, [10, 20])
        sender, connection = server.transports[0], server.connections[0]
        connection._send_kexinit()
        connection._kexinit_sent = True
        before, sent = connection._send_seq, frame(30)
        alone.clear()
        sender.send(sent)
        sender.flush()
        assert alone == [False]
        assert connection._send_seq == before
        assert await asyncio.wait_for(reader.readexactly(len(sent)), 5) == sent
        await _ask_one_by_one(writer, reader, [10, 20])
        assert alone[-1]


@pytest.mark.parametrize(
    ("what", "value"),
    [("_send_encryption", object()), ("_kex_complete", False), ("_deferred_packets", [(94, ())])],
)
async def test_what_stands_in_the_way_of_an_answer_alone(what, value, monkeypatch):
    async with running_echo() as server, connect(server) as client:
        writer, reader = await open_echo(client)
        await _ask_one_by_one(writer, reader, [10])
        connection, (lane,) = server.connections[0], server.lanes
        before = connection._send_seq, connection._rekey_bytes_sent
        with monkeypatch.context() as patched:
            patched.setattr(connection, what, value)
            assert not lane.out.send_alone(server.transports[0]._channel._send_chan, b"no")
        with monkeypatch.context() as patched:  # a loop that tells of its full buffer later
            patched.setattr(lane.out._transport, "get_write_buffer_size", lambda: 1)
            assert not lane.out.send_alone(server.transports[0]._channel._send_chan, b"no")
        assert (connection._send_seq, connection._rekey_bytes_sent) == before
        await _ask_one_by_one(writer, reader, [10, 20])


async def test_answers_of_many_connections_and_the_servers_own_packets_take_turns(alone):
    async with running_echo() as server:
        clients = [await connect(server) for _ in range(3)]
        try:
            ends = [await open_echo(client) for client in clients]
            for n in range(20):
                for index, (connection, sender) in enumerate(
                    zip(server.connections, server.transports, strict=False)
                ):
                    first, second = frame(n), frame(n + 1)
                    connection.send_debug("from asyncssh")
                    if n % 3 == index:
                        sender._emit(memoryview(first))  # sealed, and waiting in the shared buffer
                    else:
                        sender.send(first)
                        sender.flush()
                        connection.send_debug("again")
                    other = server.transports[(index + 1) % 3]
                    other.send(second)
                    other.flush()
                    sender.flush()
                    _, reader = ends[index]
                    _, neighbour = ends[(index + 1) % 3]
                    async with asyncio.timeout(5):
                        assert await reader.readexactly(len(first)) == first
                        assert await neighbour.readexactly(len(second)) == second
        finally:
            for client in clients:
                client.close()
            for client in clients:
                await client.wait_closed()

    assert True in alone
    assert False in alone
