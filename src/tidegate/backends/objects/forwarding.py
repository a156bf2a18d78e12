# SPDX-License-Identifier: Apache-2.0
"""Parts of a bucket that are the same for every service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from typing_extensions import Buffer

from tidegate.backends.objects.bucket import Part, Stored, Upload
from tidegate.backends.objects.tries import Failed, exists_instead
from tidegate.errors import NotFound


class UploadsInParts(Protocol):
    """Uploads in parts of one bucket; the methods are those of `bucket.Bucket`."""

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See `Bucket.begin`."""
        ...

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:
        """See `Bucket.part`."""
        ...

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        """See `Bucket.copy_part`."""
        ...

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool) -> Stored:
        """See `Bucket.complete`."""
        ...

    async def abort(self, upload: Upload) -> None:
        """See `Bucket.abort`."""
        ...

    def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """See `Bucket.uploads`."""
        ...

    async def parts(self, upload: Upload) -> list[Part]:
        """See `Bucket.parts`."""
        ...


class ForwardsUploads:
    """A bucket that has its uploads in parts done by another object.

    Args:
        uploads: does them.
    """

    def __init__(self, uploads: UploadsInParts) -> None:
        self._in_parts = uploads

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See `Bucket.begin`."""
        return await self._in_parts.begin(key, metadata)

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:
        """See `Bucket.part`."""
        return await self._in_parts.part(upload, number, data, crc32=crc32)

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        """See `Bucket.copy_part`."""
        return await self._in_parts.copy_part(upload, number, source, start, size)

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool = False) -> Stored:
        """See `Bucket.complete`."""
        return await self._in_parts.complete(upload, parts, create=create)

    async def abort(self, upload: Upload) -> None:
        """See `Bucket.abort`."""
        await self._in_parts.abort(upload)

    def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """See `Bucket.uploads`."""
        return self._in_parts.uploads(prefix)

    async def parts(self, upload: Upload) -> list[Part]:
        """See `Bucket.parts`."""
        return await self._in_parts.parts(upload)


async def copied_before(
    head: Callable[[str], Awaitable[Stored]], key: str, failed: Failed, same: Callable[[Stored], bool]
) -> Stored:
    """The target of a copy that was refused, if a lost try has made it.

    Args:
        head: finds an object.
        key: of the target.
        failed: the refusal.
        same: True for what the copy would have made.

    Raises:
        TidegateError: of the two conditions, on the source and on the target, the one that was not met.
    """
    try:
        found = await head(key)
    except NotFound:
        raise failed.error from None
    if failed.tries > 1 and same(found):
        return found
    raise exists_instead(failed.error) from None
