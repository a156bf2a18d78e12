# SPDX-License-Identifier: Apache-2.0
"""The fast lane: channel data of AEAD connections sealed and opened by us, all else left to asyncssh.

Theory of operation. asyncssh made the connection, the keys and the channel. When a file-transfer channel
starts, `Lane.attach` puts itself between the transport and the connection:

* inward it is the transport's `BufferedProtocol`. It opens every record into the reassembly buffer of the
  channel that spoke last. If the packet is CHANNEL_DATA for a channel of ours, it is consumed there, without
  another copy. Any other packet goes to asyncssh, which runs its own state machine over it; the encryption
  object that asyncssh holds is replaced by one (`Opened`) that hands out what the lane decrypted already.
* outward it seals records in place in one shared buffer and writes a batch with one system call. asyncssh
  seals its own packets through the same counter (`Sealed`), so the order on the wire is one.

What it relies on inside asyncssh is listed in `lane_keys.REQUIRED` and proved by `lane_keys.self_check` at
start; if a name is missing the lane stays off and the plain channel serves, complete and correct.

Rekeying: asyncssh installs new encryption objects; the lane sees that the object it installed is gone and
wraps the new one. While keys are exchanged nothing but key exchange may be sent (RFC 4253 section 7.1):
`ready` is false and channels keep their bytes.

Sharing: the event loop runs one callback at a time, so all connections of a process share an input and an
output buffer and an idle one costs nothing. A record that is not complete yet is kept in `_tail`; a batch
that is not on the wire yet is written out before another lane may use the buffer (`_waiting`).
"""

from __future__ import annotations

import asyncio
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag

from tidegate.doors.ssh.lane_keys import Opened, Sealed, key_of, random_padding
from tidegate.doors.ssh.records import HEADER_SIZE, TAG_SIZE

if TYPE_CHECKING:
    from tidegate.doors.ssh.lane_channel import LaneChannel

MAX_RECORD: Final = 300 * 1024
"""Longest record taken by the lane, bytes; asyncssh's own limit on packets is 256 KiB."""

SMALL_RECORD: Final = 2048
"""Packets up to this length, bytes, are opened aside and copied: cheaper than opening them in place."""

INPUT_SIZE: Final = 512 * 1024
"""Bytes of the shared input buffer: how much one receive call can bring."""

OUTPUT_SIZE: Final = 1024 * 1024
"""Bytes of the shared output buffer; a batch beyond it is written in parts."""

MSG_CHANNEL_WINDOW_ADJUST: Final = 93
MSG_CHANNEL_DATA: Final = 94

_AROUND: Final = HEADER_SIZE + TAG_SIZE
"""Bytes of a record that are not of its packet."""

_LEAST_RECORD: Final = 16
"""With fewer bytes at hand there is no record to look at."""

_LEAST_OURS: Final = 10
"""Bytes of a window adjustment, and in front of channel data: padding length, number, channel, value."""

_PACKET = struct.Struct(">BBII").unpack_from

_HEAD = struct.Struct(">IBBII")
"""packet length, padding length, message number, channel, length of the data (RFC 4254 section 5.2)."""

_input = memoryview(bytearray(INPUT_SIZE))
_waiting: list[Lane] = []
"""The lane whose batch is in the output buffer, if there is one: whoever seals next writes it out first."""

_output = memoryview(bytearray(OUTPUT_SIZE))
_scratch = memoryview(bytearray(MAX_RECORD))


class Lane(asyncio.BufferedProtocol):
    """One connection's fast lane. Made by `attach`, shared by all its file-transfer channels.

    Attributes:
        congested: whether the socket took less than it was given.
        channels: by our number of each.
    """

    def __init__(self, connection: Any, transport: asyncio.Transport, opened: Opened, sealed: Sealed) -> None:
        self.connection = connection
        self.transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._opened = opened
        self._sealed = sealed
        self._tail = b""
        self._used = 0
        self._output_used = 0
        self._blocked = False
        self._detached = False
        self.congested = False
        self.channels: dict[int, LaneChannel] = {}
        self._last: LaneChannel | None = None

    # -- coming and going ------------------------------------------------------------------------------

    @classmethod
    def attach(cls, connection: Any) -> Lane | None:
        """Take over a connection between two of its events.

        Returns:
            The connection's lane (an earlier one if there is), None if it cannot have one: cipher without
            a lane, compression, no socket, or a packet half processed.
        """
        existing: Lane | None = getattr(connection, "_tidegate_lane", None)
        if existing is not None:
            return None if existing._detached else existing
        transport = connection._transport
        receive, send = key_of(connection._recv_encryption), key_of(connection._send_encryption)
        if (
            receive is None
            or send is None
            or connection._compressor is not None
            or connection._decompressor is not None
            or not connection._kex_complete
            or transport is None
            or transport.get_extra_info("socket") is None
            or connection._recv_handler not in (connection._recv_pkthdr, connection._recv_packet)
        ):
            return None
        lane = cls.__new__(cls)
        opened, sealed = Opened(receive), Sealed(lane, send)
        lane.__init__(connection, transport, opened, sealed)  # type: ignore[misc]
        connection._tidegate_lane = lane
        # A header that asyncssh has looked at already goes back in front. Its bytes are still as received:
        # both AEADs leave the first block unchanged. No packet of it was decrypted, so counters agree.
        lane._tail = bytes(connection._packet) + bytes(connection._inpbuf)
        if connection._recv_handler == connection._recv_pkthdr:
            lane._tail = bytes(connection._inpbuf)
        connection._packet = b""
        connection._inpbuf = b""
        connection._recv_handler = connection._recv_pkthdr
        connection._recv_encryption = opened
        connection._send_encryption = sealed
        finish = connection._finish_recv_packet

        def finish_recv_packet(pkttype: int, seq: int, task: Any = None, is_async: bool = False) -> None:
            finish(pkttype, seq, task, is_async)
            if is_async and lane._blocked:
                lane._unblock()

        connection._finish_recv_packet = finish_recv_packet
        transport.pause_reading()
        transport.set_protocol(lane)
        transport.set_write_buffer_limits(high=0)
        transport.resume_reading()
        if lane._tail:
            tail, lane._tail = lane._tail, b""
            lane._take(memoryview(tail), len(tail))
        return lane

    def _detach(self) -> None:
        """Hand the connection back to asyncssh for good (it changed to a cipher without a lane)."""
        self.write_out()
        self._detached = True
        connection, transport = self.connection, self.transport
        if connection._transport is not None:
            transport.pause_reading()
            transport.set_protocol(connection)
            transport.resume_reading()
            for channel in list(self.channels.values()):
                channel.lane_lost()
            tail, self._tail = self._tail, b""
            if tail:
                connection.data_received(tail)

    # -- inward ----------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """The shared input buffer, behind what is left of the last record."""
        tail = self._tail
        if not tail:
            self._used = 0
            return _input
        used = self._used = len(tail)
        _input[:used] = tail
        return _input[used:]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes arrived in the shared input buffer."""
        if self._blocked:
            self.transport.pause_reading()
        self._take(_input, self._used + nbytes)

    def _take(self, view: memoryview, end: int) -> None:
        """Process every complete record in ``view[:end]`` and keep the rest."""
        connection = self.connection
        position = 0
        touched: list[LaneChannel] = []
        if connection._keepalive_interval:
            connection._reset_keepalive_timer()
        while end - position >= _LEAST_RECORD and connection._transport is not None and not self._blocked:
            opened = self._opened
            key = opened.key
            seq = connection._recv_seq
            length = opened.length or key.length(view, position, seq)
            opened.length = length
            total = _AROUND + length
            if length > connection._max_recv_pktlen or total > MAX_RECORD or length < 8:
                self._pump(touched)
                self._refuse(length)
                return
            if end - position < total:
                break
            opened.length = 0
            record = view[position : position + total]
            position += total
            channel = self._last
            plain: memoryview | None = None
            try:
                if channel is not None and length > SMALL_RECORD:
                    plain = channel.open_record(key, record, length, seq)
                    if plain is None:
                        connection._recv_seq = (seq + 1) & 0xFFFFFFFF
                        _add(touched, channel)
                        continue
                else:
                    plain = _scratch[:length]
                    key.open(record, plain, seq)
            except InvalidTag:
                plain = None
            if plain is not None and length >= _LEAST_OURS:
                padding, kind, number, size = _PACKET(plain)
                if channel is None or channel.number != number:
                    channel = self.channels.get(number)
                if channel is not None:
                    if kind == MSG_CHANNEL_DATA:
                        if _LEAST_OURS + size + padding == length and channel.accept(size):
                            connection._recv_seq = (seq + 1) & 0xFFFFFFFF
                            self._last = channel
                            data = plain[_LEAST_OURS : _LEAST_OURS + size]
                            if not channel.deliver(data, last=position == end):
                                _add(touched, channel)
                            continue
                    elif (
                        kind == MSG_CHANNEL_WINDOW_ADJUST
                        and _LEAST_OURS + padding == length
                        and channel.widen(size)
                    ):
                        connection._recv_seq = (seq + 1) & 0xFFFFFFFF
                        _add(touched, channel)
                        continue
            self._pump(touched)
            self._hand_over(length, record, plain)
            if self._detached:
                self._tail = b""
                connection.data_received(bytes(view[position:end]))
                return
        self._tail = bytes(view[position:end]) if position < end else b""
        if touched or self._output_used:
            self._pump(touched)

    def _pump(self, touched: list[LaneChannel]) -> None:
        for channel in touched:
            channel.room()
        touched.clear()
        self.write_out()

    def _hand_over(self, length: int, record: memoryview, plain: memoryview | None) -> None:
        """Let asyncssh process one packet; `plain` None is a record that failed its check."""
        connection, opened = self.connection, self._opened
        opened.length = length
        opened.plain = None if plain is None else bytes(plain)
        connection._inpbuf = bytes(record)
        connection._recv_data()
        opened.length = 0
        if connection._transport is None:
            return
        if connection._recv_handler != connection._recv_pkthdr:
            # asyncssh processes this packet in a task; nothing may overtake it.
            self._blocked = True
            self.transport.pause_reading()
        self._follow_rekey()
        if self.channels and not self._detached:
            for channel in list(self.channels.values()):
                channel.room()

    def _refuse(self, length: int) -> None:
        """Let asyncssh refuse a length that no packet has, and end the connection."""
        connection = self.connection
        self._opened.length = length
        self._opened.plain = None
        connection._inpbuf = bytes(max(32, HEADER_SIZE + min(length, 8) + TAG_SIZE))
        connection._recv_data()
        if connection._transport is not None:
            connection._force_close(None)

    def _unblock(self) -> None:
        self._blocked = False
        if self.connection._transport is None:
            return
        self.transport.resume_reading()
        self._follow_rekey()
        for channel in list(self.channels.values()):
            channel.room()
        tail, self._tail = self._tail, b""
        if tail:
            self._take(memoryview(tail), len(tail))

    def _follow_rekey(self) -> None:
        """Wrap the encryption objects that a key exchange installed."""
        connection = self.connection
        if connection._recv_encryption is not self._opened:
            key = key_of(connection._recv_encryption)
            if key is None or connection._decompressor is not None:
                self._detach()
                return
            self._opened = connection._recv_encryption = Opened(key)
        if connection._send_encryption is not self._sealed:
            self.write_out()
            key = key_of(connection._send_encryption)
            if key is None or connection._compressor is not None:
                self._detach()
                return
            self._sealed = connection._send_encryption = Sealed(self, key)

    # -- outward ---------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether channel data may be sealed now: no key exchange is going on, none is due."""
        connection = self.connection
        if (
            connection._transport is None
            or not connection._kex_complete
            or connection._deferred_packets
            or self._detached
        ):
            return False
        if connection._send_encryption is not self._sealed:
            self._follow_rekey()
            if self._detached:
                return False
        if connection._rekey_bytes_sent >= connection._rekey_bytes:
            self.write_out()
            connection._send_kexinit()  # as asyncssh's send_packet does before the next packet
            connection._kexinit_sent = True
            return False
        return True

    def slot(self, size: int) -> memoryview:
        """Room for `size` bytes in the output buffer, contiguous with what is sealed already."""
        if _waiting and _waiting[-1] is not self:
            _waiting[-1].write_out()
        if self._output_used + size > OUTPUT_SIZE:
            self.write_out()
        return _output[self._output_used : self._output_used + size]

    def record_size(self, payload: int) -> tuple[int, int]:
        """Bytes of the whole record and of its padding for a packet of `payload` bytes."""
        block = self._sealed.key.block
        padding = -(1 + payload) % block
        if padding < 4:
            padding += block
        return _AROUND + 1 + payload + padding, padding

    def put(self, number: int, data: bytes | bytearray) -> None:
        """Seal `data` as one packet of channel `number`; `ready` was asked, and the window has room."""
        size = len(data)
        total, padding = self.record_size(_LEAST_OURS - 1 + size)
        record = self.slot(total)
        record[HEADER_SIZE + _LEAST_OURS : HEADER_SIZE + _LEAST_OURS + size] = data
        self.seal(record, padding, MSG_CHANNEL_DATA, number, size)

    def seal(self, record: memoryview, padding: int, kind: int, number: int, value: int) -> None:
        """Seal the record that `slot` gave room for; what follows its head is in place.

        Args:
            record: the whole record.
            padding: as `record_size` said.
            kind: CHANNEL_DATA or CHANNEL_WINDOW_ADJUST.
            number: the peer's channel.
            value: length of the data, or bytes of window.
        """
        connection = self.connection
        total = len(record)
        length = total - _AROUND
        _HEAD.pack_into(record, 0, length, padding, kind, number, value)
        record[total - TAG_SIZE - padding : total - TAG_SIZE] = random_padding.take(padding)
        seq = connection._send_seq
        self._sealed.key.seal(record, seq)
        connection._send_seq = (seq + 1) & 0xFFFFFFFF
        connection._rekey_bytes_sent += length
        if not self._output_used:
            _waiting.append(self)
        self._output_used += total

    def write_out(self) -> None:
        """Put the sealed batch on the wire: straight to the socket if nothing waits before it."""
        used = self._output_used
        if not used:
            return
        self._output_used = 0
        _waiting.clear()
        transport = self.transport
        sent = 0
        if transport.is_closing():
            return  # its descriptor may be somebody else's by now
        if not self.congested and transport.get_write_buffer_size() == 0:
            try:
                sent = os.write(self._fd, _output[:used])
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                sent = 0  # the transport meets the same error and reports it to connection_lost
        if sent < used:
            transport.write(bytes(_output[sent:used]))

    @property
    def batched(self) -> int:
        """Sealed bytes that are not on the wire yet."""
        return self._output_used

    def forget(self, channel: LaneChannel) -> None:
        """A channel ended."""
        self.channels.pop(channel.number, None)
        if self._last is channel:
            self._last = None

    # -- the transport's other calls -------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The socket is full: replies wait, and so does reading (asyncssh answers what it reads)."""
        self.congested = True
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        """The socket took everything."""
        self.congested = False
        self.connection.resume_writing()
        for channel in list(self.channels.values()):
            channel.room()
        self.write_out()

    def eof_received(self) -> bool | None:
        """The peer closed its side."""
        self.connection.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; asyncssh tells the channels."""
        self.connection.connection_lost(exc)


def _add(touched: list[LaneChannel], channel: LaneChannel) -> None:
    if channel not in touched:
        touched.append(channel)
