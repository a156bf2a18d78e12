# SPDX-License-Identifier: Apache-2.0
"""The order in which hooks decide about a login, and what each answer means for the next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from tidegate.abc import Challenge, Credential, LoginAttempt
from tidegate.errors import (
    BadRecord,
    LoginRefused,
    OutsideBusy,
    OutsideFailed,
    ProviderUnavailable,
    Unsupported,
)
from tidegate.hooks import logins
from tidegate.hooks.asking import Asker, Question, Reply
from tidegate.hooks.logins import KEYBOARD, SAME_LOGIN_SECONDS, LoginHooks
from tidegate.hooks.records import HookRecords, Passwords
from tidegate.hooks.settings import Hook, HookSettings
from tidegate.identity.accounts import Accepted, StoredAccounts
from tidegate.model import Account, Filters, Peer, Protocol

PEER = Peer("c1", Protocol.SFTP, "192.0.2.7")
ANA = Account(username="ana", home_dir="/h", password="hash of right", id=3)
KEY = b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + b"k" * 32
SECURITY_KEY = b"\0\0\0\x1ask-ssh-ed25519@openssh.com" + b"\0\0\0\x20" + b"k" * 32


def hook(name: str, **fields: Any) -> Hook:
    return Hook(name, f"/{name}", f"data_provider.{name}_hook", **fields)


class Answers:
    """Answers calls of hooks by their names: a document, a `Reply`, or an error to raise."""

    def __init__(self) -> None:
        self.by_name: dict[str, object] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.closed = 0

    async def ask(self, hook: Hook, question: Question, *, retry: bool = False) -> Reply:
        assert not retry
        assert question.source == PEER.remote_ip
        self.asked.append((hook.name, question.variables))
        answer = self.by_name.get(hook.name, b"")
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        return Reply(200, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    async def close(self) -> None:
        self.closed += 1

    @property
    def names(self) -> list[str]:
        found, self.asked = [name for name, _ in self.asked], []
        return found


class Records:
    """Stored accounts, and what hooks would make of them."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = {account.username: account for account in accounts}
        self.store = True
        self.failure: Exception | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def known(self, username: str) -> Account | None:
        return self.accounts.get(username)

    async def whole(self, answer: Any, peer: Peer, **more: Any) -> Account:
        return self._made("whole", peer, answer=answer, **more)

    async def with_secret(self, stored: Account, peer: Peer, **more: Any) -> Account:
        return self._made("with_secret", peer, answer={"username": stored.username}, **more)

    async def partial(self, answer: Any, peer: Peer, **more: Any) -> Account:
        return self._made("partial", peer, answer=answer, **more)

    def _made(self, name: str, peer: Peer, *, answer: Any, **more: Any) -> Account:
        assert peer is PEER
        self.calls.append((name, {"answer": answer, **more}))
        if self.failure is not None:
            raise self.failure
        username = answer.get("username", more.get("username"))
        made = self.accounts.get(username) or Account(
            username=username, home_dir="/h", id=9 if self.store else 0
        )
        self.accounts[username] = made
        return made


class Stored:
    """The stored accounts, which prove whoever is there and the key `KEY`."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.verified: list[str] = []
        self.any_password = False

    async def find(self, username: str) -> Account | None:
        return self.records.accounts.get(username)

    async def knows_key(self, peer: Peer, username: str, public_key: bytes) -> bool:
        del peer
        return username in self.records.accounts and public_key == KEY

    async def takes_any_password(self, account: Account, attempt: LoginAttempt) -> bool:
        del account, attempt
        return self.any_password

    async def verify(self, attempt: LoginAttempt) -> Accepted | None:
        self.verified.append(attempt.username)
        account = self.records.accounts.get(attempt.username)
        return None if account is None else Accepted(account, stored=True, hashed=True)


class Words:
    """Passwords whose hash says what they are."""

    def __init__(self) -> None:
        self.checked: list[tuple[str, str]] = []

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        assert source == PEER.remote_ip
        self.checked.append((username, password))
        return stored == f"hash of {password}"

    async def hash(self, password: str, *, source: str = "") -> str:
        del source
        return f"hash of {password}"


class World:
    def __init__(self, settings: HookSettings, *accounts: Account) -> None:
        self.answers, self.records, self.words = Answers(), Records(*accounts), Words()
        self.stored = Stored(self.records)
        self.now = 1_000_000.0
        self.hooks = LoginHooks(
            settings,
            cast("Asker", self.answers),
            cast("HookRecords", self.records),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self.codes: list[str] = []

        async def code(account: Account, text: str) -> None:
            self.codes.append(f"{account.username} {text}")

        self.hooks.bind(cast("StoredAccounts", self.stored), cast("Passwords", self.words), code)

    async def login(
        self, kind: str = "password", *, name: str = "ana", peer: Peer = PEER, **credential: Any
    ) -> Any:
        if kind == "password":
            credential.setdefault("secret", "right")
        return await self.hooks.verify(LoginAttempt(peer, name, Credential(kind, **credential)))

    async def refused(self, kind: str = "password", **more: Any) -> tuple[str, str]:
        with pytest.raises(LoginRefused) as found:
            await self.login(kind, **more)
        return found.value.reason, found.value.rule


def off(account: Account, *names: str) -> Account:
    extra = {"hooks": {f"{name}_disabled": True for name in names}}
    return replace(account, filters=replace(account.filters, extra=extra))


EXTERNAL = HookSettings(external_auth=hook("external_auth"))


async def test_external_authentication_decides_alone() -> None:
    world = World(replace(EXTERNAL, pre_login=hook("pre_login")), ANA)
    world.answers.by_name["external_auth"] = {"username": "ana", "email": "a@example.com"}
    accepted = await world.login()
    assert (accepted.account, accepted.stored, accepted.hashed) == (ANA, True, False)
    ((name, variables),) = world.answers.asked
    assert name == "external_auth"
    assert variables["AUTHD_USERNAME"] == "ana"
    assert variables["AUTHD_PASSWORD"] == "right"
    assert variables["AUTHD_KEYBOARD_INTERACTIVE"] == ""
    assert json.loads(variables["AUTHD_USER"])["username"] == "ana"
    ((call, given),) = world.records.calls
    assert (call, given["secret"], given["key"], given["stored"]) == ("whole", "right", "", ANA)
    assert world.stored.verified == []


@pytest.mark.parametrize(
    ("answer", "old", "known", "result"),
    [
        (b"", False, True, "with_secret"),
        (b" \n", False, True, "with_secret"),
        (b"", True, True, "hook"),
        (b"", False, False, "hook"),
        ({"username": ""}, False, True, "hook"),
        ({}, False, True, "hook"),
        (b"[]", False, True, "hook_failed"),
        (Reply(0, b"", "exit status 1"), False, True, "hook"),
        (Reply(403, b"", "HTTP status 403"), False, True, "hook"),
        (Reply(499, b"", "HTTP status 499"), False, True, "hook"),
        (Reply(500, b"", "HTTP status 500"), False, True, "hook_failed"),
        (Reply(204, b"", "HTTP status 204"), False, True, "hook"),
        (OutsideFailed(detail="away"), False, True, "hook_failed"),
        (OutsideBusy(detail="too many"), False, True, "busy"),
    ],
)
async def test_answers_of_external_authentication(
    answer: object, old: bool, known: bool, result: str
) -> None:
    settings = HookSettings(external_auth=hook("external_auth", old=old))
    world = World(settings, *([ANA] if known else []))
    world.answers.by_name["external_auth"] = answer
    if result == "with_secret":
        assert (await world.login()).account == ANA
        assert [name for name, _ in world.records.calls] == ["with_secret"]
    else:
        assert await world.refused() == (result, "data_provider.external_auth_hook")
        assert world.records.calls == []


async def test_an_answer_with_a_mistake_refuses_and_a_store_that_is_away_says_so() -> None:
    world = World(EXTERNAL, ANA)
    world.answers.by_name["external_auth"] = {"username": "ana"}
    world.records.failure = BadRecord("uid", "should be a number")
    assert (await world.refused())[0] == "hook_failed"
    world.records.failure = ProviderUnavailable()
    with pytest.raises(ProviderUnavailable):
        await world.login()


async def test_an_account_that_is_not_stored_says_so() -> None:
    world = World(EXTERNAL)
    world.records.store = False
    world.answers.by_name["external_auth"] = {"username": "eve"}
    accepted = await world.login(name="eve")
    assert (accepted.account.id, accepted.stored) == (0, False)
    world.records.accounts.clear()
    with pytest.raises(Unsupported):
        await world.hooks.find("eve")
    world.records.store = True
    assert await world.hooks.find("eve") is None


async def test_answers_are_kept_for_as_long_as_the_account_says() -> None:
    ana = replace(ANA, filters=Filters(external_auth_cache_time=60), last_login=0)
    world = World(EXTERNAL, ana)
    world.answers.by_name["external_auth"] = {"username": "ana"}
    for after, asked in ((0.0, True), (59.0, False), (1.0, True), (60.0, True), (59.9, False)):
        world.now += after
        await world.login()
        assert (world.answers.names == ["external_auth"]) is asked, after
    # What another server wrote counts likewise.
    world = World(EXTERNAL, replace(ana, last_login=999_950 * 1000))
    await world.login()
    assert world.answers.names == []
    world = World(EXTERNAL, replace(ANA, last_login=999_999 * 1000))
    world.answers.by_name["external_auth"] = {"username": "ana"}
    await world.login()
    assert world.answers.names == ["external_auth"]


async def test_who_has_it_switched_off_is_proved_by_what_is_stored() -> None:
    world = World(EXTERNAL, off(ANA, "external_auth"))
    assert isinstance(await world.login(), Accepted)
    assert (world.answers.names, world.stored.verified) == ([], ["ana"])


async def test_keys_are_asked_about_with_their_lines() -> None:
    world = World(EXTERNAL, ANA)
    world.answers.by_name["external_auth"] = {"username": "ana"}
    await world.login("publickey", public_key=KEY)
    variables = world.answers.asked[0][1]
    assert variables["AUTHD_PUBLIC_KEY"].startswith("ssh-ed25519 AAAA")
    assert variables["AUTHD_PUBLIC_KEY"].endswith("\n")
    assert world.records.calls[0][1]["key"] == variables["AUTHD_PUBLIC_KEY"].strip()
    assert world.answers.names == ["external_auth"]
    # Without a touch the options of the stored line decide about a security key.
    await world.login("publickey", public_key=SECURITY_KEY)
    assert (world.answers.names, world.stored.verified) == ([], ["ana"])
    await world.login("publickey", public_key=SECURITY_KEY, touched=True)
    assert world.answers.names == ["external_auth"]


async def test_a_key_may_help_if_external_authentication_is_asked_or_it_is_stored() -> None:
    world = World(EXTERNAL, ANA)
    assert await world.hooks.knows_key(PEER, "ana", b"other")
    world = World(HookSettings(pre_login=hook("pre_login")), ANA)
    assert await world.hooks.knows_key(PEER, "ana", KEY)
    assert not await world.hooks.knows_key(PEER, "ana", b"other")
    assert world.answers.names == ["pre_login"]  # once for one connection


# -- before a login ------------------------------------------------------------------------------------------


async def test_the_hook_before_a_login_is_asked_once_for_an_offer_and_its_signature() -> None:
    world = World(HookSettings(pre_login=hook("pre_login")), ANA)
    await world.hooks.knows_key(PEER, "ana", KEY)
    assert world.answers.asked[0][1]["LOGIND_METHOD"] == "publickey"
    await world.login("publickey", public_key=KEY)
    assert world.answers.names == ["pre_login"]
    await world.login("publickey", public_key=KEY)  # the next login is another one
    assert world.answers.names == ["pre_login"]
    await world.hooks.prepare(PEER, "ana", "publickey")
    assert world.answers.names == ["pre_login"]
    world.now += SAME_LOGIN_SECONDS - 1
    await world.hooks.prepare(PEER, "ana", "publickey")
    assert world.answers.names == []
    world.now += 1
    await world.hooks.prepare(PEER, "ana", "publickey")
    assert world.answers.names == ["pre_login"]
    for _ in range(2):
        await world.hooks.prepare(PEER, "ana", "password")
    assert world.answers.names == ["pre_login"] * 2


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"", ""),
        (Reply(204, b"x", "HTTP status 204"), ""),
        ({"quota_files": 5}, "partial"),
        (b"{", "hook_failed"),
        (Reply(0, b"", "exit status 1"), "hook"),
        (Reply(502, b"", "HTTP status 502"), "hook_failed"),
    ],
)
async def test_answers_of_the_hook_before_a_login(answer: object, result: str) -> None:
    world = World(HookSettings(pre_login=hook("pre_login")), ANA)
    world.answers.by_name["pre_login"] = answer
    if result in {"", "partial"}:
        assert isinstance(await world.login(), Accepted)
        assert [(name, given["username"]) for name, given in world.records.calls] == (
            [("partial", "ana")] if result else []
        )
    else:
        assert await world.refused() == (result, "data_provider.pre_login_hook")


async def test_who_is_not_asked_before_a_login() -> None:
    for settings, name, asked in (
        (HookSettings(pre_login=hook("pre_login")), "eve", True),
        (HookSettings(pre_login=hook("pre_login", old=True)), "eve", False),
        (HookSettings(pre_login=hook("pre_login", old=True)), "ana", True),
        (HookSettings(pre_login=hook("pre_login")), "bob", False),
        (HookSettings(), "ana", False),
    ):
        world = World(settings, ANA, off(replace(ANA, username="bob"), "pre_login"))
        await world.login(name=name)
        assert (world.answers.names == ["pre_login"]) is asked, name
        assert world.stored.verified == [name]
    world = World(HookSettings(pre_login=hook("pre_login")), ANA)
    await world.hooks.verify(LoginAttempt(PEER, "ana", Credential("password"), done=("publickey",)))
    assert world.answers.asked[0][1]["LOGIND_METHOD"] == "publickey+password"
    world.records.failure = BadRecord("uid", "no")
    world.answers.by_name["pre_login"] = {"uid": "x"}
    assert (await world.refused())[0] == "hook_failed"
    world.records.failure = ProviderUnavailable()
    with pytest.raises(ProviderUnavailable):
        await world.login()


async def test_a_user_certificate_is_asked_about_as_a_key() -> None:
    world = World(HookSettings(pre_login=hook("pre_login")), ANA)
    assert await world.hooks.certified(PEER, "ana", KEY) is None
    assert world.answers.names == ["pre_login"]
    assert await world.hooks.certified(PEER, "ana", KEY) is None
    assert world.answers.names == ["pre_login"]
    world = World(EXTERNAL, ANA)
    world.answers.by_name["external_auth"] = {"username": "ana"}
    accepted = await world.hooks.certified(PEER, "ana", KEY)
    assert accepted is not None
    assert (accepted.account, accepted.stored, accepted.hashed) == (ANA, True, False)
    world = World(replace(EXTERNAL, external_scope=1), ANA)
    assert await world.hooks.certified(PEER, "ana", KEY) is None
    assert world.answers.names == []


# -- checks of passwords ---------------------------------------------------------------------------------------

CHECK = HookSettings(check_password=hook("check_password"))


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"status": 1}, "accepted"),
        ({"status": 2, "to_verify": "right"}, "accepted, hashed"),
        ({"status": 2, "to_verify": "wrong"}, "bad_credential"),
        ({"status": -1}, "stored"),
        ({"status": 0}, "hook"),
        ({"status": 3}, "hook"),
        ({}, "hook"),
        ({"status": True}, "hook_failed"),
        ({"status": 2, "to_verify": 5}, "hook_failed"),
        (b"no JSON", "hook_failed"),
    ],
)
async def test_answers_of_the_check_of_a_password(answer: object, result: str) -> None:
    world = World(CHECK, ANA)
    world.answers.by_name["check_password"] = answer
    if result in {"accepted", "accepted, hashed", "stored"}:
        accepted = await world.login()
        assert world.answers.asked[0][1]["AUTHD_PASSWORD"] == "right"
        assert (world.stored.verified == ["ana"]) is (result == "stored")
        if result != "stored":
            assert (accepted.stored, accepted.hashed) == (True, result == "accepted, hashed")
    else:
        rule = "" if result == "bad_credential" else "data_provider.check_password_hook"
        assert await world.refused() == (result, rule)
        assert world.stored.verified == []


async def test_a_part_of_a_password_that_fits_is_no_reason_to_keep_a_hash() -> None:
    world = World(CHECK, ANA)
    world.answers.by_name["check_password"] = {"status": 2, "to_verify": "right"}
    accepted = await world.login(secret="right123456")
    assert (accepted.hashed, world.words.checked) == (False, [("ana", "right")])


async def test_who_is_not_asked_about_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(logins.asyncio, "sleep", sleep)
    world = World(CHECK, ANA, off(replace(ANA, username="bob"), "check_password"))
    world.answers.by_name["check_password"] = {"status": 1}
    assert await world.login(name="eve") is None
    assert (world.answers.names, waits) == ([], [0.0])
    await world.login(name="bob")
    await world.login("publickey", public_key=KEY)
    assert world.answers.names == []
    world.stored.any_password = True
    await world.login()
    assert world.answers.names == []
    world.stored.any_password = False
    real = world.answers.ask

    async def slow(*args: Any, **more: Any) -> Reply:
        world.now += 9.0
        return await real(*args, **more)

    world.answers.ask = slow  # type: ignore[method-assign]
    await world.login()
    await world.login(name="eve")
    assert waits == [0.0, logins.MAX_WAIT_SECONDS]
    only_ftp = World(replace(CHECK, password_scope=2), ANA)
    await only_ftp.login()
    assert only_ftp.answers.names == []


async def test_the_check_of_passwords_follows_external_authentication() -> None:
    settings = replace(EXTERNAL, check_password=hook("check_password"))
    for answer, result in (
        ({"status": 1}, ""),
        ({"status": -1}, ""),
        ({"status": 2, "to_verify": "right"}, ""),
        ({"status": 2, "to_verify": "wrong"}, "bad_credential"),
        ({"status": 0}, "hook"),
    ):
        world = World(settings, ANA)
        world.answers.by_name |= {"external_auth": {"username": "ana"}, "check_password": answer}
        if result:
            assert (await world.refused())[0] == result
        else:
            assert (await world.login()).account == ANA
        assert world.answers.names == ["external_auth", "check_password"]
    world = World(settings, off(ANA, "check_password"))
    world.answers.by_name["external_auth"] = {"username": "ana"}
    await world.login()
    assert world.answers.names == ["external_auth"]
    await world.login("publickey", public_key=KEY)
    assert world.answers.names == ["external_auth"]


# -- the rest --------------------------------------------------------------------------------------------------


async def test_a_connection_is_let_in_by_status_200_alone() -> None:
    world = World(HookSettings(), ANA)
    assert await world.hooks.admits("SSH", PEER.remote_ip)
    world = World(HookSettings(post_connect=hook("post_connect")), ANA)
    for answer, admitted in (
        (b"", True),
        (Reply(0, b"", "exit status 1"), False),
        (Reply(204, b"", "HTTP status 204"), False),
        (OutsideFailed(detail="away"), False),
        (OutsideBusy(detail="busy"), False),
    ):
        world.answers.by_name["post_connect"] = answer
        assert await world.hooks.admits("SSH", PEER.remote_ip) is admitted, answer
    assert world.answers.asked[0][1] == {"CONNECTION_IP": PEER.remote_ip, "CONNECTION_PROTOCOL": "SSH"}


async def test_questions_are_those_of_the_hook_about_an_account_that_was_prepared() -> None:
    url = Hook("keyboard_interactive", "http://127.0.0.1/q", "sftpd.keyboard_interactive_auth_hook")
    world = World(HookSettings(pre_login=hook("pre_login")), ANA)
    assert await world.hooks.first_challenge(PEER, "ana") is None
    world = World(HookSettings(pre_login=hook("pre_login"), keyboard_interactive=url), ANA)
    world.answers.by_name["keyboard_interactive"] = {"questions": ["Word: "], "echos": [False]}
    challenge = await world.hooks.first_challenge(PEER, "ana")
    assert isinstance(challenge, Challenge)
    assert [one.text for one in challenge.prompts] == ["Word: "]
    assert world.answers.names == ["pre_login", "keyboard_interactive"]
    world.answers.by_name["keyboard_interactive"] = {"auth_result": 1}
    accepted = await world.login(KEYBOARD, answers=("abc",))
    assert (accepted.account, accepted.hashed) == (ANA, False)
    assert world.answers.names == ["keyboard_interactive"]
    assert await world.refused(KEYBOARD, answers=("abc",)) == ("method", "")

    world = World(replace(EXTERNAL, keyboard_interactive=url), ANA)
    world.answers.by_name |= {
        "external_auth": {"username": "ana"},
        "keyboard_interactive": {"questions": ["Word: "], "echos": [False]},
    }
    assert await world.hooks.first_challenge(PEER, "ana") is not None
    (name, variables), _ = world.answers.asked
    assert (name, variables["AUTHD_KEYBOARD_INTERACTIVE"], variables["AUTHD_PASSWORD"]) == (
        "external_auth",
        "1",
        "",
    )
    await world.hooks.left(PEER)
    assert await world.refused(KEYBOARD, answers=("abc",)) == ("method", "")


async def test_without_a_hook_that_asks_the_answer_is_a_password() -> None:
    world = World(EXTERNAL, ANA)
    world.answers.by_name["external_auth"] = {"username": "ana"}
    await world.login(KEYBOARD, secret="right")
    variables = world.answers.asked[0][1]
    assert (variables["AUTHD_PASSWORD"], variables["AUTHD_KEYBOARD_INTERACTIVE"]) == ("right", "")


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MAX_REMEMBERED", 2)
    accounts = [
        replace(ANA, username=name, filters=Filters(external_auth_cache_time=60)) for name in ("a", "b", "c")
    ]
    world = World(EXTERNAL, *accounts)

    async def login(name: str) -> bool:
        world.answers.by_name["external_auth"] = {"username": name}
        await world.login(name=name)
        return bool(world.answers.names)

    assert [await login(name) for name in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]
    assert [await login(name) for name in ("b", "c", "a")] == [False, False, True]


async def test_all_are_closed() -> None:
    parts = [Answers(), Answers(), Answers()]
    hooks = LoginHooks(
        HookSettings(), cast("Asker", parts[0]), cast("HookRecords", Records()),
        conversations=cast("Asker", parts[1]), connections=cast("Asker", parts[2]),
    )  # fmt: skip
    await hooks.open()
    await asyncio.wait_for(hooks.close(), 5)
    assert [part.closed for part in parts] == [1, 1, 1]
