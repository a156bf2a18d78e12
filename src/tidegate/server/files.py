# SPDX-License-Identifier: Apache-2.0
"""Options of files and storage from the configuration and the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tidegate.abc import ObjectRules, Publish, StorageHost
from tidegate.cluster.memory import MemoryLocks
from tidegate.config.load import Loaded
from tidegate.contracts.cluster import Live, LockLimits, LockTable
from tidegate.model.door import DoorStatus
from tidegate.resources import Ledger
from tidegate.server.sandbox import sandbox_places
from tidegate.vfs.context import VfsOptions
from tidegate.vfs.session import Session

if TYPE_CHECKING:
    from tidegate.metrics.measures import Measures
    from tidegate.model.observe import Observe
    from tidegate.vfs.factory import MakeSession

log = logging.getLogger(__name__)


def vfs_options(loaded: Loaded, ledger: Ledger) -> VfsOptions:
    """Options of sessions."""
    common = loaded.settings.common
    return VfsOptions(
        upload_mode=Publish(common.upload_mode),
        setstat_mode=common.setstat_mode,
        map_owners=hasattr(os, "geteuid") and os.geteuid() == 0,
        fsync=common.fsync,
        rename_onto=loaded.settings.sftpd.rename_onto,
        early=ledger.early,
        names=common.file_patterns.entry,
    )


def storage_host(
    loaded: Loaded,
    ledger: Ledger,
    journal: str | None,
    doors: Callable[[], Sequence[DoorStatus]],
    observe: Observe | None = None,
) -> StorageHost:
    """The services for kinds of storage.

    Args:
        loaded: the configuration.
        ledger: of the process.
        journal: directory where unfinished uploads are noted, None for nowhere.
        doors: tells the doors as they are, with their host keys.
        observe: told of requests to services; None where nobody counts them.
    """
    process_umask = read_umask()
    umask = loaded.settings.common.umask
    places = sandbox_places(loaded)
    return StorageHost(
        umask=int(umask, 8) if umask else process_umask,
        journal_dir=journal,
        on_os_error=ledger.descriptors.short,
        objects=object_rules(loaded),
        host_keys=lambda: [text.split()[-1] for door in doors() for text in door.keys],
        observe=observe,
        outside=None if places is None else partial(places.refusal, links=False),
    )


def object_rules(loaded: Loaded) -> ObjectRules:
    """Settings of all roots in object storage."""
    keys = loaded.settings.storage.objects
    return ObjectRules(
        memory=keys.memory << 20,
        memory_share=keys.memory_per_account << 20 or (keys.memory << 20) // 4,
        memory_seconds=float(keys.memory_wait),
        attribute_seconds=keys.attribute_seconds,
        listing_heads=keys.listing_heads,
        requests=keys.requests,
        files_ahead=keys.files_ahead,
        digests=tuple(keys.digests),
        partial_seconds=keys.unfinished_upload_hours * 3600.0,
        rename_seconds=keys.rename_note_hours * 3600.0,
    )


def session_kind(measures: Measures | None) -> MakeSession:
    """The sessions of users: timed where somebody counts."""
    if measures is None:
        return Session
    from tidegate.vfs.timed import TimedSessions

    return TimedSessions(measures.events.timed).session


def write_locks(loaded: Loaded, live: Live) -> LockTable:
    """The lock table: that of the driver of live state if it has one, else one of this server alone."""
    shared: LockTable | None = getattr(live, "locks", None)
    if shared is not None:
        return shared
    if live.shared:
        log.warning("cluster.driver has no write locks: each server knows its own alone")
    limits = loaded.settings.limits
    return MemoryLocks(LockLimits(float(limits.lock_time), limits.locks, limits.locks_per_account))


def read_umask() -> int:
    """The umask this process was started with.

    Reading it is setting it, for every thread: to be done before any of them makes files.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
