# SPDX-License-Identifier: Apache-2.0
"""Connections to scanners: on sockets of our own.

A scanner may answer in the middle of a stream and close. A transport of asyncio drops such an answer when its
own next write fails; `recv` after a failed `send` still has it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

CHUNK: Final = 256 * 1024
"""Bytes that are read and sent at a time; a scan holds about twice as many."""
SEND_BUFFER: Final = 4 * CHUNK
"""Bytes that the system may hold of what is sent: fewer turns of the loop for each chunk."""
CONNECT_SECONDS: Final = 10.0
"""Most that a connection to one address may take."""
MAX_ADDRESSES: Final = 4
"""Addresses of a host name that are tried."""


async def connect(where: tuple[str, int] | str) -> socket.socket:
    """A connection to a host and port, or to the path of a Unix socket.

    Raises:
        OSError: there is none.
    """
    loop = asyncio.get_running_loop()
    if isinstance(where, str):
        return await _connect_one(socket.AF_UNIX, where)
    try:
        found = await loop.getaddrinfo(*where, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{where[0]!r} is no host name") from None
    failed: OSError = OSError(f"{where[0]} has no address")
    for family, _, _, _, at in found[:MAX_ADDRESSES]:
        try:
            return await _connect_one(family, at)
        except OSError as error:
            failed = error
    raise failed


async def _connect_one(family: int, at: tuple[Any, ...] | str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, at)
        except TimeoutError:
            raise OSError(f"no connection in {CONNECT_SECONDS:g} s") from None
    except BaseException:
        sock.close()
        raise
    return sock


def has_answered(sock: socket.socket) -> bool:
    """True if the other end has sent something, or has closed."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def why(error: OSError) -> str:
    """The text of an error."""
    return error.strerror or str(error) or type(error).__name__
