# SPDX-License-Identifier: Apache-2.0
"""Reads the PROXY header of accepted connections, before anything else is read from them.

The header is looked at where it lies (MSG_PEEK) and taken out of the socket once it is complete, so that what
comes behind it, TLS for instance, is left to the door. A connection that waits for its header holds one
descriptor and one timer, and neither a task nor a place among the connections of its door.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from tidegate.doors.common.proxy_header import MAX_V2_BYTES, BadProxyHeader, MoreBytes, ProxyHeader, parse
from tidegate.model.proxies import Ends, ProxyOptions
from tidegate.model.refusal import Refusal

HEADER_SECONDS: Final = 10.0
"""Time for a header to be complete."""
SILENT_SECONDS: Final = 3.0
"""A proxy that sends nothing for so long has come for itself, if no header is required: FTP clients wait for
the server to speak."""
PAUSE_SECONDS: Final = 0.05
"""Pause after a look that found nothing new; the kernel may wake us without need."""
MAX_WAITING: Final = 2048
"""Connections of one listener whose header is waited for; the oldest makes room."""

RULE: Final = "common.proxy_protocol"
"""The rule of refusals for a header."""

log = logging.getLogger(__name__)


def told(ends: Ends, header: ProxyHeader) -> Ends:
    """The ends that a proxy tells; those of its own where it speaks for itself or does not know."""
    if header.source is None:
        return ends
    return Ends(header.source, header.destination, ends.remote[0])


class HeaderReader:
    """Reads the header of one connection. Calls `done` once, from the loop, unless closed before.

    Args:
        sock: non-blocking; nobody else may read it meanwhile. It stays the caller's.
        required: False takes a connection without header too.
        done: gets the header, None if there is none, or the text of what is wrong.
    """

    __slots__ = ("_again", "_deadline", "_done", "_loop", "_required", "_seen", "sock")

    def __init__(
        self, sock: socket.socket, done: Callable[[ProxyHeader | str | None], None], *, required: bool
    ) -> None:
        self.sock = sock
        self._done = done
        self._required = required
        self._seen = 0
        self._loop = loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._deadline = loop.call_later(HEADER_SECONDS if required else SILENT_SECONDS, self._late)
        loop.add_reader(sock, self._look)

    def close(self) -> None:
        """Read no more. Safe to call twice."""
        self._deadline.cancel()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self.sock)

    def _look(self) -> None:
        try:
            data = self.sock.recv(MAX_V2_BYTES, socket.MSG_PEEK)
            if not data:
                self._end("the connection was closed before a PROXY header was complete")
                return
            found = parse(data)
            if isinstance(found, MoreBytes):
                self._wait(len(data), found.least)
                return
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            if found is not None:
                self.sock.recv(found.size)  # it is there: we have just seen it
        except (BlockingIOError, InterruptedError):
            return
        except (BadProxyHeader, OSError) as error:
            self._end(f"PROXY header: {error}")
            return
        if found is None and self._required:
            self._end("there is no PROXY header")
        else:
            self._end(found)

    def _wait(self, held: int, least: int) -> None:
        """Be called again once so many bytes are there."""
        if not self._seen and not self._required:  # it has begun: from here on it gets the whole time
            self._deadline.cancel()
            self._deadline = self._loop.call_later(HEADER_SECONDS, self._late)
        if held == self._seen:
            self._loop.remove_reader(self.sock)
            self._again = self._loop.call_later(PAUSE_SECONDS, self._resume)
        self._seen = held
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self.sock, self._look)

    def _late(self) -> None:
        if not self._seen and not self._required:
            self._end(None)
        else:
            self._end(f"no complete PROXY header within {HEADER_SECONDS:g} s")

    def _end(self, outcome: ProxyHeader | str | None) -> None:
        self.close()
        self._done(outcome)


Passed = Callable[[socket.socket, Ends], None]
"""Gets a socket that is behind its header, and its ends; owns it from then on."""
Turned = Callable[[str, Refusal], None]
"""Told of a connection that was closed for its header: the address of the socket's other end, and why."""


class ProxyGate:
    """Between accepting and a door: finds out who connects. Life: constructed, `take`..., `close`.

    Args:
        options: asked for each connection, as they may change.
        passed: gets connections.
        turned: told of those that were closed.
    """

    def __init__(self, options: Callable[[], ProxyOptions], passed: Passed, turned: Turned) -> None:
        self._options = options
        self._passed = passed
        self._turned = turned
        self._waiting: dict[HeaderReader, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, sock: socket.socket, address: Any) -> None:
        """A connection was accepted; `address` is that of `socket.accept`."""
        options, ends = self._options(), Ends.of(address)
        if not options.mode:
            self._passed(sock, ends)
        elif options.may_send(ends.remote[0]):
            self._read(sock, ends, required=options.mode > 1)
        elif options.direct(ends.remote[0]):
            self._passed(sock, ends)
        else:
            sock.close()
            text = "only the proxies of common.proxy_allowed may connect"
            self._turned(ends.remote[0], Refusal(RULE, text))

    def _read(self, sock: socket.socket, ends: Ends, *, required: bool) -> None:
        def done(outcome: ProxyHeader | str | None) -> None:
            del self._waiting[reader]
            if isinstance(outcome, str):
                sock.close()
                self._turned(ends.remote[0], Refusal(RULE, outcome))
            else:
                self._passed(sock, ends if outcome is None else told(ends, outcome))

        reader = HeaderReader(sock, done, required=required)
        self._waiting[reader] = None
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            self._drop(oldest)
            log.warning("%d connections wait for their PROXY header; the oldest was closed", MAX_WAITING)

    def _drop(self, reader: HeaderReader) -> None:
        del self._waiting[reader]
        reader.close()
        reader.sock.close()

    def close(self) -> None:
        """Close those whose header is not there yet. Safe to call twice."""
        for reader in list(self._waiting):
            self._drop(reader)


async def header_of(sock: socket.socket, *, required: bool) -> ProxyHeader | None:
    """The header of one connection, taken out of its socket; None if there is none.

    Raises:
        BadProxyHeader: it is wrong, is not there in time, or is missing where it is required.
    """
    outcome: asyncio.Future[ProxyHeader | str | None] = asyncio.get_running_loop().create_future()
    reader = HeaderReader(sock, outcome.set_result, required=required)
    try:
        found = await outcome
    finally:
        reader.close()
    if isinstance(found, str):
        raise BadProxyHeader(found)
    return found
