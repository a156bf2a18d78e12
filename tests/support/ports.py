# SPDX-License-Identifier: Apache-2.0
"""Ports for servers of the tests that must know theirs before they listen."""

from __future__ import annotations

import itertools
import os
import socket
import threading

FIRST, LAST = 10_000, 32_000
"""Below the ports that Linux gives to outgoing connections and to servers that ask for any (32768 and above):
nobody but another test takes one of these between the look and the use."""

_lock = threading.Lock()
_offsets: dict[int, itertools.count[int]] = {}  # by process: a fork must not go on where its parent is


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nothing listens on now, neither on an address nor on all; the next call gives another."""
    process = os.getpid()
    with _lock:
        offsets = _offsets.setdefault(process, itertools.count(int.from_bytes(os.urandom(4))))
        for _ in range(LAST - FIRST):
            port = FIRST + next(offsets) % (LAST - FIRST)
            if all(_is_free(where, port) for where in (address, "")):
                return port
    raise OSError(f"no port between {FIRST} and {LAST} is free")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, and that differ."""
    return [free_port() for _ in range(count)]


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
