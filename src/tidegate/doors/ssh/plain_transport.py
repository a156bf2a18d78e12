# SPDX-License-Identifier: Apache-2.0
"""Carries a conversation over the public interface of an SSH channel; works with every cipher.

The fast lane (`lane_transport`) does the same with fewer copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from tidegate.doors.common.transport import Conversation

BATCH_BYTES: Final = 512 * 1024
"""Replies are collected up to this many bytes before they are handed to the channel."""

_SPARE_BUFFERS: Final = 4


class Channel(Protocol):
    """The used part of ``asyncssh.SSHServerChannel``. `write` copies its argument before it returns."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    def write_stderr(self, data: bytes) -> None:
        """Queue bytes of standard error."""
        ...

    def pause_reading(self) -> None:
        """Deliver no more data."""
        ...

    def resume_reading(self) -> None:
        """Deliver data again."""
        ...

    def exit(self, status: int) -> None:
        """Send the exit status and close."""
        ...

    def close(self) -> None:
        """Close."""
        ...

    def is_closing(self) -> bool:
        """True if nothing can be written any more."""
        ...


class _Buffers:
    """Long-lived buffers, lent out for a turn of the loop: fresh large ones cost page faults each time."""

    def __init__(self) -> None:
        self._spare: list[memoryview] = []

    def take(self) -> memoryview:
        return self._spare.pop() if self._spare else memoryview(bytearray(BATCH_BYTES))

    def give(self, buffer: memoryview) -> None:
        if len(self._spare) < _SPARE_BUFFERS:
            self._spare.append(buffer)


_buffers: Final = _Buffers()


class PlainTransport:
    """Implements `tidegate.doors.common.transport.ChannelTransport`.

    Use: construct, construct the conversation with it, `attach`, then pass on the channel's events.

    Args:
        channel: the channel.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._conversation: Conversation | None = None
        self._held = bytearray()
        self._out: memoryview | None = None
        self._used = 0
        self._write_paused = False
        self._read_paused = False
        self._pumping = False
        self._eof = False
        self._closed = False
        self._when_sendable: Callable[[], None] | None = None

    def attach(self, conversation: Conversation) -> None:
        """Name the conversation; before any event is passed on."""
        self._conversation = conversation

    # -- events of the channel -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._closed:
            return
        if self._held or self._pumping or self._blocked():
            self._held += data
            if not self._pumping:
                self._pump()
            return
        # The usual case: whole packets, taken where they are.
        conversation = self._conversation
        assert conversation is not None
        self._pumping = True
        try:
            consumed = conversation.feed(memoryview(data))
        finally:
            self._pumping = False
        if consumed < len(data):
            self._held += memoryview(data)[consumed:]
            if consumed:
                self._pump()
                return
        self._throttle()

    def eof_received(self) -> bool:
        """The peer sends no more. True: the other direction stays open until the conversation is done."""
        self._eof = True
        self._pump()
        return True

    def pause_writing(self) -> None:
        """The channel holds too much, or the connection below it.

        The owner MUST pass on the second too: a peer may open a window of gigabytes and not read, and then
        the channel itself never holds anything back.
        """
        self._write_paused = True

    def resume_writing(self) -> None:
        """The channel has room again."""
        self._write_paused = False
        self._pump()
        callback, self._when_sendable = self._when_sendable, None
        if callback is not None:
            callback()

    def connection_lost(self, exc: BaseException | None = None) -> None:
        """The channel is gone."""
        del exc
        self._closed = True
        self._when_sendable = None
        self._held = bytearray()
        self._drop_output()
        if self._conversation is not None:
            self._conversation.connection_lost()

    @property
    def held_bytes(self) -> int:
        """Bytes of input that wait for the conversation."""
        return len(self._held)

    # -- input ---------------------------------------------------------------------------------------

    def _blocked(self) -> bool:
        conversation = self._conversation
        return self.congested or (conversation is not None and conversation.saturated)

    def _pump(self) -> None:
        """Offer what is held until the conversation takes no more of it."""
        conversation = self._conversation
        if self._pumping or self._closed or conversation is None:
            return
        self._pumping = True
        try:
            while self._held and not self._blocked() and not self._closed:
                view = memoryview(self._held)
                consumed = conversation.feed(view)
                try:
                    view.release()
                    del self._held[:consumed]
                except BufferError:
                    # Somebody kept a slice (a traceback does): leave the old buffer to it.
                    self._held = self._held[consumed:]
                if not consumed:
                    break
        finally:
            self._pumping = False
        if self._eof and not self._blocked() and not self._closed:
            # What is still held is the beginning of a packet whose end will never come.
            self._held = bytearray()
            conversation.eof_received()
        self._throttle()

    def _throttle(self) -> None:
        """Read from the peer exactly while the conversation takes requests."""
        if self._closed:
            return
        blocked = self._blocked()
        if blocked and not self._read_paused:
            self._read_paused = True
            self._channel.pause_reading()
        elif not blocked and self._read_paused:
            self._read_paused = False
            # Delivers at once what was kept back, so it comes last.
            self._channel.resume_reading()

    # -- output --------------------------------------------------------------------------------------

    @property
    def congested(self) -> bool:
        """True if the channel, or the connection below it, holds too much."""
        return self._write_paused

    @property
    def sendable(self) -> int:
        """Room for a batch, if the channel takes anything."""
        return 0 if self._write_paused or self._closed else BATCH_BYTES

    def when_sendable(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the channel has room again; see `PacketTransport.when_sendable`."""
        self._when_sendable = callback

    def tight(self, size: int) -> bool:  # noqa: ARG002  asyncssh keeps what the window does not take
        """False: the channel keeps what the peer's window does not take."""
        return False

    def _room(self, size: int) -> memoryview | None:
        """A buffer with room for `size` bytes after `_used`, None if it would never fit."""
        if size > BATCH_BYTES:
            return None
        if self._used + size > BATCH_BYTES:
            self.flush()
        if self._out is None:
            self._out = _buffers.take()
        return self._out

    def send(self, packet: bytes | bytearray) -> None:
        """Queue one packet."""
        if self._closed:
            return
        size = len(packet)
        out = self._room(size)
        if out is None:
            self.flush()
            self._hand_over(bytes(packet))
            return
        used = self._used
        out[used : used + size] = packet
        self._used = used + size

    def reserve(self, head: int, size: int) -> tuple[memoryview] | None:
        """Room in the outgoing buffer."""
        if self._closed:
            return None
        size = min(size, BATCH_BYTES - head)
        out = self._room(size + head)
        assert out is not None
        start = self._used + head
        return (out[start : start + size],)

    def commit(self, head: bytes, size: int) -> None:
        """Count what was filled."""
        out, used = self._out, self._used
        assert out is not None
        start = used + len(head)
        out[used:start] = head
        self._used = start + size

    def flush(self) -> None:
        """Hand what is queued to the channel."""
        out, used = self._out, self._used
        if out is None:
            return
        self._out, self._used = None, 0
        if used:
            self._hand_over(out[:used])
        _buffers.give(out)

    def _hand_over(self, data: bytes | memoryview) -> None:
        if self._closed or self._channel.is_closing():
            return
        try:
            self._channel.write(data)  # type: ignore[arg-type]  # any buffer: it is copied at once
        except OSError:
            # The channel is closed for writing; its end is reported by `connection_lost`.
            return

    def _drop_output(self) -> None:
        if self._out is not None:
            _buffers.give(self._out)
        self._out, self._used = None, 0

    def resume(self) -> None:
        """The conversation takes requests again."""
        self._pump()

    def error(self, data: bytes) -> None:
        """Queue bytes of standard error, behind what is queued."""
        self.flush()
        if self._closed or self._channel.is_closing():
            return
        with contextlib.suppress(OSError):  # as in `_hand_over`
            self._channel.write_stderr(data)

    def close(self, *, status: int) -> None:
        """End the channel after what is queued."""
        if self._closed:
            return
        self.flush()
        if not self._channel.is_closing():
            self._channel.exit(status)
