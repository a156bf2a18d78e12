# SPDX-License-Identifier: Apache-2.0
"""The fast lane: channel data sealed and opened by us, all else left to asyncssh.

Theory of operation. asyncssh made the connection, the keys and the channel. When a file-transfer channel
starts, `Lane.attach` puts itself between the transport and the connection:

* inward it is the transport's `BufferedProtocol`. It opens every record into the reassembly buffer of the
  channel that spoke last. If the packet is CHANNEL_DATA for a channel of ours, it is consumed there, without
  another copy. Any other packet goes to asyncssh, which runs its own state machine over it; the encryption
  object that asyncssh holds is replaced by one (`Opened`) that hands out what the lane decrypted already.
* outward it seals records in place and writes a batch with one system call (`lane_output`).

What it relies on inside asyncssh is listed in `lane_keys.REQUIRED` and proved by `lane_keys.self_check` at
start; if a name is missing the lane stays off and the plain channel serves, complete and correct.

Rekeying: asyncssh installs new encryption objects; the lane sees that the object it installed is gone and
wraps the new one. While keys are exchanged nothing but key exchange may be sent (RFC 4253 section 7.1):
`ready` is false and channels keep their bytes.

Fairness: records are processed for a slice of a turn (`doors.common`); the rest waits in `_tail`.

Sharing: the event loop runs one callback at a time, so all connections of a process share an input buffer and
an idle one costs nothing. A record that is not complete yet is kept in `_tail`.

Long, because what is sealed, opened and handed on changes together at each key exchange.
"""

from __future__ import annotations

import asyncio
import struct
from time import monotonic
from typing import Any, Final, Protocol

import asyncssh
from cryptography.exceptions import InvalidTag

from tidegate.doors.common.reading import ORDER, SWITCH, TURN, Reading
from tidegate.doors.common.turns import LOOK_EVERY, TURN_SECONDS, turns_of
from tidegate.doors.ssh.lane_keys import Opened, key_of
from tidegate.doors.ssh.lane_output import (
    LEAST_PADDING,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_WINDOW_ADJUST,
    Output,
)
from tidegate.doors.ssh.records import Records
from tidegate.resources.pages import fresh_pages

MAX_PACKET: Final = 300 * 1024
"""Longest packet taken by the lane, bytes; asyncssh's own limit is 256 KiB."""

SMALL_RECORD: Final = 8192
"""Packets up to this length, bytes, are opened aside and copied: cheaper than opening them in place."""

INPUT_SIZE: Final = 512 * 1024
"""Bytes of the shared input buffer: how much one receive call can bring."""

_LEAST_RECORD: Final = 16
"""With fewer bytes at hand there is no record to look at."""

_LEAST_OURS: Final = 10
"""Bytes of a window adjustment, and in front of channel data: padding length, number, channel, value."""

_LENGTH = struct.Struct(">I").unpack_from
_PACKET = struct.Struct(">BBII").unpack_from

_input = fresh_pages(INPUT_SIZE)
_scratch = fresh_pages(MAX_PACKET)


class LaneUser(Protocol):
    """A channel on the lane; `tidegate.doors.ssh.lane_transport` is the one there is.

    Attributes:
        number: our number of the channel (RFC 4254 section 5.1).
    """

    number: int

    def open_record(self, key: Records, record: memoryview, length: int, seq: int) -> memoryview | None:
        """Open a record in place; None if it was data of this channel, else the plain packet."""
        ...

    def widen(self, size: int) -> bool:
        """Take more window from the peer; False if asyncssh must judge the packet."""
        ...

    def accept(self, size: int) -> bool:
        """Count data of `size` bytes against the window; False if it breaks the rules."""
        ...

    def deliver(self, data: memoryview, last: bool) -> bool:
        """Take accepted data; False if some of it waits for `room`."""
        ...

    def room(self) -> None:
        """Go on with what waited: the window grew, the socket drained or a key exchange ended."""
        ...

    def lane_lost(self) -> None:
        """The connection changed to a cipher without a lane."""
        ...


class Lane(asyncio.BufferedProtocol):
    """One connection's fast lane. Made by `attach`, shared by all its file-transfer channels.

    Attributes:
        out: the outward half.
        channels: by our number of each.
    """

    def __init__(
        self, connection: Any, transport: asyncio.Transport, receive: Records, send: Records
    ) -> None:
        self.connection = connection
        self.transport = transport
        self.out = Output(connection, transport, send, self._follow_rekey)
        self._opened = connection._recv_encryption = Opened(receive)
        self._tail = b""
        self._used = 0
        self._blocked = False
        self._put_off = False
        self._heavy = False
        self._turns = turns_of(connection._loop)
        reading = getattr(connection, "door_reading", None)
        self._reading: Reading = Reading(transport, self._turns) if reading is None else reading
        self._detached = False
        self.channels: dict[int, LaneUser] = {}
        self._last: LaneUser | None = None

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
            return None if existing.out.ended else existing
        transport = connection._transport
        looked_at = b""
        if connection._recv_handler == connection._recv_packet:
            looked_at = bytes(connection._packet)
        receive = key_of(connection._recv_encryption, sends=False, looked_at=looked_at)
        send = key_of(connection._send_encryption, sends=True)
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
        lane = connection._tidegate_lane = cls(connection, transport, receive, send)
        # A block that asyncssh has looked at goes back in front, as it was received: no packet of it was
        # decrypted. `CtrRecords` alone hides the length: with it the block is plain, and was handed over.
        lane._tail = looked_at + bytes(connection._inpbuf)
        connection._packet = b""
        connection._inpbuf = b""
        connection._recv_handler = connection._recv_pkthdr
        finish = connection._finish_recv_packet

        def finish_recv_packet(pkttype: int, seq: int, task: Any = None, is_async: bool = False) -> None:
            finish(pkttype, seq, task, is_async)
            if is_async and lane._blocked:
                lane._unblock()

        connection._finish_recv_packet = finish_recv_packet
        intake, reading = getattr(connection, "door_intake", None), lane._reading
        if intake is not None:
            lane._tail += intake.hand_over()
        uncork = getattr(connection, "uncork", None)
        if uncork is not None:
            uncork()
        reading.work = lane._go_on
        reading.stop(SWITCH)
        transport.set_protocol(lane)
        transport.set_write_buffer_limits(high=0)
        reading.go(SWITCH)
        if lane._tail:
            reading.put_off()
        return lane

    def _detach(self) -> None:
        """Hand the connection back to asyncssh for good (the peer changed to a cipher without a lane)."""
        self._detached = True
        connection, transport, reading = self.connection, self.transport, self._reading
        intake = getattr(connection, "door_intake", None)
        if intake is not None:
            intake.take_back()
        if connection._transport is not None:
            reading.stop(SWITCH)
            transport.set_protocol(connection)
            reading.go(SWITCH)
        self._end_outward()
        tail, self._tail = self._tail, b""
        if tail and connection._transport is not None:
            connection.data_received(tail)

    def _end_outward(self) -> None:
        """Let asyncssh seal all that follows. What the peer sends may still need the lane's old key."""
        if self.out.ended:
            return
        self.out.write_out()
        self.out.ended = True
        if self.connection._transport is not None:
            for channel in list(self.channels.values()):
                channel.lane_lost()

    @property
    def held(self) -> int:
        """Bytes of input that wait for a later turn, or for the end of their record."""
        return len(self._tail)

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
        end = self._used + nbytes
        turns = self._turns
        if self._reading.reasons or turns.used >= TURN_SECONDS or (self._heavy and turns.crowded):
            self._tail = bytes(_input[:end])
            self._reading.put_off()
            return
        self._tail = b""  # it is in front of what came
        self._heavy = False
        turns.begin()
        try:
            self._take(_input, end)
        finally:
            turns.end()

    def _go_on(self) -> None:
        """Process what was put off; called within a slice."""
        tail, self._tail = self._tail, b""
        if tail:
            self._take(memoryview(tail), len(tail))
        if self._detached:
            self._reading.put_off()  # asyncssh's own way goes on with what is left
        elif not self._put_off:
            self._reading.go(TURN)

    def _take(self, view: memoryview, end: int) -> None:
        """Process the complete records in ``view[:end]``, for a slice of a turn, and keep the rest."""
        connection = self.connection
        deadline, until_look = self._turns.deadline, LOOK_EVERY
        self._put_off = False
        position = 0
        touched: list[LaneUser] = []
        if connection._keepalive_interval:
            connection._reset_keepalive_timer()
        while end - position >= _LEAST_RECORD and connection._transport is not None and not self._blocked:
            until_look -= 1
            if not until_look:
                until_look = LOOK_EVERY
                if monotonic() >= deadline:
                    self._put_off = True
                    break
            key, seq = self._opened.key, connection._recv_seq
            length = _LENGTH(view, position)[0] if key.clear else key.length(view, position, seq)
            if not 8 <= length <= MAX_PACKET or length > connection._max_recv_pktlen:
                self._pump(touched)
                self._refuse(length)
                return
            if (key.lead - 1 + length) % key.block:
                self._pump(touched)
                self._break_off(f"a packet of {length} bytes is not padded to a multiple of {key.block}")
                return
            start, position = position, position + key.around + length
            if position > end:
                position = start
                break
            record = view[start:position]
            channel = self._last
            plain: memoryview | None = None
            try:
                if channel is None or length <= SMALL_RECORD:
                    aside = _scratch[:length]
                    key.open(record, aside, seq)
                    plain = aside
                else:
                    plain = channel.open_record(key, record, length, seq)
                    if plain is None:
                        connection._recv_seq = (seq + 1) & 0xFFFFFFFF
                        _add(touched, channel)
                        continue
            except InvalidTag:
                pass  # asyncssh is told, by what it does not find
            if plain is not None and length >= _LEAST_OURS:
                padding, kind, number, size = _PACKET(plain)
                if padding < LEAST_PADDING:
                    self._pump(touched)
                    self._break_off(f"{padding} bytes of padding, at least {LEAST_PADDING} are needed")
                    return
                if channel is None or channel.number != number:
                    channel = self.channels.get(number)
                if channel is None:
                    pass
                elif kind == MSG_CHANNEL_DATA:
                    if _LEAST_OURS + size + padding == length and channel.accept(size):
                        connection._recv_seq = (seq + 1) & 0xFFFFFFFF
                        self._last = channel
                        if not channel.deliver(plain[_LEAST_OURS : _LEAST_OURS + size], position == end):
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
        if self._put_off:
            self._heavy = True
            self._reading.put_off()
        if touched or self.out.batched:
            self._pump(touched)

    def _pump(self, touched: list[LaneUser]) -> None:
        for channel in touched:
            channel.room()
        touched.clear()
        self.out.write_out()

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
            self._reading.hold(ORDER)
        self._follow_rekey()
        if self.channels and not self._detached:
            for channel in list(self.channels.values()):
                channel.room()

    def _refuse(self, length: int) -> None:
        """Let asyncssh refuse a length that no packet has, and end the connection."""
        connection = self.connection
        self._opened.length = length
        self._opened.plain = None
        connection._inpbuf = bytes(max(32, self._opened.key.around + min(length, 8)))
        connection._recv_data()
        if connection._transport is not None:
            connection._force_close(None)

    def _break_off(self, reason: str) -> None:
        """End the connection of a peer whose packets are not padded as RFC 4253 section 6 asks."""
        error = asyncssh.ProtocolError(reason)
        self.connection._send_disconnect(error.code, error.reason, error.lang)
        self.connection._force_close(error)

    def _unblock(self) -> None:
        self._blocked = False
        if self.connection._transport is None:
            return
        self._follow_rekey()
        for channel in list(self.channels.values()):
            channel.room()
        if self._tail:
            self._reading.put_off()
        self._reading.go(ORDER)

    def _follow_rekey(self) -> None:
        """Wrap the encryption objects that a key exchange installed."""
        connection = self.connection
        if connection._recv_encryption is not self._opened:
            key = key_of(connection._recv_encryption, sends=False)
            if key is None or connection._decompressor is not None:
                self._detach()
                return
            self._opened = connection._recv_encryption = Opened(key)
        if self.out.rekeyed and not self.out.ended:
            key = key_of(connection._send_encryption, sends=True)
            if key is None or connection._compressor is not None:
                self._end_outward()
                return
            self.out.use(key)

    # -- the rest -------------------------------------------------------------------------------------

    def forget(self, channel: LaneUser) -> None:
        """A channel ended."""
        self.channels.pop(channel.number, None)
        if self._last is channel:
            self._last = None

    def pause_writing(self) -> None:
        """The socket is full: replies wait, and so does reading (asyncssh answers what it reads)."""
        self.out.congested = True
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        """The socket took everything."""
        self.out.congested = False
        self.connection.resume_writing()
        for channel in list(self.channels.values()):
            channel.room()
        self.out.write_out()

    def eof_received(self) -> bool | None:
        """The peer closed its side."""
        self.connection.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; asyncssh tells the channels."""
        self.connection.connection_lost(exc)


def _add(touched: list[LaneUser], channel: LaneUser) -> None:
    if channel not in touched:
        touched.append(channel)
