# SPDX-License-Identifier: Apache-2.0
"""A client of clamd, the daemon of ClamAV: commands ``zPING`` and ``zINSTREAM`` of clamd(8)."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

from tidegate.contracts.inspection import Read
from tidegate.inspection.factory import ClamdOptions
from tidegate.inspection.policies import Result, Scan
from tidegate.inspection.sockets import CHUNK, connect, has_answered, why

PING_SECONDS: Final = 5.0
MAX_ANSWER: Final = 4096
"""Bytes of an answer; the longest real one is the name of a signature and a few words."""
DEFAULT_PORT: Final = 3310


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
            with await connect(split_address(options.address)) as sock:
                await asyncio.get_running_loop().sock_sendall(sock, b"zPING\0")
                answer = await _answer(sock)
    except TimeoutError:
        raise ClamdFailed(f"no answer in {PING_SECONDS:g} s") from None
    except OSError as error:
        raise ClamdFailed(why(error)) from None
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
        connected = await connect(split_address(options.address))
    except OSError as error:
        raise ClamdFailed(why(error)) from None
    with connected as sock:
        data, sent = b"zINSTREAM\0", 0
        while True:
            try:
                await loop.sock_sendall(sock, data)
            except OSError as error:
                return await _early(sock, why(error))
            if len(data) == _LENGTH.size:  # the end of the stream
                break
            if has_answered(sock):
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
            raise ClamdFailed(why(error)) from None


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


async def _early(sock: socket.socket, reason: str) -> Scan:
    """The result where clamd ended the stream: "clean" of a part says nothing about the rest."""
    try:
        found = understood(await _answer(sock))
    except (OSError, ClamdFailed):
        raise ClamdFailed(reason) from None
    if found.result is Result.CLEAN:
        raise ClamdFailed("it answered before the end")
    return found


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
