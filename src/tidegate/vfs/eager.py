# SPDX-License-Identifier: Apache-2.0
"""Run a coroutine's first step at once, and make a task only if it has to wait.

Most requests of a file server are answered from memory. A task for each costs an object, a trip through
the event loop and a wake-up of the transport; `start` costs a few hundred nanoseconds instead. It behaves
as ``loop.create_task`` would: the coroutine runs in a copy of the current context, and `asyncio.timeout`
and ``current_task().cancel()`` work in the first step already, through a stand-in that is replaced by
the task once there is one. (Python 3.12 has eager tasks; they build the task in every case.)
"""

from __future__ import annotations

import asyncio
from asyncio import tasks as _tasks
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

_DELIVERED: Final = object()


class _Standin:
    """Takes the place of the current task during the first step of a coroutine."""

    __slots__ = ("_cancels", "_message", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._cancels = 0
        self._message: object = None

    def become(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        for _ in range(self._cancels):
            task.cancel(self._message)

    def cancel(self, msg: object = None) -> bool:
        if self._task is not None:
            return self._task.cancel(msg)
        self._cancels += 1
        self._message = msg
        return True

    def cancelling(self) -> int:
        return self._cancels if self._task is None else self._task.cancelling()

    def uncancel(self) -> int:
        if self._task is not None:
            return self._task.uncancel()
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def get_name(self) -> str:
        return "eager" if self._task is None else self._task.get_name()


class _Continuation(Coroutine[Any, Any, T]):
    """The rest of a coroutine whose first step has already yielded something.

    The first `send` hands out what the first step yielded, untouched: a future carries the mark that it is
    being awaited (`_asyncio_future_blocking`), which the task checks and clears.
    """

    __slots__ = ("_coro", "_first")

    def __init__(self, coro: Coroutine[Any, Any, T], first: object) -> None:
        self._coro = coro
        self._first = first

    def send(self, value: Any) -> Any:
        first = self._first
        if first is not _DELIVERED:
            self._first = _DELIVERED
            return first
        return self._coro.send(value)

    def throw(self, *error: Any) -> Any:
        first, self._first = self._first, _DELIVERED
        if isinstance(first, asyncio.Future):
            # Cancelled before the task ever ran: do what Task.cancel does to the future it waits for.
            first._asyncio_future_blocking = False  # noqa: SLF001
            if isinstance(error[0], asyncio.CancelledError) or error[0] is asyncio.CancelledError:
                first.cancel()
        return self._coro.throw(*error)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise RuntimeError("a continuation belongs to its task")


def start(
    coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> tuple[asyncio.Task[T] | None, T | None]:
    """Run `coro` until it ends or first waits.

    MUST be called from a callback or a task of `loop`.

    Returns:
        ``(None, result)`` if it ended, ``(task, None)`` if it waits; the task carries on.

    Raises:
        Exception: whatever the coroutine raised in its first step.
    """
    context = copy_context()
    standin = _Standin()
    outer = asyncio.current_task(loop)
    if outer is not None:
        _tasks._leave_task(loop, outer)  # noqa: SLF001
    # The stand-in is no Task; the registry takes any object (asyncio documents it for third-party tasks).
    _tasks._enter_task(loop, cast("asyncio.Task[Any]", standin))  # noqa: SLF001
    try:
        first = context.run(coro.send, None)
    except StopIteration as stop:
        return None, stop.value
    finally:
        _tasks._leave_task(loop, cast("asyncio.Task[Any]", standin))  # noqa: SLF001
        if outer is not None:
            _tasks._enter_task(loop, outer)  # noqa: SLF001
    task = loop.create_task(_Continuation(coro, first), context=context)
    standin.become(task)
    return task, None
