# SPDX-License-Identifier: Apache-2.0
"""Operations of FTP clients: transfers by the code of the FTP door, over data connections that are simulated.

They have no weight of their own: histories have them if `Rules.acts` names them.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, cast

from tidegate.doors.ftp import transfers
from tidegate.doors.ftp.data import DataConnection, DataFailed
from tidegate.model import VPath
from tidegate.testing.simulation.operations import operation, some_file
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files.handle import File

if TYPE_CHECKING:
    from tidegate.testing.simulation.client import Client

FTP_ACTS: Final = ("ftp-store", "ftp-restart", "ftp-append", "ftp-unique", "ftp-retrieve", "ftp-rename")
"""Names of the operations here."""

BREAKS: Final = 0.2
"""Share of data connections that break."""


class Line:
    """A data connection: pieces arrive after pauses; some break, at any place up to the end of TLS.

    Attributes:
        ended: the client has sent everything.
    """

    def __init__(self, draw: random.Random) -> None:
        self.ended = False
        self._draw = draw
        self._left = [draw.choice((1, 700, 2500, 5000)) for _ in range(draw.randrange(5))]
        self._breaks = draw.randrange(len(self._left) + 1) if draw.random() < BREAKS else -1
        self._step = 0

    async def _pause(self) -> None:
        await asyncio.sleep(self._draw.choice((0.0, 0.0, 0.001, 0.05)))
        if self._step == self._breaks:
            raise DataFailed(426, "the data connection broke")
        self._step += 1

    def gather(self) -> None:
        """Nothing to wait for."""

    async def receive(self, buffer: memoryview) -> int:
        """The next piece; 0 at the end."""
        await self._pause()
        if not self._left:
            self.ended = True
            return 0
        got = min(self._left.pop(0), len(buffer))
        buffer[:got] = b"x\n"[:got] if got < 2 else b"x" * (got - 2) + b"\r\n"
        return got

    async def send(self, piece: object) -> None:
        """Take a piece."""
        del piece
        await self._pause()

    async def end_upload(self) -> None:
        """The end of TLS, or of TCP."""
        await asyncio.sleep(0)

    finish = end_upload

    def abort(self) -> None:
        """End it at once."""


async def _transfer(
    client: Client, path: VPath, flags: OpenFlags, draw: random.Random, offset: int | None
) -> None:
    """As the door's STOR and RETR: whatever goes wrong ends the file as failed; `offset` None is its end."""
    file: File = await client.session.open(path, flags)
    client.files.append(file)
    line = cast("DataConnection", Line(draw))
    binary = draw.random() < 0.7
    try:
        if offset != 0:
            size = (await file.stat()).size
            if offset is not None and offset > size:
                await file.abort()  # 554
                return
            offset = size if offset is None else offset
        if flags.write:
            await transfers.upload(file, line, offset, binary=binary)
        else:
            await transfers.download(file, line, offset, None, binary=binary)
        await file.close()
    except DataFailed:
        await file.abort()
    except BaseException:
        await file.abort()
        raise
    finally:
        if file in client.files:
            client.files.remove(file)


@operation(0)
async def ftp_store(client: Client, draw: random.Random) -> None:
    """STOR."""
    await _transfer(
        client, some_file(client, draw), OpenFlags(write=True, create=True, truncate=True), draw, 0
    )


@operation(0)
async def ftp_restart(client: Client, draw: random.Random) -> None:
    """REST and STOR: nothing is created behind an offset."""
    await _transfer(client, some_file(client, draw), OpenFlags(write=True), draw, draw.choice((1, 500, 3000)))


@operation(0)
async def ftp_append(client: Client, draw: random.Random) -> None:
    """APPE."""
    await _transfer(client, some_file(client, draw), OpenFlags(write=True, create=True), draw, None)


@operation(0)
async def ftp_unique(client: Client, draw: random.Random) -> None:
    """STOU."""
    path = some_file(client, draw)
    path = path.parent.child(f"{path.name}.{draw.randrange(4)}")
    await _transfer(client, path, OpenFlags(write=True, create=True, exclusive=True), draw, 0)


@operation(0)
async def ftp_retrieve(client: Client, draw: random.Random) -> None:
    """RETR, now and then behind an offset."""
    await _transfer(client, some_file(client, draw), OpenFlags(read=True), draw, draw.choice((0, 0, 700)))


@operation(0)
async def ftp_rename(client: Client, draw: random.Random) -> None:
    """RNFR and RNTO, which replace what has the name."""
    source, target = some_file(client, draw), some_file(client, draw)
    await client.session.stat(source, follow=False)
    await client.session.rename(source, target, replace=True)
