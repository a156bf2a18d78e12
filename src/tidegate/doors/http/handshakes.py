# SPDX-License-Identifier: Apache-2.0
"""TLS handshakes of HTTPS: charged to strangers, and begun when these have credit (`resources.newcomers`).

The event loop does the handshake by itself, in callbacks of its own. It makes its TLS by
`ssl.SSLContext.wrap_bio`, whose class a context may name, so each step is charged where it is done. It cannot
be held back there, so it is before: the first message of the client is looked at where it lies (MSG_PEEK),
and the loop gets the connection once the message is complete and there is credit. Decided in ADR 0084.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from typing import Final

from tidegate.resources.newcomers import Newcomers

HEADER_BYTES: Final = 5
"""Of a record (RFC 8446 section 5.1)."""
HANDSHAKE: Final = 22
"""The type of records with messages of a handshake."""
MAX_RECORD_BYTES: Final = HEADER_BYTES + 16 * 1024
"""The longest first record that is waited for."""
PAUSE_SECONDS: Final = 0.05
"""Pause after a look that found nothing new; the kernel may wake us without need."""


class Handshakes:
    """The handshakes of one listener.

    Args:
        context: of the listener; its connections are charged from here on.
        newcomers: the account of strangers.
    """

    def __init__(self, context: ssl.SSLContext, newcomers: Newcomers) -> None:
        self._newcomers = newcomers
        context.sslobject_class = _charged(newcomers)

    async def turn(self, sock: socket.socket) -> None:
        """Wait until a client has said its first message and there is credit for the answer.

        Args:
            sock: non-blocking; nobody else may read it meanwhile. Nothing is taken out of it.

        Raises:
            OSError: the connection has ended.
        """
        await first_record(sock)
        await self._newcomers.wait_for_credit()


def _charged(newcomers: Newcomers) -> type[ssl.SSLObject]:
    """A class of TLS connections whose handshakes are work for strangers."""

    class ChargedHandshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            newcomers.begin()
            try:
                super().do_handshake()
            finally:
                newcomers.end()

    return ChargedHandshake


async def first_record(sock: socket.socket) -> None:
    """Wait until the first record of TLS is complete in a socket, or what is there is no handshake.

    Raises:
        OSError: the connection has ended.
    """
    seen = 0
    try:
        while True:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                data = sock.recv(MAX_RECORD_BYTES, socket.MSG_PEEK)
                if not data:
                    raise ConnectionAbortedError("the client went away before the handshake")
                if len(data) >= (least := _needed(data)):
                    return
                if len(data) == seen:
                    if _hung_up(sock):  # a socket at its end is readable for ever
                        raise ConnectionAbortedError("the client went away within its first message")
                    await asyncio.sleep(PAUSE_SECONDS)
                seen = len(data)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            await _readable(sock)
    finally:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _needed(data: bytes) -> int:
    """Bytes that a first record has, as far as these tell; the TLS library finds out what is wrong."""
    if data[0] != HANDSHAKE:
        return 1
    if len(data) < HEADER_BYTES:
        return HEADER_BYTES
    return min(HEADER_BYTES + int.from_bytes(data[3:5], "big"), MAX_RECORD_BYTES)


def _hung_up(sock: socket.socket) -> bool:
    """True if the client sends no more. Linux alone tells that while there are bytes to take."""
    if not (ended := getattr(select, "POLLRDHUP", 0)):
        return False
    poll = select.poll()
    poll.register(sock, ended)
    return bool(poll.poll(0))


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, tell)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
