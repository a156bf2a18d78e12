# SPDX-License-Identifier: Apache-2.0
"""Conversations of ``keyboard-interactive``: what a hook may answer, and who ends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.abc import Challenge, Credential, LoginAttempt, NextStep
from tidegate.errors import LoginRefused, OutsideBusy, OutsideFailed
from tidegate.hooks import questions as module
from tidegate.hooks.asking import Asker, Question, Reply
from tidegate.hooks.questions import METHOD, VERIFIED, Questions
from tidegate.hooks.records import Passwords
from tidegate.hooks.settings import Hook
from tidegate.identity.accounts import Accepted
from tidegate.identity.stages import MAX_PROMPTS
from tidegate.model import Account, Peer, Protocol
from tidegate.outgoing.commands import CommandOptions
from tidegate.outgoing.http import HttpCaller
from tidegate.outgoing.programs import Programs

PEER = Peer("c1", Protocol.SFTP, "192.0.2.7")
ANA = Account(username="ana", home_dir="/h", password="hash of right", id=3)
URL = Hook("keyboard_interactive", "http://127.0.0.1/q", "the key", seconds=30)
ASKS = {"instruction": "Hello", "questions": ["Word: "], "echos": [True]}


class Answers:
    """A URL that answers these documents in order."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []

    async def ask(self, hook: Hook, question: Question) -> Reply:
        assert hook is URL
        assert question.source == PEER.remote_ip
        self.bodies.append(json.loads(question.body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else Reply(200, json.dumps(answer).encode())


class Words:
    def __init__(self) -> None:
        self.checked: list[tuple[str, str, str]] = []

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        assert source == PEER.remote_ip
        self.checked.append((username, stored, password))
        return stored == f"hash of {password}"


async def right_code(account: Account, text: str) -> None:
    if (account.username, text) != ("ana", "123456"):
        raise LoginRefused("bad_code", username=account.username)


def questions(asker: object, hook: Hook = URL, words: Words | None = None) -> Questions:
    return Questions(hook, cast("Asker", asker), cast("Passwords", words or Words()), right_code)


def attempt(*answers: str, name: str = "ana", peer: Peer = PEER) -> LoginAttempt:
    return LoginAttempt(peer, name, Credential(METHOD, answers=answers))


async def reason(work: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(LoginRefused) as found:
        await work
    return found.value.reason, found.value.rule


async def test_rounds_go_on_until_there_is_a_result() -> None:
    two = {"questions": ["A", "B"], "echos": [False, True]}
    url = Answers(ASKS, two, {"auth_result": 1})
    talks = questions(url)
    challenge = await talks.begin(PEER, "ana", ANA)
    assert challenge is not None
    assert (challenge.instructions, [(one.text, one.echo) for one in challenge.prompts]) == (
        "Hello",
        [("Word: ", True)],
    )
    step = await talks.answer(attempt("w"))
    assert isinstance(step, NextStep)
    assert step.methods == (METHOD,)
    assert step.challenge is not None
    assert [(one.text, one.echo) for one in step.challenge.prompts] == [("A", False), ("B", True)]
    end = await talks.answer(attempt("a", "b"))
    assert end == Accepted(ANA, stored=True, hashed=False, coded=False)
    requests = {body.pop("request_id") for body in url.bodies}
    assert len(requests) == 1
    common = {"username": "ana", "password": "hash of right"}
    assert url.bodies == [
        {"step": 1, "ip": PEER.remote_ip, **common},
        {"step": 2, **common, "questions": ["Word: "], "answers": ["w"]},
        {"step": 3, **common, "questions": ["A", "B"], "answers": ["a", "b"]},
    ]
    assert await reason(talks.answer(attempt("w"))) == ("method", "")  # it has ended


async def test_an_account_that_is_not_stored_says_so() -> None:
    talks = questions(Answers(ASKS, {"auth_result": 1}))
    await talks.begin(PEER, "ana", replace(ANA, id=0))
    end = await talks.answer(attempt("w"))
    assert isinstance(end, Accepted)
    assert not end.stored


async def test_a_result_at_once_asks_nothing() -> None:
    talks = questions(Answers({"auth_result": 1}))
    assert await talks.begin(PEER, "ana", ANA) == Challenge(())
    assert isinstance(await talks.answer(attempt()), Accepted)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"auth_result": 2}, "hook"),
        ({"auth_result": -1}, "hook"),
        ({"auth_result": True}, "hook"),
        ({"auth_result": "1"}, "hook"),
        ({}, "hook_failed"),
        ({"auth_result": 0}, "hook_failed"),
        ({"questions": "Word", "echos": [True]}, "hook_failed"),
        ({"questions": [1], "echos": [True]}, "hook_failed"),
        ({"questions": ["W"], "echos": [1]}, "hook_failed"),
        ({"questions": ["W"], "echos": True}, "hook_failed"),
        ({"questions": ["W"], "echos": []}, "hook_failed"),
        ({"questions": ["W"], "echos": [True, True]}, "hook_failed"),
        ({"questions": [], "echos": []}, "hook_failed"),
        ({"questions": ["W"], "echos": [True], "instruction": 5}, "hook_failed"),
        ({"questions": ["W"] * (MAX_PROMPTS + 1), "echos": [True] * (MAX_PROMPTS + 1)}, "hook_failed"),
        ({"questions": ["W"], "echos": [True], "check_password": 3}, "hook_failed"),
        ({"questions": ["W"], "echos": [True], "check_password": True}, "hook_failed"),
        ({"questions": ["W", "V"], "echos": [True, True], "check_password": 1}, "hook_failed"),
        (Reply(500, b"", "HTTP status 500"), "hook_failed"),
        (Reply(200, b"[]"), "hook_failed"),
        (OutsideFailed(detail="away"), "hook_failed"),
        (OutsideBusy(detail="busy"), "busy"),
    ],
)
async def test_answers_that_refuse(answer: object, why: str) -> None:
    talks = questions(Answers(answer, ASKS, answer))
    assert await reason(talks.begin(PEER, "ana", ANA)) == (why, "the key")
    assert await reason(talks.answer(attempt("w"))) == ("method", "")
    await talks.begin(PEER, "ana", ANA)
    assert await reason(talks.answer(attempt("w"))) == (why, "the key")
    assert await reason(talks.answer(attempt("w"))) == ("method", "")


async def test_as_many_questions_as_a_client_is_asked() -> None:
    many = {"questions": ["W"] * MAX_PROMPTS, "echos": [True] * MAX_PROMPTS, "check_password": 0}
    challenge = await questions(Answers(many)).begin(PEER, "ana", ANA)
    assert challenge is not None
    assert len(challenge.prompts) == MAX_PROMPTS


@pytest.mark.parametrize("answers", [(), ("a", "b"), ("a\nb",), ("a\rb",), ("a\0b",)])
async def test_answers_of_another_number_or_of_several_lines(answers: tuple[str, ...]) -> None:
    url = Answers(ASKS)
    talks = questions(url)
    await talks.begin(PEER, "ana", ANA)
    assert await reason(talks.answer(attempt(*answers))) == ("bad_credential", "")
    assert len(url.bodies) == 1
    assert await reason(talks.answer(attempt("w"))) == ("method", "")


async def test_passwords_and_codes_are_checked_for_the_hook() -> None:
    for check, given, why in (
        (1, "right", ""),
        (1, "wrong", "bad_credential"),
        (2, "123456", ""),
        (2, "000000", "bad_code"),
    ):
        url, words = Answers({**ASKS, "check_password": check}, {"auth_result": 1}), Words()
        talks = questions(url, words=words)
        await talks.begin(PEER, "ana", ANA)
        if why:
            assert (await reason(talks.answer(attempt(given))))[0] == why
            assert len(url.bodies) == 1
        else:
            end = await talks.answer(attempt(given))
            assert isinstance(end, Accepted)
            assert (end.coded, end.hashed) == (check == 2, False)
            assert url.bodies[1]["answers"] == [VERIFIED]
        assert words.checked == ([("ana", "hash of right", given)] if check == 1 else [])


async def test_who_is_not_known_is_asked_what_two_were_asked_alike() -> None:
    url, words = Answers(ASKS, ASKS, {**ASKS, "questions": ["For bob: "]}, ASKS), Words()
    talks = questions(url, words=words)
    peers = [replace(PEER, connection_id=f"c{number}") for number in range(9)]
    assert await talks.begin(peers[0], "eve", None) is None
    first = await talks.begin(peers[1], "ana", ANA)
    assert await talks.begin(peers[2], "eve", None) is None  # it may be about ana
    assert await talks.begin(peers[3], "cat", replace(ANA, username="cat")) == first
    assert await talks.begin(peers[4], "eve", None) == first
    await talks.begin(peers[5], "bob", replace(ANA, username="bob"))
    await talks.begin(peers[6], "ana", ANA)
    assert await talks.begin(peers[7], "eve", None) == first
    assert await reason(talks.answer(attempt("w", name="eve", peer=peers[7]))) == ("unknown_user", "")
    assert words.checked == [("eve", "", "w")]  # as long as for others
    assert await reason(talks.answer(attempt(name="eve", peer=peers[4]))) == ("unknown_user", "")


async def test_answers_are_those_of_the_user_who_was_asked() -> None:
    talks = questions(Answers(ASKS))
    await talks.begin(PEER, "ana", ANA)
    assert await reason(talks.answer(attempt("w", name="bob"))) == ("method", "")
    assert await reason(talks.answer(attempt("w", peer=replace(PEER, connection_id="c2")))) == ("method", "")


async def test_conversations_and_rounds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONVERSATIONS", 2)
    monkeypatch.setattr(module, "MAX_ROUNDS", 3)
    talks = questions(Answers(*[ASKS] * 9))
    peers = [replace(PEER, connection_id=f"c{number}") for number in range(3)]
    for peer in peers:
        await talks.begin(peer, "ana", ANA)
    assert await reason(talks.answer(attempt("w", peer=peers[0]))) == ("method", "")
    for _ in range(2):
        assert isinstance(await talks.answer(attempt("w", peer=peers[1])), NextStep)
    assert await reason(talks.answer(attempt("w", peer=peers[1]))) == ("hook_failed", "the key")
    await talks.forget("c2")
    assert await reason(talks.answer(attempt("w", peer=peers[2]))) == ("method", "")


async def test_time_is_up_for_the_whole_conversation() -> None:
    class Never(Answers):
        async def ask(self, hook: Hook, question: Question) -> Reply:
            if len(self.bodies) == 1:
                await asyncio.Event().wait()
            return await super().ask(hook, question)

    hook = replace(URL, seconds=0.2)

    class Late(Never):
        async def ask(self, given: Hook, question: Question) -> Reply:
            assert given is hook
            return await super().ask(URL, question)

    talks = questions(Late(ASKS), hook)
    await talks.begin(PEER, "ana", ANA)
    assert await reason(talks.answer(attempt("w"))) == ("hook_failed", "the key")


# -- programs ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def program(directory: Path, script: str) -> AsyncIterator[Questions]:
    path = directory / "hook"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    programs = Programs(4, 4, directory=str(directory))
    asker = Asker(programs, HttpCaller(), CommandOptions())
    talks = questions(asker, Hook("keyboard_interactive", str(path), "the key", seconds=20))
    try:
        yield talks
    finally:
        await talks.close()
        assert programs.running == 0
        await asker.close()


def asks(text: str) -> str:
    return f"""echo '{{"questions":["{text}"],"echos":[false]}}'"""


async def test_a_program_reads_an_answer_a_line(tmp_path: Path) -> None:
    script = f"""{asks("$1")}
read one
echo
echo "$SFTPGO_AUTHD_USERNAME $TIDEGATE_AUTHD_IP $SFTPGO_AUTHD_PASSWORD $one" > seen
printf '{{"auth_result": 1}}'"""
    async with program(tmp_path, script) as talks:
        challenge = await talks.begin(PEER, "ana", ANA)
        assert challenge is not None
        assert isinstance(await talks.answer(attempt("söme word")), Accepted)
    assert (tmp_path / "seen").read_text() == f"ana {PEER.remote_ip} hash of right söme word\n"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", "hook_failed"),
        ("echo; echo; exit 1", "hook_failed"),
        ("echo nonsense; sleep 600", "hook_failed"),
        ("echo '{\"auth_result\": 2}'; sleep 600", "hook"),
        ("head -c 70000 /dev/zero | tr '\\\\0' x; sleep 600", "hook_failed"),
    ],
)
async def test_programs_that_refuse_are_ended(tmp_path: Path, script: str, why: str) -> None:
    async with program(tmp_path, f"PATH=/usr/bin:/bin\n{script}") as talks:
        assert await reason(talks.begin(PEER, "ana", ANA)) == (why, "the key")


async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    async with program(tmp_path, "exit 0") as talks:
        (tmp_path / "hook").unlink()
        assert await reason(talks.begin(PEER, "ana", ANA)) == ("hook_failed", "the key")


async def test_a_conversation_that_is_forgotten_ends_its_program(tmp_path: Path) -> None:
    again: Callable[[], Awaitable[object]]
    async with program(tmp_path, f"{asks('W')}\nexec /bin/sleep 600") as talks:
        for again in (
            lambda: talks.begin(PEER, "ana", ANA),
            lambda: talks.forget(PEER.connection_id),
            lambda: talks.begin(PEER, "ana", ANA),
        ):
            await again()
