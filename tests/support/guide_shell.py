# SPDX-License-Identifier: Apache-2.0
"""A shell at a terminal of its own, in a directory of its own, that answers prompts as a person would."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from tests.support.fork_server import COMMAND, Forked
from tests.support.guide_session import CLIENT
from tests.support.guide_text import Step, differences
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 60
LOG_SECONDS = 10
"""The log is written a moment after what it tells; a page that looks into it looks again."""
WIDTH = 400
"""Columns of the terminal: nothing is folded."""

ADMIN_PASSWORD = "Guide-pass-1"
LOOP = r"""
while IFS= read -r -d '' -u 9 line; do
  eval "$line"
  printf '\n\001%d\001\n' $?
done
"""
SERVICE = re.compile(r"^(make serve|guide-store|guide-clamd|guide-blocklist|\S*tidegate (serve|portable))\b")
READY = "Ctrl-C "
EDITOR_SECONDS = 2.0
"""Seconds that sftp may take from its prompt to the raw mode of its line editor."""
PROMPTS = re.compile(
    rb"(sftp> |continue connecting \(yes/no/\[fingerprint\]\)\? |[Pp]assword[^\n]*: ?|Again: |\[y/N\] )\Z"
)


class GuideShell:
    """Runs the steps of one guide.

    Args:
        place: empty directory; it stands for ``/home/you/tidegate``, and holds what stands for others.

    Attributes:
        learned: what the page calls passwords, tokens and keys, and what they are in this run.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "tidegate"
        self.learned: dict[str, str] = {}
        self.ports = {
            name: str(free_port()) for name in ("2022", "8080", "2222", "2121", "8333", "5300", "10080")
        }
        self.paths = {
            "/var/lib/tidegate": str(place / "lib"),
            "/opt/tidegate": str(place / "opt"),
            "/srv/": f"{place}/srv/",
            "/etc/": f"{place}/etc/",
            "/run/clamav/": f"{place}/run/clamav/",
            "/home/you/tidegate": str(self.home),
            "/home/you/DIR": str(self.home / "DIR"),
            "sftp.example.org": "127.0.0.1",
        }
        self._services: list[subprocess.Popen[bytes]] = []
        self._socket = tempfile.TemporaryDirectory(prefix="tg-")  # an address of a socket has 107 bytes
        self._address = f"{self._socket.name}/session"
        self._prepare()
        self._start()

    def _prepare(self) -> None:
        for folder in ("bin", "lib", "srv", "etc", "tidegate/.venv/bin", "tidegate/DIR", "opt/bin"):
            (self.place / folder).mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.home / name)
        client = self.place / "client.py"
        client.write_text(CLIENT)
        own = (  # what serves is to get the signals that the page sends it: it is started as it is
            f'case " $* " in *" serve "*|*" portable "*) exec {shlex.join(COMMAND)} "$@";; esac\n'
            f'[ "$PYTHONPATH" = {shlex.quote(os.environ.get("PYTHONPATH", ""))} ] || exec {shlex.join(COMMAND)} "$@"\n'
            f'exec {sys.executable} -I -S {client} {self._address} "$@"\n'
        )
        scripts = {
            "bin/tidegate": own,
            "tidegate/.venv/bin/tidegate": own,
            "opt/bin/tidegate": own,
            "bin/sftp": (
                f"exec {shutil.which('sftp')} -F none -o UserKnownHostsFile={self.place}/known_hosts "
                '-o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o IdentityAgent=none "$@"\n'
            ),
            "bin/ssh": (
                f"exec {shutil.which('ssh')} -F none -o UserKnownHostsFile={self.place}/known_hosts "
                '-o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o IdentityAgent=none "$@"\n'
            ),
            "bin/guide-store": f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.support.guide_store "$@"\n',
            "bin/guide-blocklist": f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.support.blocklists "$@"\n',
            "bin/guide-databases": f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.support.geo_databases "$@"\n',
            "bin/guide-clamd": f'PYTHONPATH={ROOT} exec {sys.executable} -m tests.support.clamd "$@"\n',
            "bin/sudo": 'test "$1" = -u && shift 2; exec "$@"\n',
        }
        for name, text in scripts.items():
            (self.place / name).write_text(f"#!/bin/sh\n{text}")
            (self.place / name).chmod(0o755)
        (self.home / ".venv" / ".base").touch()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "SFTPGO_", "MAKE", "MFLAGS"))},
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.place),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "COLUMNS": str(WIDTH),
            "LC_ALL": "C.UTF-8",
            "SSH_AUTH_SOCK": "",
            "GUIDE_DATA": str(ROOT / "tests" / "data"),
            "TIDEGATE_SFTPD__BINDINGS__0__PORT": self.ports["2022"],
            "TIDEGATE_HTTPD__BINDINGS__0__PORT": self.ports["8080"],
        }  # fmt: skip

    def _start(self) -> None:
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        commands = self.place / "commands"
        os.mkfifo(commands)
        # The shell leads a session of its own, whose terminal this is: programs ask for passwords there.
        self._shell = Forked(
            [self._address, f"exec 9<{shlex.quote(str(commands))}\n{LOOP}"], first="tests.support.guide_session",
            cwd=self.home, env=self.environ, stdin=end, stdout=end, stderr=end,
        )  # fmt: skip
        self._commands = os.open(commands, os.O_WRONLY)
        os.close(end)

    # -- steps -------------------------------------------------------------------------------------------

    def run(self, step: Step) -> str:
        """Run a step; returns why it is not as the page says, or nothing."""
        command = self._real(step.command)
        if SERVICE.match(re.sub(r"^(\w+=\S+ )+", "", step.command)):
            output = self._serve(command)
            code = 0
        else:
            code, output = self._type(command, list(step.typed))
        wrong = differences(step.expected, self._shown(output), self.learned)
        deadline = time.monotonic() + LOG_SECONDS
        while wrong and command.startswith("grep ") and time.monotonic() < deadline:
            code, output = self._type(command, [])
            wrong = differences(step.expected, self._shown(output), self.learned)
        if not wrong and not step.expected and code not in ((0, 3) if " explain " in command else (0,)):
            wrong = f"it ended with {code}: {output}"
        return f"$ {step.command}\n{wrong}\n(all of it: {output})" if wrong else ""

    def write(self, name: str, content: str) -> None:
        """Write a file that the page shows."""
        path = self.home / self._real(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._real(content))

    def _real(self, text: str) -> str:
        """A text of the page in this run."""
        for doc, real in {**self.paths, **self.learned}.items():
            text = text.replace(doc, real)
        for doc, real in self.ports.items():
            text = re.sub(rf"\b{doc}\b", real, text)
        return text

    def _shown(self, text: str) -> str:
        """An output in the words of the page."""
        for doc, real in sorted(self.paths.items(), key=lambda pair: -len(pair[1])):
            if doc != "sftp.example.org":
                text = text.replace(real, doc)
        for doc, real in self.ports.items():
            text = re.sub(rf"\b{real}\b", doc, text)
        return text

    def _type(self, command: str, typed: list[str]) -> tuple[int, str]:
        os.write(self._commands, command.encode() + b"\0")
        output, answered = b"", 0
        deadline = time.monotonic() + COMMAND_SECONDS
        while True:
            ready, _, _ = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{command!r} does not end: {output.decode()}"
            output += os.read(self._terminal, 65536)
            end = re.search(rb"\n\x01(\d+)\x01\r?\n", output)
            if end:
                return int(end[1]), output[: end.start()].decode(errors="replace")
            if asked := PROMPTS.search(output, answered):
                # Whoever asks has hidden what is typed before it asks, so the answer is not thrown away.
                answered = len(output)
                self._wait_for_editor(asked[1])
                os.write(self._terminal, self._answer(asked[1].decode(), command, typed).encode() + b"\n")

    def _wait_for_editor(self, prompt: bytes) -> None:
        """Wait until sftp's line editor has the terminal: what is typed before is echoed twice."""
        deadline = time.monotonic() + EDITOR_SECONDS
        while prompt == b"sftp> " and time.monotonic() < deadline:
            if not termios.tcgetattr(self._terminal)[3] & termios.ECHO:
                break
            select.select([], [], [], 0.005)

    def _answer(self, prompt: str, command: str, typed: list[str]) -> str:
        if prompt == "sftp> ":
            return typed.pop(0) if typed else "bye"
        if "yes/no" in prompt:
            return "yes"
        if prompt.startswith("[y/N]"):
            return "y"
        return self.password if "demo@" in command else ADMIN_PASSWORD

    @property
    def password(self) -> str:
        """The password of the first account, as the server printed it."""
        told = (self.place / "served").read_text()
        found = re.search(r"^ +password +(\S+)", told, re.MULTILINE)
        assert found, told
        return found[1]

    def _serve(self, command: str) -> str:
        """Start what runs until Ctrl-C, and wait until it says so, or where it listens."""
        log = self.place / "served"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", command], cwd=self.home, env=self.environ, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._services.append(process)
        deadline = time.monotonic() + COMMAND_SECONDS
        while time.monotonic() < deadline:
            told = log.read_text()
            ready = READY in told or (" serve" in command and "REST API " in told)
            if ready and told.endswith("\n"):
                return told
            assert process.poll() is None, told
            time.sleep(0.02)
        raise AssertionError(f"{command!r} did not start: {log.read_text()}")

    def close(self) -> None:
        """End what was started."""
        os.close(self._commands)
        for process in self._services:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        for process in [*self._services, self._shell]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL) if process in self._services else process.kill()
                process.wait()
        os.close(self._terminal)
        self._socket.cleanup()
