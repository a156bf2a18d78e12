# SPDX-License-Identifier: Apache-2.0
"""Directories of other SFTP servers as a kind of storage.

A server without such roots does without their code: `SftpStorage.open` imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

from tidegate.abc import Backend, StorageHost, StorageKind
from tidegate.backends.sftp.options import SftpOptions
from tidegate.model import StorageSpec
from tidegate.packages import load_beside

if TYPE_CHECKING:
    from tidegate.backends.host_journal import Journal
    from tidegate.backends.sftp.pool import Pool


class SftpStorage:
    """`tidegate.abc.StorageKind` of other SFTP servers; roots of one account there share connections."""

    options: ClassVar[type[SftpOptions]] = SftpOptions
    section: ClassVar[str] = "sftpconfig"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        self._host = host
        self._pools: WeakValueDictionary[SftpOptions, Pool] = WeakValueDictionary()
        self._journal: Journal | None = None

    async def open(self) -> Sequence[str]:
        """Import what roots are made of."""
        await load_beside("tidegate.backends.sftp.backend")
        return ()

    def build(self, spec: StorageSpec, options: SftpOptions) -> Backend:  # noqa: ARG002 - no directory
        """The directory `SftpOptions.prefix` of a server."""
        from tidegate.backends.sftp.backend import SftpBackend
        from tidegate.backends.sftp.pool import Pool

        connection = replace(options, prefix="", disable_concurrent_reads=False, buffer_size=0)
        pool = self._pools.get(connection)
        if pool is None:
            pool = self._pools[connection] = Pool(connection, self._host.host_keys)
        if self._journal is None and self._host.journal_dir is not None:
            from tidegate.backends.host_journal import Journal

            self._journal = Journal(self._host.journal_dir, "sftp")
        return SftpBackend(pool, options, umask=self._host.umask, journal=self._journal)

    async def close(self) -> None:
        """Leave what is noted to the next server; the last root of a server ends its connections."""
        if self._journal is not None:
            self._journal.close()


def _proof(kind: SftpStorage) -> StorageKind:
    """The type checker's word that the contract is kept."""
    return kind
