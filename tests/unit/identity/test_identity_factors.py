# SPDX-License-Identifier: Apache-2.0
"""Second factors, certificates and security keys as logins meet them, with a provider in memory and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.one_time import Authenticator
from tests.support.people import CHEAP, HASHED, LEGACY, SECRET, peer, person

from tidegate.abc import Credential, LoginAttempt, NextStep
from tidegate.accounts.keys import key_blob
from tidegate.errors import LoginRefused, ProviderError, ProviderUnavailable, Unsupported
from tidegate.identity.api import PartialLogin
from tidegate.identity.certificates.trust import UserCertificates
from tidegate.identity.passwords import check
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.identity.stages import CODE_CHALLENGE
from tidegate.identity.throttle import CODES
from tidegate.model import Account, Filters, Principal, Protocol
from tidegate.policy.second_factor import hash_recovery_code, recovery_codes_of
from tidegate.store.contract import Provider
from tidegate.store.factory import ProviderOptions, create_provider

NOW = 4_000_000_000.0
"""Later than now: a provider forgets claims by its own clock."""
SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
DEVICE = Authenticator(SEED)
KINDS = (("Default", "Tidegate", "sha1"), ("Strong", "Tidegate", "sha256"))
SINGLE = ("publickey", "password", "keyboard-interactive")
KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = KEY.export_public_key().decode().strip()
CA = asyncssh.generate_private_key("ssh-ed25519")


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def codes(**more: Any) -> dict[str, object]:
    """The parts of a record that asks for codes of `DEVICE`."""
    secret = {"status": "Plain", "payload": SEED}
    return {"totp_config": {"enabled": True, "config_name": "Default", "secret": secret, **more}}


async def memory(*accounts: Account) -> Provider:
    provider = create_provider(ProviderOptions(driver="memory", name=""))
    await provider.open()
    for account in accounts:
        await provider.add_user(account)
    return provider


@asynccontextmanager
async def identity_of(
    provider: Provider, clock: Clock, authenticators: Sequence[Any] = (), **more: Any
) -> AsyncIterator[Identity]:
    identity = Identity(
        provider,
        IdentityOptions(hashing=CHEAP, totp=KINDS),
        authenticators=authenticators,
        clock=clock,
        monotonic=clock,
        **more,
    )
    await identity.open()
    try:
        yield identity
    finally:
        await identity.close()


def word(secret: str = SECRET) -> Credential:
    return Credential("password", secret=secret)


def answer(text: str) -> Credential:
    return Credential("keyboard-interactive", secret=text, answers=(text,))


def key(blob: bytes = b"", **flags: bool) -> Credential:
    return Credential("publickey", public_key=blob or key_blob(LINE), **flags)


async def login(identity: Identity, *credentials: Credential, name: str = "ana", **more: Any) -> Principal:
    """A login by credentials in this order."""
    after: PartialLogin | None = None
    for credential in credentials:
        outcome = await identity.authenticate(peer(**more), name, credential, after=after)
        if isinstance(outcome, Principal):
            assert credential is credentials[-1]
            return outcome
        after = outcome
    raise AssertionError(f"not in: {after}")


async def refused(identity: Identity, *credentials: Credential, **more: Any) -> str:
    with pytest.raises(LoginRefused) as caught:
        await login(identity, *credentials, **more)
    return caught.value.reason


def ana(extra: dict[str, object] | None = None, **filters: Any) -> Account:
    held = codes() if extra is None else extra
    return person("ana", public_keys=(LINE,), filters=Filters(extra=held, **filters))


@pytest.mark.parametrize(
    ("filters", "given", "method"),
    [
        ({}, ("password", "code"), "password+keyboard-interactive"),
        ({}, ("kbd", "code"), "keyboard-interactive"),
        ({}, ("key",), "publickey"),
        (
            {"denied_login_methods": ("keyboard-interactive",)},
            ("password", "code"),
            "password+keyboard-interactive",
        ),
        (
            {"denied_login_methods": (*SINGLE, "publickey+password")},
            ("key", "code"),
            "publickey+keyboard-interactive",
        ),
        (
            {"denied_login_methods": (*SINGLE, "publickey+keyboard-interactive")},
            ("key", "password", "code"),
            "publickey+password+keyboard-interactive",
        ),
        ({"denied_login_methods": SINGLE}, ("key", "code"), "publickey+keyboard-interactive"),
    ],
)
async def test_the_steps(filters: dict[str, Any], given: tuple[str, ...], method: str) -> None:
    clock = Clock()
    made = {"password": word(), "kbd": answer(SECRET), "key": key(), "code": answer(DEVICE.at(NOW))}
    async with identity_of(await memory(ana(**filters)), clock) as identity:
        assert (await login(identity, *(made[one] for one in given))).method == method


async def test_what_is_asked_and_what_is_not_taken() -> None:
    clock = Clock()
    async with identity_of(await memory(ana(), person("bob")), clock) as identity:
        partial = await identity.authenticate(peer(), "ana", word())
        assert isinstance(partial, PartialLogin)
        assert (partial.remaining, partial.challenge) == (("keyboard-interactive",), CODE_CHALLENGE)
        assert await identity.challenge(peer(), "ana", after=partial) == CODE_CHALLENGE
        assert await refused(identity, word(), word()) == "method"
        assert await refused(identity, word(), key()) == "method"
        assert await refused(identity, word(), answer(SECRET)) == "bad_code"
        assert await refused(identity, answer(DEVICE.at(NOW))) == "bad_credential"
        with pytest.raises(LoginRefused):  # the step of one user with the name of another
            await identity.authenticate(peer(), "bob", answer(DEVICE.at(NOW)), after=partial)
        with pytest.raises(LoginRefused):
            await identity.authenticate(peer(), "ana", Credential("keyboard-interactive"), after=partial)
        assert (await login(identity, word(), name="bob")).method == "password"


async def test_a_code_is_good_once_for_all_servers() -> None:
    clock = Clock()
    provider = await memory(ana())
    async with identity_of(provider, clock) as one, identity_of(provider, clock) as other:
        before, now, after = (DEVICE.at(NOW + seconds) for seconds in (-30, 0, 30))
        assert await refused(one, word(), answer(DEVICE.at(NOW - 60))) == "bad_code"
        await login(one, word(), answer(before))
        assert await refused(other, word(), answer(before)) == "bad_code"
        await login(other, word(), answer(after))
        assert await refused(one, word(), answer(now)) == "bad_code"  # older than one that was used
        clock.now += 60
        await login(one, word(), answer(DEVICE.at(clock.now)))


async def test_wrong_codes_shut_the_name_for_a_while_wherever_they_come_from() -> None:
    clock = Clock()
    async with identity_of(await memory(ana()), clock) as identity:
        for number in range(5):
            assert await refused(identity, word(), answer("1"), ip=f"192.0.2.{number}") == "bad_code"
        assert await refused(identity, word(), answer(DEVICE.at(NOW)), ip="198.51.100.1") == "throttled"
        await login(identity, key())
        clock.now += 181
        await login(identity, word(), answer(DEVICE.at(clock.now)))


async def test_rules_come_before_the_code() -> None:
    """The holder of the password of a disabled account is not asked for a code, and learns nothing by that."""
    clock = Clock()
    async with identity_of(await memory(replace(ana(), status=0)), clock) as identity:
        assert await refused(identity, word()) == "disabled"
        assert await refused(identity, word("wrong")) == "bad_credential"


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (codes(config_name="gone"), "provider_error"),
        (
            codes(secret={"status": "AES-256-GCM-Envelope", "payload": "1.0123456789abcdef.AAAA"}),
            "provider_error",
        ),
        (codes(secret={"status": "Secretbox", "payload": "x"}), "provider_error"),
        (codes(secret="nonsense!"), "provider_error"),
        (codes(secret=None), "provider_error"),
        ({"totp_config": {"enabled": True}}, "provider_error"),
    ],
)
async def test_what_cannot_be_checked_is_refused(extra: dict[str, object], reason: str) -> None:
    async with identity_of(await memory(ana(extra)), Clock()) as identity:
        assert await refused(identity, word(), answer(DEVICE.at(NOW))) == reason
        await login(identity, key())


async def test_other_digests_and_plain_secrets() -> None:
    strong = Authenticator(SEED, "sha256")
    extra = codes(config_name="Strong", secret=SEED.lower())
    async with identity_of(await memory(ana(extra)), Clock()) as identity:
        assert await refused(identity, word(), answer(DEVICE.at(NOW))) == "bad_code"
        await login(identity, word(), answer(strong.at(NOW)))


async def test_a_recovery_code_is_taken_by_one_of_many() -> None:
    code = "K7QF-2M4A-XC5D-W3NB"
    extra = {**codes(), "recovery_codes": [{"secret": hash_recovery_code(code), "used": False}, "odd"]}
    provider = await memory(ana(extra))
    clock = Clock()
    async with identity_of(provider, clock) as one, identity_of(provider, clock) as other:
        await login(one, word(), answer(code.lower()))
        assert await refused(other, word(), answer(code)) == "bad_code"
    stored = await provider.user("ana")
    assert stored is not None
    assert [one["used"] for one in recovery_codes_of(stored.filters)] == [True]


class Meanwhile:
    """A provider in which somebody disables the account right before its record is written; else the real."""

    def __init__(self, provider: Provider) -> None:
        self._provider, self.writes = provider, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def update_user(self, account: Account, *, guard: Any = None) -> Account:
        self.writes += 1
        if self.writes == 1:
            stored = await self._provider.user(account.username)
            assert stored is not None
            await self._provider.update_user(replace(stored, status=0))
        return await self._provider.update_user(account, guard=guard)


async def test_a_recovery_code_undoes_no_change_by_somebody_else() -> None:
    code = "K7QF-2M4A-XC5D-W3NB"
    extra = {**codes(), "recovery_codes": [{"secret": hash_recovery_code(code), "used": False}]}
    provider = await memory(ana(extra))
    meanwhile: Any = Meanwhile(provider)
    async with identity_of(meanwhile, Clock()) as identity:
        partial = await identity.authenticate(peer(), "ana", word())
        assert isinstance(partial, PartialLogin)
        with suppress(LoginRefused):
            await identity.authenticate(peer(), "ana", answer(code), after=partial)
    stored = await provider.user("ana")
    assert stored is not None
    assert stored.status == 0
    assert recovery_codes_of(stored.filters)[0]["used"]
    assert meanwhile.writes == 2


async def test_of_many_codes_at_once_no_more_are_looked_at_than_one_by_one() -> None:
    provider = await memory(ana())
    async with identity_of(provider, Clock()) as identity:
        partials = [await identity.authenticate(peer(), "ana", word()) for _ in range(30)]
        wrong = [
            identity.authenticate(peer(), "ana", answer(f"{number:06}"), after=partial)
            for number, partial in enumerate(partials)
            if isinstance(partial, PartialLogin)
        ]
        outcomes = await asyncio.gather(*wrong, return_exceptions=True)
        reasons = [one.reason for one in outcomes if isinstance(one, LoginRefused)]
        assert len(reasons) == 30
        assert reasons.count("bad_code") == CODES
        assert await refused(identity, word(), answer(DEVICE.at(NOW))) == "throttled"


async def test_the_hash_is_renewed_by_the_password_and_never_by_the_code() -> None:
    provider = await memory(replace(ana(), password=LEGACY))
    async with identity_of(provider, Clock()) as identity:
        await login(identity, word("password"), answer(DEVICE.at(NOW)))
        await identity.settle()
    stored = await provider.user("ana")
    assert stored is not None
    assert stored.password.startswith("$argon2id$")
    assert check("password", stored.password)


async def test_doors_without_codes_and_doors_that_want_them_set_up() -> None:
    provider = await memory(ana(codes(protocols=["SSH"]), two_factor_protocols=("HTTP", "FTP")))
    async with identity_of(provider, Clock()) as identity:
        await login(identity, word(), protocol=Protocol.DAV)
        await login(identity, word(), protocol=Protocol.HTTP)  # where they can be set up
        assert await refused(identity, word(), protocol=Protocol.FTP) == "second_factor"
        partial = await identity.authenticate(peer(Protocol.SFTP), "ana", word())
        assert isinstance(partial, PartialLogin)


class Failing:
    """A provider whose claims fail; everything else is the real one's."""

    def __init__(self, provider: Provider, error: Exception) -> None:
        self._provider, self._error = provider, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def claim(self, subject: str, *, at_ms: int, expires_ms: int) -> bool:
        raise self._error


async def test_a_code_that_cannot_be_claimed() -> None:
    provider = await memory(ana())
    clock = Clock()
    async with identity_of(Failing(provider, ProviderUnavailable()), clock) as identity:  # type: ignore[arg-type]
        assert await refused(identity, word(), answer(DEVICE.at(NOW))) == "provider_unavailable"
    # A database that may not be written: this process remembers.
    async with identity_of(Failing(provider, ProviderError("read-only")), clock) as identity:  # type: ignore[arg-type]
        await login(identity, word(), answer(DEVICE.at(NOW)))
        assert await refused(identity, word(), answer(DEVICE.at(NOW))) == "bad_code"


class Directory:
    """Accounts that are stored nowhere, with whatever is right."""

    def __init__(self, *accounts: Account, blind: bool = False) -> None:
        self.accounts = {account.username: account for account in accounts}
        self.blind = blind
        self.attempts: list[LoginAttempt] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def find(self, username: str) -> Account | None:
        if self.blind:
            raise Unsupported
        return self.accounts.get(username)

    async def verify(self, attempt: LoginAttempt) -> Account | NextStep | None:
        self.attempts.append(attempt)
        return self.accounts.get(attempt.username)


async def test_codes_of_accounts_that_are_not_stored() -> None:
    eva = person("eva", filters=Filters(extra=codes()))
    clock = Clock()
    async with identity_of(await memory(), clock, [Directory(eva)]) as identity:
        got = await login(identity, word("any"), answer(DEVICE.at(NOW)), name="eva")
        assert got.method == "password+keyboard-interactive"
        assert await refused(identity, word("any"), answer(DEVICE.at(NOW)), name="eva") == "bad_code"
    async with identity_of(await memory(), clock, [Directory(eva, blind=True)]) as identity:
        assert await refused(identity, word("any"), answer(DEVICE.at(NOW)), name="eva") == "provider_error"


# -- certificates ----------------------------------------------------------------------------------------


def certificates(directory: Path) -> UserCertificates:
    CA.write_public_key(directory / "ca.pub")
    judge = UserCertificates([directory / "ca.pub"], None)
    judge.load()
    return judge


def certified(*principals: str, **more: Any) -> bytes:
    return bytes(CA.generate_user_certificate(KEY, "id", principals=principals, **more).public_data)


async def test_authenticators_see_no_certificate_and_whoever_finds_the_name_gives_the_account(
    tmp_path: Path,
) -> None:
    eva = person("eva")
    directory, blind = Directory(eva), Directory(blind=True)
    async with identity_of(
        await memory(ana({})), Clock(), [blind, directory], certificates=certificates(tmp_path)
    ) as identity:
        for name in ("eva", "ana"):
            blob = certified(name)
            assert await identity.key_is_known(peer(), name, blob)
            assert (await login(identity, key(blob), name=name)).method == "publickey"
        assert await refused(identity, key(certified("nobody")), name="nobody") == "unknown_user"
        assert not await identity.key_is_known(peer(), "nobody", certified("nobody"))
        assert await refused(identity, key(certified("eva")), name="ana") == "certificate"
        with pytest.raises(LoginRefused):
            await identity.key_is_known(peer(), "ana", certified("eva"))
    assert not directory.attempts
    assert not blind.attempts


async def test_a_certificate_takes_the_place_of_no_key_that_an_authenticator_asked_for(
    tmp_path: Path,
) -> None:
    class KeyLater(Directory):
        async def verify(self, attempt: LoginAttempt) -> Account | NextStep | None:
            return None if attempt.username != "eva" else NextStep(("publickey",))

    async with identity_of(
        await memory(), Clock(), [KeyLater(person("eva"))], certificates=certificates(tmp_path)
    ) as identity:
        assert await refused(identity, word(), key(certified("eva")), name="eva") == "method"


async def test_without_authorities_a_certificate_is_a_wrong_key() -> None:
    async with identity_of(await memory(ana({})), Clock()) as identity:
        assert await refused(identity, key(certified("ana"))) == "bad_credential"


async def test_a_certificate_and_then_the_code(tmp_path: Path) -> None:
    filters = {"denied_login_methods": (*SINGLE, "publickey+password")}
    async with identity_of(
        await memory(ana(**filters)), Clock(), certificates=certificates(tmp_path)
    ) as identity:
        blob = certified("ana", force_command="internal-sftp")
        got = await login(identity, key(blob), answer(DEVICE.at(NOW)))
        assert got.sftp_only
        assert not (await login(identity, key(), answer(DEVICE.at(NOW + 30)))).sftp_only


# -- security keys -----------------------------------------------------------------------------------------


async def test_authenticators_are_asked_only_about_keys_that_were_touched() -> None:
    from tests.support.security_key import KINDS as TYPES
    from tests.support.security_key import SecurityKey

    for kind in TYPES:
        blob = SecurityKey(kind).public.public_data
        directory = Directory(person("eva"))
        async with identity_of(await memory(), Clock(), [directory]) as identity:
            assert await refused(identity, key(blob), name="eva") == "unknown_user"
            assert not directory.attempts
            await login(identity, key(blob, touched=True), name="eva")
            assert len(directory.attempts) == 1


def test_the_password_of_these_people_is_the_one() -> None:
    assert check(SECRET, HASHED)
