# SPDX-License-Identifier: Apache-2.0
"""Connections to one account of another SFTP server, shared by all roots there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import asyncssh

from tidegate.backends.sftp.connecting import connect
from tidegate.backends.sftp.errors import Lost, lost, translated
from tidegate.backends.sftp.options import SftpOptions
from tidegate.errors import StorageFailed

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 30.0
"""A request that waits longer ends its connection."""
CLOSE_SECONDS: Final = 5.0
"""To end a connection in good form."""
IDLE_SECONDS: Final = 60.0
"""Without use a connection is closed after so long."""
MAX_LINKS: Final = 4
"""Connections of one configuration."""
SHARE: Final = 8
"""Calls and open files of one connection before another is made."""
PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds after the first, second... failed attempt to connect in which none is made."""

T = TypeVar("T")


class Link:
    """One connection with its SFTP session; `users` are the calls and open files that have it."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, place: str
    ) -> None:
        self.sftp = sftp
        self.users = 0
        self.lost = False
        self._connection = connection
        self._place = place

    @property
    def usable(self) -> bool:
        """False once the connection has ended."""
        return not (self.lost or self._connection.is_closed())

    async def do(self, request: Awaitable[T], seconds: float = ANSWER_SECONDS) -> T:
        """Wait for the answer to a request.

        Raises:
            Lost: the connection ended, or no answer came in time; it is ended then.
            TidegateError: the answer is an error.
        """
        try:
            async with asyncio.timeout(seconds):
                return await request
        except TimeoutError:
            if not self.lost:
                log.warning(
                    "storage: sftp://%s: no answer within %g s; connection ended", self._place, seconds
                )
            self.end()
            raise Lost(f"no answer within {seconds:g} s") from None
        except (asyncssh.Error, OSError, ValueError) as error:
            if (ended := lost(error)) is not None:
                self.end()
                raise ended from error
            raise translated(error, self._place) from error

    def end(self) -> None:
        """End the connection now."""
        if not self.lost:
            self.lost = True
            self._connection.abort()

    async def close(self) -> None:
        """End the connection in good form, or after a while without."""
        self.lost = True
        self.sftp.exit()
        self._connection.close()
        with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connection.wait_closed()
        self._connection.abort()


class Pool:
    """Connections of one configuration. Roots `open` and `close` it; the last one closes the connections.

    Args:
        options: of the record, without `prefix`.
        own_keys: fingerprints of the host keys of this server.
    """

    def __init__(self, options: SftpOptions, own_keys: Callable[[], Sequence[str]]) -> None:
        self._options = options
        self._own_keys = own_keys
        self._links: list[Link] = []
        self._roots = 0
        self._connecting = asyncio.Lock()
        self._failed = 0
        self._pause_ends = 0.0
        self._why = ""
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.uploads: set[bytes] = set()
        """Paths of unfinished uploads that are being written."""

    @property
    def place(self) -> str:
        """``user@host:port``."""
        return self._options.place

    def open(self) -> None:
        """Count a root."""
        self._roots += 1

    async def close(self) -> None:
        """Count a root less; the last one ends the connections."""
        self._roots -= 1
        if self._roots > 0:
            return
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        links, self._links = self._links, []
        await asyncio.gather(*(link.close() for link in links), *self._closing)

    async def acquire(self) -> Link:
        """A connection; `release` belongs to it.

        Raises:
            StorageFailed: there is none, and none can be made.
        """
        link = self._least_used()
        if link is None or (link.users >= SHARE and len(self._links) < MAX_LINKS):
            link = await self._another(link)
        link.users += 1
        return link

    def release(self, link: Link) -> None:
        """Give a connection back."""
        link.users -= 1
        if not link.usable:
            if link in self._links:
                self._links.remove(link)
        elif link.users == 0 and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle)

    async def run(self, doing: Callable[[Link], Awaitable[T]], *, again: bool = True) -> T:
        """Do something with a connection.

        Args:
            doing: gets the connection.
            again: once more with another connection if the first one ends; it must not matter that it may
                have been done already.

        Raises:
            TidegateError: also `StorageFailed` for a connection that ended.
        """
        tried = False
        while True:
            link = await self.acquire()
            try:
                return await doing(link)
            except Lost as error:
                if tried or not (again or not error.sent):
                    raise self.failed(error) from None
                tried = True
            finally:
                self.release(link)

    def failed(self, error: Lost) -> StorageFailed:
        """The error for a connection that ended."""
        return StorageFailed(detail=f"sftp://{self.place}: {error.what}")

    # -- connections -------------------------------------------------------------------------------------

    def _least_used(self) -> Link | None:
        self._links = [link for link in self._links if link.usable]
        return min(self._links, key=lambda link: link.users, default=None)

    async def _another(self, other: Link | None) -> Link:
        async with self._connecting:
            found = self._least_used()  # somebody else may have connected meanwhile
            if found is not None and (found is not other or len(self._links) >= MAX_LINKS):
                return found
            wait = self._pause_ends - time.monotonic()
            if wait > 0:
                if found is not None:
                    return found
                raise StorageFailed(detail=f"{self._why}; the next attempt is made in {wait:.1f} s")
            try:
                link = await self._connect()
            except StorageFailed as error:
                pause = PAUSES[min(self._failed, len(PAUSES) - 1)]
                self._failed += 1
                self._pause_ends = time.monotonic() + pause
                self._why = error.detail
                log.warning("storage: %s; the next attempt is made in %g s", error.detail, pause)
                if found is not None:  # the server may allow fewer connections than we would make
                    return found
                raise
            self._failed = 0
            self._links.append(link)
            return link

    async def _connect(self) -> Link:
        connection = await connect(self._options, self._own_keys())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                # Names are bytes here (ADR 0008), hence no encoding.
                sftp = await connection.start_sftp_client(path_encoding=None)
        except BaseException as error:
            connection.abort()
            if isinstance(error, TimeoutError | asyncssh.Error | OSError):
                raise StorageFailed(
                    detail=f"sftp://{self.place}: the server starts no SFTP session"
                ) from None
            raise
        return Link(connection, sftp, self.place)

    def _close_idle(self) -> None:
        """Close connections that nobody uses; called a while after one of them was given back."""
        self._idle = None
        idle = [link for link in self._links if link.users == 0]
        self._links = [link for link in self._links if link.users]
        for link in idle:
            task = asyncio.get_running_loop().create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
