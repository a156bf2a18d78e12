# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a handle of this kind has no use for
"""Further handles on an upload that is not published yet."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import Buffer

from tidegate.abc import OpenOptions, Outcome
from tidegate.backends.crypt.writing import CryptWriter
from tidegate.errors import InvalidHandle
from tidegate.model import Attrs, Entry


class UploadView:
    """A second handle on an upload. See `tidegate.abc.SharesUploads.reopen`."""

    staged = True
    took = False

    def __init__(self, writer: CryptWriter, options: OpenOptions) -> None:
        self.existed_size: int | None = writer.size
        self._writer = writer
        self._options = options
        self._closed = False

    async def read(self, offset: int, size: int) -> bytes:
        """Read what was written so far."""
        self._check(self._options.read)
        return await self._writer.read_back(offset, size)

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Left to `read`."""
        self._check(self._options.read)
        return None

    async def write(self, offset: int, data: Buffer) -> None:
        """Add bytes at the end of the upload."""
        self._check(self._options.write)
        await self._writer.write(self._writer.size if self._options.append else offset, data)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Left to `write`."""
        self._check(self._options.write)
        return False

    async def stat(self) -> Entry:
        """Attributes of the upload."""
        self._check()
        return await self._writer.stat()

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes of the upload."""
        self._check()
        await self._writer.set_attrs(attrs)

    async def sync(self) -> None:
        """As `CryptWriter.sync`."""
        self._check()
        await self._writer.sync()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """End this handle; the upload goes on."""
        self._check()
        self._closed = True

    def _check(self, allowed: bool = True) -> None:
        if self._closed or not allowed:
            raise InvalidHandle
