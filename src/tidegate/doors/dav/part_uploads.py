# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts: one open file that each part is appended to, and what is known of the parts.

Nothing is gathered beside it: a part that comes before its turn waits without being read, and one that comes
again is compared with what is there. So a part that broke off in the middle goes on where it broke off, also
on storage that writes no byte twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from tidegate.doors.dav.client import Client
from tidegate.doors.dav.request import Rejected
from tidegate.doors.dav.wire.nextcloud import MAX_PARTS, PartName
from tidegate.doors.dav.writing import GATHER, write
from tidegate.errors import PeerLimit
from tidegate.model import VPath
from tidegate.vfs.api import File

MAX_UPLOADS: Final = 32
"""Uploads in parts of one client that are not complete."""
IDLE_SECONDS: Final = 3600.0
"""Seconds without a request after which such an upload is given up."""
TURN_SECONDS: Final = 20.0
"""Seconds that a part waits for those before it."""


@dataclass(slots=True)
class Part:
    """One part. Up to `MAX_PARTS` of them are kept for an upload, so it holds no more than it must.

    Attributes:
        size: bytes that have come.
        crc: of those (CRC-32).
        whole: all of it has come.
    """

    size: int = 0
    crc: int = 0
    whole: bool = False


class PartUpload:
    """One upload. Life: constructed, `put` each part, then the file is closed; `end` or `forget` at any time.

    Args:
        client: whose it is.
        name: its id, in its address.
        file: that the parts are appended to.
        target: path that the file was opened at; None if that is told at the end.
        total: bytes that were announced; -1 for none.

    Attributes:
        size: bytes that have come.
        parts: by their names as sent, in order; the last one may not be whole.
        over: it is published or given up.
    """

    def __init__(self, client: Client, name: str, file: File, target: VPath | None, total: int) -> None:
        self.name = name
        self.file = file
        self.target = target
        self.total = total
        self.size = 0
        self.parts: dict[str, Part] = {}
        self.over = False
        self._last: PartName | None = None
        self._part: Part | None = None
        self._appending = False
        self._waiting: list[asyncio.Future[None]] = []
        self._client = client
        self._sums = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha1", "md5")}
        self._adler = 1
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None
        client.uploads[name] = self
        client.handles.set(client.handles.held + 1)
        self.touch()

    # -- life --------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """A request about it came: it has its whole time again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._busy:
            self.touch()
            return
        self.forget()
        task = asyncio.get_running_loop().create_task(self.file.abort(), name="end of upload in parts")
        _ending.add(task)
        task.add_done_callback(_ending.discard)

    def forget(self) -> None:
        """It is no longer there; its file is the caller's to end. Safe to call twice."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        self._wake()
        client = self._client
        client.uploads.pop(self.name, None)
        if not client.over:
            client.handles.set(max(0, client.handles.held - 1))
            client.parts.set(max(0, client.parts.held - len(self.parts)))

    async def end(self) -> None:
        """Give it up; nothing of it is left."""
        self.forget()
        await self.file.abort()

    # -- parts -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """No part comes, and nobody else publishes it, meanwhile: what was judged is what is published.

        Raises:
            Rejected: a part arrives, or somebody publishes it.
        """
        if self.over or self._appending:
            raise Rejected(409, "a part is arriving, or the upload is becoming a file")
        self._appending = True
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._appending = False
            self._wake()

    @property
    def whole(self) -> bool:
        """True if no part has broken off."""
        return self._part is None or self._part.whole

    async def put(self, text: str, name: PartName, length: int, pieces: AsyncIterator[bytes]) -> bool:
        """Append a part, or compare it with what is there; returns True if it is new.

        Args:
            text: name of the part; `name` is what it says.
            length: of the body; -1 if it is not known.
            pieces: of the body.

        Raises:
            Rejected: it is not its turn, or it is another one than the one that is there.
            PeerLimit: the account, or all together, have too many parts of uploads that are not complete.
            TidegateError: storage or a limit refuses it; the upload is given up.
            PeerGone: the client has gone; the part can be sent again.
        """
        if 0 <= name.size != length >= 0:
            raise Rejected(400, f"the part is {length} bytes long, its name says {name.size}")
        self._busy += 1
        try:
            part = await self._its_turn(text, name)
            self._appending = True
            try:
                if part is not None and part.whole:
                    await _compared(part, length, pieces)
                    return False
                if part is None:
                    part = self._begun(text, name)
                await self._append(part, name.size, pieces)
                return True
            finally:
                self._appending = False
                self._wake()
        finally:
            self._busy -= 1
            if not self.over:
                self.touch()

    def _begun(self, text: str, name: PartName) -> Part:
        """A new part, which counts from here on."""
        if len(self.parts) >= MAX_PARTS:
            raise Rejected(400, f"an upload has {MAX_PARTS} parts at most")
        counted = self._client.parts
        if rule := counted.full():
            raise PeerLimit(f"too many parts of uploads that are not complete ({rule})")
        counted.set(counted.held + 1)
        self._last, self._part = name, Part()
        self.parts[text] = self._part
        return self._part

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _its_turn(self, text: str, name: PartName) -> Part | None:
        """Wait until a part is the next one; returns it if it, or some of it, has come already.

        While another part arrives it waits as long as that takes, else `TURN_SECONDS`.

        Raises:
            Rejected: those before it do not come, or it can never have a turn.
        """
        while True:
            if self.over:
                raise Rejected(404, "no such upload")
            if not self._appending:
                if (part := self.parts.get(text)) is not None:
                    return part
                if self.whole and self._is_next(name):
                    return None
                if self._is_past(name):
                    raise Rejected(409, "parts come in order: others that come after this one are there")
            one = asyncio.get_running_loop().create_future()
            self._waiting.append(one)
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await one
            except TimeoutError:
                if self._appending:
                    continue
                why = f"parts come in order: {self.size} bytes are there, and a part is missing"
                raise Rejected(409, why) from None

    def _is_next(self, name: PartName) -> bool:
        if name.number < 0:
            return name.start == self.size
        if self._last is None:
            return name.number <= 1  # Nextcloud counts from 1, ownCloud from 0
        return name.number == self._last.number + 1

    def _is_past(self, name: PartName) -> bool:
        last = self._last
        if last is None:
            return False
        if (name.number < 0) is not (last.number < 0):
            return True
        return name.number < last.number if name.number >= 0 else name.start < self.size

    async def _append(self, part: Part, announced: int, pieces: AsyncIterator[bytes]) -> None:
        known, crc = part.size, 0  # bytes that have come before, and are compared
        waiting: list[bytes] = []
        gathered = 0
        async for piece in pieces:
            if known:
                again = piece[:known]
                crc, known, piece = zlib.crc32(again, crc), known - len(again), piece[known:]
                if not known and crc != part.crc:
                    await self.end()
                    raise Rejected(409, "the part is another one than the one that broke off")
            if not piece:
                continue
            waiting.append(piece)
            gathered += len(piece)
            if gathered >= GATHER:
                await self._write(part, announced, b"".join(waiting))
                waiting, gathered = [], 0
                await asyncio.sleep(0)
        if waiting:
            await self._write(part, announced, b"".join(waiting))
        if known or 0 <= announced != part.size:
            raise Rejected(400, "the part is not as long as its name says, or as it was before")
        part.whole = True

    async def _write(self, part: Part, announced: int, data: bytes) -> None:
        size = len(data)
        if announced >= 0 and part.size + size > announced:
            raise Rejected(400, "the part is longer than its name says")
        if 0 <= self.total < self.size + size:
            raise Rejected(400, f"more than the {self.total} bytes of OC-Total-Length")
        try:
            await write(self.file, self.size, data)
        except BaseException:
            await self.end()  # it is not known what is there
            raise
        for digest in self._sums.values():
            digest.update(data)
        self._adler = zlib.adler32(data, self._adler)
        part.crc = zlib.crc32(data, part.crc)
        part.size += size
        self.size += size

    def has_sum(self, value: str) -> bool:
        """True if all that has come has the checksum that OC-Checksum says.

        Raises:
            Rejected: that is no checksum that is kept.
        """
        name, _, wanted = value.partition(":")
        name = name.strip().lower()
        if name == "adler32":
            found = f"{self._adler:08x}"
        elif name in self._sums:
            found = self._sums[name].hexdigest()
        else:
            raise Rejected(400, "OC-Checksum: SHA1, MD5 and ADLER32 are known of uploads in parts")
        return found == wanted.strip().lower()


async def _compared(part: Part, length: int, pieces: AsyncIterator[bytes]) -> None:
    """Compare a part that is there with one that is sent again, as clients do whose answer was lost.

    Raises:
        Rejected: it is another one.
    """
    size = crc = 0
    same = length in (-1, part.size)
    if same:
        async for piece in pieces:
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            if size > part.size:
                break
    if not same or (size, crc) != (part.size, part.crc):
        raise Rejected(409, "there is another part of this name already")


_ending: Final[set[asyncio.Task[None]]] = set()
"""Files of uploads whose time is over, that are being ended."""
