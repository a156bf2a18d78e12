# SPDX-License-Identifier: Apache-2.0
"""Starts ``tidegate`` from a process that has its modules loaded already: a start takes 0.1 s of CPU instead of 1 s.

The process is as any other: a child of the test's, with arguments, environment, working directory and pipes of
its own, and ``main()`` runs in it from the beginning. Tests of the start itself use the real command.

Linux only (clone(2) with CLONE_PARENT makes it the test's child); elsewhere the real command is run.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

COMMAND: Final = [sys.executable, "-c", "from tidegate.cli.main import main; main()"]
"""The real command."""

MODULES: Final = (
    "asyncssh", "uvloop", "aiosqlite", "sqlalchemy.dialects.sqlite.aiosqlite", "greenlet", "argon2", "bcrypt", "blake3",
)  # fmt: skip
"""Modules of others that no module of ours imports at its top."""
LEFT_OUT: Final = ("tidegate.store.sql.migrations.", ".__main__")
"""Parts of names of our modules that are programs: importing them runs them."""
WITHOUT: Final = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""Variables that images of Python set; what is forked buffers its output, as it does where they are not set."""
CLONE_PARENT: Final = 0x8000
SYS_CLONE: Final = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
THIRD_PARTY: Final = Path(__file__).resolve().parents[1] / "third_party"
PR_SET_THP_DISABLE: Final = 41
REQUEST_BYTES: Final = 1 << 20


# -- in the process that forks ---------------------------------------------------------------------------


def load() -> None:
    """Import what servers and commands need: all of ours, and what that imports."""
    import gc
    import importlib
    import pkgutil

    import tidegate

    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(tidegate.__path__, "tidegate."):
        if not any(part in found.name for part in LEFT_OUT):
            importlib.import_module(found.name)
    from tidegate.store.sql.tables import make_tables

    make_tables()  # kept for all who open a database
    gc.enable()
    gc.freeze()


def clone() -> int:
    """fork(2), but the new process is a child of this one's parent. Returns its id, and 0 in it."""
    python, libc = ctypes.pythonapi, ctypes.CDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    pid = libc.syscall(SYS_CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return int(pid)


def serve(link: socket.socket) -> tuple[str, list[str]]:
    """Answer requests until the test ends. Returns in each new process: what it runs first, and its arguments."""
    while True:
        text, files, _, _ = socket.recv_fds(link, REQUEST_BYTES, 3)
        if not text:
            os._exit(0)
        request = json.loads(text)
        pid = clone()
        if pid == 0:
            link.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
            os.closerange(3, max(files) + 1)
            os.environ.clear()
            os.environ.update(request["environment"])
            tempfile.tempdir = None  # found again, by the new environment
            os.chdir(request["directory"])
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if request["path"]:
                sys.path.insert(1, request["path"])  # where PYTHONPATH is at a start
            return request["first"], [str(argument) for argument in request["arguments"]]
        for file in files:
            os.close(file)
        link.send(str(pid).encode())


def main() -> None:
    """The process that forks; standard input is the connection to the test."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the test ends this process
    link = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    load()
    # A server puts its memory into large pages, which would copy all of what is loaded here for each.
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    link.send(b"ready")
    first, arguments = serve(link)
    sys.argv = ["-c", *arguments]
    if first:
        import importlib

        importlib.import_module(first).main()
    from tidegate.cli.main import main as command

    ended(command)


def ended(command: Callable[[], None]) -> NoReturn:
    """Run a program to its end, and end this process as Python does, but for the memory: nobody needs it taken apart.

    That would touch, and so copy, each page of what was loaded before the fork.
    """
    code: object = 1
    try:
        command()
        code = 0
    except SystemExit as done:
        code = done.code
        if code is not None and not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]  # what Py_FinalizeEx() does first
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120
    os._exit(int(code or 0))


# -- in the test -----------------------------------------------------------------------------------------


class ForkServer:
    """The one of this process, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def fork(self, request: dict[str, Any], files: Sequence[int]) -> int:
        """Start a process with these three files as standard input, output and error. Returns its id."""
        with self._lock:
            if self._link is None or self._process is None or self._process.poll() is not None:
                self._start()
            assert self._link is not None
            socket.send_fds(self._link, [json.dumps(request).encode()], list(files))
            pid = int(self._link.recv(32))
        assert pid > 0, f"clone: {pid}"
        return pid

    def _start(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES)
        environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith("TIDEGATE_") and name not in WITHOUT
        }  # fmt: skip
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from tests.support.fork_server import main; main()"],
                stdin=theirs, stdout=subprocess.DEVNULL, stderr=None, env=environment,
            )  # fmt: skip
        assert self._link.recv(32) == b"ready", "the fork server did not start"
        atexit.register(self._stop)

    def _stop(self) -> None:
        if self._link is not None and self._process is not None:
            self._link.close()
            self._process.wait(10)


FORK_SERVER: Final = ForkServer()


class Forked(subprocess.Popen[Any]):
    """`subprocess.Popen` of ``tidegate`` with these arguments, forked where that can be done.

    With `first`, the ``main()`` of that module runs before, with the same arguments.
    """

    def __init__(self, arguments: Sequence[str], *, first: str = "", **options: Any) -> None:
        self._first = first
        super().__init__([*COMMAND, *map(str, arguments)], **options)

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        """As `subprocess` calls it, with the arguments in their order there (CPython 3.11 to 3.14)."""
        cwd, env, pipes = rest[4], os.environ if rest[5] is None else rest[5], rest[9:15]
        plain = not any(rest[at] for at in (0, 1, 3, 6, 8)) and plain_ids(rest[16:])
        package = third_party(env)
        same = of_python(env) == {**of_python(os.environ), **({"PYTHONPATH": package} if package else {})}
        if not (plain and same and SYS_CLONE is not None and sys.platform == "linux"):
            assert not self._first, "nothing else can be run here"
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        files = [
            own if own != -1 else default
            for own, default in zip((pipes[0], pipes[3], pipes[5]), (0, 1, 2), strict=True)
        ]
        request = {
            "first": self._first,
            "path": package,
            "arguments": list(args[len(COMMAND) :]),
            "environment": dict(env),
            "directory": os.fspath(cwd) if cwd is not None else os.getcwd(),
        }
        self.pid = FORK_SERVER.fork(request, files)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(arguments: Sequence[str], *, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` of ``tidegate`` with these arguments; output is captured as text."""
    with Forked(
        arguments, stdin=subprocess.PIPE if "input" in options else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **{k: v for k, v in options.items() if k != "input"},
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(options.get("input"), timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def third_party(environment: Mapping[str, str]) -> str:
    """PYTHONPATH, if it is one of the packages in ``tests/third_party``: nothing there is loaded already."""
    path = environment.get("PYTHONPATH", "")
    return path if Path(path).parent == THIRD_PARTY else ""


def of_python(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python itself reads when it starts, but for those that change nothing which tests look at."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PYTHON") and name not in WITHOUT
    }


def plain_ids(rest: Sequence[Any]) -> bool:
    """No other user, group, mask, session or process group is asked for."""
    gid, gids, uid, umask, session, *group = rest
    return (
        gid is None and gids is None and uid is None and umask == -1 and not session and group in ([], [-1])
    )
