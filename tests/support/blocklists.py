# SPDX-License-Identifier: Apache-2.0
"""DNS blocklists served by rbldnsd, and a name server that never answers."""

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

from tests.support.needs import absent, program

FOUR = """\
$SOA 300 ns.bl.test admin.bl.test 1 3600 600 86400 30
$TTL 120
:127.0.0.2:listed
127.0.0.2
203.0.113.5 :127.0.0.4:exploited
203.0.113.6 :127.255.255.254:open resolver
203.0.113.7 :127.0.0.10:policy
198.51.100.9
"""
SIX = "$TTL 120\n:127.0.0.2:listed\n2001:db8:bad::/48\n"
EVERYBODY = ":127.0.0.2:everybody\n0.0.0.0/1\n128.0.0.0/1\n"
OTHER = "$TTL 120\n:127.0.0.3:other\n127.0.0.2\n198.51.100.8\n"


@contextlib.contextmanager
def blocklists(port: int = 0) -> Iterator[int]:
    """Serve the zones ``bl.test``, ``other.test`` and ``everybody.test``; yields the port."""
    with tempfile.TemporaryDirectory() as place:  # not below pytest's: the server gives up the rights of root
        Path(place).chmod(0o755)
        with _served(Path(place), port) as served:
            yield served


@contextlib.contextmanager
def _served(directory: Path, port: int) -> Iterator[int]:
    command = program("rbldnsd") or absent("rbldnsd")
    for name, content in (("four", FOUR), ("six", SIX), ("everybody", EVERYBODY), ("other", OTHER)):
        (directory / name).write_text(content)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    zones = ["bl.test:ip4set:four", "bl.test:ip6trie:six", "everybody.test:ip4trie:everybody"]
    server = subprocess.Popen(
        [
            command,
            "-n",
            "-w",
            str(directory),
            "-r",
            "/",
            "-b",
            f"127.0.0.1/{port}",
            *zones,
            "other.test:ip4set:other",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        deadline = time.monotonic() + 10
        while "started" not in server.stdout.readline():
            assert server.poll() is None, "rbldnsd ended"
            assert time.monotonic() < deadline
        yield port
    finally:
        server.terminate()
        server.communicate(timeout=10)


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A name server that takes questions and answers none; yields the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield deaf.getsockname()[1]


def main() -> None:
    with blocklists(int(sys.argv[1])) as port:
        sys.stdout.write(f"blocklists on port {port}. Ctrl-C ends them.\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
