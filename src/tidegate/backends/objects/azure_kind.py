# SPDX-License-Identifier: Apache-2.0
"""Containers of Azure Blob Storage as a kind of storage.

A server without such roots does without their code: `AzureStorage.open` imports the room, and the client's
library is imported when the first root is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from tidegate.abc import Backend, StorageHost, StorageKind
from tidegate.backends.objects.azure_options import LIMITS, AzureOptions
from tidegate.backends.objects.shared_bucket import SharedBuckets, owner_of
from tidegate.model import StorageSpec
from tidegate.packages import load_beside

if TYPE_CHECKING:
    from tidegate.backends.objects.bucket import Bucket
    from tidegate.backends.objects.settings import ObjectSettings, ObjectShared


class AzureStorage:
    """`tidegate.abc.StorageKind` of containers; roots in one with the same credentials share a client."""

    options: ClassVar[type[AzureOptions]] = AzureOptions
    section: ClassVar[str] = "azblobconfig"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._host = host
        self._buckets = SharedBuckets("azblob", host.observe)
        self._shared: ObjectShared | None = None

    async def open(self) -> Sequence[str]:
        """Import what roots are made of."""
        await load_beside("tidegate.backends.objects.backend")
        return ()

    def build(self, spec: StorageSpec, options: AzureOptions) -> Backend:
        """The keys of a container under `AzureOptions.key_prefix`."""
        from tidegate.backends.objects.backend import ObjectBackend
        from tidegate.backends.objects.settings import ObjectShared

        connection = replace(options, key_prefix="")
        place = f"azblob://{options.place().name}/"
        bucket = self._buckets.get(connection, lambda: _make(connection), LIMITS, place)
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


def _make(options: AzureOptions) -> Bucket:
    from tidegate.backends.objects.azure import AzureBucket

    return AzureBucket(options)


def settings_of(options: AzureOptions, host: StorageHost) -> ObjectSettings:
    """The settings of a root as a record gives them."""
    from tidegate.backends.objects.settings import ObjectSettings

    return ObjectSettings.of(host, options.place().account_url, options)


def _proof(kind: AzureStorage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
