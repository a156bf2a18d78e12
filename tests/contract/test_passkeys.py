# SPDX-License-Identifier: Apache-2.0
"""Passkeys in every provider: challenges are good once, a counter only grows, whoever is fast."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf
from tests.support.passkey_device import Device, raw

from tidegate.errors import LoginRefused
from tidegate.identity import passkeys
from tidegate.identity.passkey_login import PasskeyLogin
from tidegate.identity.throttle import LoginThrottle
from tidegate.model import Admin, AdminFilters
from tidegate.policy.passkeys import Passkeys, RelyingParty, document_of, encode, passkeys_of
from tidegate.store.contract import Provider
from tidegate.web.admin import passkey_site

SITE = RelyingParty("localhost", frozenset(("http://localhost:8080",)))
HANDLE = encode(b"h" * 32)


@pytest.fixture(params=DRIVERS)
async def provider(request: pytest.FixtureRequest, options_of: OptionsOf, opened: Opened) -> Provider:
    return await opened(options_of(str(request.param)))


async def mara(provider: Provider, device: Device) -> Admin:
    """An administrator with a passkey that signs in by itself."""
    challenge = b"c" * 32
    options = passkeys.creation_options(SITE, challenge, username="mara", handle=HANDLE, known=())
    made = passkeys.registered(SITE, challenge, device.create(options), name="stick", now_ms=1)
    held = document_of(Passkeys(handle=HANDLE, alone=True, keys=(made,)))
    filters = AdminFilters(extra={"passkeys": held})
    return await provider.add_admin(Admin(username="mara", password="x", permissions=("*",), filters=filters))


def answer(device: Device, challenge: bytes) -> str:
    return device.get(passkeys.request_options(SITE, challenge, known=None, verified=True))


async def test_a_challenge_is_taken_once(provider: Provider) -> None:
    store = provider.browser_sessions
    first = await passkey_site.issue(store, passkey_site.INSTEAD, "me", username="@192.0.2.1", ip="192.0.2.1")
    second = await passkey_site.issue(
        store, passkey_site.INSTEAD, "me", username="@192.0.2.1", ip="192.0.2.1"
    )
    assert first != second
    assert await passkey_site.take(store, passkey_site.AFTER, "me") is None
    assert await passkey_site.take(store, passkey_site.INSTEAD, "you") is None
    takers = [passkey_site.take(store, passkey_site.INSTEAD, "me") for _ in range(6)]
    assert sorted(await asyncio.gather(*takers), key=bool) == [None] * 5 + [second]


async def test_a_use_is_stored_and_a_copy_does_not_get_in(provider: Provider) -> None:
    device = Device("http://localhost:8080")
    before = await mara(provider, device)
    login = PasskeyLogin(provider, LoginThrottle())
    device.counter = 4
    copy = replace(device)
    entered = await login.instead("192.0.2.1", SITE, b"1" * 32, answer(device, b"1" * 32))
    assert entered.username == "mara"
    stored = await provider.admin("mara")
    assert stored is not None
    (held,) = passkeys_of(stored.filters).keys
    assert (held.sign_count, held.id) == (5, encode(device.id))
    assert held.last_use_at > 0 and stored.last_login > 0
    assert replace(stored, filters=before.filters, updated_at=0, last_login=0) == replace(
        before, updated_at=0
    )
    with pytest.raises(LoginRefused) as refused:
        await login.instead("192.0.2.1", SITE, b"2" * 32, answer(copy, b"2" * 32))
    assert refused.value.reason == "passkey_counter"


async def test_of_copies_at_the_same_moment_one_gets_in(provider: Provider) -> None:
    device = Device("http://localhost:8080")
    await mara(provider, device)
    login = PasskeyLogin(provider, LoginThrottle())
    given = [bytes((number,)) * 32 for number in range(4)]
    tries = [login.instead("192.0.2.1", SITE, one, answer(replace(device), one)) for one in given]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, Admin) for one in done) == 1, done
    assert {one.reason for one in done if isinstance(one, LoginRefused)} == {"passkey_counter"}


async def test_the_owner_is_found_among_many(provider: Provider) -> None:
    for number in range(3):
        await provider.add_admin(Admin(username=f"a{number}", password="x", permissions=("*",)))
    device = Device("http://localhost:8080")
    await mara(provider, device)
    device.handle = raw(HANDLE)
    login = PasskeyLogin(provider, LoginThrottle())
    assert (await login.instead("192.0.2.1", SITE, b"1" * 32, answer(device, b"1" * 32))).username == "mara"
    device.handle = b"nobody"
    with pytest.raises(LoginRefused) as refused:
        await login.instead("192.0.2.1", SITE, b"2" * 32, answer(device, b"2" * 32))
    assert refused.value.reason == "unknown_user"
