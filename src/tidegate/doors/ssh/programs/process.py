# SPDX-License-Identifier: Apache-2.0
"""A confined program as a process: started, waited for, ended with all of its group.

Pipes are non-blocking and belong to the conversation. The group is signalled only while its leader has not
been reaped, so that its number cannot be another group's meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tidegate.confinement import confine
from tidegate.doors.ssh.programs.installed import PATH, Installed
from tidegate.doors.ssh.programs.options import ProgramOptions
from tidegate.errors import StorageFailed, Unsupported
from tidegate.vfs.api import ProgramRun

SCRIPT: Final = Path(confine.__file__)

START_SECONDS: Final = 20.0
"""Seconds that the confinement may take."""

GRACE_SECONDS: Final = 5.0
"""Time between TERM and KILL."""

NICE: Final = 5
"""Added to the priority number of the server."""

PROCESSES: Final = 4096
"""RLIMIT_NPROC. It counts all threads of the user, those of the server as well."""

FILES: Final = 1024
"""RLIMIT_NOFILE of one process."""

PIPE_BYTES: Final = 256 * 1024
"""Size of pipes that is asked for."""

_F_SETPIPE_SIZE: Final = 1031

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Namespaces:
    """Knowledge of namespaces on this host: they are tried at the first program."""

    found: str = ""


_namespaces: Final = Namespaces()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The program that is to be started.

    Attributes:
        program: of this host.
        argv: with the name of the program; paths are relative to the run's base. A tuple of one is such a
            path that the program is to see as an absolute one.
        environment: all of it, but for PATH and the locale.
        chown: True if the program may set owners.
    """

    program: Installed
    argv: Sequence[str | tuple[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    chown: bool = False


class Process:
    """A program that runs.

    Attributes:
        stdin: descriptor to write to, -1 once closed; stdout and stderr to read from.
        status: exit status once it has ended, 128 and the signal's number if a signal ended it.
    """

    def __init__(self, process: subprocess.Popen[bytes], stdin: int, stdout: int, stderr: int) -> None:
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._loop = asyncio.get_running_loop()
        self._killing: asyncio.TimerHandle | None = None
        self._reaped = False
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.status = 1
        self.ended = asyncio.Event()
        self._loop.add_reader(self._pidfd, self._on_end)

    def _on_end(self) -> None:
        """The leader has ended: end what is left of its group, then reap it."""
        self._loop.remove_reader(self._pidfd)
        if self._killing is not None:
            self._killing.cancel()
        self._signal(signal.SIGKILL)
        self._reaped = True
        code = self._process.wait()
        self.status = code if code >= 0 else 128 - code
        os.close(self._pidfd)
        self.ended.set()

    def _signal(self, number: int) -> None:
        if not self._reaped:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def end(self) -> None:
        """Ask the group to end; those that have not after `GRACE_SECONDS` are killed."""
        if not self._reaped and self._killing is None:
            self._signal(signal.SIGTERM)
            self._killing = self._loop.call_later(GRACE_SECONDS, self._signal, signal.SIGKILL)

    def close_stdin(self) -> None:
        """Nothing more will be written."""
        if self.stdin >= 0:
            fd, self.stdin = self.stdin, -1
            os.close(fd)

    def close(self) -> None:
        """Close the pipes."""
        self.close_stdin()
        for name in ("stdout", "stderr"):
            fd = getattr(self, name)
            if fd >= 0:
                setattr(self, name, -1)
                os.close(fd)


async def start(wanted: Wanted, run: ProgramRun, options: ProgramOptions) -> Process:
    """Start a program.

    Raises:
        Unsupported: this host cannot confine programs as the options demand.
        StorageFailed: it cannot be started.
    """
    if sys.platform != "linux":
        raise Unsupported("programs can be confined on Linux only")
    namespace = options.namespace
    if namespace == "possible" and "namespace=own" in _namespaces.found:
        namespace = "required"  # what worked once is not tried in a child again, and not done without
    starting = asyncio.ensure_future(asyncio.to_thread(_start, wanted, run, options, namespace))
    try:
        process, fds, report = await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():  # the descriptors that it is given must stay open so long
            with suppress(asyncio.CancelledError):
                await asyncio.wait([starting])
        _abandon(starting)
        raise
    word, _, text = report.partition(" ")
    if word != "ok":
        for fd in fds:
            os.close(fd)
        process.kill()
        process.wait()
        log.error("a program cannot be confined: %s", text or "no answer")
        if text.startswith(("this system has no", "no namespace")):
            raise Unsupported(f"this server cannot confine programs ({text})")
        raise StorageFailed("the program cannot be started")
    if text != _namespaces.found:
        _namespaces.found = text
        level = logging.INFO if "namespace=own" in text and "landlock=0" not in text else logging.WARNING
        log.log(level, "programs are confined by: %s", text)
    return Process(process, *fds)


def _abandon(starting: asyncio.Future[tuple[subprocess.Popen[bytes], tuple[int, int, int], str]]) -> None:
    """Nobody waits for a program any more that is being started."""
    if starting.cancelled() or starting.exception() is not None:
        return
    process, fds, _ = starting.result()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for fd in fds:
        os.close(fd)
    process.wait()


def _start(
    wanted: Wanted, run: ProgramRun, options: ProgramOptions, namespace: str
) -> tuple[subprocess.Popen[bytes], tuple[int, int, int], str]:
    """Start the script that confines itself and becomes the program; blocks until that is done."""
    pipes = [os.pipe() for _ in range(4)]
    (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr), (from_report, report) = pipes
    limits = {
        "core": 0,
        "nproc": PROCESSES,
        "nofile": FILES,
        "as": options.memory_bytes,
        "cpu": options.cpu_seconds,
        "fsize": max(1, run.max_file),
    }
    order = {
        "report": report,
        "server": os.getpid(),
        "home": run.base,
        "program": wanted.program.path,
        "argv": [list(word) if isinstance(word, tuple) else word for word in wanted.argv],
        "environment": {"PATH": PATH, "LC_ALL": "C.UTF-8", **wanted.environment},
        # What holds others comes first.
        "directories": [
            {"path": one.key, "fd": one.fd, "writes": one.writes}
            for one in sorted(run.directories, key=lambda one: len(one.key))
        ],
        "execute": list(wanted.program.execute),
        "system": list(wanted.program.system),
        "limits": {name: value for name, value in limits.items() if value or name == "core"},
        "umask": run.umask,
        "nice": NICE,
        "uid": run.owner[0],
        "gid": run.owner[1],
        "chown": wanted.chown,
        "landlock": options.landlock,
        "namespace": namespace,
    }
    mine = (to_stdin, from_stdout, from_stderr)
    document = os.memfd_create("order")  # longer than one argument may be
    try:
        try:
            os.write(document, json.dumps(order).encode())
            os.lseek(document, 0, os.SEEK_SET)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SCRIPT), str(document)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={},
                cwd="/",
                pass_fds=[document, report, run.base, *(one.fd for one in run.directories)],
                start_new_session=True,
            )
        finally:
            for fd in (document, stdin, stdout, stderr, report):
                os.close(fd)
    except BaseException:
        for fd in (*mine, from_report):
            os.close(fd)
        raise
    for fd in mine:
        os.set_blocking(fd, False)
        _widen(fd)
    return process, mine, _answer(from_report)


def _widen(fd: int) -> None:
    import fcntl

    with suppress(OSError):  # the user's pipes may hold as much as they may already
        fcntl.fcntl(fd, _F_SETPIPE_SIZE, PIPE_BYTES)


def _answer(fd: int) -> str:
    """All that the script reports; the end comes when it becomes the program, or ends."""
    import select

    found = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    with os.fdopen(fd, "rb", buffering=0) as file:
        while poll.poll(START_SECONDS * 1000):
            piece = file.read(4096)
            if not piece:
                break
            found += piece
        else:
            return "error it takes too long"
    lines = found.decode("utf-8", "replace").splitlines()
    return lines[-1] if lines else ""
