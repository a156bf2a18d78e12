# SPDX-License-Identifier: Apache-2.0
"""The contract between a conversation and the transport that carries its bytes, of whatever kind they are.

A transport is one SSH channel, plain or on the fast lane. It knows no protocol that runs in the channel:
SFTP, SCP, rsync and git are conversations like each other to it.

Inward, the transport owns reassembly: it calls ``conversation.feed(view)`` with all contiguous bytes it has
and gets back how many were consumed. The rest, an incomplete packet or packets that the conversation does not
take yet, stays with the transport, which offers it again. A view is valid only during the call.

Outward, the conversation calls the methods of `PacketTransport`; it calls `flush` at the end of `feed`, and
after bytes that it sent later. All calls are made on the event loop's thread, and `feed` is never entered
twice.

There are three reasons for which `feed` may leave complete packets unconsumed, and in the first two the
transport pauses reading from the peer:

* `congested` is true: too much output waits. The transport knows when it has room again, and then offers
  what it holds once more (and resumes reading).
* ``conversation.saturated`` is true: the conversation holds as many requests and bytes as its bounds allow.
  It calls `resume` when it takes input again; the transport then does the same.
* `tight` was true of the answer to the first of them. The transport offers it again by itself.

In short, after each `feed`: if something was consumed and none is true, offer the rest again; then pause
reading exactly while one of the first two is true. At the end of input the transport calls ``eof_received()``
once everything complete has been consumed, and ``connection_lost()`` when the channel is gone.

A conversation that sends without being asked (the content of a file, the output of a program) sends no more
than `sendable` says, and has itself called by `when_sendable` once that is no longer 0.

Rules of this file: it knows no protocol, no file and no account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Conversation(Protocol):
    """A protocol's side of one channel."""

    @property
    def saturated(self) -> bool:
        """True while the conversation holds as much as its bounds allow."""
        ...

    def feed(self, data: memoryview) -> int:
        """Consume complete packets; returns how many bytes were consumed."""
        ...

    def eof_received(self) -> None:
        """The peer sends no more."""
        ...

    def connection_lost(self) -> None:
        """The channel is gone."""
        ...


class PacketTransport(Protocol):
    """Takes the outgoing bytes of one channel, in order.

    `reserve` and `commit` save the copy of content: room in the outgoing records is reserved, storage reads
    into it, and the records are sealed where they are. Between the two nothing else of the transport may be
    called. A reservation that is not committed costs nothing and is forgotten.
    """

    @property
    def congested(self) -> bool:
        """True while more bytes wait to be sent than the outgoing bound allows."""
        ...

    @property
    def sendable(self) -> int:
        """Bytes that go out at once: what is sent beyond them is kept, and costs a copy."""
        ...

    def when_sendable(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, as soon as something can be sent; it replaces the one of an earlier call.

        It may come although nothing can be sent, or less than `tight` was asked for; then ask again. It never
        comes once the channel is gone.
        """
        ...

    def tight(self, size: int) -> bool:
        """True if a packet of `size` bytes had better wait: the peer will soon have room for it.

        Whoever gets True leaves the request unconsumed; `feed` is called again when there is room, or when
        the peer has given none for a moment (then this is False).
        """
        ...

    def send(self, packet: bytes | bytearray) -> None:
        """Queue bytes that belong together. Never fails, never blocks."""
        ...

    def reserve(self, head: int, size: int) -> Sequence[memoryview] | None:
        """Room for `size` bytes of content behind `head` bytes that `commit` brings.

        Args:
            head: bytes of the header, perhaps 0.
            size: bytes of content, at least 1.

        Returns:
            writable views, to be filled in order: together `size` bytes, or fewer where the transport sends
            no more at once. None if the channel is gone.
        """
        ...

    def commit(self, head: bytes, size: int) -> None:
        """Queue `head`, as long as was reserved, and the first `size` bytes of the reserved content."""
        ...

    def flush(self) -> None:
        """A burst of replies is complete: put it on the wire."""
        ...

    def resume(self) -> None:
        """The conversation is no longer saturated: offer what is held, resume reading."""
        ...

    def error(self, data: bytes) -> None:
        """Queue bytes of standard error (RFC 4254 section 5.2); `sendable` is 0 while some of them wait."""
        ...

    def close(self, *, status: int) -> None:
        """End the channel, after what is queued, with an exit status of 0 to 255."""
        ...


class ChannelTransport(PacketTransport, Protocol):
    """A `PacketTransport` as the owner of the channel sees it, who passes on the channel's events.

    The methods are named after those of ``asyncssh.SSHServerSession``.
    """

    @property
    def held_bytes(self) -> int:
        """Bytes of input that wait for the conversation."""
        ...

    def attach(self, conversation: Conversation) -> None:
        """Name the conversation; before any event is passed on."""
        ...

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        ...

    def eof_received(self) -> bool:
        """The peer sends no more. True: the other direction stays open until the conversation is done."""
        ...

    def pause_writing(self) -> None:
        """The channel's window or the socket is full."""
        ...

    def resume_writing(self) -> None:
        """Sending can go on."""
        ...

    def connection_lost(self, exc: BaseException | None = None) -> None:
        """The channel is gone."""
        ...
