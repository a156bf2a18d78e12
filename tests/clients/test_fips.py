# SPDX-License-Identifier: Apache-2.0
"""SSH under OpenSSL's FIPS provider: offers what the provider does, and serves OpenSSH by it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fips import COMMAND, fips_environment
from tests.support.running import Person, Running

pytestmark = pytest.mark.needs("openssl", "sftp", "ssh-keygen")

REFUSED = ("curve25519", "x25519", "chacha20", "448", "sntrup", "umac", "sha1", "md5")
"""Parts of names of what FIPS 140-3 does not approve. Ed25519 is approved (FIPS 186-5); the provider of OpenSSL 3.0 lacks it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("fips")
    started = Running(
        place / "server",
        settings={"sftpd": {"host_keys": []}},
        environment=fips_environment(place),
        command=COMMAND,
    ).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def person(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Person:
    place = tmp_path_factory.mktemp("keys")
    keys = [key(place, kind) for kind in ("ecdsa", "rsa", "ed25519")]
    lines = tuple(one.with_suffix(".pub").read_text().strip() for one in keys)
    made = server.account("ada", public_keys=lines)
    return Person(server, made.name, made.password, place, made.home)


def key(place: Path, kind: str) -> Path:
    file = place / kind
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", file], check=True, timeout=60)
    return file


def offered(port: int) -> list[list[str]]:
    """The server's lists: key exchanges, host key algorithms, ciphers and MACs (RFC 4253 section 7.1)."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line, line.makefile("rb") as got:
        line.sendall(b"SSH-2.0-reader\r\n")
        got.readline()
        size, padding = struct.unpack(">IB", got.read(5))
        rest = got.read(size - 1)[17:-padding]  # after the kind of message and the cookie
    lists = []
    for _ in range(6):
        (size,) = struct.unpack_from(">I", rest)
        lists.append(rest[4 : 4 + size].decode().split(","))
        rest = rest[4 + size :]
    kex, host_keys, ciphers, _, macs, _ = lists
    return [kex, host_keys, ciphers, macs]


def moves_a_file(person: Person, kind: str, place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """OpenSSH's sftp puts a file and gets it back, with these options."""
    (place / "up").write_bytes(bytes(range(256)) * 1000)
    (place / "batch").write_text(f"put {place}/up up\nget up {place}/down\n")
    (place / "down").unlink(missing_ok=True)
    return subprocess.run(
        [
            *("sftp", "-F", "none", "-P", str(person.port), "-i", person.key / kind, "-b", place / "batch"),
            *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={place}/hosts"),
            *("-o", "IdentitiesOnly=yes", "-o", "PasswordAuthentication=no", *options),
            f"{person.name}@127.0.0.1",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_nothing_is_offered_that_the_provider_refuses(server: Running) -> None:
    kex, host_keys, ciphers, macs = offered(server.port)
    assert not [name for name in (*kex, *host_keys, *ciphers, *macs) if any(bad in name for bad in REFUSED)]
    assert {"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"} <= set(kex)
    assert {"rsa-sha2-512", "rsa-sha2-256"} < set(host_keys)
    assert ciphers[:2] == ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]


def test_each_key_exchange_and_cipher_that_is_offered_works(
    server: Running, person: Person, tmp_path: Path
) -> None:
    kex, host_keys, ciphers, macs = offered(server.port)
    theirs = set(
        subprocess.run(
            ["ssh", "-Q", "kex"], capture_output=True, text=True, check=True, timeout=30
        ).stdout.split()
    )
    real = [name for name in kex if name in theirs]
    assert len(real) >= 4, kex
    choices = [f"KexAlgorithms={name}" for name in real]
    choices += [f"Ciphers={name}" for name in ciphers]
    choices += [f"HostKeyAlgorithms={name}" for name in host_keys]
    choices += [f"Ciphers=aes128-ctr,MACs={name}" for name in macs]
    for choice in choices:
        options = [word for one in choice.split(",", 1) for word in ("-o", one)]
        done = moves_a_file(person, "ecdsa", tmp_path, *options)
        assert done.returncode == 0, (choice, done.stderr, server.tail())
        assert (tmp_path / "down").read_bytes() == (person.home / "up").read_bytes()


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
def test_users_log_in_by_keys(person: Person, tmp_path: Path, kind: str) -> None:
    done = moves_a_file(person, kind, tmp_path)
    assert done.returncode == 0, done.stderr


async def test_passwords_are_taken(server: Running, person: Person) -> None:
    options = {"client_keys": None, "password": person.password}
    async with person.connect(**options) as connection, connection.start_sftp_client() as sftp:
        assert await sftp.realpath(".") == "/"


def test_the_fast_lane_is_on(server: Running) -> None:
    assert not [line for line in server.lines() if "fast lane" in str(line)], server.tail()


def test_a_cipher_by_name_is_an_error_that_says_why(server: Running, tmp_path: Path) -> None:
    (tmp_path / "tidegate.json").write_text('{"sftpd": {"ciphers": ["chacha20-poly1305@openssh.com"]}}')
    done = subprocess.run(
        [*COMMAND, "check", "-c", tmp_path],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **server.environment},
    )  # fmt: skip
    assert done.returncode != 0
    assert "FIPS" in done.stdout + done.stderr, done
