# SPDX-License-Identifier: Apache-2.0
"""Logins in several steps, accounts that are stored nowhere, and the stage before a login counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.support.people import CHEAP, NOW, SECRET, People, peer, person

from tidegate.abc import Challenge, Credential, LoginAttempt, NextStep, Prompt
from tidegate.accounts.keys import key_blob
from tidegate.cluster.account_watch import AccountWatch
from tidegate.errors import LoginRefused, OperatorError, ProviderUnavailable, Unsupported
from tidegate.identity.api import PartialLogin
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.identity.stages import MAX_PROMPTS
from tidegate.identity.throttle import GuessLimits
from tidegate.model import Account, Filters, Peer, Principal, Protocol

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU alice"
CODE = Challenge((Prompt("Code: "),))
BOTH_STEPS = Filters(denied_login_methods=("publickey", "password", "keyboard-interactive"))


class Directory:
    """Users with a password and a code."""

    def __init__(
        self, *accounts: Account, steps: Callable[[LoginAttempt], NextStep | None] | None = None
    ) -> None:
        self.accounts = {account.username: account for account in accounts}
        self.steps = steps or (lambda _: None)
        self.attempts: list[LoginAttempt] = []
        self.calls: list[str] = []
        self.failure: Exception | None = None

    async def open(self) -> None:
        self.calls.append("open")

    async def close(self) -> None:
        self.calls.append("close")

    async def find(self, username: str) -> Account | None:
        if self.failure is not None:
            raise self.failure
        return self.accounts.get(username)

    async def verify(self, attempt: LoginAttempt) -> Account | NextStep | None:
        self.attempts.append(attempt)
        account = self.accounts.get(attempt.username)
        if account is None:
            return None
        if "right" not in (attempt.credential.secret, *attempt.credential.answers):
            raise LoginRefused("bad_credential")
        return self.steps(attempt) or account


class LastWord(Directory):
    """A directory of nobody that has a say about everybody."""

    def __init__(self, change: Callable[[Account], Account]) -> None:
        super().__init__()
        self.change = change

    async def pre_login(self, account: Account, peer: Peer, method: str) -> Account:
        return self.change(account)


@asynccontextmanager
async def identity_of(people: People, *authenticators: Directory) -> AsyncIterator[Identity]:
    identity = Identity(
        people,  # type: ignore[arg-type]
        IdentityOptions(hashing=CHEAP),
        authenticators=authenticators,
        clock=lambda: NOW,
    )
    await identity.open()
    try:
        yield identity
    finally:
        await identity.close()


def password(secret: str = "right") -> Credential:
    return Credential("password", secret=secret)


def answer(text: str = "right") -> Credential:
    return Credential("keyboard-interactive", secret=text, answers=(text,))


async def refused(identity: Identity, credential: Credential, name: str = "eva", **more: object) -> str:
    with pytest.raises(LoginRefused) as caught:
        await identity.authenticate(peer(), name, credential, **more)  # type: ignore[arg-type]
    return caught.value.reason


def code_after_password(attempt: LoginAttempt) -> NextStep | None:
    return None if attempt.done else NextStep(("keyboard-interactive",), CODE, state="seed")


async def test_steps_come_to_the_authenticator_that_took_the_first() -> None:
    other, mine = Directory(), Directory(person("eva", password=""), steps=code_after_password)
    async with identity_of(People(), other, mine) as identity:
        partial = await identity.authenticate(peer(), "eva", password())
        assert partial == PartialLogin("eva", "password", ("keyboard-interactive",), CODE)
        assert await identity.challenge(peer(), "eva", after=partial) == CODE
        assert await refused(identity, answer("wrong"), after=partial) == "bad_credential"
        assert await refused(identity, password(), after=partial) == "method"
        assert await refused(identity, answer(), "bob", after=partial) == "method"
        got = await identity.authenticate(peer(), "eva", answer(), after=partial)
    assert isinstance(got, Principal)
    assert got.method == "password+keyboard-interactive"
    assert len(other.attempts) == 1
    assert [(one.done, one.state) for one in mine.attempts] == [
        ((), None),
        (("password",), "seed"),
        (("password",), "seed"),
    ]
    assert "seed" not in repr(partial)
    assert other.calls == mine.calls == ["open", "close"]


async def test_a_method_that_is_denied_counts_for_steps_too() -> None:
    filters = Filters(denied_login_methods=("password",))
    mine = Directory(person("eva", filters=filters), steps=code_after_password)
    async with identity_of(People(), mine) as identity:
        partial = await identity.authenticate(peer(), "eva", password())
        assert await refused(identity, answer(), after=partial) == "method"
        mine.accounts["eva"] = person("eva", filters=BOTH_STEPS)  # without a key, two steps are not enough
        assert await refused(identity, answer(), after=partial) == "method"


async def test_questions_of_an_authenticator_are_bounded() -> None:
    many = Challenge(tuple(Prompt(str(number)) for number in range(MAX_PROMPTS + 1)))
    mine = Directory(person("eva"), steps=lambda _: NextStep(("keyboard-interactive",), many))
    async with identity_of(People(), mine) as identity:
        assert await refused(identity, password()) == "provider_error"
        mine.steps = lambda _: NextStep(())
        assert await refused(identity, password()) == "provider_error"


async def test_an_account_of_another_name_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    mine = Directory(person("eva"))
    mine.accounts["eva"] = person("root")
    async with identity_of(People(), mine) as identity:
        assert await refused(identity, password()) == "provider_error"
    assert "answered with account 'root' for user 'eva'" in caplog.text


async def test_the_last_word_is_about_every_account_and_is_judged_by_the_rules() -> None:
    people = People(person("ana"), person("bob"))

    def change(account: Account) -> Account:
        if account.username == "bob":
            return replace(account, status=0)
        return replace(account, username="other", id=99, used_quota_size=77, home_dir="/srv/changed")

    last = LastWord(change)
    async with identity_of(people, Directory(person("eva")), last) as identity:
        assert await refused(identity, password(SECRET), "bob") == "disabled"
        for name, secret in (("ana", SECRET), ("eva", "right")):
            got = await identity.authenticate(peer(), name, password(secret))
            assert isinstance(got, Principal)
            assert got.username == name
            assert (got.account.id, got.account.used_quota_size, got.account.home_dir) == (
                0,
                0,
                "/srv/changed",
            )


async def test_an_authenticator_that_cannot_be_opened_stops_the_start_and_others_are_closed() -> None:
    class Broken(Directory):
        async def open(self) -> None:
            raise OperatorError("no such host")

    first = Directory()
    identity = Identity(People(), authenticators=[first, Broken()])  # type: ignore[arg-type]
    with pytest.raises(OperatorError, match="no such host"):
        await identity.open()
    await identity.close()
    assert first.calls == ["open", "close"]


# -- guessing -----------------------------------------------------------------------------------------------


async def test_wrong_guesses_of_all_doors_and_steps_count_together() -> None:
    now = [100.0]
    directory = Directory(person("eva"), steps=code_after_password)
    identity = Identity(
        People(person("ana", public_keys=(KEY,))),  # type: ignore[arg-type]
        IdentityOptions(hashing=CHEAP, guesses=GuessLimits(per_user=4, per_address=7)),
        authenticators=[directory],
        clock=lambda: NOW,
        monotonic=lambda: now[0],
    )
    doors = [peer(Protocol.SSH), peer(Protocol.HTTP), peer(Protocol.FTP)]
    partial = await identity.authenticate(doors[0], "eva", password())
    assert isinstance(partial, PartialLogin)

    async def guess(name: str, credential: Credential, **more: object) -> str:
        with pytest.raises(LoginRefused) as caught:
            await identity.authenticate(doors[0], name, credential, **more)  # type: ignore[arg-type]
        return f"{caught.value.reason} {caught.value.rule}".strip()

    for door in doors:
        with pytest.raises(LoginRefused):
            await identity.authenticate(door, "eva", password("wrong"))
    assert await guess("eva", answer("wrong"), after=partial) == "bad_credential"
    assert await guess("eva", answer(), after=partial) == "throttled identity.guesses_per_user"
    assert len(directory.attempts) == 5  # the last was not looked at
    # Somebody else from there, and the user from elsewhere, are not concerned...
    await identity.authenticate(doors[0], "ana", password(SECRET))
    elsewhere = peer(Protocol.SSH, "198.51.100.9")
    assert isinstance(await identity.authenticate(elsewhere, "eva", password()), PartialLogin)
    for name in ("n1", "n2", "n3"):
        assert await guess(name, password()) == "unknown_user"
    # ...until the address has guessed too often. A key is no guess.
    assert await guess("ana", password(SECRET)) == "throttled identity.guesses_per_address"
    got = await identity.authenticate(doors[0], "ana", Credential("publickey", public_key=key_blob(KEY)))
    assert isinstance(got, Principal)
    now[0] += 75.0  # a quarter of the allowance is back
    await identity.authenticate(doors[0], "eva", answer(), after=partial)
    await identity.close()


async def test_many_right_logins_at_once_are_no_guesses() -> None:
    options = IdentityOptions(hashing=CHEAP, guesses=GuessLimits(per_user=4, per_address=4))
    identity = Identity(People(person("ana")), options, clock=lambda: NOW)  # type: ignore[arg-type]
    await asyncio.gather(*(identity.authenticate(peer(), "ana", password(SECRET)) for _ in range(12)))
    await identity.close()


# -- accounts by name ---------------------------------------------------------------------------------------


async def test_usage_of_an_account_that_is_not_stored_comes_with_it() -> None:
    people = People()
    async with identity_of(people, Directory(person("eva", used_quota_size=5))) as identity:
        found = await identity.find("eva")
        assert (found.id, found.used_quota_size) == (0, 5)  # nothing is kept yet
        await identity.authenticate(peer(), "eva", password())
        people.kept["eva"] = replace(people.kept["eva"], used_quota_size=8000, last_login=1)
        found = await identity.find("eva")
        assert (found.used_quota_size, found.home_dir, found.created_at) == (8000, "/srv/eva", 1)
        got = await identity.authenticate(peer(), "eva", password())
        assert isinstance(got, Principal)
        assert got.account.used_quota_size == 8000
        people.accounts["eva"] = person("eva", used_quota_size=3)  # stored meanwhile
        assert (await identity.find("eva")).used_quota_size == 3
        assert await identity.find("nobody") is None


class Watched:
    def __init__(self, identity: Identity) -> None:
        self.ended: list[tuple[str, str]] = []
        self.watch = AccountWatch(
            lambda: ["eva"],
            identity.find,
            lambda *who: self.ended.append(who),
            now_ms=lambda: int(NOW * 1000),
        )

    async def look(self) -> list[tuple[str, str]]:
        self.ended.clear()
        await self.watch.once()
        return self.ended


async def test_the_watch_asks_who_knows_the_account() -> None:
    directory = Directory(person("eva"))
    async with identity_of(People(), directory) as identity:
        watched = Watched(identity)
        assert await watched.look() == []
        directory.failure = ProviderUnavailable("no answer")
        assert await watched.look() == []
        directory.failure = None
        directory.accounts["eva"] = person("eva", status=0)
        assert await watched.look() == [("eva", "disabled")]
        del directory.accounts["eva"]
        assert await watched.look() == [("eva", "deleted")]


async def test_who_is_known_by_a_login_alone_stays_for_as_long_as_its_account_allows() -> None:
    directory = Directory(person("eva", expiration_date=int(NOW * 1000) + 5))
    directory.failure = Unsupported("accounts come with a login")
    async with identity_of(People(), directory) as identity:
        watched = Watched(identity)
        await identity.authenticate(peer(), "eva", password())
        assert await watched.look() == []
        directory.accounts["eva"] = person("eva", expiration_date=int(NOW * 1000) + 6)
        watched.watch._now_ms = lambda: int(NOW * 1000) + 6
        assert await watched.look() == [("eva", "expired")]
        await identity.authenticate(peer(), "eva", password())
        assert await watched.look() == []


async def test_an_account_that_nobody_can_tell_is_not_taken_for_a_deleted_one() -> None:
    directory = Directory()
    directory.failure = Unsupported("accounts come with a login")
    async with identity_of(People(person("ana")), directory) as identity:
        assert await Watched(identity).look() == []
        with pytest.raises(Unsupported):
            await identity.find("eva")
        assert (await identity.find("ana")).username == "ana"
