# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a handle of this kind has no use for
"""Reading an encrypted file: any range, a chunk at a time, each checked before any of it is given out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from typing_extensions import Buffer

from tidegate.abc import FileHandle
from tidegate.backends.crypt.format import (
    AROUND,
    CHUNK,
    HEADER,
    STORED,
    Damaged,
    FileCipher,
    Header,
    chunks_in,
    plain_size,
    position,
)
from tidegate.backends.crypt.keys import RootKeys
from tidegate.errors import InvalidArgument, InvalidHandle
from tidegate.model import Attrs, Entry

CHUNKS_KEPT: Final = 4
"""Chunks in memory for each file that is read: requests of a client overtake each other."""
CUT_OFF: Final = "the encrypted file is not complete: an upload broke off, or its end was cut off"
CHANGED: Final = "the encrypted file was changed: chunk {} is not what was written"


class CryptReader:
    """A handle for reading. See `tidegate.abc.FileHandle`.

    Args:
        inner: the stored file.
        cipher: of it.
        stored: its size in bytes.
        ahead: chunks that are asked for with one request.
    """

    staged = False
    took = False

    def __init__(self, inner: FileHandle, cipher: FileCipher, stored: int, ahead: int = 1) -> None:
        self.existed_size: int | None = plain_size(stored)
        self._inner = inner
        self.cipher = cipher
        self._stored = stored
        self._ahead = ahead
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._closed = False

    @classmethod
    async def open(cls, inner: FileHandle, keys: RootKeys, ahead: int = 1) -> CryptReader:
        """Read the header of a stored file.

        Raises:
            Damaged: it is not encrypted, or not with this passphrase, or its end is missing.
        """
        cipher = await cipher_of(inner, keys)
        stored = inner.existed_size
        if stored is None:
            stored = (await inner.stat()).size
        reader = cls(inner, cipher, stored, ahead)
        reader._check_end()
        if not reader.size:  # nothing of it will be read, so nothing else would notice that it was cut off
            await reader.chunk(0)
        return reader

    @property
    def size(self) -> int:
        """Bytes of content."""
        return plain_size(self._stored)

    @property
    def version(self) -> str:
        """That of the stored file; see `tidegate.abc.FileHandle`."""
        found = getattr(self._inner, "version", "")
        return found if isinstance(found, str) else ""

    async def read(self, offset: int, size: int) -> bytes:
        """Read; whole chunks are fetched.

        Raises:
            Damaged: a chunk is not what was written, or the last one is missing.
        """
        self._check()
        if offset < 0 or size < 0:
            raise InvalidArgument("invalid argument: offset")
        pieces: list[bytes] = []
        end = offset + size
        while offset < min(end, self.size):
            number, at = divmod(offset, CHUNK)
            piece = (await self.chunk(number))[at : at + end - offset]
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Read what the storage has at hand."""
        self._check()
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        end = min(offset + sum(map(len, buffers)), self.size)
        at = offset
        found: list[bytes] = []
        while at < end:
            number, start = divmod(at, CHUNK)
            content = self._at_hand(number)
            if content is None or start >= len(content):
                return None
            found.append(content[start : start + end - at] if start or end - at < CHUNK else content)
            at += len(found[-1])
        done = 0
        data = memoryview(found[0] if len(found) == 1 else b"".join(found))
        for buffer in buffers:
            piece = data[done : done + len(buffer)]
            buffer[: len(piece)] = piece
            done += len(piece)
        return done

    async def chunk(self, number: int) -> bytes:
        """The content of a chunk.

        Raises:
            Damaged.
        """
        kept = self._chunks.get(number)
        if kept is not None:
            return kept
        ahead = 1 if number - 1 not in self._chunks else self._ahead
        stored = await self._inner.read(position(number), ahead * STORED)
        content: bytes | None = None
        for index in range(0, len(stored), STORED):
            got = self._keep(number + index // STORED, stored[index : index + STORED])
            content = got if content is None else content
            if got is None:
                break
        if content is not None:
            return content
        # It may have grown since: another chunk is the last one now.
        now = (await self._inner.stat()).size
        if now != self._stored:
            self._stored = now
            self._check_end()
            if number >= chunks_in(now):
                return b""
            content = self._keep(number, await self._inner.read(position(number), STORED))
            if content is not None:
                return content
        last = number == chunks_in(self._stored) - 1
        if last and self.cipher.open(number, stored[:STORED], last=False) is not None:
            raise Damaged(detail=CUT_OFF)
        raise Damaged(detail=CHANGED.format(number))

    def _at_hand(self, number: int) -> bytes | None:
        kept = self._chunks.get(number)
        if kept is not None:
            return kept
        room = bytearray(STORED)
        count = self._inner.readinto_nowait(position(number), [memoryview(room)])
        return None if count is None else self._keep(number, bytes(memoryview(room)[:count]))

    def _keep(self, number: int, stored: bytes) -> bytes | None:
        content = self.cipher.open(number, stored, last=number == chunks_in(self._stored) - 1)
        if content is None:
            return None
        self._chunks[number] = content
        while len(self._chunks) > CHUNKS_KEPT + self._ahead:
            self._chunks.popitem(last=False)
        return content

    def _check_end(self) -> None:
        """An empty chunk is the last one of an empty file only: else whoever reads all would not read it."""
        empty = self._stored == HEADER + AROUND
        if self._stored <= HEADER or (0 < (self._stored - HEADER) % STORED <= AROUND and not empty):
            raise Damaged(detail=CUT_OFF)

    async def write(self, offset: int, data: Buffer) -> None:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Refused.

        Raises:
            InvalidHandle.
        """
        raise InvalidHandle

    async def stat(self) -> Entry:
        """Attributes now."""
        self._check()
        entry = await self._inner.stat()
        return entry._replace(size=plain_size(entry.size))

    async def set_attrs(self, attrs: Attrs) -> None:
        """As the storage does; the size cannot be changed."""
        self._check()
        if attrs.size is not None:
            raise InvalidHandle
        await self._inner.set_attrs(attrs)

    async def sync(self) -> None:
        """As the storage does."""
        self._check()
        await self._inner.sync()

    async def close(self, outcome: object = None) -> None:
        """End the handle."""
        self._check()
        self._closed = True
        self._chunks.clear()
        await self._inner.close()

    def _check(self) -> None:
        if self._closed:
            raise InvalidHandle


async def cipher_of(inner: FileHandle, keys: RootKeys) -> FileCipher:
    """The cipher of a stored file that can be read.

    Raises:
        Damaged: it is not encrypted, or not with this passphrase.
    """
    header = Header.parse(await inner.read(0, HEADER))
    cipher = FileCipher.of(header, await keys.of(header.salt))
    keys.salt = keys.salt or header.salt
    return cipher
