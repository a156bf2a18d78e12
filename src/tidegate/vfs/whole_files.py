# SPDX-License-Identifier: Apache-2.0
"""Uploads of whole files by the server itself, through the rules of an account."""

from __future__ import annotations

import asyncio
from typing import IO, Final

from tidegate.model import VPath
from tidegate.vfs.api import OpenFlags, Session

CHUNK: Final = 256 * 1024
"""Bytes held at once."""
_NEW: Final = OpenFlags(write=True, create=True, truncate=True, atomic=True)


async def write_whole(session: Session, path: VPath, source: IO[bytes]) -> None:
    """Upload what is left of a source; it is complete before it has its name, or not there.

    Raises:
        TidegateError: the upload is refused, or fails.
    """
    file = await session.open(path, _NEW)
    try:
        offset = 0
        while piece := await asyncio.to_thread(source.read, CHUNK):
            await file.write(offset, piece)
            offset += len(piece)
    except BaseException:
        await file.abort()
        raise
    await file.close()
