# SPDX-License-Identifier: Apache-2.0
"""A real clamd with a signature file of the tests: nothing is downloaded, and no virus is needed.

As a program (``guide-clamd SOCKET`` of guides) it runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import needs
from tests.support.ports import free_port

START_SECONDS = 20
STREAM_MAX = 1024 * 1024
MARKER = b"TG-TEST-MARKER-NOT-A-VIRUS"
EICAR = (
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d"
    "544553542d46494c452124482b482a"
)
"""The test file of all scanners, as hexadecimal text: scanners of those who read this leave it alone."""
SIGNATURE = "Tg.Test.Marker.UNOFFICIAL"


class Clamd:
    """clamd on a port and a Unix socket. Life: made, `start`, `stop`, `start` again..."""

    def __init__(self, directory: Path, path: str = "", stream_max: int = STREAM_MAX) -> None:
        self.directory = directory
        self.port = free_port()
        self.socket = path or str(directory / "clamd.socket")
        self.process: subprocess.Popen[bytes] | None = None
        database = directory / "db"
        database.mkdir(parents=True)
        (database / "t.ndb").write_text(
            f"Tg.Test.Marker:0:*:{MARKER.hex()}\nEicar-Test-Signature:0:0:{EICAR}\n"
        )
        (directory / "clamd.conf").write_text(
            f"DatabaseDirectory {database}\nTCPSocket {self.port}\nTCPAddr 127.0.0.1\nLocalSocket {self.socket}\n"
            f"Foreground yes\nStreamMaxLength {stream_max}\nMaxThreads 4\nMaxQueue 8\nReadTimeout 5\n"
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = needs.program("clamd") or needs.absent("clamd")
        log = self.directory / "log"
        with log.open("wb") as output:
            command = [program, "-c", str(self.directory / "clamd.conf")]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=1) as line,
            ):
                line.sendall(b"zPING\0")
                if line.recv(5) == b"PONG\0":
                    return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"clamd did not start: {log.read_text()}")

    def pause(self) -> None:
        """Have it stand still: connections are accepted by the system, and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, connections included."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None

    def asked(self) -> bool:
        """True if somebody has a connection to its port."""
        there = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return any(row[2].endswith(there) and row[3] == "01" for row in map(str.split, lines))


@contextlib.contextmanager
def clamd(directory: Path, path: str = "", stream_max: int = STREAM_MAX) -> Iterator[Clamd]:
    """A started one; it ends with the block. `path` is that of its Unix socket."""
    made = Clamd(directory, path, stream_max)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def main() -> None:
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guide-clamd-") as place, clamd(Path(place), str(path)):
        sys.stdout.write(f"clamd at {path}. Ctrl-C ends it.\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
