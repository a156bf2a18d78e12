# SPDX-License-Identifier: Apache-2.0
"""A program of the operator as a process: its own session, pipes that do not block, one way to end it.

The group is signalled only while its leader has not been reaped, so that its number cannot be another
group's meanwhile. Whatever the group still holds when the leader ends is ended with it; a job that is meant
to go on begins a session of its own (`setsid`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import lru_cache
from typing import IO, Final

from tidegate.errors import OutsideFailed
from tidegate.outgoing.program_files import problems_of
from tidegate.outgoing.strays import kill_strays

PIECE_BYTES: Final = 64 * 1024
"""Read from a pipe in one go."""


class Process:
    """A program that runs. Owned by one task; `close` frees everything and is legal twice.

    Attributes:
        status: exit status once it has ended, negative: the signal that ended it.
        ended: set when the leader has ended and its group with it.
        changed: set whenever it has written or ended; who waits for it clears it.
    """

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self._process = process
        self._mark = mark
        self._loop = asyncio.get_running_loop()
        self._reaped = False
        self._watched = -1
        self.status = 0
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin = Input(self._loop, process.stdin)
        self.stdout = Output(self._loop, process.stdout, self.changed)
        self.stderr = Output(self._loop, process.stderr, self.changed)
        self._watch()

    def _watch(self) -> None:
        if sys.platform == "linux":
            self._watched = os.pidfd_open(self._process.pid)
            self._loop.add_reader(self._watched, self._on_end)
        else:
            # A group's number is not given to anybody else while the group has members (POSIX, fork).
            waiting = self._loop.run_in_executor(None, self._process.wait)
            waiting.add_done_callback(lambda _: self._on_end())

    def _on_end(self) -> None:
        """The leader has ended: end what is left of its group, then reap it."""
        if self._reaped:
            return
        if self._watched >= 0:
            self._loop.remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1
        self._signal()
        self._reaped = True
        self.status = self._process.wait()
        self.stdout.drain()
        self.stderr.drain()
        self.ended.set()
        self.changed.set()

    def _signal(self) -> None:
        if not self._reaped:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def kill(self) -> None:
        """Kill it and all that it has started, also what left its group; returns when it is reaped."""
        if not self._reaped:
            os.kill(self._process.pid, signal.SIGSTOP)  # it starts no more while its family is looked for
            await asyncio.to_thread(kill_strays, self._mark, self._process.pid)
            self._signal()
        await self.ended.wait()

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()


class Output:
    """Bytes that a program writes; at most `bound` are kept, and no more are taken until there is room.

    Attributes:
        kept: what has come and was not taken.
        at_end: nothing more will come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, file: IO[bytes], changed: asyncio.Event) -> None:
        self._loop = loop
        self._file = file
        self._fd = file.fileno()
        self._changed = changed
        os.set_blocking(self._fd, False)
        self._reading = False
        self.bound = 2 * PIECE_BYTES
        self.kept = bytearray()
        self.at_end = False
        self.resume()

    def resume(self) -> None:
        """Take more from the pipe if there is room."""
        if not self._reading and not self.at_end and len(self.kept) < self.bound:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_bytes)

    def _on_bytes(self) -> None:
        self._read()
        if len(self.kept) >= self.bound:
            self._pause()
        self._changed.set()

    def _read(self) -> bool:
        """Read once; True if there may be more."""
        try:
            piece = os.read(self._fd, PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            piece = b""
        if not piece:
            self._finish()
            return False
        self.kept += piece
        return True

    def drain(self) -> None:
        """Take what is in the pipe, as far as the bound lets; nothing more is waited for."""
        while not self.at_end and len(self.kept) < self.bound and self._read():
            pass
        self._finish()
        self._changed.set()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _finish(self) -> None:
        self.at_end = True
        self._pause()

    def close(self) -> None:
        """Read no more."""
        self._finish()
        self._file.close()
        self._changed.set()


class Input:
    """Bytes for a program; one that does not read keeps them waiting, and one that has ended loses them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: IO[bytes]) -> None:
        self._loop = loop
        self._file = file
        self._fd = file.fileno()
        os.set_blocking(self._fd, False)
        self._left = b""
        self._last = False
        self._writing = False

    def write(self, data: bytes) -> None:
        """Send bytes, now or as the program reads. The caller bounds how many."""
        if self._file.closed or self._last:
            return
        self._left += data
        self._on_room()

    def _on_room(self) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(self._fd, self._left) :]
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._on_room)
            return
        except OSError:  # it has closed its end: what was not written goes nowhere
            self._left, self._last = b"", True
        self._stop()
        if self._last:
            self.close()

    def _stop(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def finish(self) -> None:
        """The program meets the end of its input after what was written."""
        self._last = True
        if not self._left:
            self.close()

    def close(self) -> None:
        """Send no more."""
        self._stop()
        self._left = b""
        self._file.close()


@lru_cache(maxsize=1)
def _setpriv() -> str | None:
    """The program of util-linux that asks the kernel to kill a process with its parent."""
    return shutil.which("setpriv", path="/usr/bin:/bin") if sys.platform == "linux" else None


async def start(
    argv: Sequence[str], env: Mapping[str, str], *, directory: str, mark: str, executor: Executor
) -> Process:
    """Start a program; cancelled meanwhile, it is killed as soon as it has begun.

    Args:
        executor: starts it, in a thread that lives as long as programs may run: the kernel kills them with
            that thread.

    Raises:
        OutsideFailed: it cannot be started, or `problems_of` it says why it must not be.
    """
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(executor, _start, argv, env, directory)
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_abandon)
        raise
    except (OSError, ValueError, RuntimeError) as error:
        what = f"{argv[0]}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise OutsideFailed(detail=f"cannot be started: {what}") from error
    return Process(process, mark)


def _start(argv: Sequence[str], env: Mapping[str, str], directory: str) -> subprocess.Popen[bytes]:
    problems = problems_of(argv[0])
    if problems:
        raise ValueError(problems[0])
    setpriv = _setpriv()
    # Not by `preexec_fn`: between fork and exec of a process with threads Python may not run.
    ahead = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv is not None else []
    return subprocess.Popen(
        [*ahead, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name.encode(): value.encode("utf-8", "surrogateescape") for name, value in env.items()},
        cwd=directory,
        start_new_session=True,
        bufsize=0,
    )


def _abandon(starting: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    """Nobody waits any more for a program that has been started."""
    if starting.cancelled() or starting.exception() is not None:
        return
    process = starting.result()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for file in (process.stdin, process.stdout, process.stderr):
        if file is not None:
            file.close()
