# SPDX-License-Identifier: Apache-2.0
"""Permissions ask about what is reached: where links lead is found out, judged, and only then acted on.

The gate judges paths as text. For an account with one rule for the whole tree that is enough. For all
others links count: they are judged when they are made (`links`), but rules may have changed since, and the
host makes links too. So every operation on a path goes one way, in one of two forms:

* `reach` finds the place, asks the gate about it, and answers where it is. The operation then uses
  `Context.through`, a view of the storage that follows no link.
* `acting` does the same for operations of one step, and asks the storage only once where no link is on the
  way: it acts through that view first, and resolves and judges only if a link was met.

A link that is swapped in between leads nowhere: the act fails, or is tried again from the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tidegate.abc import Backend, Key
from tidegate.errors import Conflict, LinkMet
from tidegate.model import Intent, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.mounts import ResolvedPath

T = TypeVar("T")

MAX_TRIES: Final = 8
"""Attempts at an operation while links change under it."""


async def reach(
    context: Context, path: VPath, *intents: Intent, follow: bool = True, charged: bool = False
) -> ResolvedPath:
    """Judge a path and the place it leads to.

    Args:
        intents: asked of the path before anything is looked at, then of the place.
        follow: True if a link at the end is followed.
        charged: usage of the place may change, so that its key has to be free of links also where that
            matters to no permission.

    Returns:
        the place; to be acted on through `Context.through`.

    Raises:
        Denied, NotFound: refused, or it leads outside.
        TooManyLinks: a loop.
    """
    for intent in intents:
        context.require(intent, path)
    if charged or not context.gate.uniform:
        resolved = await context.charged(path, follow=follow)
        for intent in intents:
            check_place(context, intent, path, resolved)
        return resolved
    return await context.table.at(path)


def check_place(
    context: Context,
    intent: Intent,
    path: VPath,
    resolved: ResolvedPath,
    *,
    target: VPath | None = None,
    goal: ResolvedPath | None = None,
    target_exists: bool = False,
) -> None:
    """Ask the gate about the place of a path that was asked about already; of a target's place as well.

    Args:
        resolved: where `path` leads, as `reach` or `Context.charged` found; `goal` likewise for `target`.

    Raises:
        Denied, NotFound: refused.
    """
    if context.gate.uniform:
        return
    there = context.place(path, resolved)
    other = target if target is None or goal is None else context.place(target, goal)
    if there != path or other != target:
        context.require(intent, there, target=other, target_exists=target_exists)


async def acting(
    context: Context,
    path: VPath,
    check: Callable[[VPath], object],
    act: Callable[[Backend, Key], Awaitable[T]],
    *,
    follow: bool = True,
) -> tuple[ResolvedPath, T]:
    """Act on what a path leads to, if that may be.

    Args:
        path: has been judged.
        check: asked about the place before the act, if a link led elsewhere; raises what refuses it.
        act: one step of the storage, which does nothing if it raises `LinkMet`.

    Returns:
        the place, and what `act` returned.

    Raises:
        Conflict: links changed under it again and again.
        TidegateError: of `check` and `act`, or the path cannot be resolved.
    """
    resolved = await context.table.at(path)
    for _ in range(MAX_TRIES):
        try:
            return resolved, await act(context.through(resolved), resolved.key)
        except LinkMet:
            resolved = await context.charged(path, follow=follow)
            there = context.place(path, resolved)
            if there != path:
                check(there)
    raise Conflict
