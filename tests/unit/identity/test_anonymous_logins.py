# SPDX-License-Identifier: Apache-2.0
"""Accounts without a password log in by FTP and WebDAV; no other door, method or account is opened by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.people import CHEAP, HASHED, LEGACY, NOW, SECRET, People, peer, person

from tidegate.abc import Credential, LoginAttempt
from tidegate.errors import LoginRefused
from tidegate.identity import passwords
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.model import Account, Filters, GroupUse, Peer, Principal, Protocol
from tidegate.model.group import Group, GroupSettings

ANON = Filters(is_anonymous=True)
TYPED = ["", "guest@example.org", "x" * 5000, "pass123456"]


def identity_of(people: People) -> tuple[Identity, list[str]]:
    checked: list[str] = []

    def check(password: str, stored: str) -> bool:
        checked.append(stored)
        return passwords.check(password, stored)

    identity = Identity(
        people,  # type: ignore[arg-type]
        IdentityOptions(hashing=CHEAP),
        clock=lambda: NOW,
        check=check,
    )
    return identity, checked


async def outcome(who: Account, protocol: Protocol, credential: Credential, **known: Group) -> str:
    """``in``, or the reason of the refusal."""
    people = People(who)
    people.groups = known
    identity, _ = identity_of(people)
    try:
        found = await identity.authenticate(peer(protocol), who.username, credential)
        return "in" if isinstance(found, Principal) else "more"
    except LoginRefused as error:
        return error.reason
    finally:
        await identity.close()


@pytest.mark.parametrize("protocol", [Protocol.FTP, Protocol.FTPS, Protocol.DAV, Protocol.DAVS])
@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("stored", ["", HASHED], ids=["no password", "password"])
async def test_any_password_and_none_is_right(protocol: Protocol, typed: str, stored: str) -> None:
    people = People(person(password=stored, filters=ANON))
    identity, checked = identity_of(people)
    found = await identity.authenticate(peer(protocol), "alice", Credential("password", secret=typed))
    await identity.close()
    assert isinstance(found, Principal)
    assert checked == []


@pytest.mark.parametrize("protocol", [Protocol.SFTP, Protocol.HTTP])
@pytest.mark.parametrize("kind", ["password", "keyboard-interactive"])
async def test_no_other_door_takes_it(protocol: Protocol, kind: str) -> None:
    who = person(filters=ANON)
    assert await outcome(who, protocol, Credential(kind, secret="anything")) == "bad_credential"
    assert await outcome(who, protocol, Credential(kind, secret="")) == "bad_credential"
    assert await outcome(who, protocol, Credential(kind, secret=SECRET)) == "protocol"


async def test_keyboard_interactive_is_no_password() -> None:
    credential = Credential("keyboard-interactive", secret="anything")
    assert await outcome(person(filters=ANON), Protocol.FTP, credential) == "bad_credential"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": 0}, "disabled"),
        ({"expiration_date": 1}, "expired"),
        ({"filters": replace(ANON, denied_ip=("192.0.2.0/24",))}, "address"),
        ({"filters": replace(ANON, denied_protocols=("FTP",))}, "protocol"),
        ({"filters": replace(ANON, denied_login_methods=("password",))}, "method"),
        ({"filters": replace(ANON, require_password_change=True)}, "password_change"),
    ],
)
async def test_rules_hold(more: dict[str, Any], reason: str) -> None:
    who = person(**({"filters": ANON} | more))
    assert await outcome(who, Protocol.FTP, Credential("password", secret="")) == reason


async def test_a_stored_hash_is_not_replaced_by_what_was_typed() -> None:
    people = People(person(password=LEGACY, filters=ANON))
    identity, _ = identity_of(people)
    found = await identity.authenticate(peer(Protocol.FTP), "alice", Credential("password", secret="typed"))
    await identity.close()
    assert isinstance(found, Principal)
    assert [what for what, _ in people.writes] == ["touch"]
    assert people.accounts["alice"].password == LEGACY


@pytest.mark.parametrize(("kind", "expected"), [(1, "in"), (2, "bad_credential"), (3, "bad_credential")])
async def test_the_primary_group_says_it_too(kind: int, expected: str) -> None:
    group = Group(name="guests", user_settings=GroupSettings(filters=ANON))
    who = person(groups=(GroupUse(name="guests", type=kind),))
    typed = Credential("password", secret="anything")
    assert await outcome(who, Protocol.FTP, typed, guests=group) == expected
    assert await outcome(who, Protocol.SFTP, typed, guests=group) == "bad_credential"


async def test_a_group_that_is_missing_lets_nobody_in() -> None:
    who = person(groups=(GroupUse(name="gone", type=1),))
    assert await outcome(who, Protocol.FTP, Credential("password", secret="anything")) == "bad_credential"
    assert await outcome(who, Protocol.FTP, Credential("password", secret=SECRET)) == "provider_error"


class Changing:
    """An authenticator of nobody that gives every account a password before it comes in."""

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def find(self, username: str) -> Account | None:
        return None

    async def verify(self, attempt: LoginAttempt) -> Account | None:
        return None

    async def pre_login(self, account: Account, peer: Peer, method: str) -> Account:
        return replace(account, filters=Filters())


class Edited(People):
    """A provider whose group needs a password from its second reading on."""

    async def groups_named(self, names: Sequence[str]) -> list[Group]:
        found = await super().groups_named(names)
        self.groups["guests"] = Group(name="guests")
        return found


@pytest.mark.parametrize("by", ["groups", "authenticator"])
@pytest.mark.parametrize("stored", [LEGACY, HASHED], ids=["old hash", "hash"])
async def test_a_password_that_nobody_looked_at_opens_nothing_else(by: str, stored: str) -> None:
    group = Group(name="guests", user_settings=GroupSettings(filters=ANON))
    if by == "groups":
        people: People = Edited(person(password=stored, groups=(GroupUse(name="guests", type=1),)))
    else:
        people = People(person(password=stored, filters=ANON))
    people.groups = {"guests": group}
    identity = Identity(
        people,  # type: ignore[arg-type]
        IdentityOptions(hashing=CHEAP),
        clock=lambda: NOW,
        authenticators=[Changing()] if by == "authenticator" else [],
    )
    await identity.open()
    try:
        with pytest.raises(LoginRefused) as caught:
            await identity.authenticate(peer(Protocol.FTP), "alice", Credential("password", secret="typed"))
        await identity.settle()
        assert caught.value.reason == "bad_credential"
        assert people.accounts["alice"].password == stored
        assert people.writes == []
    finally:
        await identity.close()
