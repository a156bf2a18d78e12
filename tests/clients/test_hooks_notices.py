# SPDX-License-Identifier: Apache-2.0
"""Hooks that are told: the start, logins, connections that come and go, as SFTPGo was recorded to tell them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncssh
import pytest
from tests.support.doors import port_of
from tests.support.ftp_world import RawFtp
from tests.support.hook_world import HookProgram, hook_receiver, hook_world

KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = " ".join(KEY.export_public_key().decode().split()[:2])


def greeted(port: int) -> str:
    """The greeting of a server by FTP, which is left at once."""
    with RawFtp(port) as client:
        if client.greeting.startswith("220"):
            client.ask("QUIT")
        return client.greeting


async def test_programs_are_told(tmp_path: Path) -> None:
    start, login = HookProgram(tmp_path, "startup"), HookProgram(tmp_path, "postlogin")
    came, went = HookProgram(tmp_path, "postconnect"), HookProgram(tmp_path, "postdisconnect")
    sections = {
        "common": {
            "startup_hook": str(start), "post_connect_hook": str(came), "post_disconnect_hook": str(went),
        },
        "data_provider": {"post_login_hook": str(login)},
    }  # fmt: skip
    async with hook_world(tmp_path, **sections) as world:
        (call,) = await start.called()
        assert call == {"argv": ""}
        await world.add("o1", password="pw-o1", public_keys=[LINE])
        assert await world.sftp("o1", "pw-o1")
        (call,) = await login.called()
        user = json.loads(call.pop("LOGIND_USER"))
        assert call == {
            "LOGIND_IP": "127.0.0.1", "LOGIND_METHOD": "password", "LOGIND_STATUS": "1",
            "LOGIND_PROTOCOL": "SSH", "argv": "",
        }  # fmt: skip
        assert (user["username"], user["has_password"], "password" in user) == ("o1", True, False)
        assert user["filters"]["totp_config"] == {"secret": {}}
        assert came.calls() == [{"CONNECTION_IP": "127.0.0.1", "CONNECTION_PROTOCOL": "SSH", "argv": ""}]
        (call,) = await went.called()
        assert int(call.pop("CONNECTION_DURATION")) >= 0
        assert call == {
            "CONNECTION_IP": "127.0.0.1", "CONNECTION_USERNAME": "o1", "CONNECTION_PROTOCOL": "SFTP", "argv": "",
        }  # fmt: skip
        # Each channel is told, by what ran in it; a login without a channel is not.
        async with world.ssh("o1", password="pw-o1", preferred_auth="password") as connection:
            await connection.run("md5sum -", input="x")
            async with connection.start_sftp_client():
                pass
        assert sorted(one["CONNECTION_PROTOCOL"] for one in await went.called(2)) == ["SFTP", "SSH"]
        await login.called()
        async with world.ssh("o1", client_keys=[KEY]):
            pass
        (call,) = await login.called()
        assert call["LOGIND_METHOD"] == "publickey"
        # Other doors and failures.
        assert await world.ftp("o1", "pw-o1")
        assert not await world.ftp("o1", "bad")
        assert await world.http("o1", "pw-o1")
        assert not await world.http("o9", "bad")
        calls = [
            (one["LOGIND_PROTOCOL"], one["LOGIND_STATUS"], json.loads(one["LOGIND_USER"])["id"] > 0)
            for one in await login.called(4)
        ]
        assert sorted(calls) == [
            ("FTP", "0", True), ("FTP", "1", True), ("HTTP", "0", False), ("HTTP", "1", True),
        ]  # fmt: skip
        gone = [(one["CONNECTION_PROTOCOL"], one["CONNECTION_USERNAME"]) for one in await went.called(2)]
        assert sorted(gone) == [("FTP", ""), ("FTP", "o1")]  # whoever has not logged in has no name
        came.calls()
        # Who says nothing is told too.
        assert (await asyncio.to_thread(greeted, world.ftp_port)).startswith("220")
        (call,) = await login.called()
        assert (call["LOGIND_METHOD"], json.loads(call["LOGIND_USER"])["username"]) == ("no_auth_tried", "")
        # Refusals: nothing but a closed connection, 500, 403.
        await went.called()
        came.answers("", 1)
        with pytest.raises((asyncssh.ConnectionLost, ConnectionResetError)):
            await world.sftp("o1", "pw-o1")
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(world.web.app))
        assert await reader.read() == b""
        writer.close()
        assert await asyncio.to_thread(greeted, world.ftp_port) == "500 Access denied"
        async with world.web.anonymous() as anonymous:
            answer = await anonymous.get("/api/v2/user/token", auth=("o1", "pw-o1"))
            assert answer.status_code == 403
        assert not await world.dav("o1", "pw-o1")
        came.answers("")
        assert await world.sftp("o1", "pw-o1")
        await went.called()
        assert len(await login.called()) == 1


async def test_urls_are_told_again_and_asked_once(tmp_path: Path) -> None:
    async with hook_receiver() as hook:
        sections = {
            "common": {
                "startup_hook": f"{hook.base}/startup", "post_connect_hook": f"{hook.base}/came",
                "post_disconnect_hook": f"{hook.base}/went?x=1",
            },
            "data_provider": {"post_login_hook": f"{hook.base}/login", "post_login_scope": 2},
            "http": {"retry_wait_min": 0.01, "retry_wait_max": 0.02, "retry_max": 2},
        }  # fmt: skip
        async with hook_world(tmp_path, **sections) as world:
            assert [(got.method, got.path) for got in await hook.called()] == [("GET", "/startup")]
            await world.add("o1", password="pw-o1")
            assert await world.sftp("o1", "pw-o1")
            paths = sorted(got.path.partition("connection_duration")[0] for got in await hook.called(3))
            assert paths == [
                "/came?ip=127.0.0.1&protocol=SSH",
                "/login?ip=127.0.0.1&login_method=password&protocol=SSH&status=1",
                "/went?x=1&",
            ]
            assert not await world.sftp("o1", "bad")  # out of scope
            hook.calls()
            for status in (204, 500, 403):
                hook.answers("", status)
                with pytest.raises((asyncssh.ConnectionLost, ConnectionResetError)):
                    await world.sftp("o1", "pw-o1")
                assert len(hook.calls()) == 1, status
