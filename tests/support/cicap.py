# SPDX-License-Identifier: Apache-2.0
"""A real ICAP server: c-icap with its virus scan, which asks a clamd of the tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import needs
from tests.support.certificates import certificate
from tests.support.clamd import Clamd
from tests.support.ports import free_port

START_SECONDS = 20
MODULES = next(
    (str(found) for found in Path("/usr/lib").glob("*/c_icap") if (found / "virus_scan.so").exists()), ""
)
PREVIEW = 1024


class CIcap:
    """c-icap on a port. Life: made, `start`, `kill`."""

    def __init__(self, directory: Path, scanner: Clamd) -> None:
        directory.mkdir(parents=True)
        self.certificate = certificate(directory, "icap")
        self.secure_port = free_port()
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        user = pwd.getpwuid(os.geteuid()).pw_name
        (directory / "magic").write_text("")
        (directory / "c-icap.conf").write_text(
            f"TlsPort 127.0.0.1:{self.secure_port} cert={self.certificate} key={directory}/key.pem\n"
            f"PidFile {directory}/pid\nCommandsSocket {directory}/ctl\nPort 127.0.0.1:{self.port}\n"
            f"User {user}\nStartServers 1\nMaxServers 2\nThreadsPerChild 16\nMinSpareThreads 4\n"
            f"MaxSpareThreads 16\nServerAdmin a@b\nServerName test\nTmpDir {directory}\nPipelining on\n"
            f"ModulesDir {MODULES}\nServicesDir {MODULES}\nLoadMagicFile /etc/c-icap/c-icap.magic\n"
            f"ServerLog {directory}/server.log\nAccessLog {directory}/access.log\nDebugLevel 1\n"
            "Service antivirus_module virus_scan.so\n"
            "virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE\nvirus_scan.MaxObjectSize 50M\n"
            f"Module common clamd_mod.so\nclamd_mod.ClamdSocket {scanner.socket}\n"
            "virus_scan.DefaultEngine clamd\n"
        )

    def url(self, service: str = "virus_scan?allow204=on&sizelimit=off&mode=simple") -> str:
        return f"icap://127.0.0.1:{self.port}/{service}"

    def secure_url(self, service: str = "virus_scan?allow204=on&sizelimit=off&mode=simple") -> str:
        return f"icaps://127.0.0.1:{self.secure_port}/{service}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = needs.program("c-icap") or needs.absent("c-icap")
        command = [program, "-N", "-f", str(self.directory / "c-icap.conf")]
        with (self.directory / "out").open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        question = f"OPTIONS {self.url()} ICAP/1.0\r\nHost: x\r\n\r\n".encode()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=2) as line,
            ):
                line.sendall(question)
                if line.recv(12) == b"ICAP/1.0 200":
                    return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"c-icap did not start: {(self.directory / 'out').read_text()}")

    def kill(self) -> None:
        """End it and its children, which are in its process group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.process.wait(START_SECONDS)
            self.process = None


@contextlib.contextmanager
def cicap(directory: Path, scanner: Clamd) -> Iterator[CIcap]:
    """A started one; it ends with the block."""
    made = CIcap(directory, scanner)
    made.start()
    try:
        yield made
    finally:
        made.kill()
