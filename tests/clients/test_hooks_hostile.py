# SPDX-License-Identifier: Apache-2.0
"""Floods of logins at slow hooks, and names and passwords that are meant to break programs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.hook_world import HookProgram, hook_world

from tidegate.abc import Credential
from tidegate.errors import LoginRefused
from tidegate.model import Peer, Principal, Protocol

FLOOD = 200


def peer(address: str) -> Peer:
    return Peer(f"c-{address}", Protocol.SSH, address)


async def test_a_flood_at_a_slow_hook_holds_nobody_else(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    gate = tmp_path / "gate"
    sections = {
        "data_provider": {"external_auth_hook": str(hook), "external_auth_scope": 1},
        "hooks": {"at_once": 4, "waiting": 20},
    }
    async with hook_world(tmp_path, **sections) as world:
        await world.add("local", password="pw", filters={"hooks": {"external_auth_disabled": True}})
        document = world.document("e1")
        hook.answers(document)
        hook.does(
            f'while [ ! -e {gate} ] && [ "$SFTPGO_AUTHD_USERNAME" = flood ]; do /bin/sleep 0.02; done\n'
            "/bin/cat ./answer"
        )
        identity = world.web.app.identity

        async def guess(address: str) -> str:
            try:
                await identity.authenticate(peer(address), "flood", Credential("password", secret="x"))
            except LoginRefused as error:
                return error.reason
            return ""

        flood = [asyncio.create_task(guess("192.0.2.1")) for _ in range(FLOOD)]
        async with asyncio.timeout(20):
            while len(list(hook.directory.glob("call.*"))) < 2:
                await asyncio.sleep(0.01)
        programs = identity._stages._hooks._asker.programs  # type: ignore[union-attr]
        assert programs.running == 2  # half of the places
        refused = [task.result() for task in flood if task.done()]
        assert set(refused) == {"busy"}
        assert len(refused) == FLOOD - 2 - 10  # of those that may wait, half are one source's
        # Who does not need the hook, and who comes from elsewhere, is let in meanwhile.
        assert await world.sftp("local", "pw")
        outcome = await identity.authenticate(peer("198.51.100.1"), "e1", Credential("password", secret="x"))
        assert isinstance(outcome, Principal)
        # The key of a user and the next login of the flood's own address too, once the flood is over.
        gate.touch()
        hook.answers({"username": ""})
        assert {await task for task in flood} <= {"busy", "hook"}
        assert programs.running == 0


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [
        ("e1\0", "pw", "bad_username"),
        ("e1\nroot", "pw", "bad_username"),
        ("e1", "p\0w", "hook_failed"),
    ],
)
async def test_what_cannot_be_a_variable_is_refused(
    tmp_path: Path, username: str, password: str, reason: str
) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_world(tmp_path, data_provider={"external_auth_hook": str(hook)}) as world:
        hook.answers(world.document("e1"))
        with pytest.raises(LoginRefused) as caught:
            await world.web.app.identity.authenticate(
                peer("192.0.2.1"), username, Credential("password", secret=password)
            )
        assert caught.value.reason == reason
        assert hook.calls() == []


async def test_odd_names_and_passwords_arrive_as_they_are(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    name, password = "$(id) `id` ; ' \" <&> \u00fc", "line 1\nSFTPGO_AUTHD_USERNAME=root\n$(id)'\""
    async with hook_world(tmp_path, data_provider={"external_auth_hook": str(hook)}) as world:
        hook.answers({**world.document("odd"), "username": name})
        outcome = await world.web.app.identity.authenticate(
            peer("192.0.2.1"), name, Credential("password", secret=password)
        )
        assert isinstance(outcome, Principal)
        assert outcome.username == name
        (call,) = hook.calls()
        assert (call["AUTHD_USERNAME"], call["AUTHD_PASSWORD"]) == (name, password)


async def test_the_environment_of_the_server_is_given_only_if_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FROM_THE_PARENT", "1")
    for wanted in (False, True):
        directory = tmp_path / str(wanted)
        directory.mkdir()
        hook = HookProgram(directory, "extauth")
        hook.does(f"/usr/bin/env > {directory}/all; /bin/cat ./answer")
        sections = {
            "data_provider": {"external_auth_hook": str(hook)}, "hooks": {"inherit_environment": wanted},
            "command": {"env": ["OWN=2"]},
        }  # fmt: skip
        async with hook_world(directory, **sections) as world:
            await world.sftp("e1", "x")
        names = {line.partition("=")[0] for line in (directory / "all").read_text().splitlines()}
        assert "OWN" in names
        assert ("FROM_THE_PARENT" in names) == wanted
        assert {"SFTPGO_AUTHD_USERNAME", "TIDEGATE_AUTHD_USERNAME"} <= names
        if not wanted:
            ours = {name for name in names if not name.startswith(("SFTPGO_", "TIDEGATE_"))}
            assert ours <= {"OWN", "PWD", "OLDPWD", "SHLVL", "_"}  # but for OWN of the shell's making
