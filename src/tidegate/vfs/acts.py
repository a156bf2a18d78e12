# SPDX-License-Identifier: Apache-2.0
"""An operation on storage and its accounting are one: both happen, or neither does.

A call of storage that runs in a thread ends when the thread ends, also if whoever asked for it was cancelled
meanwhile (the line broke, the server stops). So everything that changes what is charged runs through `Acts`:

* `Acts.run` carries a coroutine to its end, in a task of its own from the first moment that it has to wait.
  What needs no waiting makes no task.
* An `Act` is one operation of a session. Until `commit`, cancellation of the caller ends it and nothing has
  happened; from then on it goes on without the caller and is settled by what became of it.
* Before the first change `Act.begin` has the store told that the account's numbers may be behind, and the
  mark stays while the act runs: after a crash in between, the account is counted again.
* If storage fails after that in a way that does not say whether the operation was done, the account stays
  marked until it has been counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar, cast

from tidegate.errors import StorageFailed, TidegateError
from tidegate.vfs import eager
from tidegate.vfs.mounts import Mount
from tidegate.vfs.usage.live import AccountUsage
from tidegate.vfs.usage.tracker import UsageTracker

T = TypeVar("T")

DRAIN_SECONDS: Final = 10.0
"""Seconds that a stop waits for operations under way; accounts of those that take longer stay marked."""

log = logging.getLogger(__name__)


class Acts:
    """Operations under way that are carried to their end; one for all sessions of the process."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T]) -> tuple[asyncio.Task[T] | None, T | None]:
        """As `eager.start`; the task is waited for at the stop."""
        task, result = eager.start(work, asyncio.get_running_loop())
        if task is not None:
            self._running.add(task)
            task.add_done_callback(self._ended)
        return task, result

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        # Looked at here, because whoever waited for it may be gone.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, TidegateError):
            log.error("an operation on storage ended in an error of the program", exc_info=error)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, even if the caller is cancelled."""
        task, result = self.start(work)
        if task is None:
            return cast("T", result)
        return await asyncio.shield(task)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> int:
        """Wait for what is under way; returns how many operations have not ended in time."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            if late:
                log.warning("%d operations on storage have not ended; they are left behind", len(late))
            return len(late)
        return 0


class Actor(Protocol):
    """The session, as its operations use it.

    Attributes:
        acts: operations under way, of all sessions.
        acting: those of this session.
        tracker: live usage of the process.
        usage: live usage of the account.
    """

    acts: Acts
    acting: dict[asyncio.Task[Any], None]
    tracker: UsageTracker
    usage: AccountUsage

    async def begin(self, mount: Mount) -> None:
        """Usage of a mount is about to change."""
        ...

    def changed(self) -> None:
        """Usage changed."""
        ...


class Act:
    """One operation of a session that changes what is charged, while it runs.

    Attributes:
        begun: numbers of the account may have changed.
        committed: storage is being changed; the caller's cancellation has no effect any more.
        abandoned: the caller is gone, nobody takes the result.
    """

    __slots__ = ("_context", "abandoned", "begun", "committed")

    def __init__(self, context: Actor) -> None:
        self._context = context
        self.begun = False
        self.committed = False
        self.abandoned = False

    async def begin(self, *mounts: Mount) -> None:
        """Usage of these mounts is about to change: see that the store knows."""
        for mount in mounts:
            await self._context.begin(mount)
        self.begun = True

    def commit(self) -> None:
        """From here on the operation goes on without its caller."""
        self.committed = True


async def settle(context: Actor, work: Callable[[Act], Coroutine[Any, Any, T]]) -> T:
    """Run one operation and its accounting as one.

    Args:
        context: the session's.
        work: looks, calls `Act.begin`, then `Act.commit`, then changes storage and settles what is charged.
    """
    act = Act(context)
    task, result = _start(context, _acting(context, act, work))
    if task is None:
        return cast("T", result)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            act.abandoned = True
            if not act.committed:
                task.cancel()
        raise


async def carry(context: Actor, work: Coroutine[Any, Any, T]) -> T:
    """Run the ending of something that is charged already to its end, even if the caller is cancelled."""
    task, result = _start(context, work)
    if task is None:
        return cast("T", result)
    return await asyncio.shield(task)


def _start(context: Actor, work: Coroutine[Any, Any, T]) -> tuple[asyncio.Task[T] | None, T | None]:
    task, result = context.acts.start(work)
    if task is not None:
        usage = context.usage
        usage.acts += 1
        context.acting[task] = None

        def ended(task: asyncio.Task[T]) -> None:
            usage.acts -= 1
            context.acting.pop(task, None)

        task.add_done_callback(ended)
    return task, result


async def _acting(context: Actor, act: Act, work: Callable[[Act], Coroutine[Any, Any, T]]) -> T:
    try:
        return await work(act)
    except StorageFailed:
        if act.begun:
            context.tracker.doubt(context.usage)
        raise
    finally:
        if act.begun:
            context.changed()
