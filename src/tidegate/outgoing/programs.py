# SPDX-License-Identifier: Apache-2.0
"""Runs programs of the operator: so many at once, each for so long, with so much output."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tidegate.errors import OutsideFailed
from tidegate.outgoing.line import Line
from tidegate.outgoing.process import Process, start
from tidegate.outgoing.strays import MARK

MAX_OUTPUT: Final = 1024 * 1024
"""Bytes of standard output, and of standard error, unless a call says otherwise."""
MAX_INPUT: Final = 16 * 1024 * 1024
"""Bytes of standard input."""
MAX_SECONDS: Final = 3600.0
"""Longest time of one call."""
STARTERS: Final = 2
"""Threads that start programs; one that hangs in a dead file system holds one of them."""


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """One run of a program; never through a shell.

    Attributes:
        argv: the program, an absolute path, and its arguments.
        env: all of its environment but for what `Programs` adds. May hold secrets, so it is not shown.
        input: what it reads from standard input.
        seconds: most that it may take from its start.
        max_output: bytes that it may write to each of standard output and standard error.
        source: whose share of places this takes, usually a client's address; empty for none.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    input: bytes = field(default=b"", repr=False)
    seconds: float = 30.0
    max_output: int = MAX_OUTPUT
    source: str = ""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The end of a program within its bounds.

    Attributes:
        exit_status: 0 is success by convention; negative: the signal that ended it.
        output: standard output.
        errors: standard error.
        seconds: time that it ran.
    """

    exit_status: int
    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)
    seconds: float = 0.0


class Programs:
    """Runs programs. Life: constructed (pure), used, `close`.

    A program has a session of its own and is killed with all that it has started when its time is over, when
    it writes too much, when its caller is cancelled and when the server ends; what it leaves in its process
    group ends with it. Where `setpriv` of util-linux is installed the kernel kills it if the server dies.

    Args:
        at_once: programs that run.
        waiting: calls that wait for one of them to end.
        environment: variables of every program; a call's own ones come after them.
        directory: current directory of programs.
    """

    def __init__(
        self,
        at_once: int = 16,
        waiting: int = 256,
        *,
        environment: Mapping[str, str] | None = None,
        directory: str = "/",
    ) -> None:
        self._line = Line(at_once, waiting)
        self._environment = dict(environment or {})
        self._directory = directory
        self._executor: ThreadPoolExecutor | None = None
        self._processes: set[Process] = set()
        self._closed = False

    @property
    def running(self) -> int:
        """Programs that run now."""
        return self._line.running

    async def run(self, call: ProgramCall) -> ProgramResult:
        """Run a program to its end; cancelled, it is killed.

        Raises:
            OutsideFailed: it cannot be started, takes too long or writes too much.
            OutsideBusy: too many calls wait.
        """
        begun = time.monotonic()
        async with self.talk(call) as process:
            process.stdout.bound = process.stderr.bound = call.max_output + 1
            process.stdin.write(call.input)
            process.stdin.finish()
            await _wait_end(call, process)
            output, errors = bytes(process.stdout.kept), bytes(process.stderr.kept)
            return ProgramResult(process.status, output, errors, time.monotonic() - begun)

    @asynccontextmanager
    async def talk(self, call: ProgramCall) -> AsyncIterator[Process]:
        """Run a program for somebody who talks with it; it is killed when the block ends or time is over.

        Raises:
            OutsideFailed: it cannot be started, or the block did not end in time.
            OutsideBusy: too many calls wait.
        """
        check_call(call)
        async with self._line.place(call.source):
            if self._closed:
                raise OutsideFailed(detail="the server is ending")
            executor = self._executor
            if executor is None:
                executor = ThreadPoolExecutor(STARTERS, thread_name_prefix="tidegate-program")
                self._executor = executor
            mark = secrets.token_hex(8)
            env = {**self._environment, **call.env, MARK: mark}
            process: Process | None = None
            limit = asyncio.timeout(call.seconds)
            try:
                async with limit:
                    process = await start(
                        call.argv, env, directory=self._directory, mark=mark, executor=executor
                    )
                    self._processes.add(process)
                    if self._closed:  # `close` could not see it while it was being started
                        await process.kill()
                    yield process
            except TimeoutError:
                if not limit.expired():
                    raise
                raise OutsideFailed(detail=f"{call.argv[0]} took longer than {call.seconds:g} s") from None
            finally:
                if process is not None:
                    await _end(process)
                    self._processes.discard(process)

    async def close(self) -> None:
        """Start no more, and kill those that run; their callers see them end by a signal."""
        self._closed = True
        while self._processes:
            await asyncio.gather(*(process.kill() for process in self._processes))
            await asyncio.sleep(0)
        await self._line.wait_idle()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


async def _wait_end(call: ProgramCall, process: Process) -> None:
    """Wait until it has ended.

    Raises:
        OutsideFailed: it has written too much.
    """
    while True:
        process.changed.clear()
        for output, name in ((process.stdout, "output"), (process.stderr, "errors")):
            if len(output.kept) > call.max_output:
                what = f"{call.argv[0]} wrote more than {call.max_output} bytes of {name}"
                raise OutsideFailed(detail=what)
        if process.ended.is_set():
            return
        await process.changed.wait()


async def _end(process: Process) -> None:
    """Kill a process whatever happens to the caller, and free it."""
    killing = asyncio.ensure_future(process.kill())
    cancelled: asyncio.CancelledError | None = None
    while not killing.done():
        try:
            await asyncio.shield(killing)
        except asyncio.CancelledError as error:
            cancelled = error
    process.close()
    killing.result()
    if cancelled is not None:
        raise cancelled


def check_call(call: ProgramCall) -> None:
    """Return if a call can be made.

    Raises:
        OutsideFailed: the program is not an absolute path, a NUL byte is in an argument or a variable, the
            name of a variable cannot be one, or a bound is exceeded.
    """
    program = call.argv[0] if call.argv else ""
    if not os.path.isabs(program):
        raise OutsideFailed(detail=f"{program!r} is not an absolute path of a program")
    if any("\0" in word for word in call.argv):
        raise OutsideFailed(detail=f"{program}: an argument holds a NUL byte")
    for name, value in call.env.items():
        if not name or "=" in name or "\0" in name or not name.isascii():
            raise OutsideFailed(detail=f"{program}: {name!r} cannot be the name of a variable")
        if "\0" in value:
            raise OutsideFailed(detail=f"{program}: the variable {name} holds a NUL byte")
    if len(call.input) > MAX_INPUT:
        raise OutsideFailed(detail=f"{program}: more than {MAX_INPUT} bytes of input")
    if not 0 < call.seconds <= MAX_SECONDS:
        raise OutsideFailed(detail=f"{program}: a time of {call.seconds:g} s is out of range")
