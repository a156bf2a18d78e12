# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy on loopback in front of servers, which sends them the PROXY header."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port
from tests.support.running import wait_for

SOURCE = "127.0.0.2"
"""The address that it connects to servers from."""
ADDRESS = "127.0.0.3"
"""The address that its clients reach."""


@dataclass(frozen=True)
class Route:
    """One port of it.

    Attributes:
        target: port of the server on 127.0.0.1; 0 is the port that the client reached.
        header: words for HAProxy's configuration, such as ``send-proxy-v2``.
        ports: first and last port to listen on; (0, 0) takes a free one.
    """

    target: int
    header: str = "send-proxy-v2"
    ports: tuple[int, int] = (0, 0)


def free_range(count: int) -> tuple[int, int]:
    """Ports in a row that nobody listens on now, below those that the kernel gives to clients."""
    for _ in range(100):
        first = random.randrange(15_000, 30_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first, first + count - 1
    raise AssertionError("no free ports in a row")


@contextlib.contextmanager
def haproxy(directory: Path, routes: Sequence[Route]) -> Iterator[list[int]]:
    """Start one; gives the ports of its routes, at `ADDRESS`."""
    ports = [route.ports[0] or free_port() for route in routes]
    text = ["global", "  maxconn 500", "defaults", "  mode tcp", "  retries 0"]
    text += [f"  timeout {name} 30s" for name in ("connect", "client", "server")]
    for number, (route, port) in enumerate(zip(routes, ports, strict=True)):
        last = f"-{route.ports[1]}" if route.ports[0] else ""
        target = f"127.0.0.1:{route.target}" if route.target else "127.0.0.1"
        text += [f"listen route{number}", f"  bind {ADDRESS}:{port}{last}"]
        text += [f"  server one {target} {route.header} source {SOURCE}"]
    file = directory / "haproxy.cfg"
    file.write_text("\n".join(text) + "\n")
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_for(lambda: process.poll() is not None or all(map(_listens, ports)), "HAProxy")
        assert process.poll() is None, process.communicate()[0]
        yield ports
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _listens(port: int) -> bool:
    """True if somebody listens there; nobody is connected to, since the server behind would see that."""
    wanted = f"{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(":" + wanted) and line.split()[3] == "0A" for line in lines)
