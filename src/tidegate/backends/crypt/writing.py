# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a handle of this kind has no use for
"""Writing an encrypted file: in order, the last chunk in memory until more comes or the file ends.

Long, because what is in memory, handed on and put back after a failure is one state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from typing_extensions import Buffer

from tidegate.abc import FileHandle, OpenOptions, Outcome
from tidegate.backends.crypt.format import (
    AROUND,
    BEGINNING,
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
from tidegate.backends.crypt.reading import CHANGED, CryptReader
from tidegate.errors import (
    InvalidArgument,
    InvalidHandle,
    StorageFailed,
    TidegateError,
    TooLarge,
    Unsupported,
)
from tidegate.model import Attrs, Entry

EXTEND: Final = 64 * 1024 * 1024
"""Zeros in bytes that setting a size adds to a file at most: they are encrypted and stored as any content."""
NO_ATTRS: Final = Attrs()

Reread = Callable[[], Awaitable[CryptReader]]
"""Opens the file that a handle goes on with for reading."""


class CryptWriter:
    """A handle for writing. See `tidegate.abc.FileHandle`.

    Args:
        inner: the file that is stored.
        cipher: of it.
        options: of opening.
        free: the storage writes anywhere, and `inner` reads: what was stored can be read and written again.
        buffer: bytes that are handed to the storage at once, when there are as many.
    """

    def __init__(
        self, inner: FileHandle, cipher: FileCipher, options: OpenOptions, *, free: bool, buffer: int = 0
    ) -> None:
        existed = inner.existed_size
        self.existed_size: int | None = None if existed is None else plain_size(existed)
        self.inner = inner
        self._cipher = cipher
        self._options = options
        self._free = free
        self._buffer = buffer
        self._header = bytes(cipher.header)  # until it is written
        self._first = 0  # number of the chunk that `_tail` is
        self._tail = bytearray()
        self._dirty = True  # `_tail` is not stored as the last chunk
        self._out = bytearray()  # whole chunks before it, not handed on yet
        self._stored = 0  # bytes of `inner`
        self._cut = False  # `inner` goes on with a file whose last chunk has to go first
        self._reread: Reread | None = None
        self._old: tuple[int, bytes] | None = None  # the last chunk of what it goes on with
        self._failure: TidegateError | None = None
        self._failed_at = 0
        self._closed = False

    @classmethod
    async def go_on(
        cls, inner: FileHandle, keys: RootKeys, options: OpenOptions, buffer: int
    ) -> CryptWriter | None:
        """A handle that goes on with what `inner`, which reads too, has; None if that holds nothing yet.

        Raises:
            Damaged: it is not encrypted, not with this passphrase, or its end was changed.
        """
        stored = inner.existed_size or 0
        beginning = await inner.read(0, HEADER)
        if len(beginning) < HEADER and beginning[: len(BEGINNING)] == BEGINNING[: len(beginning)]:
            if beginning:
                await inner.set_attrs(Attrs(size=0))
            return None
        header = Header.parse(beginning)
        cipher = FileCipher.of(header, await keys.of(header.salt))
        keys.salt = keys.salt or header.salt
        writer = cls(inner, cipher, options, free=True, buffer=buffer)
        writer._header = b""
        writer._stored = stored
        count = chunks_in(stored)
        if count > 1 and (stored - HEADER) % STORED in range(1, AROUND + 1):
            count -= 1  # the first bytes of a chunk that a crash broke off: they hold nothing
        if count:
            await writer._load_last(count - 1)
        return writer

    async def _load_last(self, number: int) -> None:
        raw = await self.inner.read(position(number), STORED)
        content = self._cipher.open(number, raw, last=True)
        self._dirty = content is None
        if content is None:  # an upload that broke off
            content = self._cipher.open(number, raw, last=False)
        if content is None and number == 0 and len(raw) <= AROUND:
            content = b""
        if content is None:
            raise Damaged(detail=CHANGED.format(number))
        self._first = number
        self._tail += content
        self._old = position(number), raw

    @classmethod
    def after(
        cls, inner: FileHandle, base: CryptReader, last: bytes, options: OpenOptions, reread: Reread
    ) -> CryptWriter:
        """A handle that goes on with a finished file of a storage that takes writes in order.

        Args:
            inner: goes on with that file.
            base: the file.
            last: content of its last chunk.
            options: of opening.
            reread: opens it again.
        """
        writer = cls(inner, base.cipher, options, free=False)
        writer._header = b""
        writer._first = max(0, base.size - 1) // CHUNK
        writer._tail += last
        writer._dirty = False
        writer._cut = True
        writer._reread = reread
        return writer

    @property
    def staged(self) -> bool:
        """See `tidegate.abc.FileHandle`."""
        return self.inner.staged

    @property
    def took(self) -> bool:
        """See `tidegate.abc.FileHandle`."""
        return self.inner.took

    @property
    def size(self) -> int:
        """Bytes of content so far."""
        return self._first * CHUNK + len(self._tail)

    # -- reading -----------------------------------------------------------------------------------------

    async def read(self, offset: int, size: int) -> bytes:
        """Read what was written.

        Raises:
            InvalidHandle: it was not opened for that.
        """
        self._check(self._options.read)
        return await self.read_back(offset, size)

    async def read_back(self, offset: int, size: int) -> bytes:
        """As `read`, for another handle on this upload.

        Raises:
            Unsupported: the storage shows nothing of it before the end.
        """
        if offset < 0 or size < 0:
            raise InvalidArgument("invalid argument: offset")
        pieces: list[bytes] = []
        end = min(offset + size, self.size)
        while offset < end:
            number, at = divmod(offset, CHUNK)
            piece = (await self._chunk(number))[at : at + end - offset]
            pieces.append(bytes(piece))
            offset += len(piece)
        return b"".join(pieces)

    async def _chunk(self, number: int) -> bytes | bytearray:
        if number == self._first:
            return self._tail
        if not self._free and self._cut and self._reread is not None:
            base = await self._reread()
            try:
                return await base.chunk(number)
            finally:
                await base.close()
        if not self._free:
            raise Unsupported("this storage cannot read or shorten a file that is being written")
        await self._hand_on()
        content = self._cipher.open(number, await self.inner.read(position(number), STORED), last=False)
        if content is None:
            raise Damaged(detail=CHANGED.format(number))
        return content

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Left to `read`."""
        self._check(self._options.read)
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        return None

    # -- writing -----------------------------------------------------------------------------------------

    async def write(self, offset: int, data: Buffer) -> None:
        """Add bytes at the end.

        Raises:
            Unsupported: `offset` is not the end.
        """
        self._check_offset(offset)
        await self._add(memoryview(data).cast("B"))

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Add bytes at the end, if at most one chunk has to be stored for them."""
        self._check_offset(offset)
        view = memoryview(data).cast("B")
        room = CHUNK - len(self._tail)
        if self._cut or self._out:
            return False
        if len(view) <= room:
            self._tail += view
            self._dirty = self._dirty or bool(view)
            return True
        if len(view) - room > CHUNK or self._buffer:
            return False
        whole = self._tail + view[:room]
        raw = self._header + self._cipher.seal(self._first, whole, last=False)
        at = position(self._first) - len(self._header)
        if not self.inner.write_nowait(at, raw):
            return False
        self._wrote(at, len(raw))
        self._tail[:] = view[room:]
        self._first += 1
        self._dirty = True
        return True

    async def _add(self, view: memoryview) -> None:
        while view:
            if len(self._tail) == CHUNK:
                self._out += self._cipher.seal(self._first, self._tail, last=False)
                self._first += 1
                self._tail.clear()
                if len(self._out) >= max(self._buffer, 4 * STORED):
                    await self._hand_on()
            piece = view[: CHUNK - len(self._tail)]
            self._tail += piece
            self._dirty = True
            view = view[len(piece) :]
        if len(self._out) >= self._buffer:
            await self._hand_on()

    async def _hand_on(self) -> None:
        """Store the whole chunks that wait."""
        if not self._out:
            return
        number = self._first - len(self._out) // STORED
        data, self._out = self._out, bytearray()
        await self._store(number, data)

    async def _store(self, number: int, data: bytes | bytearray) -> None:
        at = self._failed_at = position(number) - len(self._header)
        try:
            if self._cut:
                await self.inner.set_attrs(Attrs(size=at))
                self._cut = False
            await self.inner.write(at, self._header + data if self._header else data)
        except TidegateError as error:
            self._failure = error
            raise
        except BaseException:
            self._failure = StorageFailed("an earlier write of this file was broken off")
            raise
        self._wrote(at, len(self._header) + len(data))

    def _wrote(self, at: int, count: int) -> None:
        self._header = b""
        self._stored = max(self._stored, at + count)

    async def _store_last(self) -> None:
        """Store the last chunk as the last one, and nothing behind it."""
        await self._hand_on()
        if not self._dirty:
            return
        sealed = self._cipher.seal(self._first, self._tail, last=True)
        await self._store(self._first, sealed)
        end = position(self._first) + len(sealed)
        if self._stored > end:
            await self.inner.set_attrs(Attrs(size=end))
            self._stored = end
        self._dirty = False

    def _check_offset(self, offset: int) -> None:
        self._check(self._options.write)
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        if not self._options.append and offset != self.size:
            raise Unsupported("this storage takes each byte of a file once, in order")

    # -- the rest ----------------------------------------------------------------------------------------

    async def stat(self) -> Entry:
        """Attributes now."""
        self._check()
        return (await self.inner.stat())._replace(size=self.size)

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes, also the size.

        Raises:
            TooLarge: a size that adds more than `EXTEND` zeros.
            Unsupported: a size that cuts off what the storage has taken and cannot change.
        """
        self._check()
        if attrs.size is not None and attrs.size < 0:
            raise InvalidArgument("invalid argument: size")
        others = replace(attrs, size=None)
        if others != NO_ATTRS:
            await self.inner.set_attrs(others)
        if attrs.size is not None:
            await self._resize(attrs.size)

    async def _resize(self, size: int) -> None:
        if size > self.size:
            if size - self.size > EXTEND:
                raise TooLarge(f"this storage adds at most {EXTEND} zeros to a file")
            while (missing := size - self.size) > 0:
                await self._add(memoryview(bytes(min(missing, CHUNK))))
            return
        if size == self.size:
            return
        number = max(0, size - 1) // CHUNK
        content = bytes(await self._chunk(number))[: size - number * CHUNK]
        if self._free and self._stored > position(number + 1):
            # The chunk that becomes the last one is whole until it is written again.
            await self.inner.set_attrs(Attrs(size=position(number + 1)))
            self._stored = position(number + 1)
        self._first = number
        self._tail[:] = content
        self._dirty = True

    async def sync(self) -> None:
        """Make what was written durable, where the storage can do that before the end."""
        self._check()
        if self._free and self._options.write:
            await self._store_last()
        await self.inner.sync()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End the upload.

        Raises:
            TidegateError: it could not be stored as a whole.
        """
        if self._closed:
            raise InvalidHandle
        self._closed = True
        try:
            await self._prepare(outcome)
        except BaseException:
            if self._failure is not None and self._free and outcome is not Outcome.DROP:
                await self._mend()
            await self.inner.close(Outcome.DROP if outcome is Outcome.DROP else Outcome.KEEP)
            raise
        await self.inner.close(outcome)

    async def _mend(self) -> None:
        """After a write that failed: no part of a chunk stays, and the chunk it went over is back."""
        end = self._failed_at
        with suppress(TidegateError):
            if self._old is not None and self._old[0] == end:
                await self.inner.write(*self._old)
                end += len(self._old[1])
            await self.inner.set_attrs(Attrs(size=end))

    async def _prepare(self, outcome: Outcome) -> None:
        if self._failure is not None and self._free and outcome is not Outcome.DROP:
            await self._mend()
        if outcome is Outcome.COMMIT:
            if self._failure is not None:
                raise self._failure
            await self._store_last()
        elif outcome is Outcome.DROP:
            if self._old is not None and not self.staged:
                await self.inner.write(*self._old)
        elif self._free and self._failure is None and (self.size or not self.staged):
            await self._store_last()

    def _check(self, allowed: bool = True) -> None:
        if self._closed or not allowed:
            raise InvalidHandle
        if self._failure is not None:
            raise self._failure
