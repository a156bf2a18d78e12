# SPDX-License-Identifier: Apache-2.0
"""Ports for servers of the tests that must know theirs before they listen."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 10_000, 32_000
"""Below the ports that Linux gives to outgoing connections and to servers that ask for any (32768 and above):
nobody but another test takes one of these between the look and the use."""
_COUNTER = Path(tempfile.gettempdir(), f"tidegate-tests-ports-{os.getuid()}")
"""The port that was given last, by any process of this user: a server may take seconds before it listens, and
until all other ports were given nobody gets the same one."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nothing listens on now, neither on an address nor on all; the next call gives another."""
    for _ in range(LAST - FIRST):
        port = _next()
        if all(_is_free(where, port) for where in (address, "")):
            return port
    raise OSError(f"no port between {FIRST} and {LAST} is free")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, and that differ."""
    return [free_port() for _ in range(count)]


def _next() -> int:
    counter = os.open(_COUNTER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(counter, fcntl.LOCK_EX)
        text = os.pread(counter, 16, 0)
        before = int(text) if text.isdigit() else FIRST + int.from_bytes(os.urandom(2)) % (LAST - FIRST)
        port = FIRST + (before + 1 - FIRST) % (LAST - FIRST)
        os.pwrite(counter, f"{port}".encode(), 0)  # all have five digits
    finally:
        os.close(counter)
    return port


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
