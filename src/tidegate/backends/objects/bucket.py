# SPDX-License-Identifier: Apache-2.0
"""The contract of an object store: what a backend over S3, Google Cloud Storage or Azure Blob needs of it.

A bucket holds objects under keys: valid UTF-8, at most 1,024 bytes, the prefix of a root included. It knows
no directories, no permissions and no clients' uploads. An object is replaced whole or not at all, and whoever
reads after a write has been answered sees it (all three services promise that).

Every failure is an error of `tidegate.errors`; the `detail` of those of storage names the operation and what
the service said, never a secret; their text, which clients are told, is fixed. Every call ends: an
implementation has a time limit for each request, and tries again, after growing random pauses, what may be
tried again (500, 503, SlowDown, a broken connection). After `Bucket.complete` and conditional writes whose
answer was lost it finds out what became of the first try.

Metadata: names of ``a-z``, ``0-9`` and ``-``, values of printable ASCII, 2 KiB together at most.

======================================  ==========================================================
said by the service                     error
======================================  ==========================================================
no such key, no such upload             `NotFound`
condition not met (``create``)          `AlreadyExists`
condition not met (``if_etag``)         `ObjectChanged`
access denied, expired credentials      `StorageDenied`, which names the permission as far as known
bucket missing, wrong region, clock     `StorageMisconfigured`
anything else, and after the last try   `StorageFailed`
======================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from typing_extensions import Buffer

from tidegate.errors import StorageFailed

Content = bytes | memoryview
"""Bytes of an object; a `memoryview` is of memory that is not written any more."""


class StorageDenied(StorageFailed):
    """The service refuses these credentials, or this act to them."""

    default_text = "storage denies access"


class ObjectChanged(StorageFailed):
    """The object is another one than at the beginning; what was read of it is not one file."""

    default_text = "the file was replaced meanwhile"


class StorageMisconfigured(StorageFailed):
    """The configuration of the storage is wrong: no such bucket, another region, a clock that is off."""

    default_text = "storage is not set up correctly"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the requests of a service; bytes unless said.

    Attributes:
        put: at most in `Bucket.put`.
        copy: at most in `Bucket.copy`; more goes by `Bucket.copy_part`.
        part_least: of every part but the last.
        part: at most of one part.
        parts: at most of one upload; a number.
        object: at most of one object.
        resumable: uploads outlive the process, and `Bucket.uploads` and `Bucket.parts` know them.
        copies_parts: `Bucket.copy_part` is there.
        copies_ranges: it takes parts of objects, too, not only whole ones.
        creates: ``create=True`` is decided by the service, in one step with the write.
        sets_metadata: `Bucket.copy` of an object of any size onto itself changes its metadata alone.
        takes_crc32: `Bucket.put` and `Bucket.part` have content checked by its CRC-32, and use one that the
            caller has computed already.
    """

    put: int
    copy: int
    part_least: int
    part: int
    parts: int
    object: int
    resumable: bool = True
    copies_parts: bool = True
    copies_ranges: bool = True
    creates: bool = True
    sets_metadata: bool = False
    takes_crc32: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """An object.

    Attributes:
        key: its whole key.
        size: bytes.
        modified: when the service stored it; seconds since 1970.
        etag: changes with the content; opaque.
        metadata: user metadata, names in lower case without the service's prefix; None in listings, unless
            they tell it.
        sums: digests that the service vouches for, by the name of the algorithm (``crc32``, ``crc32c``,
            ``crc64nvme``, ``md5``, ``sha256``), lower-case hex of the whole object. May be empty.
    """

    key: str
    size: int
    modified: float
    etag: str
    metadata: Mapping[str, str] | None = None
    sums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing, in order of keys (of a directory's names, with SeaweedFS: ``a/b`` before ``a-``).

    Attributes:
        objects: objects.
        prefixes: keys up to and with the next ``/``, each once; empty without `delimited`.
    """

    objects: Sequence[Stored]
    prefixes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that has begun.

    Attributes:
        key: of the object that it becomes.
        id: of the service.
        begun: seconds since 1970; 0 where the service does not say.
    """

    key: str
    id: str
    begun: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of an upload; parts are numbered from 1, without gaps when the upload is completed."""

    number: int
    size: int
    etag: str
    sums: Mapping[str, str] = field(default_factory=dict)


class Bucket(Protocol):
    """One bucket (S3, GCS) or container (Azure). Life: constructed (pure), `open`, used, `close`.

    Calls on one bucket may run at the same time; an implementation holds as many connections as it is told.
    A call that is cancelled may have happened or not.
    """

    @property
    def limits(self) -> Limits:
        """See `Limits`."""
        ...

    def location(self, key: str) -> str:
        """Location of an object for operators, for instance ``s3://bucket/key``; no secret."""
        ...

    async def open(self) -> None:
        """Make the client ready; asks the service nothing."""
        ...

    async def close(self) -> None:
        """Release everything."""
        ...

    async def check(self, prefix: str) -> None:
        """Ask what a root at `prefix` needs: that the bucket is there, may be listed, read and written.

        Raises:
            StorageMisconfigured, StorageDenied, StorageFailed: says which of them fails, and why.
        """
        ...

    async def head(self, key: str) -> Stored:
        """The object, with metadata; one request."""
        ...

    def pages(
        self, prefix: str, *, delimited: bool, after: str = "", size: int = 1000
    ) -> AsyncIterator[Page]:
        """Objects whose keys begin with `prefix` and come after `after`; a request for each page of `size`.

        With `delimited` those with a further ``/`` behind the prefix are told as `Page.prefixes`.
        Never holds more than two pages.
        """
        ...

    async def get(self, key: str, start: int, size: int, *, if_etag: str = "") -> Content:
        """Bytes from `start`, fewer than `size` only at the end, ``b""`` at or past it.

        Raises:
            ObjectChanged: with `if_etag`: the object is another one now.
        """
        ...

    async def first(self, key: str, size: int) -> tuple[Stored, Content]:
        """The object, with metadata, and its first bytes; one request, or two.

        `Stored.sums` may be empty even if `head` has some.
        """
        ...

    async def put(
        self,
        key: str,
        data: Buffer,
        metadata: Mapping[str, str],
        *,
        create: bool = False,
        if_etag: str = "",
        crc32: str = "",
    ) -> Stored:
        """Store an object in one request, its content checked by the service against a digest.

        Args:
            create: only if nothing has that key; see `Limits.creates`.
            if_etag: only in place of the object with this etag; not together with `create`.
            crc32: of `data`, hex; empty if it is to be computed. See `Limits.takes_crc32`.

        Raises:
            ObjectChanged: with `if_etag`: the object is another one now, or gone.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, up to 1,000; those that are missing do not matter."""
        ...

    async def copy(
        self,
        source: Stored,
        key: str,
        metadata: Mapping[str, str] | None = None,
        *,
        create: bool = False,
    ) -> Stored:
        """Copy within the bucket, without moving bytes through us; `source` is up to `Limits.copy`.

        Args:
            source: `ObjectChanged` is raised if the object is another one now.
            metadata: replaces that of the source; None keeps it. Source and target may be one key then.
        """
        ...

    async def begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """Begin an upload in parts. Nothing is visible before `complete`."""
        ...

    async def part(self, upload: Upload, number: int, data: Buffer, *, crc32: str = "") -> Part:
        """Store a part (again), its content checked by the service against a digest; in any order.

        Args:
            crc32: as in `put`.
        """
        ...

    async def copy_part(self, upload: Upload, number: int, source: Stored, start: int, size: int) -> Part:
        """Store a part from bytes of an object, which are all of it without `Limits.copies_ranges`."""
        ...

    async def complete(self, upload: Upload, parts: Sequence[Part], *, create: bool = False) -> Stored:
        """Make the object from these parts, which replaces what has the key.

        Raises:
            StorageFailed: what is stored is not what the parts say (size, digest); nothing was replaced where
                the service can promise that.
        """
        ...

    async def abort(self, upload: Upload) -> None:
        """Remove an upload with its parts; missing is no error."""
        ...

    def uploads(self, prefix: str) -> AsyncIterator[list[Upload]]:
        """Uploads in parts that have not ended, whose keys begin with `prefix`; `Limits.resumable`."""
        ...

    async def parts(self, upload: Upload) -> list[Part]:
        """Parts that are stored, by number; `Limits.resumable`."""
        ...


def paging(pages: AsyncIterator[Page]) -> aclosing[Any]:
    """A listing of a bucket that is closed at the end of a block."""
    return aclosing(cast("Any", pages))


__all__ = [
    "Bucket",
    "Content",
    "Limits",
    "ObjectChanged",
    "Page",
    "Part",
    "StorageDenied",
    "StorageMisconfigured",
    "Stored",
    "Upload",
    "paging",
]
