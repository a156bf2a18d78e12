# SPDX-License-Identifier: Apache-2.0
"""A server behind a router that translates addresses (NAT), and a client before it: three network namespaces."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

SERVER, INSIDE = "10.77.0.2", "10.77.0.1"
OUTSIDE, CLIENT = "198.51.100.1", "198.51.100.2"  # TEST-NET-2

_HOLD = "import sys; print('ready', flush=True); sys.stdin.read()"


@dataclass(frozen=True)
class Namespace:
    """A network namespace, as long as a process of it runs."""

    pid: int

    @property
    def enter(self) -> list[str]:
        """Words before a command that is to run there."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]

    def run(self, *words: str) -> None:
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{words}: {done.stderr}"


@dataclass(frozen=True)
class Nat:
    """The three namespaces; ports of the router lead to the same ports of the server."""

    server: Namespace
    router: Namespace
    client: Namespace


@contextlib.contextmanager
def nat(ports: str) -> Iterator[Nat]:
    """Make one.

    Args:
        ports: of nft, for instance ``2121, 50000-50010``: what the router passes on.
    """
    with contextlib.ExitStack() as stack:
        made = Nat(*(stack.enter_context(_namespace()) for _ in range(3)))
        server, router, client = made.server, made.router, made.client
        router.run(
            "ip", "link", "add", "in0", "type", "veth", "peer", "name", "eth0", "netns", str(server.pid)
        )
        router.run(
            "ip", "link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", str(client.pid)
        )
        for place, name, address in (
            (server, "eth0", SERVER), (router, "in0", INSIDE), (router, "out0", OUTSIDE), (client, "eth0", CLIENT),
        ):  # fmt: skip
            place.run("ip", "address", "add", f"{address}/24", "dev", name)
            place.run("ip", "link", "set", name, "up")
            place.run("ip", "link", "set", "lo", "up")
        server.run("ip", "route", "add", "default", "via", INSIDE)
        router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        rules = (
            "table ip nat { chain pre { type nat hook prerouting priority -100; "
            f'iifname "out0" tcp dport {{ {ports} }} dnat to {SERVER}; }}; '
            'chain post { type nat hook postrouting priority 100; oifname "out0" masquerade; }; }'
        )
        router.run("nft", rules)
        yield made


@contextlib.contextmanager
def _namespace() -> Iterator[Namespace]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    process = subprocess.Popen(
        ["unshare", "-n", sys.executable, "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.skip("network namespaces are not allowed here")
        yield Namespace(process.pid)
    finally:
        process.communicate("", timeout=30)
