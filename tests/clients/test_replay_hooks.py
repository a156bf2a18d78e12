# SPDX-License-Identifier: Apache-2.0
"""The recorded login hooks of SFTPGo 2.7.5, replayed at the same doors: who is let in, and what the hook gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.hook_world import HookProgram, HookReceiver, HookWorld, hook_receiver, hook_world

from tidegate.testing.replay import Case, cases, differences

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
KEYS = {
    "external-auth": "external_auth_hook",
    "pre-login": "pre_login_hook",
    "check-password": "check_password_hook",
}
PATHS = {"external-auth": "extauth", "pre-login": "prelogin", "check-password": "checkpwd"}


def recorded(kind: str, how: str) -> list[Case]:
    return list(cases(RECORDED / f"2.7.5-{kind}-{how}.jsonl"))


def who(kind: str, case: Case, calls: list[dict[str, Any]]) -> tuple[str, str]:
    """Name and password of the login."""
    if not calls:
        return "c9", "pw-c9"
    call = calls[-1].get("body") or {
        name.removeprefix("SFTPGO_AUTHD_").lower(): value for name, value in calls[-1].items()
    }
    name = call.get("username") or (
        "p9" if "no change" in case.step else "p2" if "created" in case.step else "p1"
    )
    if kind == "pre-login":
        return name, "bad" if "wrong password" in case.step else f"pw-{name}"
    return name, call["password"]


def answer_of(kind: str, case: Case, world: HookWorld, name: str) -> object:
    """The answer of the hook, which the words of the step tell."""
    step, user = case.step, world.document(name)
    if "broken JSON" in step:
        return "{bad"
    if "answers nothing" in step or ": nothing" in step or "no change" in step:
        return ""
    if kind == "check-password":
        status = int((re.search(r"status (-?\d)", step) or re.match(r"()", step))[1] or 1)  # type: ignore[index]
        verify = {"to_verify": "pw-c1" if "right password, client" in step else "bad"} if status == 2 else {}
        return {"status": status, **verify}
    for words, found in (
        ("empty user name", {"username": ""}),
        ("another user name", {**user, "username": "other"}),
        ("without home_dir", {"username": name, "status": 1}),
        ("a disabled user", {**user, "status": 0}),
        ("an expired user", {**user, "expiration_date": 1000}),
        ("SSH denied", {**user, "filters": {"denied_protocols": ["SSH"]}}),
        (
            "an unknown JSON field",
            {**user, "password": "of the hook", "whatever": {"x": 1}, "quota_size": 77},
        ),
        ('"description"', {"status": 1, "description": "by hook"}),
        ('{"status":0}', {"status": 0}),
        ("used_quota_size", {"id": 77, "used_quota_size": 5, "max_sessions": 7}),
        ("created", {**user, "password": f"pw-{name}", "permissions": {"/": ["list"]}}),
        ("full user", user),
        ("valid user", user),
    ):
        if words in step:
            return found
    return ""


async def log_in(world: HookWorld, case: Case, name: str, password: str) -> bool:
    if case.step.startswith("FTP") or "(FTP)" in case.step:
        return await world.ftp(name, password)
    if case.step.startswith("HTTP") or "(HTTP)" in case.step:
        return await world.http(name, password)
    return await world.sftp(name, password)


async def prepare(kind: str, world: HookWorld) -> None:
    if kind == "pre-login":
        await world.add("p1", password="pw-p1")
    elif kind == "check-password":
        await world.add("c1", password="pw-c1")


@pytest.mark.parametrize("kind", KEYS)
async def test_programs(tmp_path: Path, kind: str) -> None:
    hook = HookProgram(tmp_path, PATHS[kind])
    found: list[str] = []
    async with hook_world(tmp_path, data_provider={KEYS[kind]: str(hook)}) as world:
        await prepare(kind, world)
        for case in recorded(kind, "command"):
            (expected,) = case.expected["hook_calls"].values()
            name, password = who(kind, case, expected)
            hook.answers(
                answer_of(kind, case, world, name),
                1 if "exit" in case.step and "exit 0" not in case.step else 0,
            )
            if "stderr" in case.step:
                hook.does("echo a line >&2\n/bin/cat ./answer")
            if await log_in(world, case, name, password) != case.given["let_in"]:
                found.append(f"{case}: let in is not {case.given['let_in']}")
            got = [{f"SFTPGO_{key}": value for key, value in call.items()} for call in hook.calls()]
            # Before a login by FTP SFTPGo asks at USER too, without a method.
            wanted = [one for one in expected if one.get("SFTPGO_LOGIND_METHOD") != ""]
            found += [f"{case}: {line}" for line in differences(wanted, got)]
    assert found == []


@pytest.mark.parametrize("kind", KEYS)
async def test_urls(tmp_path: Path, kind: str) -> None:
    found: list[str] = []
    async with hook_receiver() as hook:
        url = f"{hook.base}/{PATHS[kind]}"
        async with hook_world(tmp_path, data_provider={KEYS[kind]: url}) as world:
            await prepare(kind, world)
            for case in recorded(kind, "http"):
                (expected,) = case.expected["hook_calls"].values()
                name, password = who(kind, case, expected)
                set_answer(hook, case, answer_of(kind, case, world, name))
                if await log_in(world, case, name, password) != case.given["let_in"]:
                    found.append(f"{case}: let in is not {case.given['let_in']}")
                got = [
                    {"method": one.method, "path": one.path, "keys": list(one.json or {}), "body": one.json}
                    for one in hook.calls()
                    if one.path != "/elsewhere"
                ]
                wanted = [one for one in expected if "login_method=&" not in one["path"]]
                for one, other in zip(wanted, got, strict=False):
                    if kind == "pre-login":  # documents of users are held by tests of their own
                        one["keys"] = other["keys"]
                found += [f"{case}: {line}" for line in differences(wanted, got)]
    assert found == []


def set_answer(hook: HookReceiver, case: Case, answer: object) -> None:
    match = re.search(r"(?:answers|HTTP) (\d{3})", case.step)
    status = int(match[1]) if match else 200
    if status == 301:
        hook.answer = lambda got: (
            web.Response(status=301, headers={"Location": "/elsewhere"})
            if got.method == "POST"
            else web.Response()
        )
    else:
        hook.answers("" if status == 204 else answer, status)
