# SPDX-License-Identifier: Apache-2.0
"""The bytes of files over data connections: downloads, uploads, in TYPE I and TYPE A."""

from __future__ import annotations

from typing import Final

from tidegate.doors.ftp.data import BUFFER, DataConnection
from tidegate.doors.ftp.wire.text import FromWire, ToWire
from tidegate.vfs.api import File


async def download(file: File, data: DataConnection, offset: int, end: int | None, *, binary: bool) -> None:
    """Send a file from `offset` up to `end` (None: its end), and end the data connection.

    Raises:
        TidegateError: reading failed.
        DataFailed: sending did.
    """
    buffer = memoryview(bytearray(min(BUFFER, file.small + 1) if file.small else BUFFER))
    text = None if binary else ToWire()
    while True:
        want = len(buffer) if end is None else min(len(buffer), end - offset)
        if want <= 0:
            break
        got = file.readinto_nowait(offset, [buffer[:want]])
        if got is None:
            piece: bytes | memoryview = await file.read(offset, want)
            got = len(piece)
        else:
            piece = buffer[:got]
        if not got:
            break
        offset += got
        await data.send(piece if text is None else text.convert(bytes(piece)))
    await data.finish()


async def upload(file: File, data: DataConnection, offset: int, *, binary: bool) -> None:
    """Receive a file from `offset` on, to the end of the data connection.

    Raises:
        TidegateError: writing failed.
        DataFailed: receiving did; something may be missing.
    """
    text = None if binary else FromWire()
    data.gather()
    # It holds bytes of earlier uploads; only what was received may be passed on.
    buffer = _spare.pop() if _spare else memoryview(bytearray(BUFFER))
    while not data.ended and (got := await _filled(data, buffer)):
        piece: bytes | memoryview = buffer[:got]
        if text is not None:
            piece = text.convert(bytes(piece))
        offset = await _write(file, offset, piece)
    if text is not None:
        await _write(file, offset, text.end())
    if len(_spare) < MAX_SPARE:  # after a failure storage may still be reading from it
        _spare.append(buffer)
    await data.end_upload()


MAX_SPARE: Final = 8
"""Buffers that are kept for the next upload: a fresh one costs as much as a small file."""
_spare: Final[list[memoryview]] = []


async def _filled(data: DataConnection, buffer: memoryview) -> int:
    """Receive into `buffer` until it is half full, so that storage is not asked for each packet."""
    got = await data.receive(buffer)
    while 0 < got < len(buffer) // 2:
        more = await data.receive(buffer[got:])
        if not more:
            break
        got += more
    return got


async def _write(file: File, offset: int, piece: bytes | memoryview) -> int:
    if piece and not file.write_nowait(offset, piece):
        # The buffer is filled anew before storage may be through with it.
        await file.write(offset, bytes(piece))
    return offset + len(piece)
