# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH server as storage: it lets the user of the tests in, with a key."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import needs
from tests.support.ports import free_port

START_SECONDS = 20


@dataclass
class FarServer:
    """A running sshd whose host keys can be changed; `files` is for whatever tests share on it.

    Attributes:
        fingerprints: of its host keys, by their type.
    """

    directory: Path
    port: int
    fingerprints: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> Path:
        return self.directory / "files"

    @property
    def user(self) -> str:
        return pwd.getpwuid(os.geteuid()).pw_name

    def options(self, prefix: str | Path, **more: Any) -> dict[str, Any]:
        """The section ``sftpconfig`` of a record."""
        return {
            "endpoint": f"127.0.0.1:{self.port}",
            "username": self.user,
            "private_key": (self.directory / "user_key").read_text(),
            "fingerprints": [self.fingerprints["ed25519"]],
            "prefix": str(prefix),
            **more,
        }

    def make_host_keys(self, *types: str) -> None:
        """Make host keys anew."""
        self.fingerprints = {}
        lines = ""
        for kind in types:
            path = self.directory / f"host_{kind}"
            path.unlink(missing_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True, timeout=30)
            shown = subprocess.run(
                ["ssh-keygen", "-l", "-f", path], check=True, timeout=30, capture_output=True, text=True
            )
            self.fingerprints[kind] = shown.stdout.split()[1]
            lines += f"HostKey {path}\n"
        (self.directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n{lines}PidFile none\nUsePAM no\nStrictModes no\n"
            f"PermitRootLogin prohibit-password\nAuthorizedKeysFile {self.directory}/user_key.pub\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
            "Subsystem sftp internal-sftp\nPrintMotd no\n"
        )

    def start(self) -> None:
        """Start it and wait for its greeting."""
        program = needs.program("sshd") or needs.absent("sshd")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where sshd keeps nothing, and will not start without
        log = self.directory / "log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.directory / "sshd_config")],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=1) as line,
            ):
                if line.recv(4) == b"SSH-":
                    return
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {log.read_text()}")

    def signal(self, number: int) -> None:
        """Send a signal to sshd and everything it started."""
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """kill -9, connections included."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(START_SECONDS)
            self.process = None

    def _processes(self) -> list[int]:
        """sshd and its descendants; those of connections have sessions of their own."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):  # a connection may end meanwhile
                for task in os.listdir(f"/proc/{pid}/task"):
                    children = Path(f"/proc/{pid}/task/{task}/children").read_text()
                    found += [int(child) for child in children.split()]
        return found


@contextlib.contextmanager
def far_sshd(directory: Path) -> Iterator[FarServer]:
    """A started server; it and what it started ends with the block."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "files").mkdir()
    key = directory / "user_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    server = FarServer(directory, free_port())
    server.make_host_keys("ed25519", "rsa")
    server.start()
    try:
        yield server
    finally:
        server.kill()
