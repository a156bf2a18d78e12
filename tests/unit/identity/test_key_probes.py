# SPDX-License-Identifier: Apache-2.0
"""Key probes: the answer takes the same time whether or not there is such an account."""

from __future__ import annotations

import time
from pathlib import Path

import asyncssh
import pytest

from tidegate.identity import service
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.model import Account, Peer, Protocol
from tidegate.store.factory import create_provider
from tidegate.store.options import ProviderOptions

PEER = Peer("1", Protocol.SSH, "192.0.2.1")


def blob(key: asyncssh.SSHKey) -> bytes:
    return bytes(key.public_data)


async def test_probes_are_answered_on_a_grid_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "_PROBE_SECONDS", 0.1)
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(30)]
    provider = create_provider(ProviderOptions(driver="memory", name="", base_dir=tmp_path))
    await provider.open(migrate=True)
    lines = tuple(key.export_public_key().decode().strip() for key in keys)
    await provider.add_user(Account(username="ada", home_dir=str(tmp_path), public_keys=lines))
    identity = Identity(provider, IdentityOptions())
    try:
        for name, key, known in (
            ("ada", keys[3], True),
            ("ada", asyncssh.generate_private_key("ssh-ed25519"), False),
            ("nobody", keys[3], False),
            ("bad\0name", keys[3], False),
        ):
            started = time.monotonic()
            assert await identity.key_is_known(PEER, name, blob(key)) is known
            assert time.monotonic() - started >= 0.09
    finally:
        await identity.close()
        await provider.close()
