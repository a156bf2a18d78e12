# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH server that plays the server of before: its users are those of the system, by key alone."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import needs
from tests.support.ports import free_port

START_SECONDS = 20


@dataclass(frozen=True)
class OldServer:
    """A running sshd.

    Attributes:
        homes: a session of a user begins in the directory of that name.
        fingerprint: of its host key.
    """

    port: int
    homes: Path
    fingerprint: str


@contextlib.contextmanager
def old_sshd(directory: Path, key: Path, users: Sequence[str]) -> Iterator[OldServer]:
    """An sshd that lets `users` in with a key; the test needs root, since sshd becomes them.

    Args:
        directory: for its files and the homes; must be reachable by the users.
        key: private key file with ``.pub`` beside it.
        users: names of system users.
    """
    program = needs.program("sshd") or needs.absent("sshd")
    if os.geteuid() != 0:
        needs.absent("root")
    homes, keys = directory / "homes", directory / "keys"
    for path in (directory, homes, keys):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    for user in users:
        home = homes / user
        home.mkdir()
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        (keys / user).write_text(key.with_suffix(".pub").read_text())
    host_key = directory / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True, timeout=30)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", host_key], check=True, timeout=30, capture_output=True, text=True
    )
    port = free_port()
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {keys}/%u\n"
        f"Subsystem sftp internal-sftp\nForceCommand internal-sftp -d {homes}/%u\nPrintMotd no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd keeps nothing, and will not start without
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(directory / "sshd_config")], stdout=log, stderr=log
        )
    try:
        _await_greeting(process, port, directory / "log")
        yield OldServer(port, homes, shown.stdout.split()[1])
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _await_greeting(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            if line.recv(4) == b"SSH-":
                return
        time.sleep(0.02)
    raise RuntimeError(f"sshd did not start: {log.read_text()}")
