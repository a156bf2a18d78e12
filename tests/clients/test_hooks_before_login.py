# SPDX-License-Identifier: Apache-2.0
"""Hooks before a login and checks of passwords, with real programs, as SFTPGo was recorded to do it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import asyncssh
import pytest
from tests.support.hook_world import HookProgram, hook_receiver, hook_world

KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = " ".join(KEY.export_public_key().decode().split()[:2])


async def test_before_a_login(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = HookProgram(tmp_path, "prelogin")
    async with hook_world(tmp_path, data_provider={"pre_login_hook": str(hook)}) as world:
        await world.add("p1", password="pw-p1", public_keys=[LINE])
        # Nothing changes nothing, whatever the door and the method.
        assert await world.sftp("p1", "pw-p1")
        assert await world.ftp("p1", "pw-p1")
        assert await world.http("p1", "pw-p1")
        assert await world.sftp("p1", client_keys=[KEY])
        assert await world.sftp("p1", password="pw-p1", preferred_auth="keyboard-interactive")
        calls = hook.calls()
        assert [(one["LOGIND_PROTOCOL"], one["LOGIND_METHOD"], one["LOGIND_IP"]) for one in calls] == [
            ("SSH", "password", "127.0.0.1"), ("FTP", "password", "127.0.0.1"), ("HTTP", "password", "127.0.0.1"),
            ("SSH", "publickey", "127.0.0.1"), ("SSH", "keyboard-interactive", "127.0.0.1"),
        ]  # fmt: skip
        assert json.loads(calls[0]["LOGIND_USER"])["password"].startswith("$")
        # It runs before the password is looked at.
        assert not await world.sftp("p1", "wrong")
        assert len(hook.calls()) == 1
        # Parts of an account are merged and stored.
        hook.answers({"status": 0})
        assert not await world.sftp("p1", "pw-p1")
        assert (await world.stored("p1") or {})["status"] == 0
        hook.answers({"status": 1, "description": "by hook", "filters": {"max_upload_file_size": 5}})
        assert await world.sftp("p1", "pw-p1")
        hook.answers({"id": 99, "used_quota_size": 5, "max_sessions": 7, "permissions": {"/x": ["list"]}})
        assert await world.sftp("p1", "pw-p1")
        stored = await world.stored("p1")
        assert stored is not None
        assert (stored["description"], stored["max_sessions"], stored["used_quota_size"]) == ("by hook", 7, 0)
        assert stored["permissions"] == {"/": ["*"], "/x": ["list"]}
        assert stored["filters"]["max_upload_file_size"] == 5
        assert stored["public_keys"] == [LINE]
        # Refusals.
        for answer, status in (({"username": "p2"}, 0), ("{bad", 0), ("", 1), ({"quota_size": -5}, 0)):
            hook.answers(answer, status)
            assert not await world.sftp("p1", "pw-p1"), answer
        assert "names cannot be changed" in caplog.text
        # Nobody is made of nothing; of a whole user somebody is.
        hook.calls()
        hook.answers("")
        assert not await world.sftp("p9", "pw-p9")
        (call,) = hook.calls()
        assert call["LOGIND_USER"].startswith('{"id":0,"status":0,"username":"p9","home_dir":""')
        hook.answers(world.document("p9", password="pw-p9"))
        assert await world.sftp("p9", "pw-p9")
        assert not await world.sftp("p9", "other")
        hook.answers(world.document("p8", public_keys=[LINE]))
        assert await world.sftp("p8", client_keys=[KEY])
        # An account may have it switched off; administrators' changes are told, the hook's say that it did them.
        hook.answers({"status": 0})
        await world.add("free", password="pw", filters={"hooks": {"pre_login_disabled": True}})
        assert await world.sftp("free", "pw")


async def test_the_old_program_key(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "prelogin")
    async with hook_world(tmp_path, data_provider={"pre_login_program": str(hook)}) as world:
        await world.add("p1", password="pw-p1", quota_files=3)
        hook.answers(world.document("new", password="pw"))
        assert not await world.sftp("new", "pw")
        assert hook.calls() == []
        hook.answers({"quota_files": 4})
        assert await world.sftp("p1", "pw-p1")
        (call,) = hook.calls()
        user = json.loads(call["LOGIND_USER"])
        assert list(user) == [
            "id", "status", "username", "expiration_date", "password", "home_dir", "uid", "gid", "max_sessions",
            "quota_size", "quota_files", "permissions", "used_quota_size", "used_quota_files",
            "last_quota_update", "upload_bandwidth", "download_bandwidth", "last_login", "filters", "filesystem",
        ]  # fmt: skip
        assert user["filesystem"] == {"provider": 0, "s3config": {}, "gcsconfig": {}}
        assert (await world.stored("p1") or {})["quota_files"] == 4


async def test_a_url_before_a_login(tmp_path: Path) -> None:
    async with hook_receiver() as hook:
        url = f"{hook.base}/pre"
        async with hook_world(tmp_path, data_provider={"pre_login_hook": url}) as world:
            await world.add("p1", password="pw-p1")
            for status, let_in in ((200, True), (204, True), (201, False), (404, False), (500, False)):
                hook.answers("", status)
                assert await world.sftp("p1", "pw-p1") == let_in, status
                (call,) = hook.calls()
                assert (call.method, call.path) == (
                    "POST", "/pre?ip=127.0.0.1&login_method=password&protocol=SSH",
                )  # fmt: skip
                assert call.json["username"] == "p1"


async def test_checks_of_passwords(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = HookProgram(tmp_path, "checkpwd")
    settings = {"check_password_hook": str(hook), "check_password_scope": 1 + 8}
    async with hook_world(tmp_path, data_provider=settings) as world:
        await world.add("c1", password="pw-c1", public_keys=[LINE])
        for answer, password, let_in in (
            ({"status": 1}, "anything", True),
            ({"status": 0}, "pw-c1", False),
            ({"status": 2, "to_verify": "pw-c1"}, "pw-c1123456", True),
            ({"status": 2, "to_verify": "pw"}, "pw-c1123456", False),
            ({"status": 2}, "pw-c1", False),
            ({"status": 3}, "pw-c1", False),
            ({"status": -1}, "pw-c1", True),
            ({"status": -1}, "wrong", False),
            ({"status": True}, "wrong", False),
            ({"status": "1"}, "wrong", False),
            ("{bad", "pw-c1", False),
            ("", "pw-c1", False),
        ):
            hook.answers(answer)
            assert await world.sftp("c1", password) == let_in, answer
            (call,) = hook.calls()
            assert call == {
                "AUTHD_USERNAME": "c1", "AUTHD_PASSWORD": password, "AUTHD_IP": "127.0.0.1",
                "AUTHD_PROTOCOL": "SSH", "argv": "",
            }  # fmt: skip
        # The hash is not replaced by a password that only the hook knows.
        hook.answers({"status": 1})
        assert await world.http("c1", "anything")
        assert len(hook.calls()) == 1
        hook.answers({"status": -1})
        assert await world.sftp("c1", "pw-c1")
        # Other doors, keys and unknown users do not reach it.
        hook.calls()
        assert await world.ftp("c1", "pw-c1")
        assert await world.sftp("c1", client_keys=[KEY])
        assert not await world.sftp("nobody", "pw")
        assert hook.calls() == []


async def test_the_questions_of_a_program_that_hangs_dies_or_floods(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = HookProgram(tmp_path, "checkpwd")
    settings = {"check_password_hook": str(hook)}
    async with hook_world(tmp_path, data_provider=settings, command={"timeout": 1}) as world:
        await world.add("c1", password="pw-c1")
        for script, said in (
            (f"/bin/sleep 60.{os.getpid()} & /bin/sleep 61.{os.getpid()}", "took longer than 1 s"),
            ("exec /usr/bin/yes", "wrote more than 1048576 bytes"),
            ("kill -SEGV $$", "ended by signal 11"),
            ("/bin/cat /etc/passwd >&2; exit 7", "ended by exit status 7"),
        ):
            hook.does(script)
            caplog.clear()
            assert not await world.sftp("c1", "pw-c1"), script
            assert said in caplog.text
        assert await asyncio.to_thread(_sleepers) == []


def _sleepers() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] == [b"/bin/sleep"] and words[1].endswith(b".%d" % os.getpid()):
                found.append(entry.name)
    return found
