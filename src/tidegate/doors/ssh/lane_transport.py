# SPDX-License-Identifier: Apache-2.0
"""One channel on the fast lane: reassembly, windows, and content read straight into records.

Implements `tidegate.doors.common.transport.ChannelTransport`. Flow control is the channel's window (RFC 4254
section 5.2): what the conversation has not consumed is not given back to the peer's window, so a peer that
sends faster than storage takes stops by itself; what the peer's window or the socket does not take waits in
`_pending`, and while anything waits there `congested` is true and the conversation takes no further input.

Long, because both directions of a channel share windows and buffers, and a packet is to cost few calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag

from tidegate.doors.common.transport import Conversation
from tidegate.doors.ssh.lane import Lane
from tidegate.doors.ssh.lane_output import (
    CHANNEL_HEAD,
    LEAST_PADDING,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_WINDOW_ADJUST,
    OUTPUT_SIZE,
    PAYLOAD_OFFSET,
)
from tidegate.doors.ssh.packets import SMALL_PACKET, TURN_PACKETS
from tidegate.doors.ssh.records import Records
from tidegate.resources.pages import fresh_pages

HEADROOM: Final = 16
"""Bytes before the reassembly area; a record's 10 bytes of header are decrypted over what precedes it."""

PACKET_HEADER: Final = 10
"""padding_length, message number, recipient channel, string length."""

MAX_CHUNK: Final = 64 * 1024
"""Longest channel data sent in one packet, bytes, however large the peer's limit is."""

SMALL_LIMIT: Final = 30 * 1024
"""Replies gathered before they are sealed together, bytes."""

REST_LIMIT: Final = 2048
"""Bytes left over of full records that wait for what comes next: a record of their own is dearer than a copy.

An answer to a READ of 32 KiB is 13 bytes longer than a packet of many clients may be.
"""

WRITE_AT: Final = 256 * 1024
"""Sealed bytes that are put on the wire without waiting for the end of the batch: what stays in cache."""

NUDGE_SECONDS: Final = 0.005
"""After this time requests are answered in parts all the same: a peer may refill only an empty window."""

_ENDING: Final = frozenset({"close_pending", "closed"})
"""States of asyncssh's channel in which nothing is sent or taken any more."""

BUFFER_SIZE: Final = 640 * 1024
"""Bytes of a reassembly buffer; one that must be larger has room for the whole window as well."""

_ONE, _SEVERAL, _ASIDE = range(3)
"""The place of a reservation: in one record, in several, or aside until window or key exchange allow."""

_free_buffers: list[memoryview] = []
_FREE_BUFFERS_KEPT: Final = 8
_large_buffers: list[memoryview] = []
_LARGE_BUFFERS_KEPT: Final = 2
"""Buffers of uploads that storage holds up again and again; their pages would be made anew each time."""


class FastTransport:
    """Carries one conversation's bytes over a lane.

    Args:
        lane: the connection's lane.
        channel: asyncssh's channel, open.
        largest: most bytes that the conversation commits at once.
    """

    def __init__(self, lane: Lane, channel: Any, largest: int) -> None:
        self._lane = lane
        self._out = lane.out
        self.number: int = channel._recv_chan
        # The channel itself: what asyncssh hands to sessions may be a wrapper with other attributes.
        self._channel = channel = lane.connection._channels[self.number]
        self._conversation: Conversation | None = None
        self._view: memoryview | None = None
        self._begin = self._end = HEADROOM
        self._unacknowledged = 0
        self._acknowledge_at: int = channel._init_recv_window // 4
        self._chunk = min(channel._send_pktsize, MAX_CHUNK)
        # Packets that may be sealed in this turn, for a peer that takes small ones only.
        self._left = TURN_PACKETS if self._chunk < SMALL_PACKET else -1
        self._turn: asyncio.Handle | None = None
        self._small: list[bytes | bytearray] = []
        self._reserved: tuple[int, memoryview, int, int] = (_ASIDE, memoryview(b""), 0, 0)
        self._small_size = 0
        self._pending: deque[memoryview] = deque()
        self._feeding = False
        self._eof = False
        self._plain = False
        self._paused = False  # what asyncssh holds, or the socket below it, is full
        self._read_paused = False
        self._enough_window = min(largest, channel._send_window // 4)
        self._nudge: asyncio.TimerHandle | None = None
        self._nudged = False
        self._waits = False  # the conversation left a request for want of window
        self._window_then = 0
        self._closing: int | None = None
        self._gone = False
        self._when_sendable: Callable[[], None] | None = None
        lane.channels[self.number] = self

    def attach(self, conversation: Conversation) -> None:
        """Name the conversation; before any event is passed on."""
        self._conversation = conversation

    # -- inward ----------------------------------------------------------------------------------------

    def open_record(self, key: Records, record: memoryview, length: int, seq: int) -> memoryview | None:
        """Open a record behind what is reassembled.

        Returns:
            None if it was data of this channel (consumed), else the plain packet.

        Raises:
            InvalidTag: the record failed its check; the connection is lost.
        """
        start = self._room_for(length)
        view = self._view
        assert view is not None
        plain = view[start : start + length]
        end = self._end
        saved = bytes(view[start:end])
        try:
            key.open(record, plain, seq)
        except InvalidTag:
            # The library has written what it decrypted, unproved, over the last bytes of data that was proved
            # and that the conversation may still be given.
            view[start:end] = saved
            raise
        padding, kind = plain[0], plain[1]
        if kind == MSG_CHANNEL_DATA and int.from_bytes(plain[2:6], "big") == self.number:
            size = int.from_bytes(plain[6:10], "big")
            fits = size + PACKET_HEADER + padding == length and padding >= LEAST_PADDING
            if fits and self.accept(size):
                view[start:end] = saved
                self._end = end + size
                return None
        other = memoryview(bytes(plain))
        view[start:end] = saved
        return other

    def widen(self, size: int) -> bool:
        """Take more window from the peer; False if asyncssh must judge the packet."""
        # OpenSSH sends one for every 96 KiB it has taken: worth sparing asyncssh the trouble.
        channel = self._channel
        if self._gone or channel._recv_state != "open" or channel._send_buf:
            return False
        channel._send_window += size
        return True

    def accept(self, size: int) -> bool:
        """True if data of `size` bytes keeps the rules; counts it against the window."""
        channel = self._channel
        if (
            self._gone
            or channel._recv_state != "open"
            or channel._send_state in _ENDING
            or channel._recv_buf
            or size > channel._recv_window
        ):
            return False
        channel._recv_window -= size
        return True

    def deliver(self, data: memoryview, last: bool) -> bool:
        """Take accepted data; valid during the call only.

        Args:
            last: nothing more is at hand, so the conversation may have it at once: the way of a client that
                waits for each answer, without a copy.

        Returns:
            False if some of it waits for `room`.
        """
        conversation = self._conversation
        if (
            not last
            or self._end != self._begin
            or self._feeding
            or self._gone
            or conversation is None
            or conversation.saturated
        ):
            self._append(data)
            return False
        self._feeding = True
        try:
            consumed = conversation.feed(data)
        finally:
            self._feeding = False
        self._unacknowledged += consumed
        if self._gone:
            return True
        if self._unacknowledged >= self._acknowledge_at:
            self._adjust_window()
        if consumed == len(data):
            return True
        self._append(data[consumed:])
        return False

    def data_received(self, data: bytes) -> None:
        """Data that asyncssh delivered itself (before the lane was attached, or after it was lost)."""
        if self._gone:
            return
        # asyncssh refills the peer's window by itself for what it delivers.
        self._append(data)
        self._unacknowledged -= len(data)
        self.pump()
        self._out.write_out()

    def eof_received(self) -> bool:
        """The peer sends no more. True: the other direction stays open until the conversation is done."""
        self._eof = True
        self.pump()
        self._out.write_out()
        return True

    def pause_writing(self) -> None:
        """Counts after the lane was lost; before, the lane watches window and socket itself."""
        self._paused = True

    def resume_writing(self) -> None:
        """The plain channel has room again."""
        self._paused = False
        if self._plain:
            self.pump()
        self._tell_sendable()

    def _append(self, data: bytes | memoryview) -> None:
        self._room_for(len(data) + PACKET_HEADER)
        view = self._view
        assert view is not None
        view[self._end : self._end + len(data)] = data
        self._end += len(data)

    def _room_for(self, length: int) -> int:
        """Make room for a record behind what is reassembled; returns where it may be opened."""
        view = self._view
        if view is None:
            view = self._view = _free_buffers.pop() if _free_buffers else memoryview(bytearray(BUFFER_SIZE))
        if self._end + length > len(view):
            held = self._end - self._begin
            need = HEADROOM + held + length
            if need <= len(view):
                view[HEADROOM : HEADROOM + held] = view[self._begin : self._end]  # they may overlap
            else:  # bounded by the channel's window: nothing beyond it is accepted
                larger = self._larger(need)
                larger[HEADROOM : HEADROOM + held] = view[self._begin : self._end]
                self._keep(view)
                self._view = larger
            self._begin, self._end = HEADROOM, HEADROOM + held
        return self._end - PACKET_HEADER

    def _larger(self, need: int) -> memoryview:
        """A buffer with room for all that the peer may send while nothing is consumed: it grows once."""
        size = max(need, self._channel._init_recv_window + BUFFER_SIZE)
        for index, view in enumerate(_large_buffers):
            if len(view) >= size:
                return _large_buffers.pop(index)
        return fresh_pages(size)

    @staticmethod
    def _keep(view: memoryview) -> None:
        """Let others use a buffer."""
        if len(view) == BUFFER_SIZE and len(_free_buffers) < _FREE_BUFFERS_KEPT:
            _free_buffers.append(view)
        elif len(view) > BUFFER_SIZE and len(_large_buffers) < _LARGE_BUFFERS_KEPT:
            _large_buffers.append(view)

    def _blocked(self) -> bool:
        conversation = self._conversation
        return self.congested or self._waits or conversation is None or conversation.saturated

    @property
    def held_bytes(self) -> int:
        """Bytes of input that wait for the conversation."""
        return self._end - self._begin

    def pump(self) -> None:
        """Offer the conversation what is there, and give the peer window for what it consumed."""
        conversation = self._conversation
        if self._feeding or conversation is None or self._gone or self._channel._send_state in _ENDING:
            return
        self._feeding = True
        self._waits = False
        try:
            while self._end > self._begin and not self._blocked() and not self._gone:
                view = self._view
                assert view is not None
                consumed = conversation.feed(view[self._begin : self._end])
                self._begin += consumed
                self._unacknowledged += consumed
                if not consumed:
                    break
        finally:
            self._feeding = False
        if self._gone:
            return
        if self._unacknowledged >= self._acknowledge_at:
            self._adjust_window()
        if self._begin == self._end:
            self._release()
        if self._eof and not self._blocked():
            # What is still held is the beginning of a packet whose end will never come.
            self._release()
            conversation.eof_received()
        if self._plain:
            self._throttle()
        self._tell_sendable()

    def _throttle(self) -> None:
        """Without the lane asyncssh gives window for all it delivers, so it must not deliver without end."""
        held = self._end > self._begin and self._blocked()
        if held == self._read_paused or self._gone:
            return
        self._read_paused = held
        if held:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def _release(self) -> None:
        self._begin = self._end = HEADROOM
        view, self._view = self._view, None
        if view is not None:
            self._keep(view)

    def _adjust_window(self) -> None:
        channel = self._channel
        if channel._send_state in _ENDING or self._gone or self._closing is not None:
            return  # to a channel that ends a peer may send what its window holds, and no more
        grant, self._unacknowledged = self._unacknowledged, 0
        channel._recv_window += grant
        if self._plain or not self._out.ready():
            channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, grant.to_bytes(4, "big"))
            return
        record, padding = self._out.frame(CHANNEL_HEAD)
        self._out.seal(record, padding, MSG_CHANNEL_WINDOW_ADJUST, channel._send_chan, grant)

    # -- outward -------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """True if the peer's window or the socket holds replies back."""
        if self._plain:
            return self._paused or bool(self._pending)
        return bool(self._pending) or self._out.congested

    @property
    def sendable(self) -> int:
        """Bytes of the peer's window; 0 while socket, key exchange or standard error come first."""
        channel = self._channel
        if self._gone or channel._send_state in _ENDING or self.congested or channel._send_buf:
            return 0
        if self._plain:
            return MAX_CHUNK
        return max(0, channel._send_window - self._small_size) if self._out.ready() else 0

    def when_sendable(self, callback: Callable[[], None]) -> None:
        """Call `callback` when something can be sent; see `PacketTransport.when_sendable`."""
        self._when_sendable = callback

    def _tell_sendable(self) -> None:
        callback = self._when_sendable
        if callback is not None and self.sendable:
            self._when_sendable = None
            callback()

    def tight(self, size: int) -> bool:
        """True while the peer's window has no room for a packet of `size` bytes, for `NUDGE_SECONDS` at most.

        Sealing a part and keeping the rest costs a copy into a fresh buffer. A peer whose whole window is
        small is not waited for beyond a quarter of it.
        """
        window: int = self._channel._send_window - self._small_size
        if window >= size or window >= self._enough_window or self._nudged or self._plain:
            return False
        if self._nudge is None:
            self._window_then = self._channel._send_window
            self._nudge = asyncio.get_running_loop().call_later(NUDGE_SECONDS, self._after_nudge)
        self._waits = True
        return True

    def _after_nudge(self) -> None:
        """The timer outlives the shortage it was set for; only a window that stands still is one."""
        self._nudge = None
        if self._channel._send_window == self._window_then:
            self._nudged = True
            self.room()
            self._nudged = False
        else:
            self.room()

    def send(self, packet: bytes | bytearray) -> None:
        """Queue one packet; small ones are sealed together."""
        if self._gone:
            return
        self._small.append(packet)
        self._small_size += len(packet)
        if self._small_size >= SMALL_LIMIT:
            self._emit_small()

    def reserve(self, head: int, size: int) -> Sequence[memoryview] | None:
        """Room for content in outgoing records; see `PacketTransport.reserve`."""
        if self._gone:
            return None
        out, channel, chunk = self._out, self._channel, self._chunk
        head += self._small_size  # what is queued goes in front, in the same records
        length = head + size
        ready = not self._pending and length <= channel._send_window and out.ready()
        if ready and length <= chunk:
            record, padding = out.frame(CHANNEL_HEAD + length)
            start = PAYLOAD_OFFSET + head
            self._reserved = (_ONE, record, padding, size)
            return (record[start : start + size],)
        full, padding = out.record_size(CHANNEL_HEAD + chunk)
        # A peer that takes a few bytes a packet makes the records of one reply larger than the buffer.
        room = (length // chunk + 1) * full
        if not ready or room > OUTPUT_SIZE or self._left >= 0:
            view = memoryview(bytearray(length))
            self._reserved = (_ASIDE, view, 0, size)
            return (view[head:],)
        area = out.slot(room)
        targets = []
        place, left, skip = PAYLOAD_OFFSET, length, head
        while left > 0:
            part = min(left, chunk)
            if part > skip:
                targets.append(area[place + skip : place + part])
                skip = 0
            else:
                skip -= part  # a peer with tiny packets: the header alone fills this one
            place += full
            left -= part
        self._reserved = (_SEVERAL, area, padding, size)
        return targets

    def commit(self, head: bytes, size: int) -> None:
        """Seal the records that `reserve` gave room in."""
        kind, area, padding, reserved = self._reserved
        out, channel = self._out, self._channel
        if self._small:
            head = b"".join((*self._small, head))
            self._small.clear()
            self._small_size = 0
        length = len(head) + size
        number = channel._send_chan
        if kind == _ONE:
            record = area
            if size < reserved:
                total, padding = out.record_size(CHANNEL_HEAD + length)
                record = area[:total]
            record[PAYLOAD_OFFSET : PAYLOAD_OFFSET + len(head)] = head
            out.seal(record, padding, MSG_CHANNEL_DATA, number, length)
            channel._send_window -= length
        elif kind == _ASIDE:
            area[: len(head)] = head
            self._emit(area[:length])
            return
        else:
            self._seal_several(area, padding, head, length)
        if out.batched >= WRITE_AT:
            out.write_out()

    def _seal_several(self, area: memoryview, full_padding: int, head: bytes, length: int) -> None:
        """Seal records that follow each other in `area`, each but the last of the channel's chunk size."""
        out, channel, chunk = self._out, self._channel, self._chunk
        full, _ = out.record_size(CHANNEL_HEAD + chunk)
        number = channel._send_chan
        place = written = 0
        while length > 0:
            part, total, padding = chunk, full, full_padding
            if length < chunk:
                if length <= REST_LIMIT and place and written >= len(head):
                    start = place + PAYLOAD_OFFSET
                    self._small.append(bytes(area[start : start + length]))
                    self._small_size = length
                    break
                part = length
                total, padding = out.record_size(CHANNEL_HEAD + part)
            record = area[place : place + total]
            if written < len(head):
                piece = head[written : written + part]
                record[PAYLOAD_OFFSET : PAYLOAD_OFFSET + len(piece)] = piece
            out.seal(record, padding, MSG_CHANNEL_DATA, number, part)
            written += part
            place += full
            length -= part
        channel._send_window -= written

    def flush(self) -> None:
        """Seal what is gathered and put the batch on the wire."""
        small, out, channel = self._small, self._out, self._channel
        size = self._small_size
        if (
            len(small) == 1
            and not self._pending
            and not self._plain
            and size <= self._chunk
            and size <= channel._send_window
            and channel._send_state not in _ENDING
            and out.send_alone(channel._send_chan, small[0])
        ):
            channel._send_window -= size
            small.clear()
            self._small_size = 0
        else:
            if small:
                self._emit_small()
            out.write_out()
        if self._closing is not None:
            self._finish()

    def error(self, data: bytes) -> None:
        """Queue bytes of standard error: asyncssh sends them, there are few."""
        self.flush()
        if not self._gone and self._channel._send_state == "open":
            self._channel.write_stderr(data)

    def close(self, *, status: int) -> None:
        """End the channel after what is queued."""
        if self._closing is None:
            self._closing = status
            self.flush()

    def _emit_small(self) -> None:
        small, out, channel = self._small, self._out, self._channel
        data = small[0] if len(small) == 1 else b"".join(small)
        small.clear()
        size = self._small_size
        self._small_size = 0
        if channel._send_state in _ENDING:
            return  # the peer closed the channel; asyncssh tells us in the loop's next turn
        if (
            size <= self._chunk
            and size <= channel._send_window
            and not self._pending
            and not self._plain
            and out.ready()
        ):
            out.put(channel._send_chan, data)
            channel._send_window -= size
        else:
            self._emit(memoryview(data))

    def _emit(self, data: memoryview) -> None:
        """Seal as much as window and key exchange allow; the rest waits."""
        if self._pending:
            self._pending.append(data)
        else:
            rest = self._seal_some(data)
            if rest is not None:
                self._pending.append(rest)

    def _seal_some(self, data: memoryview) -> memoryview | None:
        out, channel = self._out, self._channel
        if self._plain:
            channel.write(bytes(data))
            return None
        start, size = 0, len(data)
        while start < size:
            if not out.ready():
                return data[start:]
            part = min(size - start, channel._send_window, self._chunk)
            if part <= 0 or self._left == 0:
                return data[start:]
            if self._left > 0:
                self._count()
            record, padding = out.frame(CHANNEL_HEAD + part)
            record[PAYLOAD_OFFSET : PAYLOAD_OFFSET + part] = data[start : start + part]
            out.seal(record, padding, MSG_CHANNEL_DATA, channel._send_chan, part)
            channel._send_window -= part
            start += part
        return None

    def _count(self) -> None:
        """Count a small packet; once too many were sealed in this turn, the rest waits for the next."""
        self._left -= 1
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._left = TURN_PACKETS
        if self._pending:
            self.room()

    def room(self) -> None:
        """The window grew, the socket drained or a key exchange ended: go on with what waited."""
        if self._gone or self._channel._send_state in _ENDING:
            return
        if self._feeding:  # feed's own loop goes on with what it emits; the rest waits for its end
            return
        while self._pending:
            rest = self._seal_some(self._pending[0])
            if rest is not None:
                self._pending[0] = rest
                self._out.write_out()
                return
            self._pending.popleft()
        if self._closing is not None:
            self.flush()
        elif self._end > self._begin or self._eof:
            self.pump()
        self._tell_sendable()
        self._out.write_out()

    def resume(self) -> None:
        """The conversation is no longer saturated."""
        self.pump()
        self._out.write_out()

    def _finish(self) -> None:
        if not self._gone and not self._pending and not self._small and self._channel._send_state == "open":
            self._channel.exit(self._closing or 0)

    # -- the end ---------------------------------------------------------------------------------------

    @property
    def unconsumed(self) -> int:
        """Bytes received that the conversation has not consumed."""
        return self._end - self._begin

    def lane_lost(self) -> None:
        """The connection changed to a cipher without a lane: go on through the plain channel."""
        self._plain = True
        self.room()

    def connection_lost(self, exc: BaseException | None = None) -> None:
        """The channel is gone."""
        del exc
        self._gone = True
        self._when_sendable = None
        if self._nudge is not None:
            self._nudge.cancel()
            self._nudge = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._pending.clear()
        self._small.clear()
        self._lane.forget(self)
        if not self._feeding:
            self._release()
        if self._conversation is not None:
            self._conversation.connection_lost()
