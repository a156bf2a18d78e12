# SPDX-License-Identifier: Apache-2.0
"""Names and passwords in bytes that are no UTF-8 meet every hook; none is lost, and no login breaks off."""

from __future__ import annotations

import asyncio
from ftplib import FTP, error_perm
from pathlib import Path

import pytest
from tests.support.hook_world import HookProgram, HookWorld, hook_receiver, hook_world


async def log_in(world: HookWorld, name: str, password: str) -> str:
    """The reply to PASS; bytes are those of Latin-1."""

    def talk() -> str:
        with FTP(encoding="latin-1") as client:
            client.connect("127.0.0.1", world.ftp_port, timeout=20)
            try:
                return client.login(name, password)
            except error_perm as error:
                return str(error)

    return await asyncio.to_thread(talk)


@pytest.mark.parametrize("kind", ["program", "url"])
async def test_external_authentication(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_receiver() as receiver:
        target = str(hook) if kind == "program" else f"{receiver.base}/auth"
        async with hook_world(tmp_path, data_provider={"external_auth_hook": target}) as world:
            hook.answers(world.document("e1"))
            receiver.answers(world.document("e1"))
            assert (await log_in(world, "e1", "gr\xfc\xdfe")).startswith("230")
            hook.answers({"username": ""})
            receiver.answers({"username": ""})
            assert (await log_in(world, "b\xf6se", "x")).startswith("530")
        if kind == "program":
            passwords = [
                path.read_bytes().split(b"SFTPGO_AUTHD_PASSWORD=")[1].split(b"\0")[0]
                for path in sorted(hook.directory.glob("call.*"))
            ]
            assert passwords[0] == b"gr\xfc\xdfe"
        else:
            assert receiver.got[0].json["password"] == "gr\ufffd\ufffde"
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("name", ["pre_login_hook", "check_password_hook", "post_login_hook"])
async def test_other_hooks(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with hook_receiver() as receiver:
        receiver.answers({"status": 0} if name == "check_password_hook" else "")
        async with hook_world(tmp_path, data_provider={name: f"{receiver.base}/{name}"}) as world:
            await world.add("u1", password="pw")
            assert (await log_in(world, "u1", "p\xff")).startswith("530")
            assert (await log_in(world, "n\xfc", "pw")).startswith("530")
            wanted = 2 if name == "post_login_hook" else 1  # of names, only failures are told
            await receiver.called(wanted)
    assert "Traceback" not in caplog.text
