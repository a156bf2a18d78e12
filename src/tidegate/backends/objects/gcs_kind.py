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
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.backends.objects.shared_bucket import SharedBuckets, owner_of
from tidegate.model import StorageSpec


class GcsStorage:
    """`tidegate.abc.StorageKind` of buckets; roots in one bucket with the same credentials share a client."""

    options: ClassVar[type[GcsOptions]] = GcsOptions
    section: ClassVar[str] = "gcsconfig"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._host = host
        self._buckets = SharedBuckets("gcs", host.observe)
        self._shared = ObjectShared.of(self._host)

    async def open(self) -> Sequence[str]:
        """Nothing is shared before the first root."""
        return ()

    def build(self, spec: StorageSpec, options: GcsOptions) -> Backend:
        """The keys of a bucket under `GcsOptions.key_prefix`."""
        connection = replace(options, key_prefix="")
        bucket = self._buckets.get(connection, lambda: _make(connection), LIMITS, f"gs://{options.bucket}/")
        return ObjectBackend(
            bucket, options.prefix, settings_of(options, self._host), self._shared, owner_of(spec)
        )

    async def close(self) -> None:
        """Release what the roots shared."""
        await self._buckets.close()
        self._shared.close()


def _make(options: GcsOptions) -> Bucket:
    from tidegate.backends.objects.gcs import GcsBucket

    return GcsBucket(options)


def settings_of(options: GcsOptions, host: StorageHost) -> ObjectSettings:
    """The settings of a root as a record gives them."""
    return ObjectSettings.of(
        host, options.endpoint.rstrip("/") or f"gs.{options.universe_domain}".rstrip("."), options
    )


def _proof(kind: GcsStorage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
