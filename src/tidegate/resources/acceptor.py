# SPDX-License-Identifier: Apache-2.0
"""Accepting connections: judged before anything is built for them, going on when descriptors run out.

uvloop's own servers drop connections in silence when there is no descriptor left, and stop for good when even
the spare one is gone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from tidegate.resources.descriptors import Descriptors
from tidegate.resources.inherited import Inherited
from tidegate.resources.newcomers import PAUSE_SECONDS, Mark, Newcomers

TURN: Final = 32
"""Connections accepted in one turn of the loop at most; `newcomers` says for how many there is time."""

EVERY: Final = ("::", "0.0.0.0")  # noqa: S104  # the names by which the kernel tells it
"""Addresses of every interface."""

RETRY_SECONDS: Final = 0.2
"""After a failure to accept, how long the kernel keeps those that come."""

Take = Callable[[socket.socket, Any], None]
"""Gets an accepted, non-blocking socket and the peer's address; owns the socket from then on."""


class Acceptor:
    """Accepts from listening sockets. Life: constructed, `start`, `close`.

    Args:
        sockets: bound and listening; owned from here on.
        take: who gets connections.
        descriptors: refuses connections when descriptors run low.
        newcomers: bounds what accepting takes from those who have logged in.
    """

    def __init__(
        self, sockets: Sequence[socket.socket], take: Take, descriptors: Descriptors, newcomers: Newcomers
    ) -> None:
        self.sockets = tuple(sockets)
        self._take = take
        self._descriptors = descriptors
        self._newcomers = newcomers
        self._mark = Mark()
        self._loop = asyncio.get_running_loop()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._closed = False

    @property
    def port(self) -> int:
        """The TCP port listened on."""
        port: int = self.sockets[0].getsockname()[1]
        return port

    def start(self) -> None:
        """Accept from now on."""
        for sock in self.sockets:
            sock.setblocking(False)
            # Inherited by accepted sockets: answers are often several small writes.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._loop.add_reader(sock, self._ready, sock)

    def close(self) -> None:
        """Stop listening. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for sock in self.sockets:
            self._loop.remove_reader(sock)
            sock.close()

    async def wait_closed(self) -> None:
        """Return at once: `close` has closed the sockets. As `asyncio.Server`."""

    def _ready(self, sock: socket.socket) -> None:
        newcomers, mark = self._newcomers, self._mark
        most = newcomers.look(mark)
        if not most:  # asked again in the next turn: those who wait are still there
            if newcomers.held_back:
                self._rest(sock, PAUSE_SECONDS)
            return
        newcomers.begin()
        try:
            self._accept(sock, newcomers, mark, most)
        finally:
            newcomers.end()

    def _accept(self, sock: socket.socket, newcomers: Newcomers, mark: Mark, most: float) -> None:
        for _ in range(TURN):
            if self._closed:
                return
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._descriptors.short(error)
                self._rest(sock)
                return
            if not self._descriptors.admits(connection.fileno()):
                connection.close()
                continue
            connection.setblocking(False)
            self._take(connection, address)
            if not newcomers.may_go_on(mark, most):
                return

    def _rest(self, sock: socket.socket, seconds: float = RETRY_SECONDS) -> None:
        """Leave newcomers to the kernel for a moment; trying again at once would only burn the processor."""
        self._loop.remove_reader(sock)
        self._timers[sock.fileno()] = self._loop.call_later(seconds, self._resume, sock)

    def _resume(self, sock: socket.socket) -> None:
        self._timers.pop(sock.fileno(), None)
        if not self._closed:
            self._loop.add_reader(sock, self._ready, sock)


async def listen(address: str, port: int, backlog: int, passed: Inherited) -> list[socket.socket]:
    """Listening sockets for an address.

    Args:
        address: host name or address; empty is every interface, by one socket for IPv4 and IPv6.
        port: TCP port; 0 takes a free one.
        backlog: connections that the kernel holds until they are accepted.
        passed: sockets that are open already; one that is bound to the address is taken instead of a new one.

    Raises:
        OSError: it cannot be had.
    """
    if not address:
        every = [sock for host in EVERY if (sock := passed.take((host, port))) is not None]
        if every:
            return every
    if not address and socket.has_dualstack_ipv6():
        return [
            socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog, reuse_port=False
            )
        ]
    found = await asyncio.get_running_loop().getaddrinfo(
        address or "0.0.0.0",  # noqa: S104  # every interface is what was asked for
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            # Port 0 means one free port, also for a name with several addresses.
            place = where if not sockets or port else (where[0], sockets[0].getsockname()[1], *where[2:])
            there = passed.take(place)
            sockets.append(there or socket.create_server(place, family=family, backlog=backlog))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets
