# SPDX-License-Identifier: Apache-2.0
"""Calls of hooks: their variables, queries and bodies; which hooks are on; how they are asked and rehearsed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.accounts.rules import DEFAULT_RULES
from tidegate.errors import OutsideFailed
from tidegate.hooks.asking import Asker, Question, Reply, compact, unicode_only
from tidegate.hooks.payloads import (
    connection_question,
    external_question,
    openssh_line,
    password_question,
    pre_login_question,
)
from tidegate.hooks.rehearsing import HookAnswers, ask_hooks, hooks_of
from tidegate.hooks.settings import Hook, HookSettings
from tidegate.model import Account, Filters, Peer, Protocol
from tidegate.outgoing.commands import CommandOptions
from tidegate.outgoing.http import HttpAnswer, HttpCaller
from tidegate.outgoing.programs import Programs

PEER = Peer("c1", Protocol.FTP, "192.0.2.7")
ANA = Account(username="ana", home_dir="/h", password="hash", id=3, permissions={"/": ("*",)}, status=1)
KEY = b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + b"k" * 32


def hook(name: str, target: str = "", **fields: Any) -> Hook:
    return Hook(name, target or f"/{name}", f"key_of_{name}", **fields)


def test_the_call_of_external_authentication() -> None:
    line = openssh_line(KEY)
    assert line.split()[0] == "ssh-ed25519"
    question = external_question(
        "ana", None, PEER, secret="s<e", key=line, certificate="PEM", asks_questions=True
    )
    assert question.variables == {
        "AUTHD_USERNAME": "ana", "AUTHD_USER": "", "AUTHD_IP": PEER.remote_ip, "AUTHD_PASSWORD": "s<e",
        "AUTHD_PUBLIC_KEY": f"{line}\n", "AUTHD_PROTOCOL": "FTP", "AUTHD_TLS_CERT": "PEM",
        "AUTHD_KEYBOARD_INTERACTIVE": "1",
    }  # fmt: skip
    assert (
        question.body
        == (
            '{"ip":"192.0.2.7","keyboard_interactive":"1","password":"s\\u003ce","protocol":"FTP",'
            f'"public_key":"{line}\\n","tls_cert":"PEM","username":"ana"}}'
        ).encode()
    )
    assert (question.method, question.query, question.source) == ("POST", {}, PEER.remote_ip)
    known = external_question("ana", ANA, PEER)
    assert known.variables["AUTHD_KEYBOARD_INTERACTIVE"] == known.variables["AUTHD_PUBLIC_KEY"] == ""
    assert json.loads(known.body)["user"] == json.loads(known.variables["AUTHD_USER"])
    assert json.loads(known.body)["user"]["id"] == 3


def test_the_call_before_a_login() -> None:
    for stored, old, beginning in (
        (ANA, False, '{"id":3,"status":1,"username":"ana","password":"hash"'),
        (ANA, True, '{"id":3,"status":1,"username":"ana","expiration_date":0'),
        (None, False, '{"id":0,"status":0,"username":"ana"'),
        (None, True, '{"id":0,"status":0,"username":"ana"'),
    ):
        question = pre_login_question("ana", stored, PEER, "password", old=old)
        assert question.variables["LOGIND_USER"].startswith(beginning)
        assert question.body.decode() == question.variables["LOGIND_USER"]
        assert {**question.variables, "LOGIND_USER": ""} == {
            "LOGIND_USER": "", "LOGIND_METHOD": "password", "LOGIND_IP": PEER.remote_ip, "LOGIND_PROTOCOL": "FTP",
        }  # fmt: skip
        assert question.query == {"login_method": "password", "ip": PEER.remote_ip, "protocol": "FTP"}
        assert (question.method, question.source) == ("POST", PEER.remote_ip)


def test_the_calls_about_connections_and_passwords() -> None:
    question = connection_question("SSH", "192.0.2.1")
    assert question == Question(
        {"CONNECTION_IP": "192.0.2.1", "CONNECTION_PROTOCOL": "SSH"}, method="GET",
        query={"ip": "192.0.2.1", "protocol": "SSH"}, source="192.0.2.1",
    )  # fmt: skip
    question = password_question("ana", "pw", PEER)
    assert question.variables == {
        "AUTHD_USERNAME": "ana", "AUTHD_PASSWORD": "pw", "AUTHD_IP": PEER.remote_ip, "AUTHD_PROTOCOL": "FTP",
    }  # fmt: skip
    assert question.body == b'{"username":"ana","ip":"192.0.2.7","password":"pw","protocol":"FTP"}'
    assert (question.method, question.source) == ("POST", PEER.remote_ip)


def test_bytes_that_are_no_text() -> None:
    assert unicode_only("a\udcffü") == "a\ufffdü"
    assert compact({"a": "\udcff"}) == '{"a":"\ufffd"}'


def test_which_hooks_are_on() -> None:
    names = (
        "startup", "post_connect", "external_auth", "pre_login", "keyboard_interactive", "check_password", "post_login",
        "post_disconnect",
    )  # fmt: skip
    deciding = {"post_connect", "external_auth", "pre_login", "check_password", "keyboard_interactive"}
    assert HookSettings().all == ()
    assert not HookSettings().decides_logins
    every = HookSettings(**{name: hook(name) for name in names})
    assert [one.name for one in every.all] == list(names)
    for name in names:
        one = HookSettings(**{name: hook(name)})
        assert [found.name for found in one.all] == [name]
        assert one.decides_logins is (name in deciding)


def test_targets_are_shown_without_secrets() -> None:
    for target, http, shown in (
        ("/opt/hook", False, "/opt/hook"),
        ("http://u:p@127.0.0.1/x?key=1", True, "http://127.0.0.1/x"),
        ("https://127.0.0.1/x", True, "https://127.0.0.1/x"),
    ):
        one = hook("pre_login", target)
        assert one.is_http is http
        assert one.shown.startswith(shown)
        assert "u:p" not in one.shown
        assert "key=1" not in one.shown


# -- asking ------------------------------------------------------------------------------------------------------


@dataclass
class Observed:
    calls: list[tuple[str, str, bool]]

    def __call__(self, name: str, kind: str, seconds: float, ok: bool) -> None:
        assert 0 <= seconds < 60
        self.calls.append((name, kind, ok))


class Caller:
    """Answers requests with one status, or fails."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.requests: list[tuple[str, str, bytes, Mapping[str, str], list[tuple[str, str]], bool, str]] = []
        self.closed = False

    async def call(
        self, method: str, url: str, *, body: bytes, headers: Mapping[str, str], query: Mapping[str, str],
        retry: bool, source: str,
    ) -> HttpAnswer:  # fmt: skip
        self.requests.append((method, url, body, headers, list(query.items()), retry, source))
        if not self.status:
            raise OutsideFailed(detail="away")
        return HttpAnswer(self.status, b"said")

    async def close(self) -> None:
        self.closed = True


async def test_urls_are_asked() -> None:
    observed, caller = Observed([]), Caller(200)
    asker = Asker(Programs(), cast("HttpCaller", caller), CommandOptions(), observed)
    url = hook("post_login", "http://127.0.0.1/x?key=1")
    question = Question(query={"z": "1", "a": "\udcff"}, method="POST", body=b"{}", source="192.0.2.7")
    assert await asker.ask(url, question, retry=True) == Reply(200, b"said")
    assert await asker.ask(url, Question(method="GET")) == Reply(200, b"said")
    caller.status = 204
    reply = await asker.ask(url, Question())
    assert (reply.ok, reply.status) == (False, 204)
    assert reply.problem.endswith("answered HTTP status 204")
    assert "key=1" not in reply.problem
    caller.status = 0
    with pytest.raises(OutsideFailed):
        await asker.ask(url, Question())
    assert caller.requests[0] == (
        "POST", url.target, b"{}", {"Content-Type": "application/json"}, [("a", "\ufffd"), ("z", "1")], True, "192.0.2.7",
    )  # fmt: skip
    assert caller.requests[1] == ("GET", url.target, b"", {}, [], False, "")
    assert observed.calls == [("post_login", "http", True)] * 3 + [("post_login", "http", False)]
    await asker.close()
    assert caller.closed


@pytest.mark.parametrize(
    ("script", "status", "problem"),
    [
        ('echo "$SFTPGO_A$TIDEGATE_A"', 200, ""),
        ("echo vv; printf 'odd\\033\\n' >&2", 200, ""),
        ("echo vv; exit 3", 0, "/act ended by exit status 3"),
        ("echo vv; echo why >&2; exit 3", 0, "/act ended by exit status 3 and said: why"),
        ("echo vv; kill -9 $$", 0, "/act ended by signal 9"),
    ],
)
async def test_programs_are_asked(
    tmp_path: Path, script: str, status: int, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "act"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    observed = Observed([])
    asker = Asker(Programs(), HttpCaller(), CommandOptions(), observed)
    caplog.set_level(logging.INFO, logger="tidegate.hooks")
    try:
        reply = await asker.ask(hook("pre_login", str(path)), Question({"A": "v"}))
    finally:
        await asker.close()
    assert (reply.status, reply.body, reply.ok) == (status, b"vv\n", status == 200)
    assert reply.problem.removeprefix(str(tmp_path)) == problem
    assert observed.calls == [("pre_login", "program", True)]
    assert ("odd" in caplog.text) is ("odd" in script)
    assert "\033" not in caplog.text


# -- rehearsing ----------------------------------------------------------------------------------------------------

EVERY = HookSettings(
    post_connect=hook("post_connect"), external_auth=hook("external_auth"), external_scope=1 | 8,
    pre_login=hook("pre_login"), check_password=hook("check_password"), password_scope=1,
    keyboard_interactive=hook("keyboard_interactive"), post_login=hook("post_login"),
)  # fmt: skip


def off(*names: str) -> Account:
    return replace(ANA, filters=Filters(extra={"hooks": {f"{name}_disabled": True for name in names}}))


@pytest.mark.parametrize(
    ("account", "method", "family", "names"),
    [
        (ANA, "password", "SSH", ["external_auth", "check_password"]),
        (None, "password", "SSH", ["external_auth", "check_password"]),
        (ANA, "password", "FTP", ["external_auth"]),
        (ANA, "publickey", "SSH", ["pre_login"]),
        (ANA, "TLSCertificate", "FTP", ["external_auth"]),
        (ANA, "keyboard-interactive", "SSH", ["pre_login", "keyboard_interactive"]),
        (ANA, "keyboard-interactive", "FTP", ["external_auth"]),
        (off("external_auth"), "password", "SSH", ["pre_login", "check_password"]),
        (off("external_auth", "pre_login"), "password", "SSH", ["check_password"]),
        (off("external_auth", "pre_login", "check_password"), "password", "SSH", []),
    ],
)
def test_hooks_that_a_login_meets(
    account: Account | None, method: str, family: str, names: list[str]
) -> None:
    found = [one.name for one in hooks_of(EVERY, account, method, family)]
    assert found == ["post_connect", *names]
    old = replace(EVERY, pre_login=hook("pre_login", old=True))
    assert "pre_login" not in [one.name for one in hooks_of(old, None, "publickey", "SSH")]
    assert "pre_login" in [one.name for one in hooks_of(old, ANA, "publickey", "SSH")]
    assert hooks_of(HookSettings(), account, method, family) == []


class Answers:
    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def ask(self, hook: Hook, question: Question) -> Reply:
        self.asked.append((hook.name, question.variables))
        answer = self.answers[hook.name]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        return Reply(200, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


async def rehearsed(
    answers: Answers, *names: str, account: Account | None = ANA, old: bool = False
) -> HookAnswers:
    asked = await ask_hooks(
        [hook(name, old=old) for name in names],
        cast("Asker", answers),
        DEFAULT_RULES,
        peer=PEER,
        username="ana",
        account=account,
        secret="pw",
    )
    last = [one.account for one in asked if one.account is not None]
    return HookAnswers(asked, last[-1] if last else account)


USER = {"username": "ana", "home_dir": "/h", "permissions": {"/": ["*"]}, "email": "a@example.com"}


@pytest.mark.parametrize(
    ("name", "answer", "known", "old", "text", "refuses"),
    [
        ("external_auth", USER, True, False, "answered: it is user 'ana'", False),
        ("external_auth", {**USER, "username": "bob"}, True, False, "answered: it is user 'bob'", False),
        ("external_auth", {"username": ""}, True, False, "answered: refused", True),
        ("external_auth", b" ", True, False, "answered nothing: no change", False),
        ("external_auth", b"", True, True, "answered nothing: refused", True),
        ("external_auth", b"", False, False, "answered nothing: refused", True),
        ("external_auth", {"username": "ana", "uid": "x"}, True, False, "answered a user that is not valid", True),
        ("external_auth", OutsideFailed(detail="away"), True, False, "failed: away", True),
        ("external_auth", b"[", True, False, "failed: /external_auth answered no JSON", True),
        ("external_auth", Reply(0, b"", "ended by signal 9"), True, False, "ended by signal 9", True),
        ("external_auth", Reply(204, b"", "status 204"), True, False, "status 204", True),
        ("pre_login", Reply(204, b"", "status 204"), True, False, "answered: no change", False),
        ("pre_login", b"", False, False, "answered nothing: no change", False),
        ("pre_login", {"email": "b@example.com", "uid": 5}, True, False, "answered: changes email, uid", False),
        ("pre_login", {"username": "ana"}, True, False, "answered: changes nothing", False),
        ("pre_login", {"username": "bob"}, True, False, "answered another name, 'bob': refused", True),
        ("pre_login", USER, False, False, "answered: changes email, home_dir, permissions", False),
        ("check_password", {"status": 1}, True, False, "answered: the password is right", False),
        ("check_password", {"status": 2}, True, False, "answered: a part of it is to be checked", False),
        ("check_password", {"status": -1}, True, False, "answered: the stored hash decides", False),
        ("check_password", {"status": 0}, True, False, "answered: refused", True),
        ("check_password", {"status": True}, True, False, "answered: refused", True),
        ("check_password", {}, True, False, "answered: refused", True),
    ],
)  # fmt: skip
async def test_answers_as_they_are_explained(  # noqa: PLR0917
    name: str, answer: object, known: bool, old: bool, text: str, refuses: bool
) -> None:
    answers = Answers(
        **{name: answer, "check_password": answer if name == "check_password" else {"status": 1}}
    )
    found = await rehearsed(answers, "post_connect", name, account=ANA if known else None, old=old)
    first, one = found.asked
    assert (first.answer, first.refuses) == ("", False)
    assert one.answer.startswith(text)
    assert (one.refuses, found.refused) == (refuses, refuses)
    assert [asked for asked, _ in answers.asked] == [name]
    assert found.documents[1] == {
        "hook": name, "key": f"key_of_{name}", "target": f"/{name}", "answer": one.answer, "refuses": refuses,
    }  # fmt: skip
    assert found.text == f"hook post_connect: /post_connect\nhook {name}: /{name}: {one.answer}\n"
    assert found.unknown == f"; key_of_{name} {one.answer}"


async def test_the_account_goes_from_hook_to_hook_and_a_refusal_ends_it() -> None:
    answers = Answers(external_auth=USER, check_password={"status": 1}, pre_login={"quota_files": 7})
    found = await rehearsed(answers, "external_auth", "check_password")
    assert found.account is not None
    assert found.account.email == "a@example.com"
    found = await rehearsed(answers, "pre_login", "external_auth")
    assert json.loads(answers.asked[-1][1]["AUTHD_USER"])["quota_files"] == 7
    found = await rehearsed(answers, "pre_login")
    assert found.account is not None
    assert (found.account.quota_files, found.account.id, found.account.password) == (7, 3, "hash")
    answers.answers["external_auth"] = {"username": ""}
    answers.asked.clear()
    found = await rehearsed(answers, "external_auth", "check_password")
    assert [name for name, _ in answers.asked] == ["external_auth"]
    assert found.account == ANA


def test_who_may_know_a_user_is_named() -> None:
    def unknown(*names: str) -> str:
        from tidegate.hooks.rehearsing import Asked

        return HookAnswers([Asked(hook(name)) for name in names], None).unknown

    assert unknown("post_connect", "pre_login") == "; key_of_pre_login may know them: --ask asks it"
    assert unknown("external_auth", "check_password") == "; key_of_external_auth may know them: --ask asks it"
    assert unknown("post_connect", "check_password") == ""
