# SPDX-License-Identifier: Apache-2.0
"""Buckets of Google Cloud Storage as a kind of storage.

Libraries are imported when the first root is opened, not here: a server without such roots does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from tidegate.abc import Backend, StorageHost, StorageKind
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import Bucket
from tidegate.backends.objects.gcs_options import LIMITS, GcsOptions
from tidegate.backends.objects.option_checks import MIB
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.backends.objects.shared_bucket import SharedBuckets
from tidegate.model import StorageSpec

PART_MIB = 5
"""`upload_part_size` and `download_part_size` by default."""
PARTS = 2
"""`upload_concurrency` and `download_concurrency` by default: with the part at hand 15 MiB for a transfer."""


class GcsStorage:
    """`tidegate.abc.StorageKind` of buckets; roots in one bucket with the same credentials share a client."""

    options: ClassVar[type[GcsOptions]] = GcsOptions
    section: ClassVar[str] = "gcsconfig"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._host = host
        self._buckets = SharedBuckets()
        self._shared = ObjectShared()

    async def open(self) -> Sequence[str]:
        """Nothing is shared before the first root."""
        return ()

    def build(self, spec: StorageSpec, options: GcsOptions) -> Backend:  # noqa: ARG002 - no directory
        """The keys of a bucket under `GcsOptions.key_prefix`."""
        connection = replace(options, key_prefix="")
        bucket = self._buckets.get(connection, lambda: _make(connection), LIMITS, f"gs://{options.bucket}/")
        return ObjectBackend(bucket, options.prefix, settings_of(options, self._host), self._shared)

    async def close(self) -> None:
        """Release what the roots shared."""
        self._shared.close()


def _make(options: GcsOptions) -> Bucket:
    from tidegate.backends.objects.gcs import GcsBucket

    return GcsBucket(options)


def settings_of(options: GcsOptions, host: StorageHost) -> ObjectSettings:
    """The settings of a root as a record gives them."""
    return ObjectSettings(
        upload_part_size=(options.upload_part_size or PART_MIB) * MIB,
        upload_concurrency=options.upload_concurrency or PARTS,
        download_part_size=(options.download_part_size or PART_MIB) * MIB,
        download_concurrency=options.download_concurrency or PARTS,
        journal_dir=host.journal_dir,
        service=options.endpoint.rstrip("/") or f"gs.{options.universe_domain}".rstrip("."),
    )


def _proof(kind: GcsStorage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
