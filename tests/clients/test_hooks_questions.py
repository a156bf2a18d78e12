# SPDX-License-Identifier: Apache-2.0
"""Questions of keyboard-interactive by real programs and URLs, as SFTPGo was recorded to ask them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiohttp import web
from tests.support.asker import Asker
from tests.support.doors import services_of
from tests.support.hook_world import HookProgram, Person, Received, ask, hook_receiver, hook_world
from tests.support.one_time import Authenticator

from tidegate.accounts.actor import Channel, operator

KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = " ".join(KEY.export_public_key().decode().split()[:2])

ROUNDS = [
    {"instruction": "Two steps", "questions": ["Question1: ", "Question2: "], "echos": [True, False]},
    {"instruction": "", "questions": ["Question3: "], "echos": [True]},
]


async def test_a_program_that_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = Asker(tmp_path)
    async with hook_world(tmp_path, sftpd={"keyboard_interactive_auth_hook": str(hook.path)}) as world:
        await world.add("i1", password="pw-i1", public_keys=[LINE])
        hook.asks(*ROUNDS, {"auth_result": 1})
        let_in, person = await ask(world, "i1", "a1", "a2", "a3")
        assert let_in
        assert person.seen == [
            ("Two steps", [("Question1: ", True), ("Question2: ", False)]), ("", [("Question3: ", True)]),
        ]  # fmt: skip
        assert hook.read == "a1\na2\na3\n"
        (environment,) = hook.environments
        assert environment["SFTPGO_AUTHD_USERNAME"] == "i1"
        assert environment["SFTPGO_AUTHD_IP"] == "127.0.0.1"
        assert environment["SFTPGO_AUTHD_PASSWORD"].startswith("$")
        password = {"questions": ["Password: "], "echos": [False], "check_password": 1}
        token = {"questions": ["Token: "], "echos": [False]}
        for rounds, answers, expected, read in (
            ((*ROUNDS, {"auth_result": -1}), ("a1", "a2", "a3"), False, "a1\na2\na3\n"),
            ((*ROUNDS, {"auth_result": 2}), ("a1", "a2", "a3"), False, "a1\na2\na3\n"),
            ((*ROUNDS, {"auth_result": True}), ("a1", "a2", "a3"), False, "a1\na2\na3\n"),
            ((*ROUNDS, {"auth_result": 0}), ("a1", "a2", "a3"), False, "a1\na2\na3\n"),
            (ROUNDS, ("a1", "a2", "a3"), False, "a1\na2\na3\n"),
            ((password, token, {"auth_result": 1}), ("pw-i1", "tok"), True, "OK\ntok\n"),
            ((password, token, {"auth_result": 1}), ("bad", "tok"), False, ""),
            (({**password, "questions": ["A", "B"], "echos": [True, True]},), ("1", "2"), False, ""),
            (({"questions": ["A", "B"], "echos": [True]},), ("1", "2"), False, ""),
            (("not json",), (), False, ""),
            ((["auth_result"],), (), False, ""),
            ((), (), False, ""),
            (({"questions": [""], "echos": [True]}, {"auth_result": 1}), ("1",), True, "1\n"),
            (({"auth_result": 1},), (), True, ""),
            (({"questions": ["?"] * 9, "echos": [True] * 9},), ("1",) * 9, False, ""),
            # An answer is one line, whatever a client sends.
            ((*ROUNDS, {"auth_result": 1}), ("a1", "a2\nOK", "a3"), False, ""),
            (({"questions": ["x" * 70_000], "echos": [True]},), ("1",), False, ""),
        ):
            hook.asks(*rounds)
            let_in, _ = await ask(world, "i1", *answers)
            assert (let_in, hook.read) == (expected, read), rounds
        # Who is not known is asked what others were asked alike, is refused, and the program does not run.
        hook.asks({"questions": ["The code that i1 got: "], "echos": [True]})
        await ask(world, "i1", "1")
        _, person = await ask(world, "nobody", "1")
        assert person.seen == [("", [("Password: ", False)])]
        await world.add("i2", password="pw-i2")
        for name in ("i1", "i2"):
            hook.asks(*ROUNDS, {"auth_result": 1})
            await ask(world, name, "a1", "a2", "a3")
        hook.asks(*ROUNDS, {"auth_result": 1})
        let_in, person = await ask(world, "nobody", "a1", "a2", "a3")
        assert not let_in
        assert person.seen == [("Two steps", [("Question1: ", True), ("Question2: ", False)])]
        assert hook.environments == []
        # As the second step after a key.
        await world.add("both", public_keys=[LINE], filters={"denied_login_methods": [
            "publickey", "password", "keyboard-interactive", "publickey+password", "password-over-SSH"]})  # fmt: skip
        hook.asks(token, {"auth_result": 1})
        let_in, person = await ask(
            world, "both", "tok", client_keys=[KEY], preferred_auth="publickey,keyboard-interactive"
        )
        assert let_in
        assert person.seen[-1] == ("", [("Token: ", False)])


async def test_codes_and_what_is_left_behind(tmp_path: Path) -> None:
    hook = Asker(tmp_path)
    async with hook_world(tmp_path, sftpd={"keyboard_interactive_auth_program": str(hook.path)}) as world:
        await world.add("i1", password="pw-i1")
        code = {"questions": ["Passcode: "], "echos": [False], "check_password": 2}
        hook.asks(code, {"auth_result": 1})
        assert not (await ask(world, "i1", "123456"))[0]
        secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
        await services_of(world.web.app).administration.users.factors.enable(
            "i1", config_name="Default", secret=secret, protocols=["SSH"], by=operator("test", Channel.CLI)
        )
        person = Authenticator(secret)
        hook.asks(code, {"auth_result": 1})
        assert (await ask(world, "i1", person.code()))[0]
        assert hook.read == "OK\n"
        # A code that the program did not have checked is asked for besides.
        hook.asks({"questions": ["Q: "], "echos": [True]}, {"auth_result": 1})
        let_in, client = await ask(world, "i1", "a", person.code())
        assert let_in
        assert client.seen[-1] == ("", [("Authentication code: ", False)])
        # A client that goes away ends the program; one that begins anew ends the one before.
        hook.asks(*ROUNDS)
        gate = asyncio.Event()

        class Silent(Person):
            async def kbdint_challenge_received(self, *_: Any) -> list[str]:  # type: ignore[override]
                gate.set()
                await asyncio.Event().wait()
                return []

        task = asyncio.create_task(
            world.sftp("i1", preferred_auth="keyboard-interactive", client_factory=Silent)
        )
        async with asyncio.timeout(10):
            await gate.wait()
            identity = world.web.app.identity
            programs = identity._stages._hooks._conversations.programs  # type: ignore[union-attr]
            assert programs.running == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while programs.running:
                await asyncio.sleep(0.01)


async def test_a_url_that_asks(tmp_path: Path) -> None:
    rounds: list[object] = []

    def answer(got: Received) -> web.Response:
        return web.json_response(rounds[got.json["step"] - 1])

    async with hook_receiver() as hook:
        url = f"{hook.base}/kbdint"
        async with hook_world(tmp_path, sftpd={"keyboard_interactive_auth_hook": url}) as world:
            await world.add("i1", password="pw-i1")
            hook.answer = answer
            rounds[:] = [*ROUNDS, {"auth_result": 1}]
            let_in, _ = await ask(world, "i1", "a1", "a2", "a3")
            assert let_in
            one, two, three = hook.calls()
            assert list(one.json) == ["request_id", "step", "username", "ip", "password"]
            assert list(two.json) == ["request_id", "step", "username", "password", "answers", "questions"]
            assert (two.json["answers"], two.json["questions"]) == (
                ["a1", "a2"],
                ["Question1: ", "Question2: "],
            )
            assert (three.json["step"], three.json["answers"]) == (3, ["a3"])
            assert len({got.json["request_id"] for got in (one, two, three)}) == 1
            assert one.json["password"].startswith("$")
            rounds[:] = [{"questions": ["P: "], "echos": [False], "check_password": 1}, {"auth_result": 1}]
            assert (await ask(world, "i1", "pw-i1"))[0]
            assert hook.calls()[1].json["answers"] == ["OK"]
            assert not (await ask(world, "i1", "bad"))[0]
            assert len(hook.calls()) == 1
            hook.answers("", 404)
            assert not (await ask(world, "i1"))[0]
            assert not (await ask(world, "nobody", "1"))[0]
            assert len(hook.calls()) == 1


async def test_chained_to_external_authentication(tmp_path: Path) -> None:
    hook, external = Asker(tmp_path), HookProgram(tmp_path, "extauth")
    sections = {
        "sftpd": {"keyboard_interactive_auth_hook": str(hook.path)},
        "data_provider": {"external_auth_hook": str(external), "external_auth_scope": 4},
    }
    async with hook_world(tmp_path, **sections) as world:
        external.answers(world.document("e1"))
        hook.asks({"questions": ["Q: "], "echos": [True]}, {"auth_result": 1})
        assert (await ask(world, "e1", "a"))[0]
        (call,) = external.calls()
        assert (call["AUTHD_KEYBOARD_INTERACTIVE"], call["AUTHD_PASSWORD"]) == ("1", "")
        external.answers({"username": ""})
        assert not (await ask(world, "e1", "a"))[0]
        # What external authentication answers to a question alone is no login.
        external.answers(world.document("e1"))
        hook.asks({"questions": ["Q: "], "echos": [True]}, {"auth_result": -1})
        assert not (await ask(world, "e1", "a"))[0]
