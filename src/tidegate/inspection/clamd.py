# SPDX-License-Identifier: Apache-2.0
"""A client of clamd, the daemon of ClamAV: commands ``zPING`` and ``zINSTREAM`` of clamd(8).

Sockets are used directly: clamd answers a stream that is too long in the middle of it and closes. A transport
of asyncio drops such an answer when its own next write fails; `recv` after a failed `send` still has it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

from tidegate.contracts.inspection import Read
from tidegate.inspection.factory import ClamdOptions
from tidegate.inspection.policies import Result, Scan

CHUNK: Final = 256 * 1024
"""Bytes that are read and sent at a time; a scan holds about twice as many."""
SEND_BUFFER: Final = 4 * CHUNK
"""Bytes that the system may hold of what is sent: fewer turns of the loop for each chunk."""
CONNECT_SECONDS: Final = 10.0
"""Most that a connection to one address of clamd may take."""
PING_SECONDS: Final = 5.0
MAX_ANSWER: Final = 4096
"""Bytes of an answer; the longest real one is the name of a signature and a few words."""
DEFAULT_PORT: Final = 3310
MAX_ADDRESSES: Final = 4
"""Addresses of a host name that are tried."""


class ClamdFailed(Exception):
    """clamd cannot be asked; the text says why."""


def split_address(text: str) -> tuple[str, int] | str:
    """Host and port of an address that the schema has admitted, or the path of a Unix socket."""
    if text.startswith("/"):
        return text
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, ""
    return host.strip("[]"), int(port) if port else DEFAULT_PORT


async def ping(options: ClamdOptions) -> None:
    """Return if clamd answers.

    Raises:
        ClamdFailed: it does not.
    """
    try:
        async with asyncio.timeout(PING_SECONDS):
            with await _connect(options.address) as sock:
                await asyncio.get_running_loop().sock_sendall(sock, b"zPING\0")
                answer = await _answer(sock)
    except TimeoutError:
        raise ClamdFailed(f"no answer in {PING_SECONDS:g} s") from None
    except OSError as error:
        raise ClamdFailed(_why(error)) from None
    if answer != "PONG":
        raise ClamdFailed(f"it answers {answer!r} to PING: is this clamd?")


Turn = AbstractAsyncContextManager[None]
"""Held while clamd scans."""


async def scan(options: ClamdOptions, read: Read, turn: Turn | None = None) -> Scan:
    """Have clamd scan content. The caller bounds the time, and may cancel it at any moment.

    Args:
        options: of the scan.
        read: reads the content, from its beginning to its end.
        turn: entered when all is sent, because clamd scans a stream from its end on.

    Raises:
        TidegateError: the content cannot be read.
    """
    try:
        async with AsyncExitStack() as turns:
            return await _scan(options, read, turn, turns)
    except ClamdFailed as error:
        return Scan(Result.DOWN, str(error))


async def _scan(options: ClamdOptions, read: Read, turn: Turn | None, turns: AsyncExitStack) -> Scan:
    loop = asyncio.get_running_loop()
    try:
        connected = await _connect(options.address)
    except OSError as error:
        raise ClamdFailed(_why(error)) from None
    with connected as sock:
        data, sent = b"zINSTREAM\0", 0
        while True:
            try:
                await loop.sock_sendall(sock, data)
            except OSError as error:
                return await _early(sock, _why(error))
            if len(data) == _LENGTH.size:  # the end of the stream
                break
            if _has_answered(sock):
                return await _early(sock, "it answered before the end")
            piece = await read(sent, CHUNK)
            sent += len(piece)
            if options.max_size and sent > options.max_size:
                return Scan(Result.TOO_LARGE, f"larger than {options.max_size} bytes")
            if turn is not None and not piece:
                await turns.enter_async_context(turn)
            data = _LENGTH.pack(len(piece)) + piece
        try:
            return understood(await _answer(sock))
        except OSError as error:
            raise ClamdFailed(_why(error)) from None


_LENGTH: Final = struct.Struct(">I")
_OK: Final = "stream: OK"


def understood(answer: str) -> Scan:
    """The result that an answer to INSTREAM stands for; one that is not understood is `Result.DOWN`."""
    if answer == _OK:
        return Scan(Result.CLEAN)
    if answer.endswith(" FOUND"):
        return Scan(Result.INFECTED, answer.removeprefix("stream: ").removesuffix(" FOUND"))
    if "size limit exceeded" in answer:
        return Scan(Result.TOO_LARGE, answer)
    if "TIMED OUT" in answer:
        return Scan(Result.SLOW, answer)
    return Scan(Result.DOWN, f"answer {answer[:200]!r}")


async def _early(sock: socket.socket, why: str) -> Scan:
    """The result where clamd ended the stream: "clean" of a part says nothing about the rest."""
    try:
        found = understood(await _answer(sock))
    except (OSError, ClamdFailed):
        raise ClamdFailed(why) from None
    if found.result is Result.CLEAN:
        raise ClamdFailed("it answered before the end")
    return found


def _has_answered(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def _answer(sock: socket.socket) -> str:
    """The answer, without its end.

    Raises:
        ClamdFailed: it has no end, or is too long.
        OSError: of the connection.
    """
    got = b""
    while b"\0" not in got:
        piece = await asyncio.get_running_loop().sock_recv(sock, MAX_ANSWER)
        got += piece
        if not piece:
            raise ClamdFailed("it closed the connection without an answer")
        if len(got) > MAX_ANSWER:
            raise ClamdFailed(f"its answer is longer than {MAX_ANSWER} bytes")
    return got.partition(b"\0")[0].decode("utf-8", "replace").strip()


async def _connect(address: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    where = split_address(address)
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


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
