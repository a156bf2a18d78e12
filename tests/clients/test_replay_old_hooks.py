# SPDX-License-Identifier: Apache-2.0
"""The recorded login hooks of SFTPGo 0.9.6, replayed over SSH: who is let in, and what the programs are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncssh
from tests.support.asker import Asker
from tests.support.hook_world import HookProgram, ask, hook_receiver, hook_world

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = " ".join(KEY.export_public_key().decode().split()[:2])


def recorded(kind: str) -> list[dict[str, Any]]:
    lines = (RECORDED / f"0.9.6-{kind}.jsonl").read_text().splitlines()
    return [case for case in map(json.loads, lines) if "client" in case]


def told(case: dict[str, Any], hook: str, prefix: str) -> list[dict[str, str]]:
    """Variables of each call, without the prefix; what differs each time is short."""
    return [
        {
            name.removeprefix(prefix): shown(value)
            for name, value in call["env"].items()
            if name.startswith(prefix)
        }
        for call in case.get(hook, ())
    ]


def shown(value: str) -> str:
    return value.strip().split(" ")[0] if value.startswith("ssh-") else value


async def test_external_authentication(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "extauth")
    async with hook_world(tmp_path, data_provider={"external_auth_program": str(hook)}) as world:
        for case in recorded("external-auth"):
            (expected,) = told(case, "o_extauth", "SFTPGO_AUTHD_")
            name, step = expected["USERNAME"], case["case"]
            user = world.document(name, public_keys=[LINE])
            answers = {
                "empty user name": {"username": ""},
                "no output, user stored": "",
                "broken JSON": "{bad",
                "disabled user": {**user, "status": 0},
                "other user name": {**user, "username": "other"},
            }
            hook.answers(answers.get(step, user), 1 if "exit 1" in step else 0)
            if step == "public key":
                let_in = await world.sftp(name, client_keys=[KEY], preferred_auth=["publickey"])
            else:
                let_in = await world.sftp(name, expected["PASSWORD"])
            assert let_in == (case["client"]["rc"] == 0), step
            (call,) = hook.calls()
            assert call["argv"] == ""
            mine = {key.removeprefix("AUTHD_"): shown(value) for key, value in call.items()}
            assert {key: mine.get(key) for key in expected} == expected, step


async def test_before_a_login(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "prelogin")
    async with hook_world(tmp_path, data_provider={"pre_login_program": str(hook)}) as world:
        await world.add("u1", password="pw-u1", public_keys=[LINE])
        for case in recorded("pre-login"):
            step = case["case"]
            name = "zz" if step == "unknown user" else "new1" if step.startswith("unknown") else "u1"
            answers = {
                "unknown user, full user answered": world.document(name, password=f"pw-{name}"),
                "status 0": {"status": 0}, "status 1": {"status": 1}, "broken JSON": "{bad",
            }  # fmt: skip
            hook.answers(answers.get(step, ""), 1 if "exit 1" in step else 0)
            if step == "public key":
                let_in = await world.sftp(name, client_keys=[KEY], preferred_auth=["publickey"])
            else:
                let_in = await world.sftp(name, "bad" if "wrong" in step else f"pw-{name}")
            assert let_in == (case["client"]["rc"] == 0), step
            calls = hook.calls()
            expected = told(case, "o_prelogin", "SFTPGO_LOGIND_")
            assert [call["LOGIND_METHOD"] for call in calls] == [one["METHOD"] for one in expected], step
            for call, one in zip(calls, expected, strict=True):
                mine, theirs = json.loads(call["LOGIND_USER"]), json.loads(one["USER"])
                assert theirs.keys() - mine.keys() == set(), step


async def test_questions(tmp_path: Path) -> None:
    hook = Asker(tmp_path)
    async with hook_world(tmp_path, sftpd={"keyboard_interactive_auth_program": str(hook.path)}) as world:
        await world.add("u1", password="pw-u1")
        for case in recorded("keyboard-interactive"):
            if "o_kbdint" not in case:
                continue  # asked of the program for external authentication
            ((call,), client) = case["o_kbdint"], case["client"]
            hook.asks(*(line["program_stdout"] for line in call["dialog"] if "program_stdout" in line))
            answers = [answer for one in client["rounds"] for answer in one["client_answers"]]
            let_in, person = await ask(world, "u1", *answers)
            assert let_in == client["result"]["ok"], case["case"]
            rounds = [
                (
                    one["server_instruction"],
                    [(each["prompt"], each["echo"]) for each in one["server_prompts"]],
                )
                for one in client["rounds"]
            ]
            assert person.seen == rounds, case["case"]
            assert hook.read == "".join(line.get("program_stdin", "") for line in call["dialog"]), case[
                "case"
            ]
            (environment,) = hook.environments
            assert environment["SFTPGO_AUTHD_USERNAME"] == "u1"
            assert environment["SFTPGO_AUTHD_PASSWORD"].startswith("$")


async def test_changes_of_users(tmp_path: Path) -> None:
    hook = HookProgram(tmp_path, "o_prov")
    async with hook_receiver() as receiver:
        actions = {
            "execute_on": ["add", "update", "delete"],
            "command": str(hook),
            "http_notification_url": f"{receiver.base}/o_prov",
        }
        provider = {"driver": "sqlite", "name": "t.db", "actions": actions}
        async with hook_world(tmp_path, data_provider=provider) as world:
            client = world.web.client
            for line in (RECORDED / "0.9.6-provider-actions.jsonl").read_text().splitlines():
                case = json.loads(line)
                ((command,), (request,)) = case["command"], case["http"]
                name, document = command["argv"][2], request["body_json"]
                kept = ("quota_size", "quota_files", "max_sessions", "uid", "gid")
                mine = world.document(name, password="pw", **{key: document[key] for key in kept})
                match command["argv"][1]:
                    case "add":
                        answer = await client.post("/api/v2/users", json=mine)
                    case "update":
                        answer = await client.put(f"/api/v2/users/{name}", json={**mine, "password": ""})
                    case _:
                        answer = await client.delete(f"/api/v2/users/{name}")
                assert answer.status_code in (200, 201), answer.text
                (call,), (got,) = await hook.called(), await receiver.called()
                home = f"{tmp_path}/homes/{name}"
                words = [word.replace(f"/srv/data/homes/{name}", home) for word in command["argv"][1:]]
                assert call.pop("argv") == " ".join(words), case["step"]
                expected = {
                    key.removeprefix("SFTPGO_"): value.replace(f"/srv/data/homes/{name}", home)
                    for key, value in command["env"].items()
                    if key.startswith("SFTPGO_")
                }
                password, expected["USER_PASSWORD"] = call["USER_PASSWORD"], call["USER_PASSWORD"]
                # The hash goes with what is there to be read; of a removed account no event has it.
                assert bool(password) == (words[0] != "delete")
                assert call == expected, case["step"]
                assert (got.method, got.path) == ("POST", request["path"].replace("o_prov096", "o_prov"))
                missing = request["body_json"].keys() - got.json.keys()
                assert missing <= {"public_keys"}, case["step"]
                assert "password" not in got.json
