# SPDX-License-Identifier: Apache-2.0
"""Forgets dead properties of files that are gone: removed on the host, or while the data provider was away.

A storage that shows nothing is more likely not mounted than empty. So properties are forgotten only if the
nearest directory above that exists holds something.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tidegate.abc import Backend, Key
from tidegate.errors import NotADirectory, NotFound, TidegateError
from tidegate.model.properties import PropertyStore
from tidegate.vfs.contracts import identity_of
from tidegate.vfs.mounts import listing

PAGE: Final = 200
"""Places that are read at a time."""
MAX_PLACES: Final = 10_000
"""Places that are looked at in one sweep; the next one begins where it ended."""

log = logging.getLogger(__name__)


async def sweep(
    backend: Backend, store: PropertyStore, after: str = "", *, go_on: Callable[[], bool] = lambda: True
) -> tuple[str, int]:
    """Look at each place of a storage root that has properties.

    Args:
        backend: open.
        store: of the data provider.
        after: what the sweep before returned.
        go_on: asked between pages.

    Returns:
        the last place that was looked at, empty if it was the last of all; and how many were forgotten.

    Raises:
        TidegateError: storage or the data provider cannot be asked; what was forgotten was right.
    """
    root = identity_of(backend, "")
    looked = forgotten = 0
    while looked < MAX_PLACES and go_on():
        places = await store.places(root, after, PAGE)
        for place in places:
            key = place[len(root) + 1 :]
            if await _is_gone(backend, key) and await _is_alive(backend, key):
                await store.remove(place)
                forgotten += 1
            await asyncio.sleep(0)
        looked += len(places)
        if len(places) < PAGE:
            return "", forgotten
        after = places[-1]
    return after, forgotten


async def _is_gone(backend: Backend, key: Key) -> bool:
    try:
        await backend.stat(key, follow=False)
    except (NotFound, NotADirectory):
        return True
    return False


async def _is_alive(backend: Backend, key: Key) -> bool:
    """True if the nearest directory above that exists holds anything."""
    while key:
        key = key.rpartition("/")[0]
        try:
            async with listing(backend, key) as batches:
                async for batch in batches:
                    if batch:
                        return True
                return False
        except (NotFound, NotADirectory):
            continue
    return False


async def sweep_quietly(
    backend: Backend, store: PropertyStore, after: str, *, go_on: Callable[[], bool]
) -> str:
    """`sweep`, for the background: what fails is logged. Returns where the next one begins."""
    try:
        after, forgotten = await sweep(backend, store, after, go_on=go_on)
    except TidegateError as error:
        log.warning("properties of files that are gone were not all forgotten: %s", error)
        return after
    if forgotten:
        log.info("forgot properties of %d files of %s that are gone", forgotten, backend.location(""))
    return after
