# SPDX-License-Identifier: Apache-2.0
"""PASV behind a real NAT: addresses that are fixed, by network of the client, or found at the start."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.nat import INSIDE, OUTSIDE, SERVER, Namespace, Nat, nat
from tests.support.running import COMMAND, Person, Running, running

PORT = 2121
METADATA = """
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        text = {"/latest/api/token": b"t", "/latest/meta-data/public-ipv4": b"%(address)s"}[self.path]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_PUT = answer

server = http.server.HTTPServer(("127.0.0.1", 8001), Handler)
print("ready", flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def metadata(place: Namespace) -> Iterator[dict[str, str]]:
    """A metadata service as of Amazon's instances; the variable that names it."""
    process = subprocess.Popen(
        [*place.enter, sys.executable, "-c", METADATA % {"address": OUTSIDE}],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:8001"}
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def server(
    base: Path, network: Nat, binding: dict[str, Any], environment: dict[str, str] | None = None
) -> Iterator[Running]:
    section = {
        "bindings": [{"port": PORT, "plain_login": True, **binding}],
        "passive_port_range": {"start": 50000, "end": 50010},
    }
    command = [*network.server.enter, *COMMAND]
    with running(base, settings={"ftpd": section}, environment=environment, command=command) as made:
        yield made


def curl(place: Namespace, host: str, person: Person, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Store a file by PASV, at the very address that the reply names."""
    (tmp_path / "f").write_bytes(os.urandom(200_000))
    return subprocess.run(
        [
            *place.enter, "curl", "-sS", "--disable-epsv", "--no-ftp-skip-pasv-ip", "--connect-timeout", "3",
            "-u", f"{person.name}:{person.password}", "-T", str(tmp_path / "f"), f"ftp://{host}:{PORT}/f",
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Iterator[Nat]:
    with nat(f"{PORT}, 50000-50010") as made:
        yield made


@pytest.mark.needs("curl", "nft", "nsenter", "unshare", "ip")
@pytest.mark.parametrize("way", ["fixed", "by network", "auto"])
def test_clients_on_both_sides_store(network: Nat, tmp_path: Path, way: str) -> None:
    binding: dict[str, Any] = {"force_passive_ip": "auto" if way == "auto" else OUTSIDE}
    if way == "by network":
        overrides = [{"networks": ["198.51.100.0/24"], "ip": OUTSIDE}, {"networks": ["10.0.0.0/8"], "ip": ""}]
        binding = {"passive_ip_overrides": overrides}
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(metadata(network.server)) if way == "auto" else None
        made = stack.enter_context(server(tmp_path / "server", network, binding, found))
        person = made.account()
        done = curl(network.client, OUTSIDE, person, tmp_path)
        assert done.returncode == 0, done.stderr
        assert (person.home / "f").read_bytes() == (tmp_path / "f").read_bytes()
        if way == "by network":  # from the router itself, which is inside
            done = curl(network.router, SERVER, person, tmp_path)
            assert done.returncode == 0, done.stderr
            assert (person.home / "f").read_bytes() == (tmp_path / "f").read_bytes()


@pytest.mark.needs("curl", "nft", "nsenter", "unshare", "ip")
def test_without_a_setting_the_private_address_is_named(network: Nat, tmp_path: Path) -> None:
    """A client outside cannot reach it, which the settings are for."""
    assert INSIDE != SERVER
    with server(tmp_path / "server", network, {}) as made:
        person = made.account()
        done = curl(network.client, OUTSIDE, person, tmp_path)
        assert done.returncode != 0
        assert not (person.home / "f").exists()
