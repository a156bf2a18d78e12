# SPDX-License-Identifier: Apache-2.0
"""Requests to calls of a file session, and errors to answers. No sockets; decides no permission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tidegate.errors import (
    AlreadyExists,
    Denied,
    NotFound,
    PeerLimit,
    QuotaExceeded,
    TidegateError,
    Unsupported,
)
from tidegate.model import VPath
from tidegate.vfs.api import OpenFlags, Session
from tidegate_lines import wire

PIECE = 64 * 1024
"""Bytes read at once."""

STATUS: dict[type[TidegateError], str] = {
    NotFound: "no such file",
    Denied: "not allowed",
    AlreadyExists: "it exists",
    QuotaExceeded: "no room",
    PeerLimit: "too much at once",
    Unsupported: "not possible here",
}
"""Said to a client; anything else is "failed"."""

Send = Callable[[bytes], Awaitable[None]]


def told(error: TidegateError) -> str:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), "failed")


async def answer(session: Session, request: wire.Request, send: Send) -> None:
    """Answer LIST or GET."""
    intent = "list" if request.word == "LIST" else "download"
    path: VPath | str = request.arguments[0]
    try:
        path = VPath.parse(path, session.start_directory)
        await (_list if request.word == "LIST" else _get)(session, path, send)
    except TidegateError as error:
        session.failed(intent, path, error)
        await send(wire.line("NO", told(error)))


async def _list(session: Session, path: VPath, send: Send) -> None:
    async for batch in session.list(path):
        for entry in batch:
            await send(wire.line("D" if entry.is_dir else "F", f"{entry.size} {entry.name}"))
    await send(wire.line("OK"))


async def _get(session: Session, path: VPath, send: Send) -> None:
    file = await session.open(path, OpenFlags(read=True))
    try:
        size = (await file.stat()).size
        await send(wire.line("OK", str(size)))
        sent = 0
        while sent < size and (data := await file.read(sent, min(PIECE, size - sent))):
            await send(data)
            sent += len(data)
        if sent < size:
            raise ConnectionAbortedError("the file became shorter")
    except BaseException:
        await file.abort()
        raise
    await file.close()
