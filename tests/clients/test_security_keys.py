# SPDX-License-Identifier: Apache-2.0
"""Security keys: touch and verification as the options of the key, or of a certificate, want them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from tests.support import security_key
from tests.support.running import Running, running
from tests.support.security_key import KINDS, TOUCHED, VERIFIED, SecurityKey
from tests.support.ssh_world import SSH, run_program

from tidegate.accounts.keys import parse_public_key

FLAGS = (0, TOUCHED, VERIFIED, TOUCHED | VERIFIED)


@pytest.fixture
def server(servers: Callable[[bool], Running]) -> Running:
    return servers(True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "good", "rules"),
    [
        ("", (1, 5), {"no-touch-required"}),
        ("no-touch-required ", (0, 1, 4, 5), set()),
        ("verify-required ", (5,), {"no-touch-required", "verify-required"}),
        ("no-touch-required,verify-required ", (4, 5), {"verify-required"}),
        ("restrict,NO-TOUCH-REQUIRED ", (0, 1, 4, 5), set()),
    ],
)
async def test_flags_and_options(
    server: Running, kind: str, options: str, good: tuple[int, ...], rules: set[str]
) -> None:
    key = SecurityKey(kind)
    person = server.account(public_keys=(parse_public_key(f"{options}{key.line} phone"),))
    accepted = []
    for flags in FLAGS:
        try:
            async with person.connect(client_keys=[key.pair(flags)]) as client:
                assert (await client.run("pwd")).stdout == "/\n"
                accepted.append(flags)
        except asyncssh.PermissionDenied:
            continue
    assert tuple(accepted) == good
    for rule in rules:
        server.wait_line("connection_failed", username=person.name, error="security_key", rule=rule)
    refused = server.lines("connection_failed", username=person.name)
    assert {line["rule"] for line in refused} == rules


@pytest.mark.parametrize("kind", KINDS)
async def test_flags_cannot_be_changed_on_the_way(server: Running, kind: str) -> None:
    key = SecurityKey(kind)
    person = server.account(public_keys=(key.line,))
    pair = key.pair(0)
    honest = pair.sign

    def forged(data: bytes) -> bytes:
        signature = bytearray(honest(data))
        signature[-5] |= TOUCHED
        return bytes(signature)

    pair.sign = forged
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect(client_keys=[pair])
    server.wait_line("connection_failed", username=person.name, error="bad_signature")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A security key in software, as OpenSSH's middleware."""
    library = tmp_path_factory.mktemp("sk") / "provider.so"
    source = Path(security_key.__file__).with_name("sk_provider.c")
    command = ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-lcrypto"]
    subprocess.run(command, check=True, timeout=60)
    return library


@pytest.mark.needs("ssh", "ssh-keygen", "gcc", "/usr/include/openssl/evp.h")
@pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
@pytest.mark.parametrize(
    ("options", "flags", "good"),
    [("", 1, True), ("", 0, False), ("no-touch-required ", 0, True), ("verify-required ", 1, False)],
)
async def test_openssh(  # noqa: PLR0917  pytest's parameters
    server: Running, tmp_path: Path, provider: Path, kind: str, options: str, flags: int, good: bool
) -> None:
    key = tmp_path / "key"
    make = ["ssh-keygen", "-q", "-t", kind, "-w", provider, "-N", "", "-f", key]
    subprocess.run(make, check=True, timeout=60, env={**os.environ, "SK_FLAGS": "1"})
    public = key.with_suffix(".pub").read_text()
    person = server.account(public_keys=(parse_public_key(f"{options}{public}"),))
    command = ["ssh", "-v", *SSH, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i", str(key)]
    command += ["-o", f"SecurityKeyProvider={provider}", "-p", str(person.port)]
    status, out, err = await run_program(
        *command, f"{person.name}@127.0.0.1", "pwd", env={"SK_FLAGS": str(flags)}
    )
    assert (status, out) == ((0, b"/\n") if good else (255, b"")), err
    if not good:
        server.wait_line("connection_failed", username=person.name, error="security_key")


async def test_certificates_of_security_keys(tmp_path: Path) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    authority.write_public_key(tmp_path / "ca.pub")
    section = {"trusted_user_ca_keys": [str(tmp_path / "ca.pub")]}
    with running(tmp_path / "config", settings={"sftpd": section}) as server:
        for kind in KINDS:
            key, person = SecurityKey(kind), server.account(public_keys=())
            for touch, good in ((True, (1, 5)), (False, (0, 1, 4, 5))):
                certificate = authority.generate_user_certificate(
                    key.public, "x", principals=[person.name], touch_required=touch
                )
                accepted = []
                for flags in FLAGS:
                    try:
                        async with person.connect(client_keys=[key.pair(flags, certificate)]):
                            accepted.append(flags)
                    except asyncssh.PermissionDenied:
                        continue
                assert tuple(accepted) == good, (kind, touch)
            server.wait_line("connection_failed", username=person.name, rule="certificate[no-touch-required]")
