# SPDX-License-Identifier: Apache-2.0
"""The recorded actions on changes of records, of SFTPGo 2.7.5 and 0.9.4: each change is made here, and what is
told of it compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncssh
import pytest
from tests.support.hook_world import HookProgram, HookWorld, hook_receiver, hook_world
from tests.support.web_world import ADMIN

from tidegate.testing.replay import differences, replaced

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
LINE = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split(" ")
KINDS = ["user", "folder", "group", "admin", "api_key", "event_action", "event_rule", "role", "ip_list_entry"]


OTHERWISE = (
    "OBJECT.id: missing",  # folders are known by their names
    "OBJECT.user_settings.permissions: {}, not None",  # an empty object, whatever it is read as
    # Of a removed rule no event has the actions, which are not removed.
    "OBJECT.actions[0].id: missing", "OBJECT.actions[0].options: missing", "OBJECT.actions[0].type: missing",
    # Set by the user, which is not here.
    "OBJECT.description: '', not 'dd'", "OBJECT.email: '', not 'n@example.com'",
)  # fmt: skip
"""Ends of differences that stay."""


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


class Changes:
    """Makes the recorded changes by REST."""

    def __init__(self, world: HookWorld) -> None:
        self.world = world
        self.texts = {
            "/srv/data/homes": f"{world.directory}/homes",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI<43 characters>": " ".join(LINE[:2]).strip(),
        }

    async def make(self, case: dict[str, Any]) -> None:
        method, _, path = case["request"].partition(" ")
        for old, new in self.texts.items():
            path = path.replace(old, new)
        body = replaced(case["request_body"], self.texts)
        if isinstance(body, dict) and body.get("admin") == "admin":
            body["admin"] = ADMIN
        answer = await self.world.web.client.request(method, path, json=body)
        assert answer.status_code == case["status"], (case["step"], answer.text)
        if case["step"] == "api_key add":
            told = case["told"][0]
            self.texts[told["OBJECT_NAME"]] = answer.headers["x-object-id"]

    def expected(self, case: dict[str, Any]) -> list[dict[str, Any]]:
        found = replaced(case["told"], self.texts)
        for call in found:
            if call["USERNAME"] == "admin":
                call["USERNAME"] = ADMIN
            if call["OBJECT"].get("admin") == "admin":
                call["OBJECT"]["admin"] = ADMIN
        return list(found)


@pytest.mark.parametrize("kind", ["program", "url"])
async def test_2_7_5(tmp_path: Path, kind: str) -> None:
    program = HookProgram(tmp_path, "prov")
    found: list[str] = []
    async with hook_receiver() as receiver:
        actions = {
            "execute_on": ["add", "update", "delete"],
            "execute_for": KINDS,
            "hook": str(program) if kind == "program" else f"{receiver.base}/prov",
        }
        provider = {"driver": "sqlite", "name": "t.db", "actions": actions}
        async with hook_world(tmp_path, data_provider=provider) as world:
            changes = Changes(world)
            for case in recorded("2.7.5-provider-actions"):
                await changes.make(case)
                expected = changes.expected(case)
                got: list[dict[str, Any]] = []
                if kind == "program":
                    for call in await program.called(len(expected)):
                        assert call.pop("argv") == ""
                        short = {key.removeprefix("PROVIDER_"): value for key, value in call.items()}
                        assert len(short.pop("TIMESTAMP")) == len("1705891198907")  # milliseconds
                        got.append({**short, "OBJECT": json.loads(short["OBJECT"])})
                else:
                    for one in await receiver.called(len(expected)):
                        assert (one.method, one.headers["Content-Type"]) == ("POST", "application/json")
                        query = parse_qsl(urlsplit(one.path).query, keep_blank_values=True)
                        assert [key for key, _ in query] == sorted(key for key, _ in query)
                        values = {key.upper(): value for key, value in query}
                        assert len(values.pop("TIMESTAMP")) == len("1705891271288084941")  # nanoseconds
                        assert values.pop("ROLE", None) is None  # what is empty is left out
                        got.append({**values, "ROLE": "", "OBJECT": one.json})
                found += [
                    f"{case['step']}: {line}"
                    for line in differences(expected, got)
                    if not line.endswith(OTHERWISE)
                ]
    assert found == []


async def test_0_9_4(tmp_path: Path) -> None:
    """Arguments as they were; the variables of 0.9.6 come besides, which scripts of 0.9.4 do not read."""
    hook = HookProgram(tmp_path, "o_prov")
    async with hook_receiver() as receiver:
        actions = {
            "execute_on": ["add", "update", "delete"],
            "command": str(hook),
            "http_notification_url": f"{receiver.base}/o_prov094",
        }
        provider = {"driver": "sqlite", "name": "t.db", "actions": actions}
        async with hook_world(tmp_path, data_provider=provider) as world:
            client = world.web.client
            for case in recorded("0.9.4-provider-actions"):
                ((command,), (request,)) = case["command"], case["http"]
                action, name = command["argv"][1:3]
                document = request["body_json"]
                kept = ("quota_size", "quota_files", "max_sessions", "uid", "gid")
                mine = world.document(name, password="pw", **{key: document[key] for key in kept})
                match action:
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
                assert call["argv"] == " ".join(words), case["step"]
                assert (got.method, got.path) == ("POST", request["path"])
                document["home_dir"] = home
                theirs = {key: document[key] for key in (*kept, "id", "status", "username", "home_dir")}
                assert {key: got.json[key] for key in theirs} == theirs, case["step"]
                assert document.keys() - got.json.keys() <= {"public_keys"}, case["step"]
