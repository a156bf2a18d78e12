# SPDX-License-Identifier: Apache-2.0
"""Dead properties (RFC 4918 section 4.2) of what sessions see.

`tidegate.vfs.files.attached` knows, without asking the data provider, which storage roots have any property,
so that who has none pays nothing; `tidegate.vfs.files.attached` keeps properties with their files.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from tidegate.errors import NotFound
from tidegate.model import Intent, VPath
from tidegate.model.properties import (
    Properties,
    PropertyName,
    PropertyPatch,
)
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import identity_of
from tidegate.vfs.files.attached import place_of, require_unlocked
from tidegate.vfs.files.copy import stat_or_none
from tidegate.vfs.files.reach import reach

log = logging.getLogger(__name__)


class SessionProperties:
    """`vfs.api.SessionProperties`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def get(self, path: VPath) -> dict[PropertyName, bytes]:
        """Properties of a file or directory; see `vfs.api.SessionProperties`."""
        context = self._context
        resolved = await reach(context, path, Intent.STAT)
        place = await place_of(resolved, follow=True)
        return await context.properties.store.get(place) if context.properties.may_have(place) else {}

    async def of_children(self, path: VPath) -> dict[str, dict[PropertyName, bytes]]:
        """Properties of what is in a directory; see `vfs.api.SessionProperties`."""
        context = self._context
        resolved = await reach(context, path, Intent.LIST)
        place = await place_of(resolved, follow=True)
        if not context.properties.may_have(place):
            return {}
        found = await context.properties.store.of_children(place)
        for name in list(found):
            if context.table.has_points and context.table.is_point(path.child(name)):
                del found[name]  # what is mounted there hides it
        return found

    async def patch(self, path: VPath, sets: Properties, removes: Collection[PropertyName] = ()) -> None:
        """Set and remove properties, all or none; see `vfs.api.SessionProperties`."""
        context = self._context
        context.require(Intent.PROPERTIES, path, is_dir=True)  # before anything is looked at
        resolved = await context.charged(path, follow=True)
        async with context.paths.locked(resolved[1:]):
            entry = await stat_or_none(context, resolved)
            for place in dict.fromkeys((path, context.place(path, resolved))):
                context.require(Intent.PROPERTIES, place, is_dir=entry is not None and entry.is_dir)
            if entry is None:
                raise NotFound
            await require_unlocked(context, Intent.PROPERTIES, path, resolved, follow=True)
            change = PropertyPatch(
                place=await place_of(resolved, follow=True),
                root=identity_of(resolved.backend, ""),
                account=context.principal.username,
                sets=sets,
                removes=removes,
            )
            with context.limits(Intent.PROPERTIES, path):
                await context.properties.patch(change)
