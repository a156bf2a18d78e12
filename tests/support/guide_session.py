# SPDX-License-Identifier: Apache-2.0
"""The terminal session of one guide: a shell, and a process that has ``tidegate`` loaded and runs it for the shell.

A page types ``tidegate`` dozens of times, and each start of Python with its modules costs more than what the
command does. The leader of the session is forked from `tests.support.fork_server`; the command that the page
types is `CLIENT`, a start of Python without any module of ours, which hands its arguments, environment, directory
and files to the leader and ends as the process forked there does. That process is in the shell's session and
process group, so that it may ask for passwords at the same terminal.

Linux only, as the fork server is.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
from typing import Final

REQUEST_BYTES: Final = 1 << 18

CLIENT: Final = """
import json, os, socket, sys
mask = os.umask(0)
os.umask(mask)
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(sys.argv[1])
link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
request = {"arguments": sys.argv[2:], "environment": dict(os.environ), "directory": os.getcwd(), "umask": mask}
socket.send_fds(link, [json.dumps(request).encode()], [0, 1, 2])
os._exit(int(link.recv(16) or b"70"))
"""
"""Text of the program that stands for ``tidegate``; its first argument is the address of the session."""


def main() -> None:
    """Lead a session; arguments: the address to listen at, and the text that bash runs. Standard input is the terminal.

    Returns in each process that is to be ``tidegate``, with its arguments in `sys.argv`.
    """
    _, address, script = sys.argv
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(8)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the command gets it too, and ends
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-c", script],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    ends = {os.pidfd_open(shell.pid): None}
    waiting: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([listener, *ends, *waiting], [], [])
        for one in ready:
            if one is listener:
                link, _ = listener.accept()
                pid = _fork(link, listener)
                if pid == 0:
                    return
                waiting[os.pidfd_open(pid)] = pid, link
            elif one in waiting:
                pid, link = waiting.pop(one)
                os.close(one)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                link.send(str(code if code >= 0 else 128 - code).encode())
                link.close()
            else:
                os._exit(shell.wait())


def _fork(link: socket.socket, listener: socket.socket) -> int:
    text, files, _, _ = socket.recv_fds(link, REQUEST_BYTES, 3)
    pid = os.fork()
    if pid:
        for file in files:
            os.close(file)
        return pid
    request = json.loads(text)
    link.detach()
    listener.detach()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.umask(request["umask"])
    os.chdir(request["directory"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):  # as at a terminal, so that the lines of both come in their order
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = ["-c", *request["arguments"]]
    return 0
