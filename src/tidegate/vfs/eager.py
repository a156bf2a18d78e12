# SPDX-License-Identifier: Apache-2.0
"""Run a coroutine's first step at once, and schedule a task only if it has to wait.

Most requests of a file server are answered from memory. A scheduled task for each costs a trip through the
event loop and a wake-up of the transport. `start` behaves as ``loop.create_task`` would, but the first step
runs before it returns, in a real `asyncio.Task`: `asyncio.current_task`, cancellation, `asyncio.timeout`,
anyio's scopes and whatever else refers to the current task work in it, and go on in the same task.

From Python 3.12 on this is ``Task(eager_start=True)``. Python 3.11 has no such thing: there the task is made
bare, and initialised when the coroutine waits, because a constructor that registers and schedules it costs as
much as a tenth of a small request. docs/adr/0031.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks as _tasks
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

T = TypeVar("T")

_DELIVERED: Final = object()
_NAME: Final = "eager"


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

    def __getattr__(self, name: str) -> Any:
        """State of the coroutine (``cr_running`` and others), which `inspect` and anyio ask for."""
        if not name.startswith("cr_"):
            raise AttributeError(name)
        return getattr(self._coro, name)


class _BareTask(asyncio.Task[T]):
    """A task whose constructor has not run yet: for Python 3.11 only.

    `asyncio.Task` keeps the count of cancellations, the name and weak references without it. What
    needs more while the first step runs is answered here. `begin` runs the constructor.
    """

    __slots__ = ("_origin",)

    _cancel_message: object
    _origin: Coroutine[Any, Any, T] | None
    """The coroutine; None once the first step was the last."""

    def begin(self, first: object, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        """Become a scheduled task, which goes on after the first step."""
        name, cancels, message = self.get_name(), self.cancelling(), self._cancel_message
        assert self._origin is not None
        super().__init__(_Continuation(self._origin, first), loop=loop, name=name, context=context)
        for _ in range(cancels):
            self.cancel(message)
        for callback, where in _early.pop(self, ()):
            super().add_done_callback(callback, context=where)

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """The first step was the last."""
        self._origin = None
        if _early:
            for callback, context in _early.pop(self, ()):
                loop.call_soon(callback, self, context=context)

    def _bare(self) -> bool:
        return self._coro is None  # type: ignore[attr-defined]

    def done(self) -> bool:
        return self._origin is None or super().done()

    def get_coro(self) -> Any:
        return self._origin if self._bare() else super().get_coro()

    def get_name(self) -> str:
        return super().get_name() or _NAME

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop() if self._bare() else super().get_loop()

    def add_done_callback(
        self, callback: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        if not self._bare():
            super().add_done_callback(callback, context=context)
        elif self._origin is None:
            asyncio.get_running_loop().call_soon(callback, self, context=context)
        else:
            _early.setdefault(self, []).append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        if not self._bare():
            return super().remove_done_callback(callback)
        early = _early.pop(self, [])
        left = [pair for pair in early if pair[0] != callback]
        if left:
            _early[self] = left
        return len(early) - len(left)

    def __repr__(self) -> str:
        if not self._bare():
            return super().__repr__()
        state = "finished" if self._origin is None else "pending"
        return f"<Task {state} name={self.get_name()!r} coro={self._origin!r}>"


_current: Final[dict[Any, asyncio.Task[Any]]] = getattr(_tasks, "_current_tasks", {})
"""The task of each loop that runs now; `asyncio.current_task` is a function of Python around it."""

_early: Final[dict[_BareTask[Any], list[tuple[Callable[[Any], object], Context | None]]]] = {}
"""Callbacks that were added in the first step, until it ends."""


def _start_311(
    coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> tuple[asyncio.Task[T] | None, T | None]:
    context = copy_context()
    task: _BareTask[T] = _BareTask.__new__(_BareTask)
    task._origin = coro  # noqa: SLF001
    outer = _current.get(loop)
    if outer is not None:
        _tasks._leave_task(loop, outer)  # noqa: SLF001
    _tasks._enter_task(loop, task)  # noqa: SLF001
    try:
        first = context.run(coro.send, None)
    except StopIteration as stop:
        task.end(loop)
        if task._must_cancel:  # type: ignore[attr-defined]  # noqa: SLF001
            # As a task that is cancelled in its last step.
            raise asyncio.CancelledError from None
        return None, stop.value
    except BaseException:
        task.end(loop)
        raise
    finally:
        _tasks._leave_task(loop, task)  # noqa: SLF001
        if outer is not None:
            _tasks._enter_task(loop, outer)  # noqa: SLF001
    task.begin(first, loop, context)
    return task, None


def _start_312(
    coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> tuple[asyncio.Task[T] | None, T | None]:
    task: asyncio.Task[T] = asyncio.Task(coro, loop=loop, name=_NAME, eager_start=True)  # type: ignore[call-arg]
    return (None, task.result()) if task.done() else (task, None)


_start: Final = _start_312 if sys.version_info >= (3, 12) else _start_311


def start(
    coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> tuple[asyncio.Task[T] | None, T | None]:
    """Run `coro` until it ends or first waits.

    MUST be called from a callback or a task of `loop`. The coroutine runs in a copy of the current context.

    Returns:
        ``(None, result)`` if it ended, ``(task, None)`` if it waits; the task carries on.

    Raises:
        Exception: whatever the coroutine raised in its first step.
    """
    return _start(coro, loop)
