# SPDX-License-Identifier: Apache-2.0
"""Ways to a data connection: a port that waits for it, or an address to connect to. Every wait has an end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import ssl
from collections.abc import Callable
from typing import Final

from tidegate.doors.common.proxied import header_of
from tidegate.doors.common.proxy_header import BadProxyHeader
from tidegate.doors.ftp.data import DataConnection, DataFailed
from tidegate.doors.ftp.early import EarlyTls
from tidegate.model.address import plain_address
from tidegate.model.proxies import NO_PROXIES, ProxyOptions
from tidegate.resources.descriptors import Descriptors

TRIES: Final = 64
"""Ports of a range that are tried before it counts as used up."""

WAITING: Final = 4
"""Connections that may wait at a passive port."""

LEAST_PORT: Final = 1024
"""Least port that PORT and EPRT may name."""


class Way:
    """One data connection that is to come.

    Life: made, `arrives` or not, `connect`, `close` (at any time).
    """

    def __init__(self) -> None:
        self._coming: asyncio.Task[socket.socket] | None = None
        self._there: socket.socket | None = None
        self._taken = False

    async def _connect(self) -> socket.socket:
        raise NotImplementedError

    def _start(self) -> asyncio.Task[socket.socket]:
        if self._coming is None:
            self._coming = asyncio.get_running_loop().create_task(self._connect(), name="ftp data connection")
            self._coming.add_done_callback(_looked_at)
        return self._coming

    def _accepted(self) -> socket.socket | None:
        """The connection if it can be had without waiting."""
        return None

    @property
    def there(self) -> bool:
        """True if the connection is there: nearly every client connects before it sends its command."""
        if self._there is None and self._coming is None and not self._taken:
            self._there = self._accepted()
        return self._there is not None

    async def arrives(self, seconds: float) -> bool:
        """True if within so many seconds the connection is there, or has failed, as `connect` will tell."""
        if self._taken or self.there:
            return True
        coming = self._start()
        if not coming.done():
            await asyncio.wait({coming}, timeout=seconds)
        return coming.done()

    @property
    def settled(self) -> bool:
        """True if nothing is to be waited for: it did not come about, or its TLS handshake is over."""
        coming = self._coming
        return coming is not None and coming.done() and (coming.cancelled() or coming.exception() is not None)

    async def connect(self) -> socket.socket:
        """The connection, once it is there; its socket is the caller's from then on.

        Raises:
            OSError: it failed.
        """
        sock = self._there if self.there else None
        if sock is None:
            sock = await self._start()
        self._there, self._taken = None, True
        return sock

    def close(self) -> None:
        """Wait no more; a connection that nobody took is closed."""
        if self._there is not None:
            self._there.close()
            self._there = None
        coming = self._coming
        if coming is None or self._taken:
            return
        if not coming.done():
            coming.cancel()
        elif not coming.cancelled() and coming.exception() is None:
            coming.result().close()


def _looked_at(task: asyncio.Task[socket.socket]) -> None:
    """Whoever waits for a connection gets its failure; nobody may be waiting."""
    if not task.cancelled():
        task.exception()


class Passive(Way):
    """A port that waits for one data connection.

    Args:
        sock: listening.
        peer: address that the connection has to come from; empty takes any.
        proxies: whose connections begin with a PROXY header, which says where they come from.

    Attributes:
        early: the beginning of its TLS; see `welcome`.
    """

    def __init__(self, sock: socket.socket, peer: str, proxies: ProxyOptions = NO_PROXIES) -> None:
        super().__init__()
        self.early: EarlyTls | None = None
        self._sock = sock
        self._peer = peer
        self._proxies = proxies

    @classmethod
    def listen(
        cls, address: str, ports: tuple[int, int], peer: str, proxies: ProxyOptions = NO_PROXIES
    ) -> Passive:
        """Listen on a free port.

        Args:
            address: that the control connection reached.
            ports: first and last; (0, 0) takes any free one.
            peer: see `Passive`.
            proxies: see `Passive`.

        Raises:
            DataFailed: there is none.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        first, last = ports
        count = last - first + 1
        start = random.randrange(count)  # noqa: S311  spreads the ports; secret it is not
        for step in range(min(count, TRIES)):
            port = first + (start + step * 7919) % count if first else 0
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                sock.listen(WAITING)
            except OSError as error:
                sock.close()
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise DataFailed(425, "no data connection can be opened now") from error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(sock, peer, proxies)
        raise DataFailed(425, "every passive port that was tried is in use; try again later")

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._sock.getsockname()[1]
        return port

    @property
    def fileno(self) -> int:
        """The descriptor that listens."""
        return self._sock.fileno()

    def welcome(
        self, made: Callable[[socket.socket], DataConnection], context: ssl.SSLContext, *, require_reuse: bool
    ) -> None:
        """Take the connection as soon as it comes, and its TLS handshake as soon as the client begins it.

        Some clients (aioftp, basic-ftp) begin before they have sent the command of the transfer, others not
        before the reply to it.
        """
        self.early = EarlyTls(self, made, context, require_reuse=require_reuse)

    @property
    def settled(self) -> bool:
        """See `Way.settled`."""
        return super().settled or (self.early is not None and self.early.done)

    def _accepted(self) -> socket.socket | None:
        """See `Way._accepted`; those from other addresses are closed."""
        if self._proxies is not NO_PROXIES:  # their header may have to be waited for
            return None
        with contextlib.suppress(OSError):  # nobody yet, or something that `connect` will tell
            for _ in range(WAITING):  # others may come as fast as they are closed
                sock, address = self._sock.accept()
                if not self._peer or plain_address(address[0]) == self._peer:
                    sock.setblocking(False)
                    self._sock.close()
                    return sock
                sock.close()
        return None

    async def _connect(self) -> socket.socket:
        """Those from other addresses are closed."""
        loop = asyncio.get_running_loop()
        while True:
            sock, address = await loop.sock_accept(self._sock)
            sock.setblocking(False)
            try:
                source = await self._source(sock, plain_address(address[0]))
            except BaseException as error:
                sock.close()
                if isinstance(error, BadProxyHeader):
                    continue
                raise
            if not self._peer or source == self._peer:
                self._sock.close()
                return sock
            sock.close()

    async def _source(self, sock: socket.socket, address: str) -> str:
        """The address that a connection comes from, which a proxy tells.

        Raises:
            BadProxyHeader: it does not.
        """
        if not self._proxies.may_send(address):
            return address
        header = await header_of(sock, required=True)
        return address if header is None or header.source is None else header.source[0]

    def close(self) -> None:
        """Listen no more; see `Way.close`."""
        if self.early is not None:
            self.early.close()
        super().close()
        self._sock.close()


class Active(Way):
    """A data connection that we open, as PORT and EPRT ask for."""

    def __init__(self, local: str, address: str, port: int) -> None:
        super().__init__()
        self._local, self._address, self.port = local, address, port

    async def _connect(self) -> socket.socket:
        """Connect from the address of the control connection."""
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((self._local, 0))
            await asyncio.get_running_loop().sock_connect(sock, (self._address, self.port))
        except BaseException:
            sock.close()
            raise
        return sock


async def connected(way: Way, seconds: float, descriptors: Descriptors) -> socket.socket:
    """The socket of a data connection.

    Raises:
        DataFailed: it did not come about in time.
    """
    if way.there:
        sock = await way.connect()
        if not descriptors.admits(sock.fileno()):
            sock.close()
            raise DataFailed(425, "the server has no room for a data connection now")
        return sock
    if not descriptors.room():
        raise DataFailed(425, "the server has no room for a data connection now")
    try:
        async with asyncio.timeout(seconds):
            return await way.connect()
    except TimeoutError:
        raise DataFailed(425, f"no data connection within {seconds:g} s") from None
    except OSError as error:
        descriptors.short(error)
        raise DataFailed(425, "cannot open the data connection") from None
    finally:
        way.close()
