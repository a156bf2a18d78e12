# SPDX-License-Identifier: Apache-2.0
"""Certificates of SSH users meet the hooks that keys meet: nobody comes in past them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.hook_world import HookProgram, HookWorld, hook_world


class Signer:
    """An authority that the server trusts, and a user's key and certificate."""

    def __init__(self, directory: Path) -> None:
        authority = asyncssh.generate_private_key("ssh-ed25519")
        self.file = directory / "ca.pub"
        authority.write_public_key(self.file)
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.certificate = authority.generate_user_certificate(
            self.key, "id-1", principals=["e1", "e2"], valid_after=0, valid_before="+10m"
        )

    @property
    def sections(self) -> dict[str, Any]:
        return {"sftpd": {"trusted_user_ca_keys": [str(self.file)]}}

    async def logs_in(self, world: HookWorld, name: str = "e1") -> bool:
        return await world.sftp(name, client_keys=[(self.key, self.certificate)])


def shown(certificate: asyncssh.SSHCertificate) -> str:
    """A certificate as a line, without its comment."""
    return " ".join(certificate.export_certificate().decode().split()[:2])


@pytest.mark.parametrize("scope", [0, 2])
async def test_external_authentication_decides(tmp_path: Path, scope: int) -> None:
    signer = Signer(tmp_path)
    hook = HookProgram(tmp_path, "extauth")
    provider = {"external_auth_hook": str(hook), "external_auth_scope": scope}
    async with hook_world(tmp_path, data_provider=provider, **signer.sections) as world:
        await world.add("e1")
        hook.answers({"username": ""})
        assert not await signer.logs_in(world)
        first, *_ = hook.calls()  # asyncssh tries the key without its certificate next
        assert first["AUTHD_USERNAME"] == "e1"
        assert first["AUTHD_PUBLIC_KEY"] == f"{shown(signer.certificate)}\n"

        hook.answers(world.document("e1", description="by the hook"))
        assert await signer.logs_in(world)
        stored = await world.stored("e1")
        assert stored is not None
        assert stored["description"] == "by the hook"
        assert not stored.get("public_keys")  # its authority vouches for it, so it is not kept

        hook.answers("", status=1)
        assert not await signer.logs_in(world)
        hook.answers("no JSON")
        assert not await signer.logs_in(world)


async def test_an_account_that_is_not_stored(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    hook = HookProgram(tmp_path, "extauth")
    provider = {"external_auth_hook": str(hook)}
    sections = {**signer.sections, "hooks": {"store_accounts": False}}
    async with hook_world(tmp_path, data_provider=provider, **sections) as world:
        hook.answers({"username": ""})
        assert not await signer.logs_in(world)
        hook.answers(world.document("e1", quota_files=1))
        assert await signer.logs_in(world)
        async with world.ssh("e1", client_keys=[(signer.key, signer.certificate)]) as connection:  # noqa: SIM117
            async with connection.start_sftp_client() as sftp, sftp.open("/a", "wb") as file:
                await file.write(b"1")
        assert await world.stored("e1") is None
        await world.web.app.sessions.tracker.settle("e1")
        kept = await world.web.app.provider.external("e1")
        assert kept is not None
        assert kept.used_quota_files == 1
        hook.answers("", status=1)
        assert not await signer.logs_in(world)


async def test_a_scope_without_keys_leaves_certificates_alone(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    hook = HookProgram(tmp_path, "extauth")
    provider = {"external_auth_hook": str(hook), "external_auth_scope": 1}
    async with hook_world(tmp_path, data_provider=provider, **signer.sections) as world:
        await world.add("e1")
        assert await signer.logs_in(world)
        await world.add("e2", filters={"hooks": {"external_auth_disabled": True}})
        assert await signer.logs_in(world, "e2")
        assert hook.calls() == []


async def test_the_hook_before_a_login_is_asked(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    hook = HookProgram(tmp_path, "prelogin")
    provider = {"pre_login_hook": str(hook)}
    async with hook_world(tmp_path, data_provider=provider, **signer.sections) as world:
        await world.add("e1")
        hook.answers({"status": 0})
        assert not await signer.logs_in(world)
        assert {call["LOGIND_METHOD"] for call in hook.calls()} == {"publickey"}
        await world.web.client.put("/api/v2/users/e1", json=world.document("e1"))
        hook.answers("", status=1)
        assert not await signer.logs_in(world)
        hook.answers("")
        assert await signer.logs_in(world)
