# SPDX-License-Identifier: Apache-2.0
"""Local storage under the simulation's control: real files, and no thread but the simulation's own timers.

A call that the product gives to a thread goes through the steps it has in life, each at a time of its own:
it waits for a thread (and can still be taken back), it runs (and no longer can), its effect is there, its
answer arrives. A client's line may break and the process may end between any two of them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast

from tidegate.abc import OpenOptions
from tidegate.backends.local import LocalBackend
from tidegate.backends.local.device import Device, Devices
from tidegate.backends.local.files import LocalFile
from tidegate.errors import StorageFailed
from tidegate.testing.simulation import faults as f
from tidegate.testing.simulation.clock import Clock
from tidegate.testing.simulation.faults import Faults

P = ParamSpec("P")
T = TypeVar("T")

_PAUSES: Final = (0.0, 0.0, 0.0, 0.0005, 0.001, 0.003, 0.02)
"""Seconds between two steps of a call."""


class Happenings(Protocol):
    """Effects of a fault beyond the call itself."""

    def cut(self) -> None:
        """Break the line of the client whose request runs now."""
        ...

    def kill(self) -> None:
        """End the process: nothing of it reaches storage or store any more."""
        ...

    def note(self, what: str) -> None:
        """Put a line into the history's trace."""
        ...


class SimulatedThreads(Executor):
    """Runs jobs when their time has come, on the loop's own thread."""

    def __init__(self, faults: Faults, draw: random.Random, happen: Happenings) -> None:
        self._faults = faults
        self._draw = draw
        self._happen = happen
        self.dead = False
        self.busy = 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `Executor.submit`."""
        job: Future[T] = Future()
        if self.dead:
            job.set_running_or_notify_cancel()
            job.set_exception(StorageFailed("the process has ended"))
            return job
        loop = asyncio.get_running_loop()
        self.busy += 1
        job.add_done_callback(self._less)
        kind = self._faults.next("storage")
        name = _name_of(fn, args)
        self._happen.note(f"thread {name} {kind}".rstrip())
        pause = self._draw.choice

        def begin() -> None:
            if not job.set_running_or_notify_cancel():
                self._happen.note(f"taken back {name}")
                return
            if kind == f.CUT:
                self._happen.cut()
            loop.call_later(f.HANG_SECONDS if kind == f.SLOW else pause(_PAUSES), act)

        def act() -> None:
            if kind == f.KILL:
                self._happen.kill()
            if self.dead:
                job.set_exception(StorageFailed("the process has ended"))
                return
            self._happen.note(f"effect {name}")
            result: T | None = None
            error: BaseException | None = None
            try:
                if kind == f.FAIL:
                    raise StorageFailed("simulated failure")
                result = fn(*args, **kwargs)
                if kind == f.LOST:
                    _forget(result)
                    raise StorageFailed("simulated loss of an answer")
            except BaseException as failure:  # an executor hands everything on
                error = failure
            if kind == f.CUT_AFTER:
                self._happen.cut()
            if kind == f.KILL_AFTER:
                self._happen.kill()
            loop.call_later(f.HANG_SECONDS if kind == f.LATE else pause(_PAUSES), answer, result, error)

        def answer(result: T | None, error: BaseException | None) -> None:
            if error is not None:
                job.set_exception(error)
            else:
                job.set_result(cast("T", result))

        wait = pause(_PAUSES)
        if wait:
            loop.call_later(wait, begin)
        else:
            begin()
        return job

    def _less(self, job: Future[Any]) -> None:  # noqa: ARG002  (a callback)
        self.busy -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing runs outside the loop."""


class SimulatedDevice(Device):
    """The one device of a simulation.

    Attributes:
        quick: draws whether the next call is answered at once.
    """

    __slots__ = ("quick",)

    def __init__(self, clock: Callable[[], int], quick: Callable[[], bool]) -> None:
        super().__init__("simulated", 8, clock, threaded=False)
        self.quick = quick

    def fast(self) -> bool:
        """True if a call may run inline now."""
        return self.quick()

    def note(self, elapsed: int) -> None:
        """Time does not pass within a call."""


class SimulatedDevices(Devices):
    """`Devices` of one simulated process.

    Args:
        clock: the history's.
        faults: what goes wrong.
        draw: the schedule.
        happen: where cuts and kills go.
        quick_share: calls of a hundred that are answered without waiting.
    """

    def __init__(
        self, clock: Clock, faults: Faults, draw: random.Random, happen: Happenings, *, quick_share: int
    ) -> None:
        self.threads = SimulatedThreads(faults, draw, happen)
        super().__init__(cast("Any", self.threads), clock=clock.monotonic_ns)
        self._faults = faults
        self._happen = happen
        self._one = SimulatedDevice(
            clock.monotonic_ns, lambda: not self.threads.dead and draw.randrange(100) < quick_share
        )

    @property
    def endings(self) -> set[asyncio.Task[None]]:
        """Files that are being closed."""
        return self._tasks

    def of(self, fd: int, st_dev: int) -> Device:  # noqa: ARG002  (the signature of `Devices`)
        """The one device."""
        return self._one

    def guess(self, path: str) -> Device:  # noqa: ARG002
        """The one device."""
        return self._one

    def mounted_below(self, path: str) -> list[tuple[str, Device]]:  # noqa: ARG002
        """Nothing."""
        return []

    def inline(self, device: Device, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call here; it cannot hang, because the whole process would."""
        if self.threads.dead:
            raise StorageFailed("the process has ended")
        kind = self._faults.next("storage")
        self._happen.note(f"inline {_name_of(call, args)} {kind}".rstrip())
        if kind in {f.CUT, f.SLOW}:
            self._happen.cut()
        if kind == f.FAIL:
            raise StorageFailed("simulated failure")
        if kind == f.KILL:
            self._happen.kill()
            raise StorageFailed("the process has ended")
        result = super().inline(device, call, *args, **kwargs)
        if kind in {f.CUT_AFTER, f.LATE}:
            self._happen.cut()
        if kind == f.KILL_AFTER:
            self._happen.kill()
        if kind in {f.LOST, f.KILL_AFTER}:
            _forget(result)
            raise StorageFailed("simulated loss of an answer")
        return result


class _OpenedRoot(tuple[Device, list[tuple[str, Device]]]):  # noqa: SLOT001  (a tuple cannot have slots)
    """The answer to opening a root; if it is lost the root is closed, as `LocalBackend._open` does itself.

    Attributes:
        undo: closes the root.
    """

    undo: Callable[[], None]


class SimulatedBackend(LocalBackend):
    """Local storage of one simulated process.

    Args:
        opened: takes each handle, so that those of a process that was killed can be closed.
    """

    def __init__(self, root: str, opened: list[LocalFile], *, devices: Devices, journal_dir: str) -> None:
        super().__init__(root, create=True, devices=devices, journal_dir=journal_dir)
        self._opened = opened

    def _open(self) -> _OpenedRoot:
        answer = _OpenedRoot(super()._open())
        answer.undo = self._root.close
        return answer

    def _file(self, key: str, options: OpenOptions, opened: Any) -> LocalFile:
        file = super()._file(key, options, opened)
        self._opened.append(file)
        return file


def _forget(result: object) -> None:
    """Close what was opened and never reached its caller, as the system would."""
    undo = getattr(result, "undo", None)
    if undo is not None:
        undo()


def _name_of(call: Callable[..., object], args: tuple[object, ...]) -> str:
    """For the trace: what is called on which key."""
    parts: list[str] = []
    todo: list[object] = [call, *args]
    while todo:
        part = todo.pop(0)
        inner = getattr(part, "func", None)
        if inner is not None:
            todo = [inner, *getattr(part, "args", ()), *todo]
        elif isinstance(part, bytes):
            parts.append(os.fsdecode(part)[:40])
        elif callable(part):
            name = getattr(part, "__name__", "")
            if name not in {"_translated", "pinned", "pinned_call"}:
                parts.append(name)
    return " ".join(parts)


def release_descriptors(below: str) -> int:
    """Take every descriptor below a directory away from this process, as its end would; how many.

    Their numbers go on to exist and lead nowhere, so that whoever holds one can still close it.
    """
    nowhere = os.memfd_create("ended", os.MFD_CLOEXEC)
    try:
        taken = descriptors(below)
        for fd in taken:
            os.dup2(nowhere, fd, inheritable=False)
        return len(taken)
    finally:
        os.close(nowhere)


def descriptors(below: str | tuple[str, ...]) -> dict[int, str]:
    """Descriptors of this process that lead below some directories, and to what."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            continue
        if target.startswith(below):
            found[int(name)] = target
    return found
