# SPDX-License-Identifier: Apache-2.0
"""Write locks and dead properties: what acts on files have to respect, and to take along, whatever door asks.

Write locks (RFC 4918 sections 6 and 7) are asked by every act that changes something.

An act is allowed if each thing that it changes is free of locks, or covered by one of the account's own whose
token was submitted (`holding`). What an act changes:

* the path itself, its content or attributes;
* with `member`, which names there are in the directory above (RFC 4918 section 7.4): a lock on that directory
  counts, deep or not;
* with `tree`, everything below the path.

Two names of one file (hard links) are two places.

When a file or directory is removed, renamed or copied, its locks end and its dead properties go along.
Storage comes first: what happened to a file has happened, whether or not the data provider can be told. What
it could not be told is logged, and found by the next sweep.

Where no lock and no property exists, each call is a test of an attribute or two.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from tidegate.abc import HeldLock, KnowsPlaces, LockTable
from tidegate.errors import Locked, ProviderError, TidegateError
from tidegate.model import Intent, ProgramUse, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils, identity_of
from tidegate.vfs.mounts import ResolvedPath

log = logging.getLogger(__name__)

HELD: Final[ContextVar[frozenset[str]]] = ContextVar("HELD", default=frozenset())
"""Tokens submitted with what runs now, and with the tasks that it starts."""


@contextmanager
def holding(tokens: Iterable[str]) -> Iterator[None]:
    """Submit lock tokens with all acts within, and with files opened within for as long as they are open."""
    before = HELD.set(frozenset(tokens))
    try:
        yield
    finally:
        HELD.reset(before)


async def place_of(resolved: ResolvedPath, *, follow: bool) -> str:
    """The identity of what a path leads to, free of links."""
    backend, key = resolved.backend, resolved.key
    if fulfils(backend, KnowsPlaces):
        try:
            key = await backend.place_of(key, follow=follow)
        except TidegateError:
            key = resolved.key  # the act itself will say what is wrong with the path
    return identity_of(backend, key)


async def require_unlocked(
    context: Context,
    intent: Intent,
    path: VPath,
    resolved: ResolvedPath,
    *,
    follow: bool = False,
    member: bool = False,
    tree: bool = False,
) -> None:
    """Return if no lock forbids the act; a refusal goes on record and is raised.

    Args:
        intent: what is about to be done; `path` to what.
        resolved: where the path leads.
        follow: the act goes through a link at the end of the path.
        member: a name appears or disappears in the directory above.
        tree: everything below changes too.

    Raises:
        Locked: a lock is in the way.
        WorldError: the locks cannot be asked.
    """
    if not context.locks.active:
        return
    place = await place_of(resolved, follow=follow)
    blocking = await blocking_lock(
        context.locks, context.principal.username, place, HELD.get(), member=member, tree=tree
    )
    if blocking is not None:
        error = locked_by(context, blocking, path, resolved, place)
        raise context.refused(intent, path, error, error.rule)


async def require_unlocked_trees(context: Context, use: ProgramUse, paths: Iterable[VPath]) -> None:
    """Return if a program may change all that lies in these directories, which hold no links.

    Raises:
        Locked: a lock is in the way; on record.
    """
    if not context.locks.active:
        return
    for path in paths:
        resolved = await context.table.at(path)
        place = identity_of(resolved.backend, resolved.key)
        blocking = await blocking_lock(
            context.locks, context.principal.username, place, HELD.get(), member=False, tree=True
        )
        if blocking is not None:
            error = locked_by(context, blocking, path, resolved, place)
            raise context.refused_program(use, path, error)


async def refuse_write(
    context: Context, intent: Intent, path: VPath, resolved: ResolvedPath, held: frozenset[str]
) -> Locked | None:
    """The refusal, on record, of a change to an open file; None if it may be changed.

    Args:
        held: tokens that the file was opened with.
    """
    place = await place_of(resolved, follow=True)
    blocking = await blocking_lock(
        context.locks, context.principal.username, place, held | HELD.get(), member=False, tree=False
    )
    if blocking is None:
        return None
    error = locked_by(context, blocking, path, resolved, place)
    context.refused(intent, path, error, error.rule)
    return error


async def blocking_lock(
    locks: LockTable, account: str, place: str, held: frozenset[str], *, member: bool, tree: bool
) -> HeldLock | None:
    """The first lock in the way of an act of an account; None if it may happen.

    Args:
        held: tokens that were submitted; `member` and `tree` as for `require_unlocked`.
    """
    if not locks.may_concern(place):
        return None
    asked = [place]
    if member:
        asked.append(place.rpartition("/")[0])
    if tree:
        asked += dict.fromkeys(lock.place for lock in await locks.within(place))
    for each in asked:
        covering = await locks.covering(each)
        if covering and not any(lock.account == account and lock.token in held for lock in covering):
            return covering[0]
    return None


def locked_by(context: Context, lock: HeldLock, path: VPath, resolved: ResolvedPath, place: str) -> Locked:
    """The error that names who holds a lock, and what is locked as far as the session sees it."""
    root = root_of(context, lock.place, path, resolved, place)
    return Locked(holder=lock.account, place=lock.place, root=str(root))


def root_of(context: Context, locked: str, path: VPath, resolved: ResolvedPath, place: str) -> VPath:
    """The lock root as a path of the session; the mount, if it lies above that.

    Args:
        locked: the place that is locked.
        path: of something that the lock covers or that lies above it, `resolved` where it leads, and `place`
            its identity.
    """
    here = context.place(path, resolved)
    if place == locked:
        return here
    if locked.startswith(f"{place}/"):
        return VPath.parse(locked[len(place) + 1 :], base=here)
    for above, at in zip(here.ancestors(), _ancestors(place), strict=False):
        if at == locked or above == resolved.mount.path:
            return above
    return here


def _ancestors(place: str) -> Iterator[str]:
    while place:
        yield place
        place = place.rpartition("/")[0]


# -- what goes along -----------------------------------------------------------------------------------------


async def removed(context: Context, resolved: ResolvedPath) -> None:
    """Something is gone, with all that was in it."""
    if context.locks.active:
        await context.locks.forget(await place_of(resolved, follow=False))
    await made(context, resolved)


async def made(context: Context, resolved: ResolvedPath) -> None:
    """Something new is about to be where something may have been: it has no properties."""
    index = context.properties
    if index.active and index.may_have(place := await place_of(resolved, follow=False)):
        await _told(index.store.remove(place), place)


async def moved(context: Context, origin: ResolvedPath, goal: ResolvedPath) -> None:
    """Something has another name, with all that is in it. A lock does not move (RFC 4918 section 7.6)."""
    if context.locks.active:
        await context.locks.forget(await place_of(origin, follow=False))
    index = context.properties
    if not index.active:
        return
    source = await place_of(origin, follow=False)
    target = await place_of(goal, follow=False)
    if index.may_have(source) or index.may_have(target):
        root = identity_of(goal.backend, "")
        await _told(index.move(source, target, root), source)


async def copied(context: Context, origin: ResolvedPath, goal: ResolvedPath) -> None:
    """A file was copied."""
    index = context.properties
    if not index.active:
        return
    source = await place_of(origin, follow=True)
    target = await place_of(goal, follow=True)
    if index.may_have(source) or index.may_have(target):
        root, account = identity_of(goal.backend, ""), context.principal.username
        await _told(index.copy(source, target, root, account), source)


async def _told(work: Awaitable[None], place: str) -> None:
    try:
        await work
    except ProviderError as error:
        log.warning("properties of %s did not follow a change of the file: %s", place, error)


def has_more(context: Context, resolved: ResolvedPath) -> bool:
    """False if certainly no lock and no property concerns what a path leads to without any link."""
    place = identity_of(resolved.backend, resolved.key)
    return context.locks.may_concern(place) or context.properties.may_have(place)
