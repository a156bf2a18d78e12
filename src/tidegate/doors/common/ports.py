# SPDX-License-Identifier: Apache-2.0
"""Listening sockets; of a port that cannot be had, who has it and what to change."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tidegate.errors import ConfigError, Problem
from tidegate.resources.acceptor import listen
from tidegate.resources.inherited import Inherited

_LISTENING: Final = "0A"
"""State of a listening socket in /proc/net/tcp."""

MAX_PROCESSES: Final = 20_000
"""Processes that are looked at."""


async def bind(label: str, address: str, port: int, backlog: int, passed: Inherited) -> list[socket.socket]:
    """Listening sockets of a binding.

    Args:
        label: key of the binding, such as ``sftpd.bindings[0]``, or the flag that gave the port.
        address: host name or address; empty for every interface, IPv4 and IPv6.
        port: TCP port; 0 takes a free one.
        backlog: connections that the kernel holds until they are accepted.
        passed: sockets that are open already, see `listen`.

    Raises:
        ConfigError: they cannot be had; says why on one line.
    """
    try:
        return await listen(address, port, backlog, passed)
    except (OSError, UnicodeError) as error:
        raise ConfigError([await unavailable(label, address, port, error)]) from None


async def unavailable(label: str, address: str, port: int, error: OSError | UnicodeError) -> Problem:
    """The problem of a listening socket that could not be made.

    Args:
        label: key of the binding, such as ``sftpd.bindings[0]``, or the flag that gave the port.
        address: as configured; empty for every interface.
        port: TCP port.
        error: what binding it raised.
    """
    reason = getattr(error, "strerror", None) or "not an address"
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        holder = await asyncio.to_thread(process_on, port)
        reason = f"in use by {holder}" if holder else "in use by another process"
    elif number == errno.EACCES and port < 1024:
        reason = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    what = f"cannot listen on {address or '*'}:{port}: {reason}; {change(label)}"
    return Problem(label, what)


def change(label: str) -> str:
    """The advice how to choose another port."""
    if label.startswith("-"):
        return f"choose another with {label} PORT, or 0 for a free one"
    parts = re.findall(r"\w+", label)
    return f"choose another with TIDEGATE_{'__'.join(part.upper() for part in (*parts, 'port'))}"


def process_on(port: int) -> str:
    """``process 123 (name)``: who listens on a TCP port here; empty if it cannot be told. Blocks."""
    inodes = set(_listeners(port))
    if not inodes:
        return ""
    for pid in _pids():
        try:
            with os.scandir(f"/proc/{pid}/fd") as descriptors:
                if any(os.readlink(descriptor.path) in inodes for descriptor in descriptors):
                    return f"process {pid} ({_name(Path(f'/proc/{pid}/comm').read_bytes())})"
        except OSError:  # it ended, or belongs to somebody else
            continue
    return ""


def _name(comm: bytes) -> str:
    """A process's name for a terminal or a log; programs give themselves any bytes but NUL."""
    text = comm.removesuffix(b"\n").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)


def _listeners(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"


def _pids() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()][:MAX_PROCESSES]
    except OSError:
        return []
