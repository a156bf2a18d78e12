# SPDX-License-Identifier: Apache-2.0
"""Dead properties and write locks follow a move: they are kept by places in storage, which change.

Properties are copied before the switch, so that a move that fails has changed nothing; those of the old
storage go with its content. Locks, which end by themselves, are taken over once the record names the new one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from tidegate.abc import Backend, Key, LockTable
from tidegate.errors import TidegateError
from tidegate.relocation.copying import Route
from tidegate.vfs.contracts import identity_of
from tidegate.vfs.property_index import PropertyIndex

log = logging.getLogger(__name__)


async def copy_properties(index: PropertyIndex, route: Route) -> None:
    """Give the target the properties that the source has, and no others.

    Raises:
        ProviderError: they cannot be read or kept now.
    """
    await index.learn()  # another server may have set the first one lately
    source, target = identity_of(route.source, ""), identity_of(route.target, "")
    if index.may_have(source) or index.may_have(target):
        await index.copy_tree(source, target)


async def forget_properties(index: PropertyIndex, backend: Backend, key: Key) -> None:
    """A file or directory of a storage was removed; one that is empty for the root: all of it.

    Raises:
        ProviderError: not now.
    """
    place = identity_of(backend, key)
    if index.may_have(place):
        await index.store.remove(place)


async def relocate_locks(locks: LockTable, route: Route, accounts: Collection[str]) -> None:
    """Locks of these accounts are where their files are now. What fails is logged: a lock ends by itself."""
    if not locks.active:
        return
    source, target = identity_of(route.source, ""), identity_of(route.target, "")
    try:
        await locks.relocate(source, target, frozenset(accounts))
    except TidegateError as error:
        log.warning("locks of %s did not follow its files to %s: %s", source, target, error)
