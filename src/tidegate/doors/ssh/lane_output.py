# SPDX-License-Identifier: Apache-2.0
"""The outward half of a fast lane: records sealed in place in one shared buffer, and one system call a batch.

asyncssh seals its own packets through the same counter (`lane_keys.Sealed`), so the order on the wire is one.
The event loop runs one callback at a time, so all connections of a process share the buffer; a batch that is
not on the wire yet is written out before another connection may use it (`_waiting`).
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable
from typing import Any, Final

from tidegate.doors.ssh.lane_keys import Sealed, random_padding
from tidegate.doors.ssh.records import HEADER_SIZE, Records
from tidegate.resources.pages import fresh_pages

OUTPUT_SIZE: Final = 1024 * 1024
"""Bytes of the shared output buffer; a batch beyond it is written in parts."""

MSG_CHANNEL_WINDOW_ADJUST: Final = 93
MSG_CHANNEL_DATA: Final = 94

LEAST_PADDING: Final = 4
"""Bytes of padding that RFC 4253 section 6 asks for."""

CHANNEL_HEAD: Final = 9
"""Bytes of message number, channel, and length of the data or bytes of window."""

PAYLOAD_OFFSET: Final = HEADER_SIZE + 1 + CHANNEL_HEAD
"""The offset of channel data in its record."""

_HEAD = struct.Struct(">IBBII")
"""packet length, padding length, message number, channel, length of the data (RFC 4254 section 5.2)."""

_output = fresh_pages(OUTPUT_SIZE)
_waiting: list[Output] = []
"""The output whose batch is in the buffer, if there is one: the next to seal writes it out first."""


class Output:
    """The sealed output of one connection.

    Args:
        connection: asyncssh's; its encryption object for sending is replaced.
        transport: below it.
        key: to seal with.
        follow_rekey: called when a key exchange has installed another encryption object.

    Attributes:
        congested: True if the socket took less than it was given.
        batched: sealed bytes that are not on the wire yet.
        ended: nothing is sealed here any more: the connection has a cipher without a lane.
    """

    __slots__ = (
        "_connection", "_fd", "_follow_rekey", "_sealed", "_transport", "batched", "congested", "ended",
    )  # fmt: skip

    def __init__(
        self, connection: Any, transport: asyncio.Transport, key: Records, follow_rekey: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._follow_rekey = follow_rekey
        self.batched = 0
        self.congested = False
        self.ended = False
        self.use(key)

    def use(self, key: Records) -> None:
        """Seal with `key` from here on; what is sealed already goes out."""
        self.write_out()
        self._sealed = self._connection._send_encryption = Sealed(key, self.write_out)

    @property
    def rekeyed(self) -> bool:
        """True if a key exchange has installed another encryption object."""
        return self._connection._send_encryption is not self._sealed

    def ready(self) -> bool:
        """True if channel data may be sealed now: no key exchange is going on, none is due."""
        connection = self._connection
        if (
            connection._transport is None
            or not connection._kex_complete
            or connection._deferred_packets
            or self.ended
        ):
            return False
        if connection._send_encryption is not self._sealed:
            self._follow_rekey()
            if self.ended:
                return False
        if connection._rekey_bytes_sent >= connection._rekey_bytes:
            self.write_out()
            connection._send_kexinit()  # as asyncssh's send_packet does before the next packet
            connection._kexinit_sent = True
            return False
        return True

    def frame(self, payload: int) -> tuple[memoryview, int]:
        """Room for the record of a packet of `payload` bytes, and the bytes of its padding."""
        key = self._sealed.key
        padding = LEAST_PADDING + -(key.lead + LEAST_PADDING + payload) % key.block
        return self.slot(key.around + 1 + payload + padding), padding

    def slot(self, size: int) -> memoryview:
        """Room for `size` bytes in the output buffer, contiguous with what is sealed already."""
        if _waiting and _waiting[-1] is not self:
            _waiting[-1].write_out()
        if self.batched + size > OUTPUT_SIZE:
            self.write_out()
        return _output[self.batched : self.batched + size]

    def record_size(self, payload: int) -> tuple[int, int]:
        """Bytes of the whole record and of its padding for a packet of `payload` bytes."""
        key = self._sealed.key
        padding = LEAST_PADDING + -(key.lead + LEAST_PADDING + payload) % key.block
        return key.around + 1 + payload + padding, padding

    def put(self, number: int, data: bytes | bytearray | memoryview) -> None:
        """Seal `data` as one packet of channel `number`; `ready` was asked, and the window has room."""
        size = len(data)
        record, padding = self.frame(CHANNEL_HEAD + size)
        record[PAYLOAD_OFFSET : PAYLOAD_OFFSET + size] = data
        self.seal(record, padding, MSG_CHANNEL_DATA, number, size)

    def seal(self, record: memoryview, padding: int, kind: int, number: int, value: int) -> None:
        """Seal the record that `slot` gave room for; what follows its head is in place.

        Args:
            record: the whole record.
            padding: as `frame` or `record_size` said.
            kind: CHANNEL_DATA or CHANNEL_WINDOW_ADJUST.
            number: the peer's channel.
            value: length of the data, or bytes of window.
        """
        connection, key = self._connection, self._sealed.key
        total = len(record)
        length = total - key.around
        _HEAD.pack_into(record, 0, length, padding, kind, number, value)
        end = HEADER_SIZE + length
        record[end - padding : end] = random_padding.take(padding)
        seq = connection._send_seq
        key.seal(record, seq)
        connection._send_seq = (seq + 1) & 0xFFFFFFFF
        connection._rekey_bytes_sent += length
        if not self.batched:
            _waiting.append(self)
        self.batched += total

    def send_alone(self, number: int, data: bytes | bytearray) -> bool:
        """Seal `data` as one packet of channel `number` and put it on the wire in one go.

        What most requests of a client that waits for each answer come to; `ready`, `put` and `write_out` do
        the same one after the other.

        Returns:
            False if anything stands in the way; nothing was done then.
        """
        connection, sealed, transport = self._connection, self._sealed, self._transport
        if (
            _waiting
            or self.congested
            or connection._send_encryption is not sealed
            or connection._rekey_bytes_sent >= connection._rekey_bytes
            or not connection._kex_complete
            or connection._deferred_packets
            or self.ended
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            return False
        size, key = len(data), sealed.key
        padding = LEAST_PADDING + -(key.lead + LEAST_PADDING + CHANNEL_HEAD + size) % key.block
        end = PAYLOAD_OFFSET + size
        length = end + padding - HEADER_SIZE
        record = _output[: length + key.around]
        _HEAD.pack_into(record, 0, length, padding, MSG_CHANNEL_DATA, number, size)
        record[PAYLOAD_OFFSET:end] = data
        record[end : end + padding] = random_padding.take(padding)
        seq = connection._send_seq
        key.seal(record, seq)
        connection._send_seq = (seq + 1) & 0xFFFFFFFF
        connection._rekey_bytes_sent += length
        try:
            sent = os.write(self._fd, record)
        except OSError:
            sent = 0  # as in `_write`
        if sent < len(record):
            transport.write(bytes(record[sent:]))
        return True

    def write_out(self) -> None:
        """Put the sealed batch on the wire: straight to the socket if nothing waits before it."""
        used = self.batched
        if not used:
            return
        self.batched = 0
        _waiting.clear()
        transport = self._transport
        if transport.is_closing():
            return  # its descriptor may be somebody else's by now
        if not self.congested and transport.get_write_buffer_size() == 0:
            self._write(_output[:used])
        else:
            transport.write(bytes(_output[:used]))

    def _write(self, records: memoryview) -> None:
        """Write to the socket, which has nothing else to send; the transport gets what it does not take."""
        try:
            sent = os.write(self._fd, records)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            sent = 0  # the transport meets the same error and reports it to connection_lost
        if sent < len(records):
            self._transport.write(bytes(records[sent:]))
