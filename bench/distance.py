"""A client in a network namespace of its own, 100 ms away (netem on a veth pair). Needs root, ip and tc."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

SPACE = f"tidegate-far-{os.getpid()}"
SERVER_ADDRESS, CLIENT_ADDRESS = "192.0.2.1", "192.0.2.2"  # TEST-NET-1 (RFC 5737): never a real host
HALF_DELAY_MS = 50


def available() -> str:
    """Why there can be no distance here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def prefix() -> tuple[str, ...]:
    """What runs a command on the client's side."""
    return ("ip", "netns", "exec", SPACE)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def far_side() -> Iterator[str]:
    """The namespace, and the address that a server must listen on to be reached from it."""
    near = f"tg{os.getpid() % 100000}"
    _run("ip", "netns", "add", SPACE)
    try:
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", "far0", "netns", SPACE)
        _run("ip", "addr", "add", f"{SERVER_ADDRESS}/30", "dev", near)
        _run("ip", "link", "set", near, "up")
        _run(*prefix(), "ip", "addr", "add", f"{CLIENT_ADDRESS}/30", "dev", "far0")
        _run(*prefix(), "ip", "link", "set", "far0", "up")
        _run(*prefix(), "ip", "link", "set", "lo", "up")
        _run(
            "tc",
            "qdisc",
            "add",
            "dev",
            near,
            "root",
            "netem",
            "delay",
            f"{HALF_DELAY_MS}ms",
            "limit",
            "100000",
        )
        _run(*prefix(), "tc", "qdisc", "add", "dev", "far0", "root", "netem", "delay", f"{HALF_DELAY_MS}ms", "limit", "100000")  # fmt: skip
        yield SERVER_ADDRESS
    finally:
        subprocess.run(["ip", "link", "del", near], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", SPACE], capture_output=True, check=False)
