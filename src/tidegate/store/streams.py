# SPDX-License-Identifier: Apache-2.0
"""Records in batches, and the bounds on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain, islice
from typing import Final

from tidegate.store.contract import Record, Snapshot

BATCH_RECORDS: Final = 500
"""Records that are stored in one go while a dump is loaded."""
MAX_PAGE: Final = 1_000
"""Records of one page of a listing at most."""


async def batches_of(snapshot: Snapshot) -> AsyncIterator[Sequence[Record]]:
    """A snapshot in the order in which records depend on each other."""
    records: Iterable[Record] = chain(
        snapshot.folders,
        snapshot.groups,
        snapshot.roles,
        snapshot.admins,
        snapshot.users,
        snapshot.api_keys,
        snapshot.event_actions,
        snapshot.event_rules,
        snapshot.ip_lists,
    )
    source = iter(records)
    while batch := list(islice(source, BATCH_RECORDS)):
        yield batch
