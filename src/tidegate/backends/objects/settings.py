# SPDX-License-Identifier: Apache-2.0
"""Settings of a root in object storage, and what all roots of a process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

from tidegate.abc import StorageHost
from tidegate.backends.host_journal import Journal
from tidegate.backends.objects.attributes import DEFAULT_ENTRIES, AttributeCache
from tidegate.backends.objects.bucket import Bucket
from tidegate.backends.objects.budget import ByteBudget

if TYPE_CHECKING:
    from tidegate.backends.objects.writing import ObjectWriter

MIB: Final = 1024 * 1024
UPLOAD_MIB: Final = 5
"""`upload_part_size` of a record that says nothing."""
DOWNLOAD_MIB: Final = 2
"""`download_part_size` likewise: a client waits for the end of a part, so small ones are faster."""
UPLOADING_MIB: Final = 15
DOWNLOADING_MIB: Final = 12
"""Parts of these sizes together are on their way by default; one more is in memory."""
PARTS: Final = range(2, 7)
"""Parts that are on their way by default."""


class PartSizes(Protocol):
    """Options of a record about the parts of a transfer; 0 for the usual."""

    @property
    def upload_part_size(self) -> int:
        """MiB."""
        ...

    @property
    def upload_concurrency(self) -> int:
        """Parts of one file that are on their way."""
        ...

    @property
    def download_part_size(self) -> int:
        """MiB."""
        ...

    @property
    def download_concurrency(self) -> int:
        """Requests of one file that are ahead of the client."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """Settings of one root; sizes in bytes.

    Attributes:
        upload_part_size: of each part of an upload; grows with the file so that the number of parts suffices.
        upload_concurrency: parts of one file that are on their way at the same time.
        download_part_size: at most in one request while a file is read from start to end.
        download_concurrency: such requests of one file that are ahead of the client.
        attribute_seconds: time that what is known of a name answers questions about it.
        open_seconds: time that it suffices to open a file for reading; its content is compared by ETag.
        listing_heads: objects of one listing that are asked for their metadata, where the modification time
            is; of the rest the time of storing is shown.
        requests: requests of one operation on many objects that run at the same time.
        files_ahead: small files that are fetched ahead of a client that opens those of a directory in order.
        digests: algorithms by which content is summed up while it passes; ``blake3``, ``md5``, ``sha256``...
        digest_copy: an upload in parts up to this size is copied onto itself, in the service, to keep its
            digests; 0 for none. Uploads in one request always keep them.
        extend: zeros that truncating to a larger size adds at most.
        partial_seconds: an unfinished upload that nobody took up for so long is removed.
        rename_seconds: a rename that a crash broke off is completed within so long, and not after that.
        journal_dir: directory of the host where unfinished uploads and renames are noted; None for none.
        service: the service that the bucket is at, as notes there name it: buckets of several services may
            have one name. Holds no secret.
    """

    upload_part_size: int = 5 * MIB
    upload_concurrency: int = 2
    download_part_size: int = 4 * MIB
    download_concurrency: int = 3
    attribute_seconds: float = 5.0
    open_seconds: float = 60.0
    listing_heads: int = 1000
    requests: int = 32
    files_ahead: int = 16
    digests: tuple[str, ...] = ("blake3",)
    digest_copy: int = 0
    extend: int = 1024 * MIB
    partial_seconds: float = 7 * 86400.0
    rename_seconds: float = 7 * 86400.0
    journal_dir: str | None = None
    service: str = ""

    @classmethod
    def of(cls, host: StorageHost, service: str, usual: PartSizes) -> ObjectSettings:
        """The settings of a root: those of the server, and what the record says about parts."""
        rules = host.objects
        up, down = usual.upload_part_size or UPLOAD_MIB, usual.download_part_size or DOWNLOAD_MIB
        return cls(
            upload_part_size=up * MIB,
            upload_concurrency=usual.upload_concurrency or _usual_parts(UPLOADING_MIB // up),
            download_part_size=down * MIB,
            download_concurrency=usual.download_concurrency or _usual_parts(DOWNLOADING_MIB // down),
            attribute_seconds=rules.attribute_seconds,
            listing_heads=rules.listing_heads,
            requests=rules.requests,
            files_ahead=rules.files_ahead,
            digests=rules.digests,
            partial_seconds=rules.partial_seconds,
            rename_seconds=rules.rename_seconds,
            journal_dir=host.journal_dir,
            service=service,
        )

    def __post_init__(self) -> None:
        for name in ("upload_part_size", "upload_concurrency", "download_part_size", "requests"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is below 1")


def _usual_parts(count: int) -> int:
    return max(PARTS.start, min(count, PARTS.stop - 1))


SHARED: Final = "objects"
"""The name of `ObjectShared` in `StorageHost.shared`."""


@dataclass(slots=True, eq=False)
class PartialState:
    """State of the unfinished uploads of one bucket in this process.

    Attributes:
        writing: live uploads that can be kept, by the key of their record.
        listed: records of a directory, by its prefix, and when they were listed.
    """

    writing: dict[str, ObjectWriter] = field(default_factory=dict)
    listed: dict[str, tuple[float, set[str]]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class ObjectShared:
    """Parts that the roots of one process share.

    Attributes:
        budget: memory for content that is on its way.
        entries: objects of each bucket whose attributes are kept.
    """

    budget: ByteBudget = field(default_factory=ByteBudget)
    entries: int = DEFAULT_ENTRIES
    _journals: dict[str, Journal] = field(default_factory=dict)
    _partials: WeakKeyDictionary[Bucket, PartialState] = field(default_factory=WeakKeyDictionary)
    _attributes: WeakKeyDictionary[Bucket, AttributeCache] = field(default_factory=WeakKeyDictionary)

    @classmethod
    def of(cls, host: StorageHost) -> ObjectShared:
        """The parts that all roots of a server share, of every kind of object storage."""
        found: ObjectShared | None = host.shared.get(SHARED)
        if found is None:
            rules = host.objects
            budget = ByteBudget(rules.memory, rules.memory_seconds, rules.memory_share)
            found = host.shared[SHARED] = cls(budget)
        return found

    def attributes(self, bucket: Bucket) -> AttributeCache:
        """The attribute cache of a bucket; one for all roots that use this client of it."""
        found = self._attributes.get(bucket)
        if found is None:
            found = self._attributes[bucket] = AttributeCache(self.entries)
        return found

    def partials(self, bucket: Bucket) -> PartialState:
        """The state of the unfinished uploads of a bucket; one for all roots that use this client of it."""
        found = self._partials.get(bucket)
        if found is None:
            found = self._partials[bucket] = PartialState()
        return found

    def journal(self, directory: str | None) -> Journal | None:
        """The journal in a directory; one for the process."""
        if directory is None:
            return None
        if directory not in self._journals:
            self._journals[directory] = Journal(directory)
        return self._journals[directory]

    def close(self) -> None:
        """End the journals; every root is closed."""
        for journal in self._journals.values():
            journal.close()
