# SPDX-License-Identifier: Apache-2.0
"""Locks as a session takes, sees and ends them; what they forbid is `tidegate.vfs.files.attached`."""

from __future__ import annotations

from typing import Final, Literal

from tidegate.abc import HeldLock, LockRequest
from tidegate.errors import Locked, NotFound
from tidegate.model import Entry, Intent, VPath
from tidegate.vfs.api import Lock
from tidegate.vfs.context import Context
from tidegate.vfs.files.attached import place_of, require_unlocked, root_of
from tidegate.vfs.files.copy import stat_or_none
from tidegate.vfs.files.reach import reach
from tidegate.vfs.mounts import ResolvedPath

_BUSY: Final = "file is being written"


class SessionLocks:
    """`vfs.api.SessionLocks`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def active(self) -> bool:
        """False if nothing is locked; see `vfs.api.SessionLocks`."""
        return self._context.locks.active

    async def lock(
        self,
        path: VPath,
        *,
        scope: Literal["exclusive", "shared"] = "exclusive",
        depth_infinite: bool = False,
        owner: str = "",
        seconds: float,
    ) -> Lock:
        """Lock a path, whether or not something is there; see `vfs.api.SessionLocks`."""
        context = self._context
        resolved, entry = await self._find(path)
        self._require(path, resolved, entry)
        if entry is None:
            # A name is about to appear in the directory above.
            await require_unlocked(context, Intent.LOCK, path, resolved, follow=True, member=True)
        async with context.paths.locked(resolved[1:]) as (state,):
            # Who has begun to write did not know of the lock.
            if state.users > 1 or (depth_infinite and context.paths.used_below(*resolved[1:])):
                raise context.refused(Intent.LOCK, path, Locked(_BUSY), Locked.rule)
            place = await place_of(resolved, follow=True)
            if any(_overlaps(place, other, deep=depth_infinite) for other in context.programs.values()):
                raise context.refused(Intent.LOCK, path, Locked("a program is writing there"), Locked.rule)
            try:
                held = await context.locks.acquire(
                    LockRequest(
                        place=place,
                        account=context.principal.username,
                        path=str(path),
                        exclusive=scope == "exclusive",
                        deep=depth_infinite,
                        owner=owner,
                        seconds=seconds,
                    )
                )
            except Locked as error:
                error.root = str(root_of(context, error.place, path, resolved, place))
                raise context.refused(Intent.LOCK, path, error, error.rule) from None
        return self._seen(held, path, resolved, place)

    async def refresh(self, path: VPath, token: str, seconds: float) -> Lock:
        """Let a lock that covers `path` last `seconds` from now on; see `vfs.api.SessionLocks`."""
        resolved, place, held = await self._own(path, token)
        held = await self._context.locks.refresh(token, held.account, seconds)
        return self._seen(held, path, resolved, place)

    async def unlock(self, path: VPath, token: str) -> None:
        """End a lock that covers `path`; see `vfs.api.SessionLocks`."""
        await self._own(path, token)
        await self._context.locks.release(token, self._context.principal.username)

    async def list(self, path: VPath) -> list[Lock]:
        """Locks that cover `path`; see `vfs.api.SessionLocks`."""
        context = self._context
        context.require(Intent.STAT, path)
        if not context.locks.active:
            return []
        resolved = await reach(context, path, Intent.STAT)
        place = await place_of(resolved, follow=True)
        return [self._seen(held, path, resolved, place) for held in await context.locks.covering(place)]

    # -- pieces ----------------------------------------------------------------------------------------------

    async def _find(self, path: VPath) -> tuple[ResolvedPath, Entry | None]:
        context = self._context
        resolved = await context.charged(path, follow=True)
        return resolved, await stat_or_none(context, resolved)

    def _require(self, path: VPath, resolved: ResolvedPath, entry: Entry | None) -> None:
        context = self._context
        is_dir = entry is not None and entry.is_dir
        for place in dict.fromkeys((path, context.place(path, resolved))):
            if is_dir and context.gate.decide(Intent.LOCK, place.child("x"), is_dir=True).allowed:
                continue  # who may write in a directory may lock it
            context.require(Intent.LOCK, place, is_dir=is_dir)

    async def _own(self, path: VPath, token: str) -> tuple[ResolvedPath, str, HeldLock]:
        context = self._context
        resolved = await context.charged(path, follow=True)
        place = await place_of(resolved, follow=True)
        for held in await context.locks.covering(place):
            if held.token == token:
                if held.account != context.principal.username:
                    raise context.deny(
                        Intent.LOCK, path, f"permission: the lock is held by {held.account}", Locked.rule
                    )
                return resolved, place, held
        raise NotFound("no such lock")

    def _seen(self, held: HeldLock, path: VPath, resolved: ResolvedPath, place: str) -> Lock:
        return Lock(
            token=held.token,
            path=root_of(self._context, held.place, path, resolved, place),
            scope="exclusive" if held.exclusive else "shared",
            depth_infinite=held.deep,
            owner=held.owner,
            account=held.account,
            seconds=held.seconds,
            left=held.left,
        )


def _overlaps(place: str, tree: str, *, deep: bool) -> bool:
    """True if a lock would cover something of a tree."""
    return f"{place}/".startswith(f"{tree}/") or (deep and tree.startswith(f"{place}/"))
