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


WAYS: dict[str, dict[str, Any]] = {
    "fixed": {"force_passive_ip": OUTSIDE},
    "by network": {
        "passive_ip_overrides": [
            {"networks": ["198.51.100.0/24"], "ip": OUTSIDE}, {"networks": ["10.0.0.0/8"], "ip": ""},
        ]
    },
    "auto": {"force_passive_ip": "auto"},
    "private": {},
}  # fmt: skip
"""Bindings of one server, each on a port of its own."""
PORTS = {way: PORT + number for number, way in enumerate(WAYS)}


@pytest.fixture(scope="module")
def network() -> Iterator[Nat]:
    with nat(f"{PORT}-{PORT + len(WAYS) - 1}, 50000-50010") as made:
        yield made


@pytest.fixture(scope="module")
def server(network: Nat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    section = {
        "bindings": [{"port": PORTS[way], "plain_login": True, **binding} for way, binding in WAYS.items()],
        "passive_port_range": {"start": 50000, "end": 50010},
    }
    command = [*network.server.enter, *COMMAND]
    base = tmp_path_factory.mktemp("nat")
    with (
        metadata(network.server) as environment,
        running(
            base / "server", settings={"ftpd": section}, environment=environment, command=command
        ) as made,
    ):
        yield made


def curl(
    place: Namespace, host: str, way: str, person: Person, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    """Store a file by PASV, at the very address that the reply names."""
    (tmp_path / "f").write_bytes(os.urandom(200_000))
    return subprocess.run(
        [
            *place.enter, "curl", "-sS", "--disable-epsv", "--no-ftp-skip-pasv-ip", "--connect-timeout", "3",
            "-u", f"{person.name}:{person.password}", "-T", str(tmp_path / "f"), f"ftp://{host}:{PORTS[way]}/f",
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.needs("curl", "nft", "nsenter", "unshare", "ip")
@pytest.mark.parametrize("way", ["fixed", "by network", "auto"])
def test_clients_on_both_sides_store(network: Nat, server: Running, tmp_path: Path, way: str) -> None:
    person = server.account()
    done = curl(network.client, OUTSIDE, way, person, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (person.home / "f").read_bytes() == (tmp_path / "f").read_bytes()
    if way == "by network":  # from the router itself, which is inside
        done = curl(network.router, SERVER, way, person, tmp_path)
        assert done.returncode == 0, done.stderr
        assert (person.home / "f").read_bytes() == (tmp_path / "f").read_bytes()


@pytest.mark.needs("curl", "nft", "nsenter", "unshare", "ip")
def test_without_a_setting_the_private_address_is_named(
    network: Nat, server: Running, tmp_path: Path
) -> None:
    """A client outside cannot reach it, which the settings are for."""
    assert INSIDE != SERVER
    person = server.account()
    done = curl(network.client, OUTSIDE, "private", person, tmp_path)
    assert done.returncode != 0
    assert not (person.home / "f").exists()
