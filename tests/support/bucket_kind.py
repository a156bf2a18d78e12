# SPDX-License-Identifier: Apache-2.0
"""A bucket as a kind of storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tidegate.abc import Backend, StorageHost
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.s3 import S3Bucket
from tidegate.backends.objects.s3_options import S3Options
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.model import StorageSpec


class BucketStorage:
    """S3."""

    options: ClassVar[type[S3Options]] = S3Options
    section: ClassVar[str] = "s3config"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._journal = host.journal_dir
        self._shared = ObjectShared()

    async def open(self) -> Sequence[str]:
        return ()

    def build(self, spec: StorageSpec, options: S3Options) -> Backend:
        settings = ObjectSettings(journal_dir=self._journal)
        return ObjectBackend(S3Bucket(options), options.key_prefix, settings, self._shared)

    async def close(self) -> None:
        self._shared.close()
