# SPDX-License-Identifier: Apache-2.0
"""Security keys: touch and verification as the options of the key, or of a certificate, want them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from tests.support.running import Running, running
from tests.support.security_key import KINDS, TOUCHED, VERIFIED, SecurityKey

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
    from tidegate.accounts.keys import parse_public_key

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
    if rules:
        server.wait_line("connection_failed", username=person.name, error="security_key")
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
