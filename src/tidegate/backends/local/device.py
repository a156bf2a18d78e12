# SPDX-License-Identifier: Apache-2.0
"""Inline or thread: the policy for each device, and the threads.

A call on a local file system that answers from memory takes microseconds; handing it to a thread costs fifty.
So metadata operations and buffered writes run inline on devices that have been quick, each call timed; one
that has been slow sends the calls of its device to threads for a while. Network and FUSE file systems
always use threads: they may hang. A device may take only its share of the pool, so that a slow one cannot
starve the others.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from tidegate.backends.local.errors import translate
from tidegate.errors import StorageFailed, TidegateError

P = ParamSpec("P")
T = TypeVar("T")

SLOW_CALL_NS: Final = 20_000_000
"""An inline call that takes this long (20 ms) is a strike against its device."""
STALL_NS: Final = 200_000_000
"""One call this long (200 ms) is enough by itself."""
STRIKE_WINDOW_NS: Final = 1_000_000_000
"""Two strikes within this time (1 s) make a device slow; one alone is often only a busy processor.

So are two, if meanwhile this thread stood in line for a processor as long as the second one took: a starved
server that served a quick disk by threads would be slower still (twice the CPU for each small upload).
"""
SLOW_PERIOD_NS: Final = 10_000_000_000
"""The time (10 s) that a slow device is served by threads before it is tried inline again."""
DEFAULT_WORKERS: Final = 16
"""Threads for storage in all."""
MAX_DEVICES: Final = 4096
"""Devices remembered; what comes later shares one that always uses threads."""
MAX_GUESSED: Final = 1000
"""Paths whose device is remembered while the mount table is not read again."""
OPENED_NS: Final = 10_000_000_000
"""The time (10 s) that a directory which was opened by a thread may be opened inline."""
MOUNT_TABLE_NS: Final = 10_000_000_000
"""The time (10 s) that the mount table is believed before it is read again."""
MAX_MOUNTINFO: Final = 4 * 1024 * 1024
"""Bytes read of the mount table."""

NETWORK_PREFIXES: Final = (
    *("nfs", "cifs", "smb", "fuse", "9p", "ceph", "lustre", "gluster", "beegfs", "gpfs", "orangefs", "pvfs"),
    *(
        "gfs",
        "ocfs",
        "afs",
        "coda",
        "davfs",
        "ncp",
        "autofs",
        "virtiofs",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
        "acfs",
    ),
)
"""File system types that may hang, by the beginnings of their names in the mount table."""
MEMORY_TYPES: Final = frozenset({"tmpfs", "ramfs"})
"""File systems whose reads never wait."""


class Device:
    """Observations of one device.

    Attributes:
        fstype: name in the mount table, empty if unknown.
        threaded: never inline.
        in_memory: plain reads never wait.
        nowait: RWF_NOWAIT works; cleared by the first read that is told otherwise.
        tmpfile: O_TMPFILE works; cleared likewise.
    """

    __slots__ = (
        "clock",
        "fstype",
        "gate",
        "in_memory",
        "nowait",
        "queued",
        "slow_until",
        "strike",
        "threaded",
        "tmpfile",
    )

    def __init__(self, fstype: str, share: int, clock: Callable[[], int], *, threaded: bool) -> None:
        self.fstype = fstype
        self.threaded = threaded
        self.in_memory = fstype in MEMORY_TYPES
        self.nowait = hasattr(os, "RWF_NOWAIT") and hasattr(os, "preadv")
        self.tmpfile = hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd")
        self.gate = asyncio.Semaphore(share)
        self.clock = clock
        self.slow_until = 0
        self.strike = -STRIKE_WINDOW_NS
        self.queued = 0

    def fast(self) -> bool:
        """True if a call may run inline now."""
        return not self.threaded and (self.slow_until == 0 or self._recovered())

    def _recovered(self) -> bool:
        if self.clock() < self.slow_until:
            return False
        self.slow_until = 0
        return True

    def note(self, elapsed: int) -> None:
        """Take notice of an inline call that took `elapsed` nanoseconds."""
        if elapsed < SLOW_CALL_NS:
            return
        now, queued = self.clock(), _time_in_line()
        starved = queued - self.queued >= elapsed
        if elapsed >= STALL_NS or (now - self.strike < STRIKE_WINDOW_NS and not starved):
            self.slow_until = now + SLOW_PERIOD_NS
        self.strike, self.queued = now, queued


class Devices:
    """All devices of the process and the threads that wait for them; one for the whole server.

    To be used from one event loop.

    Args:
        executor: threads to use; None makes a pool of its own, which `close` ends.
        workers: number of threads of the pool.
        clock: nanoseconds, monotonic; for tests.
        on_os_error: told of errors of the operating system that calls end with, to notice shortages.

    Attributes:
        unknown: stands for a device nothing is known of; always uses threads.
    """

    def __init__(
        self,
        executor: ThreadPoolExecutor | None = None,
        *,
        workers: int = DEFAULT_WORKERS,
        clock: Callable[[], int] = time.monotonic_ns,
        on_os_error: Callable[[OSError], object] | None = None,
    ) -> None:
        self._on_os_error = on_os_error
        self._own = executor is None
        self._executor = executor or ThreadPoolExecutor(workers, thread_name_prefix="tidegate-disk")
        self._share = max(1, workers // 2)
        self._clock = clock
        self._known: dict[int, Device] = {}
        self.unknown = Device("", self._share, clock, threaded=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._table: list[tuple[str, str, str, str]] | None = None
        self._table_read = 0
        self._guessed: dict[str, Device] = {}
        self._opened: dict[str, int] = {}

    def close(self) -> None:
        """End the threads; calls that wait for one fail."""
        if self._own:
            self._executor.shutdown(wait=False, cancel_futures=True)

    # -- which device ------------------------------------------------------------------------------------

    def of(self, fd: int, st_dev: int) -> Device:
        """The device of an open file."""
        known = self._known.get(st_dev)
        return known if known is not None else self._remember(st_dev, self._type_of(fd))

    def guess(self, path: str) -> Device:
        """The device a host path is probably on, without touching the path: by the mount table.

        For calls that must go to a thread because nothing is known yet; it decides whose share they use.
        """
        mounts = self._mounts()
        if path in self._guessed:
            return self._guessed[path]
        best, found = -1, self.unknown
        for _, number, point, fstype in mounts:
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= best:  # the later of two mounts at one point covers the other
                best, found = len(point), self._mounted(number, fstype)
        if len(self._guessed) < MAX_GUESSED:
            self._guessed[path] = found
        return found

    def opened_lately(self, path: str, device: Device) -> bool:
        """True if a directory may be opened inline: it was a moment ago, on this quick device, without links.

        Most sessions of an account come soon after each other; a thread for each costs as much as a
        tenth of a login.
        """
        until = self._opened.get(path)
        return until is not None and self._clock() < until and device.fast()

    def note_opened(self, path: str) -> None:
        """A directory was opened, and no link was on the way to the device that was guessed."""
        if len(self._opened) >= MAX_GUESSED:
            self._opened.clear()
        if path not in self._opened or self._clock() >= self._opened[path]:
            self._opened[path] = self._clock() + OPENED_NS

    def _mounted(self, number: str, fstype: str) -> Device:
        major, _, minor = number.partition(":")
        st_dev = os.makedev(int(major), int(minor))
        known = self._known.get(st_dev)
        return known if known is not None else self._remember(st_dev, fstype)

    def _remember(self, st_dev: int, fstype: str) -> Device:
        if len(self._known) >= MAX_DEVICES:
            return self.unknown
        threaded = fstype.startswith(NETWORK_PREFIXES)
        device = Device(fstype, self._share, self._clock, threaded=threaded)
        return self._known.setdefault(st_dev, device)  # threads come here too

    def mounted_below(self, path: str) -> list[tuple[str, Device]]:
        """Network file systems mounted below `path` now: their keys relative to it, longest first.

        Only for scheduling: a path operation below such a key goes to a thread from the start.
        """
        found = []
        prefix = path.rstrip("/") + "/"
        for _, number, point, fstype in self._mounts():
            if point.startswith(prefix) and fstype.startswith(NETWORK_PREFIXES):
                found.append((point[len(prefix) :], self._mounted(number, fstype)))
        return sorted(found, key=lambda pair: -len(pair[0]))

    def _mounts(self) -> list[tuple[str, str, str, str]]:
        now = self._clock()
        if self._table is None or now - self._table_read > MOUNT_TABLE_NS:
            self._table, self._table_read = _read_mounts(), now
            self._guessed.clear()
        return self._table

    def _type_of(self, fd: int) -> str:
        """The file system type an open file is on, by its mount id; empty if that cannot be told."""
        try:
            with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
                ids = [line.split()[1] for line in info if line.startswith("mnt_id:")]
        except OSError:
            return ""
        for _ in range(2):
            for mount, _, _, fstype in self._mounts():
                if ids and mount == ids[0]:
                    return fstype
            self._table = None  # perhaps mounted since the table was read
        return ""

    # -- running -----------------------------------------------------------------------------------------

    async def run(self, device: Device, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call inline if the device is quick, which does not suspend, else in a thread.

        Raises:
            TidegateError: also for every OSError of `call`.
        """
        if device.fast():
            return self.inline(device, call, *args, **kwargs)
        return await self.thread(device, partial(call, *args, **kwargs))

    def inline(self, device: Device, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call here and time it."""
        start = self._clock()
        try:
            return call(*args, **kwargs)
        except OSError as error:
            if self._on_os_error is not None:
                self._on_os_error(error)
            raise translate(error) from error
        finally:
            device.note(self._clock() - start)

    async def thread(
        self,
        device: Device,
        call: Callable[[], T],
        *,
        orphan: Callable[[T], object] | None = None,
        jobs: tuple[set[Future[Any]], ...] = (),
    ) -> T:
        """Run a blocking call in a thread, within the device's share of the pool.

        When cancelled this returns at once and the call goes on to its end; so everything it uses must live
        that long.

        Args:
            device: where it will wait.
            call: what to run.
            orphan: gets the result if nobody waits for it any more; closes what was opened.
            jobs: sets that hold the job while it runs; who owns a descriptor waits for its set to empty.
        """
        await device.gate.acquire()
        try:
            job = self._executor.submit(_translated, call)
        except RuntimeError:
            device.gate.release()
            raise StorageFailed("storage is shutting down") from None
        job.add_done_callback(partial(_freed, asyncio.get_running_loop(), device.gate))
        for held in jobs:
            held.add(job)
            job.add_done_callback(held.discard)
        try:
            return await asyncio.wrap_future(job)
        except TidegateError as error:
            if self._on_os_error is not None and isinstance(error.__cause__, OSError):
                self._on_os_error(error.__cause__)
            raise
        except asyncio.CancelledError:
            if orphan is not None:
                job.add_done_callback(partial(_abandoned, orphan))
            raise

    async def finish(self, ending: Coroutine[Any, Any, None]) -> None:
        """Await an ending that must run to its end even if the caller is cancelled."""
        task = asyncio.ensure_future(ending)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that an ending nobody waits for any more is no noise


def _time_in_line() -> int:
    """Nanoseconds this thread could have run and had no processor; 0 where the system does not say."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as figures:
            return int(figures.read(128).split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except OSError as error:
        raise translate(error) from error


def _freed(loop: asyncio.AbstractEventLoop, gate: asyncio.Semaphore, _: Future[T]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and so is everybody who waited
        loop.call_soon_threadsafe(gate.release)


def _abandoned(orphan: Callable[[T], object], job: Future[T]) -> None:
    if not job.cancelled() and job.exception() is None:
        orphan(job.result())


def _read_mounts() -> list[tuple[str, str, str, str]]:
    """Mount id, ``major:minor``, mount point and type of each mount; empty where there is no table."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            lines = os.fsdecode(table.read(MAX_MOUNTINFO)).splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) > 4:
            mounts.append((fields[0], fields[2], _unescape(fields[4]), after.split(" ", 1)[0]))
    return mounts


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


__all__ = ["DEFAULT_WORKERS", "Device", "Devices"]
