# SPDX-License-Identifier: Apache-2.0
"""External authentication, with real programs and URLs at every door, as SFTPGo was recorded to do it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiohttp import web
from tests.support.hook_world import HookProgram, HookWorld, hook_receiver, hook_world

KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = " ".join(KEY.export_public_key().decode().split()[:2])


async def let_in(world: HookWorld, hook: HookProgram, name: str, answer: object, status: int = 0) -> bool:
    """Log in by a password while the program answers so; it was asked once."""
    hook.answers(answer, status)
    done = await world.sftp(name, f"pw-{name}")
    assert len(hook.calls()) == 1
    return done


async def test_a_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_world(tmp_path, data_provider={"external_auth_hook": str(hook)}) as world:
        # An unknown user is stored, whatever JSON has besides.
        hook.answers(world.document("e1", quota_size=77, unknown_field=1))
        assert await world.sftp("e1", "pw-e1")
        (call,) = hook.calls()
        assert call == {
            "AUTHD_USERNAME": "e1", "AUTHD_USER": "", "AUTHD_IP": "127.0.0.1", "AUTHD_PASSWORD": "pw-e1",
            "AUTHD_PUBLIC_KEY": "", "AUTHD_PROTOCOL": "SSH", "AUTHD_TLS_CERT": "",
            "AUTHD_KEYBOARD_INTERACTIVE": "", "argv": "",
        }  # fmt: skip
        stored = await world.stored("e1")
        assert stored is not None
        assert (stored["quota_size"], stored["has_password"]) == (77, True)
        # Every door asks it, and shows the stored user with the hash.
        assert await world.ftp("e1", "pw-e1")
        assert await world.http("e1", "pw-e1")
        assert await world.dav("e1", "pw-e1")
        ftp, http, dav = hook.calls()
        assert (ftp["AUTHD_PROTOCOL"], http["AUTHD_PROTOCOL"], dav["AUTHD_PROTOCOL"]) == (
            "FTP",
            "HTTP",
            "DAV",
        )
        assert f'"id":{stored["id"]},"status":1,"username":"e1","password":"$' in ftp["AUTHD_USER"]
        # An answer that changes nothing writes nothing; one that does is stored.
        assert (await world.stored("e1") or {})["updated_at"] == stored["updated_at"]
        assert await let_in(world, hook, "e1", world.document("e1", quota_size=78))
        assert (await world.stored("e1") or {})["quota_size"] == 78
        # Refusals, each as recorded.
        good: dict[str, Any] = world.document("e1")
        for answer, status in (({"username": ""}, 0), ("{bad", 0), (good, 1), ('["e1"]', 0), ("{}", 0)):
            assert not await let_in(world, hook, "e1", answer, status), answer
        for name, more in (
            ("e3", {"home_dir": "", "permissions": {}}),
            ("e4", {"status": 0}),
            ("e5", {"expiration_date": 1000}),
            ("e6", {"filters": {"denied_protocols": ["SSH"]}}),
            ("e7", {"quota_size": "much"}),
        ):
            assert not await let_in(world, hook, name, {**world.document(name), **more}), name
        # Nothing is an answer for a stored user alone, and the new password is kept.
        assert await let_in(world, hook, "e1", "")
        assert not await let_in(world, hook, "e9", "")
        # What it says on standard error is no answer.
        hook.does("echo hello >&2; /bin/cat ./answer")
        (hook.directory / "answer").write_text("")
        assert await world.sftp("e1", "another password")
        hook.calls()
        # Another name is another user.
        assert await let_in(world, hook, "e1", world.document("other"))
        assert await world.stored("other") is not None
        assert "login of user 'e1' refused, data_provider.external_auth_hook failed: " in caplog.text
        assert "answered no JSON" in caplog.text
        assert "pw-e1" not in caplog.text
        # Nobody was let in by hashing alone: the program disappears.
        hook.path.unlink()
        assert not await world.sftp("e1", "another password")
        assert "cannot be started" in caplog.text


async def test_keys_questions_and_caching(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_world(tmp_path, data_provider={"external_auth_hook": str(hook)}) as world:
        hook.answers(world.document("e2"))
        assert await world.sftp("e2", client_keys=[KEY])
        (call,) = hook.calls()
        assert (call["AUTHD_PUBLIC_KEY"], call["AUTHD_PASSWORD"]) == (f"{LINE}\n", "")
        stored = await world.stored("e2")
        assert stored is not None
        assert stored["public_keys"] == [LINE]
        # The usual question for the password is a password to the program too.
        assert await world.sftp("e2", password="pw-e2", preferred_auth="keyboard-interactive")
        (call,) = hook.calls()
        assert (call["AUTHD_PASSWORD"], call["AUTHD_KEYBOARD_INTERACTIVE"]) == ("pw-e2", "")
        # Within the time of the cache the stored hash decides.
        hook.answers(world.document("e3", filters={"external_auth_cache_time": 60}))
        assert await world.sftp("e3", "pw-e3")
        assert len(hook.calls()) == 1
        assert await world.sftp("e3", "pw-e3")
        assert not await world.sftp("e3", "wrong")
        assert hook.calls() == []
        # An account may have it switched off.
        await world.add("plain", password="pw-plain", filters={"hooks": {"external_auth_disabled": True}})
        assert await world.sftp("plain", "pw-plain")
        assert hook.calls() == []


async def test_the_old_program_key(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_world(
        tmp_path, data_provider={"external_auth_program": str(hook), "external_auth_scope": 1}
    ) as world:
        assert await let_in(world, hook, "e1", {**world.document("e1"), "permissions": ["*"]})
        assert not await let_in(world, hook, "e1", "")
        hook.answers(world.document("e1"))
        assert not await world.sftp("e1", client_keys=[KEY])
        assert hook.calls() == []


async def test_accounts_that_are_not_stored(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    sections = {"data_provider": {"external_auth_hook": str(hook)}, "hooks": {"store_accounts": False}}
    async with hook_world(tmp_path, **sections) as world:
        hook.answers(world.document("u1", quota_files=2, max_sessions=1))
        async with world.ssh("u1", password="x", preferred_auth="password") as connection:  # noqa: SIM117
            async with connection.start_sftp_client() as sftp:
                assert world.web.app.registry.count("u1") == 1
                async with sftp.open("/a", "wb") as file:
                    await file.write(b"1234")
        assert await world.stored("u1") is None
        async with world.ssh("u1", password="x", preferred_auth="password") as connection:  # noqa: SIM117
            async with connection.start_sftp_client() as sftp:
                async with sftp.open("/b", "wb") as file:
                    await file.write(b"1234")
                with pytest.raises(asyncssh.SFTPError):
                    async with sftp.open("/c", "wb") as file:
                        await file.write(b"1234")
        await world.web.app.sessions.tracker.settle("u1")
        kept = await world.web.app.provider.external("u1")
        assert kept is not None
        assert kept.used_quota_files == 2


async def test_a_url(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with hook_receiver() as hook, hook_receiver() as elsewhere:
        url = f"{hook.base}/extauth?key=secret"
        sections = {
            "data_provider": {"external_auth_hook": url},
            "http": {"timeout": 0.5, "headers": [{"key": "X-Api-Key", "value": "secret"}]},
        }
        async with hook_world(tmp_path, **sections) as world:
            good = world.document("e1")
            hook.answers(good)
            assert await world.sftp("e1", "pw-e1")
            (call,) = hook.calls()
            assert (call.method, call.path) == ("POST", "/extauth?key=secret")
            assert call.headers["Content-Type"] == "application/json"
            assert call.headers["X-Api-Key"] == "secret"
            assert list(call.json.items()) == [
                ("ip", "127.0.0.1"), ("keyboard_interactive", ""), ("password", "pw-e1"), ("protocol", "SSH"),
                ("public_key", ""), ("tls_cert", ""), ("username", "e1"),
            ]  # fmt: skip
            assert await world.http("e1", "pw-e1")
            (call,) = hook.calls()
            assert list(call.json)[-2:] == ["user", "username"]
            assert call.json["user"]["username"] == "e1"
            hook.answers("")
            assert await world.sftp("e1", "pw-e1")
            for status in (201, 204, 401, 403, 404, 500):
                hook.calls()
                hook.answers("" if status == 204 else good, status)
                assert not await world.sftp("e1", "pw-e1"), status
                assert len(hook.got) == 1
            # A redirect is followed; without the body, so that an empty answer keeps the stored user.
            hook.answer = lambda got: (
                web.Response(status=301, headers={"Location": "/b"})
                if got.method == "POST"
                else web.Response()
            )
            assert await world.sftp("e1", "pw-e1")
            # The password and the key of the service go nowhere else.
            elsewhere.answers(good)
            hook.answers("", 307, Location=f"{elsewhere.base}/b")
            assert not await world.sftp("e1", "pw-e1")
            assert elsewhere.got == []
            assert f"redirects to another server, {elsewhere.base}/b" in caplog.text

            async def slow(_: object) -> web.Response:
                import asyncio

                await asyncio.sleep(1)
                return web.json_response(good)

            hook.answer = slow
            assert not await world.sftp("e1", "pw-e1")
            hook.answers("x" * 10_000_000)
            assert not await world.sftp("e1", "pw-e1")
            assert "took longer than 0.5 s" in caplog.text
            assert "more than 1048576 bytes" in caplog.text
            assert "secret" not in caplog.text
            assert "pw-e1" not in caplog.text


async def test_rest_asks_the_hooks_of_a_login(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_world(tmp_path, data_provider={"external_auth_hook": str(hook)}) as world:
        client, question = world.web.client, {"user": "x1", "op": "upload", "path": "/f"}
        named = await client.post("/api/v2/explain", json=question)
        assert named.status_code == 404
        assert "data_provider.external_auth_hook may know them" in named.text
        assert hook.calls() == []
        hook.answers(world.document("x1", permissions={"/": ["list"]}))
        asked = {**question, "ask": True, "password": "pw-x1"}
        answer = (await client.post("/api/v2/explain", json=asked)).json()
        assert (answer["allowed"], answer["decided_by"]["rule"]) == (False, "permissions[/]")
        (told,) = answer["hooks"]
        assert told == {
            "hook": "external_auth", "key": "data_provider.external_auth_hook", "target": str(hook),
            "answer": "answered: it is user 'x1'", "refuses": False,
        }  # fmt: skip
        (call,) = hook.calls()
        assert (call["AUTHD_USERNAME"], call["AUTHD_PASSWORD"]) == ("x1", "pw-x1")
        assert await world.stored("x1") is None
        await world.web.add_admin("viewer", "view_users")
        async with world.web.acting_as("viewer") as viewer:
            assert (await viewer.post("/api/v2/explain", json=asked)).status_code == 403
            assert (await viewer.get("/api/v2/explain", params=asked)).status_code == 400
        assert hook.calls() == []
