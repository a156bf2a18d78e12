# SPDX-License-Identifier: Apache-2.0
"""Buckets of Amazon S3, and of stores that speak its protocol, as a kind of storage.

A server without such roots does without their code: `S3Storage.open` imports the room, and the client's
library is imported when the first root is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from tidegate.abc import Backend, StorageHost, StorageKind
from tidegate.backends.objects.s3_options import S3Options, limits_of
from tidegate.backends.objects.shared_bucket import SharedBuckets, owner_of
from tidegate.model import StorageSpec
from tidegate.packages import load_beside

if TYPE_CHECKING:
    from tidegate.backends.objects.bucket import Bucket
    from tidegate.backends.objects.settings import ObjectSettings, ObjectShared


class S3Storage:
    """`tidegate.abc.StorageKind` of buckets; roots in one bucket with the same credentials share a client."""

    options: ClassVar[type[S3Options]] = S3Options
    section: ClassVar[str] = "s3config"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._host = host
        self._buckets = SharedBuckets("s3", host.observe)
        self._shared: ObjectShared | None = None
        self._loader: list[object] = []

    async def open(self) -> Sequence[str]:
        """Import what roots are made of."""
        await load_beside("tidegate.backends.objects.backend")
        return ()

    def build(self, spec: StorageSpec, options: S3Options) -> Backend:
        """The keys of a bucket under `S3Options.key_prefix`."""
        from tidegate.backends.objects.backend import ObjectBackend
        from tidegate.backends.objects.settings import ObjectShared

        connection = replace(options, key_prefix="")
        bucket = self._buckets.get(
            connection, lambda: self._make(connection), limits_of(connection), f"s3://{options.bucket}/"
        )
        if self._shared is None:
            self._shared = ObjectShared.of(self._host)
        return ObjectBackend(
            bucket, options.prefix, settings_of(options, self._host), self._shared, owner_of(spec)
        )

    async def close(self) -> None:
        """Release what the roots shared."""
        await self._buckets.close()
        if self._shared is not None:
            self._shared.close()

    def _make(self, options: S3Options) -> Bucket:
        from tidegate.backends.objects.s3 import S3Bucket
        from tidegate.backends.objects.s3_client import make_loader

        if not self._loader:
            self._loader.append(make_loader())
        return S3Bucket(options, loader=self._loader[0])


def settings_of(options: S3Options, host: StorageHost) -> ObjectSettings:
    """The settings of a root as a record gives them."""
    from tidegate.backends.objects.settings import ObjectSettings

    return ObjectSettings.of(host, options.endpoint.rstrip("/"), options)


def _proof(kind: S3Storage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
