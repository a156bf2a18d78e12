# SPDX-License-Identifier: Apache-2.0
"""The recorded questions of keyboard-interactive hooks of SFTPGo 2.7.5: programs and URLs, and without a hook."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.asker import Asker
from tests.support.hook_world import HookWorld, ask, hook_receiver, hook_world

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "data" / "recorded" / "2.7.5-keyboard-interactive.jsonl")
    .read_text()
    .splitlines()
]
LIMITS: dict[str, Any] = {"command": {"timeout": 1}, "http": {"timeout": 1, "retry_max": 0}}


OTHERWISE: dict[str, list[Any]] = {
    # The mistake is found before the person is asked.
    "check_password with two questions": [],
    # The library's way to accept without a question: one round without any.
    "auth_result 1 at once, no question": [["", [], []]],
}
"""Rounds of which another thing is asked, and why."""


async def person(world: HookWorld, case: dict[str, Any]) -> None:
    """Answer as recorded, and compare who was let in and what was asked."""
    name = "i9" if case["case"] == "unknown user" else "i1"
    answers = [answer for _, _, given in case["rounds"] for answer in given]
    if name == "i9":
        answers = ["x"]  # whoever is not known is asked too, so that no question tells who is
    let_in, who = await ask(world, name, *answers)
    assert let_in == case["ok"], case["case"]
    rounds = OTHERWISE.get(case["case"], case["rounds"])
    if name == "i1":
        assert who.seen == [(text, [tuple(one) for one in asks]) for text, asks, _ in rounds], case["case"]


@pytest.mark.parametrize(
    "case", [one for one in CASES if "no hook" not in one["case"]], ids=lambda one: one["case"]
)
async def test_a_program(tmp_path: Path, case: dict[str, Any]) -> None:
    hook = Asker(tmp_path)
    if "slow" in case["case"]:
        hook.path.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    sections = {"sftpd": {"keyboard_interactive_auth_hook": str(hook.path)}, **LIMITS}
    async with hook_world(tmp_path, **sections) as world:
        await world.add("i1", password="pw-i1")
        hook.asks(*case["asked"])
        await person(world, case)
        if case["program_calls"] and "slow" not in case["case"]:
            (environment,) = hook.environments
            assert environment["SFTPGO_AUTHD_USERNAME"] == "i1"
            assert environment["SFTPGO_AUTHD_IP"] == "127.0.0.1"
            assert environment["SFTPGO_AUTHD_PASSWORD"].startswith("$")
        if case["ok"] or "result" in case["case"]:
            assert hook.read == case["read"], case["case"]


@pytest.mark.parametrize(
    "case", [one for one in CASES if "no hook" not in one["case"]], ids=lambda one: one["case"]
)
async def test_a_url(tmp_path: Path, case: dict[str, Any]) -> None:
    async with hook_receiver() as receiver:
        left = list(case["asked"])

        async def answer(_: Any) -> web.StreamResponse:
            if "slow" in case["case"]:
                await asyncio.sleep(30)
            if not left:
                return web.Response(status=404)
            one = left.pop(0)
            return web.Response(text=one if isinstance(one, str) else json.dumps(one))

        receiver.answer = answer
        sections = {"sftpd": {"keyboard_interactive_auth_hook": f"{receiver.base}/kbdint"}, **LIMITS}
        async with hook_world(tmp_path, **sections) as world:
            await world.add("i1", password="pw-i1")
            await person(world, case)
            bodies = []
            ids = set()
            for got in receiver.calls():
                assert (got.method, got.headers["Content-Type"]) == ("POST", "application/json")
                body = got.json
                ids.add(body.pop("request_id"))
                assert body.pop("password").startswith("$")
                bodies.append(body)
            assert len(ids) <= 1
            wanted = [
                {key: one[key] for key in one if key not in {"request_id", "password"}}
                for one in case["bodies"]
            ]
            if case["case"] in OTHERWISE:
                wanted = wanted[:1]  # the mistake is found before the person is asked
            assert bodies == wanted, case["case"]


@pytest.mark.parametrize(
    "case", [one for one in CASES if "no hook" in one["case"]], ids=lambda one: one["case"]
)
async def test_without_a_hook(tmp_path: Path, case: dict[str, Any]) -> None:
    async with hook_world(tmp_path) as world:
        await world.add("i1", password="pw-i1")
        await person(world, case)
