# SPDX-License-Identifier: Apache-2.0
"""Local disk as a kind of storage: one directory of this host for each home and folder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tidegate.abc import Backend, StorageHost, StorageKind
from tidegate.backends.local.backend import LocalBackend
from tidegate.backends.local.device import Devices
from tidegate.backends.local.journal import sweep_journal
from tidegate.errors import OperatorError
from tidegate.model import StorageSpec


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """Local disk has no options of its own."""


class LocalStorage:
    """`tidegate.abc.StorageKind` of local disk; its backends share threads and what is known of devices."""

    options: ClassVar[type[LocalOptions]] = LocalOptions
    section: ClassVar[str] = ""
    needs_directory: ClassVar[bool] = True

    def __init__(self, host: StorageHost) -> None:
        self._host = host
        self._devices = Devices(on_os_error=host.on_os_error)

    async def open(self) -> Sequence[str]:
        """Remove what a crash left behind."""
        if self._host.journal_dir is None:
            return ()
        swept = await asyncio.to_thread(sweep_journal, self._host.journal_dir)
        if not swept.removed:
            return ()
        return (f"removed {swept.removed} uploads that a crash had left unfinished",)

    def build(self, spec: StorageSpec, _options: LocalOptions) -> Backend:
        """The directory that the record names, created if missing.

        Raises:
            OperatorError: the server cannot reach it.
        """
        outside = self._host.outside
        if outside is not None and (why := outside(spec.directory)) is not None:
            raise OperatorError(f"{spec.directory} {why}")
        return LocalBackend(
            spec.directory,
            create=True,
            umask=self._host.umask,
            uid=spec.uid or None,
            gid=spec.gid or None,
            devices=self._devices,
            journal_dir=self._host.journal_dir,
        )

    async def close(self) -> None:
        """End the threads."""
        self._devices.close()


def _proof(kind: LocalStorage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
