# SPDX-License-Identifier: Apache-2.0
"""Logins that are accepted, logins that are refused, and what a refusal tells."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.support.people import CHEAP, HASHED, LEGACY, NOW, SECRET, People, peer, person

from tidegate.abc import Credential, LoginAttempt
from tidegate.accounts.keys import key_blob
from tidegate.doors.common.record import ConnectionRecord, authenticate
from tidegate.errors import LoginRefused, ProviderError, StorageFailed
from tidegate.events.kinds import Connected, LoggedIn, LoginFailed
from tidegate.identity import passwords, service, upkeep
from tidegate.identity.api import PartialLogin
from tidegate.identity.service import Identity, IdentityOptions
from tidegate.model import Account, Filters, Origin, Peer, Principal, Protocol

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU alice"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGOZn4qB0mdGaaXaQUc+IjVfI681/LqSt+qkcqhiP4ak"
BOTH_STEPS = Filters(denied_login_methods=("publickey", "password", "keyboard-interactive"))


class Counted:
    """Checks for real and remembers which stored hashes were checked, and in which threads."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, password: str, stored: str) -> bool:
        self.stored.append(stored)
        self.threads.add(threading.current_thread().name)
        return passwords.check(password, stored)


@asynccontextmanager
async def identity_of(people: People, **options: Any) -> AsyncIterator[tuple[Identity, Counted]]:
    counted = Counted()
    wired = {
        key: options.pop(key) for key in ("authenticators", "clock", "monotonic", "check") if key in options
    }
    identity = Identity(
        people,  # type: ignore[arg-type]
        IdentityOptions(hashing=CHEAP, **options),
        **({"clock": lambda: NOW, "check": counted} | wired),
    )
    try:
        yield identity, counted
    finally:
        await identity.close()


def password(secret: str = SECRET, kind: str = "password") -> Credential:
    return Credential(kind, secret=secret)


def key(line: str = KEY) -> Credential:
    return Credential("publickey", public_key=key_blob(line))


async def refusal(
    identity: Identity, name: str, credential: Credential, who: Peer | None = None, **more: Any
) -> LoginRefused:
    with pytest.raises(LoginRefused) as caught:
        await identity.authenticate(who or peer(), name, credential, **more)
    assert caught.value.text == "authentication failed"
    return caught.value


async def test_right_password_comes_in_and_the_hash_stays_behind() -> None:
    async with identity_of(People(person())) as (identity, counted):
        got = await identity.authenticate(peer(), "alice", password())
    assert isinstance(got, Principal)
    assert (got.username, got.method, got.login_ip) == ("alice", "password", "192.0.2.7")
    assert got.account == replace(person(), password="")
    assert all(name.startswith("tidegate-hash") for name in counted.threads)


async def test_keyboard_interactive_checks_the_same_password() -> None:
    async with identity_of(People(person())) as (identity, _):
        got = await identity.authenticate(peer(), "alice", password(kind="keyboard-interactive"))
        assert isinstance(got, Principal)
        assert got.method == "keyboard-interactive"


@pytest.mark.parametrize(
    ("stored", "secret", "reason", "checks"),
    [
        pytest.param(None, SECRET, "unknown_user", ["decoy"], id="unknown user"),
        pytest.param("", SECRET, "bad_credential", ["decoy"], id="no password"),
        pytest.param("", "", "bad_credential", ["decoy"], id="no password, none given"),
        pytest.param(HASHED, "wrong", "bad_credential", ["stored"], id="wrong password"),
        pytest.param(HASHED, "", "bad_credential", ["stored"], id="empty password"),
        pytest.param(LEGACY, "wrong", "bad_credential", ["stored"], id="wrong against a cheap hash"),
        pytest.param("$6$broken", SECRET, "bad_credential", ["stored", "decoy"], id="unusable hash"),
        pytest.param(
            "plain text", "plain text", "bad_credential", ["stored", "decoy"], id="plain text is no hash"
        ),
    ],
)
async def test_every_refusal_computes_one_hash(
    stored: str | None, secret: str, reason: str, checks: list[str]
) -> None:
    people = People() if stored is None else People(person(password=stored))
    async with identity_of(people) as (identity, counted):
        refused = await refusal(identity, "alice", password(secret))
    assert refused.reason == reason
    seen = ["stored" if one == stored and stored else "decoy" for one in counted.stored]
    assert seen == checks
    preferred = [one for one in counted.stored if not passwords.needs_upgrade(one, CHEAP)]
    assert len(preferred) == (stored != LEGACY)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": 0}, "disabled"),
        ({"expiration_date": int(NOW * 1000) - 1}, "expired"),
        ({"filters": Filters(denied_ip=("192.0.2.0/24",))}, "address"),
        ({"filters": Filters(allowed_ip=("198.51.100.0/24",))}, "address"),
        ({"filters": Filters(denied_protocols=("SSH",))}, "protocol"),
        ({"filters": Filters(denied_login_methods=("password",))}, "method"),
        ({"filters": Filters(denied_login_methods=("password-over-SSH",))}, "method"),
    ],
)
async def test_rules_speak_only_to_those_with_the_right_credential(
    fields: dict[str, Any], reason: str
) -> None:
    async with identity_of(People(person(**fields))) as (identity, _):
        assert (await refusal(identity, "alice", password("wrong"))).reason == "bad_credential"
        right = await refusal(identity, "alice", password())
    assert right.reason == reason
    assert right.rule
    assert right.username == "alice"


async def test_refused_by_a_rule_changes_nothing() -> None:
    people = People(person(password=LEGACY, status=0))
    async with identity_of(people) as (identity, _):
        await refusal(identity, "alice", password("password"))
    assert people.writes == []


# -- cache -----------------------------------------------------------------------------------------------


async def test_second_login_needs_no_hash_until_the_entry_ends() -> None:
    now = [100.0]
    async with identity_of(People(person()), monotonic=lambda: now[0], cache_seconds=60.0) as (
        identity,
        counted,
    ):
        for moment, checks in ((100.0, 1), (159.0, 1), (160.0, 2)):
            now[0] = moment
            await identity.authenticate(peer(), "alice", password())
            assert len(counted.stored) == checks


async def test_changed_hash_is_checked_at_once() -> None:
    people = People(person())
    async with identity_of(people) as (identity, counted):
        await identity.authenticate(peer(), "alice", password())
        people.accounts["alice"] = person(password=passwords.hash_password("new", CHEAP))
        assert (await refusal(identity, "alice", password())).reason == "bad_credential"
        await identity.authenticate(peer(), "alice", password("new"))
    assert len(counted.stored) == 3


async def test_cached_login_still_meets_the_rules() -> None:
    people = People(person())
    async with identity_of(people) as (identity, _):
        await identity.authenticate(peer(), "alice", password())
        people.accounts["alice"] = person(status=0)
        assert (await refusal(identity, "alice", password())).reason == "disabled"


async def test_cache_is_per_user_even_for_the_same_hash_and_holds_no_text() -> None:
    async with identity_of(People(person(), person("bob"))) as (identity, counted):
        await identity.authenticate(peer(), "alice", password())
        await identity.authenticate(peer(), "bob", password())
        assert len(counted.stored) == 2
        held = repr(vars(identity._cache))
    assert SECRET not in held
    assert HASHED not in held


async def test_cache_is_bounded_and_can_be_off() -> None:
    from tidegate.identity.cache import VerifiedCache

    cache = VerifiedCache(lambda: 0.0, max_entries=2)
    for name in ("a", "b", "c"):
        cache.remember(name, "hash", "secret")
    assert [cache.knows(name, "hash", "secret") for name in ("a", "b", "c")] == [False, True, True]
    assert not cache.knows("b", "hashs", "ecret")
    async with identity_of(People(person()), password_caching=False) as (identity, counted):
        await identity.authenticate(peer(), "alice", password())
        await identity.authenticate(peer(), "alice", password())
    assert len(counted.stored) == 2


# -- what a login leaves behind --------------------------------------------------------------------------


async def test_old_hash_is_upgraded_once_and_the_next_login_is_free() -> None:
    people = People(person(password=LEGACY))
    async with identity_of(people) as (identity, counted):
        await identity.authenticate(peer(), "alice", password("password"))
        await identity.settle()
        upgraded = people.accounts["alice"].password
        assert not passwords.needs_upgrade(upgraded, CHEAP)
        assert passwords.verify("password", upgraded)
        await identity.authenticate(peer(), "alice", password("password"))
        await identity.settle()
    assert counted.stored == [LEGACY]
    assert people.writes.count(("password", "alice")) == 1


async def test_upgrade_can_be_off_and_its_failure_is_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    people = People(person(password=LEGACY))
    async with identity_of(people, upgrade_hashes=False) as (identity, _):
        await identity.authenticate(peer(), "alice", password("password"))
    assert people.accounts["alice"].password == LEGACY

    async def read_only(*_: object, **__: object) -> None:
        tries.append(1)
        raise ProviderError("accounts are read-only")

    tries: list[int] = []
    people.set_password = people.touch_login = read_only  # type: ignore[method-assign]
    async with identity_of(people, touch_seconds=0.0) as (identity, _):
        for _ in range(3):
            await identity.authenticate(peer(), "alice", password("password"))
            await identity.settle()
    # Said once and not tried again: a read-only view must not fill the log.
    assert caplog.messages == [
        "last logins are not stored: accounts are read-only",
        "password hashes are not upgraded: accounts are read-only",
    ]
    assert len(tries) == 2


async def test_password_changed_meanwhile_is_not_undone() -> None:
    people = People(person(password=LEGACY))
    async with identity_of(people) as (identity, _):
        await identity.authenticate(peer(), "alice", password("password"))
        people.accounts["alice"] = person(password="$argon2id$changed")
        await identity.settle()
    assert people.accounts["alice"].password == "$argon2id$changed"


async def test_last_login_is_written_seldom() -> None:
    now, people = [NOW], People(person())
    async with identity_of(people, clock=lambda: now[0], touch_seconds=600.0) as (identity, _):
        for step, touches in ((0, 1), (599, 1), (600, 2)):
            now[0] = NOW + step
            await identity.authenticate(peer(), "alice", password())
            await identity.settle()
            assert people.writes.count(("touch", "alice")) == touches
    assert people.accounts["alice"].last_login == int((NOW + 600) * 1000)


async def test_how_many_last_logins_are_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest login is forgotten first: the next one of that user is written again."""
    monkeypatch.setattr(upkeep, "_MAX_TOUCHED", 2)
    people = People(*(person(name) for name in ("a", "b", "c")))
    async with identity_of(people, touch_seconds=600.0) as (identity, _):
        for name, written in (("a", 1), ("b", 1), ("a", 1), ("c", 1), ("c", 1), ("b", 1), ("a", 2)):
            # What the store answers is not yet what was written: only the memory holds a second write back.
            people.accounts[name] = person(name)
            await identity.authenticate(peer(), name, password())
            await identity.settle()
            assert people.writes.count(("touch", name)) == written, name
        assert len(identity._upkeep._touched) == 2


async def test_how_many_keys_are_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_MAX_PROVED", 1)
    people = People(person("a", public_keys=(KEY,)), person("b", public_keys=(KEY,)))
    async with identity_of(people) as (identity, _):
        for name in ("a", "b"):
            await identity.authenticate(peer(), name, key())
            assert [login[0] for login in identity._proved] == [name]


async def test_work_beside_logins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs must not gather a task for each login; the login itself succeeds."""
    monkeypatch.setattr(upkeep, "_MAX_BACKGROUND", 2)
    people, hold, begun = People(*(person(name) for name in "abc")), asyncio.Event(), []

    async def hang(name: str, _: int, **__: int) -> None:
        begun.append(name)
        await hold.wait()

    people.touch_login = hang  # type: ignore[method-assign]
    async with identity_of(people, touch_seconds=600.0, upgrade_hashes=False) as (identity, _):
        for name in "abc":
            await identity.authenticate(peer(), name, password())
        hold.set()
        await identity.settle()
    assert begun == ["a", "b"]


async def test_unusable_hash_is_logged_once_without_the_hash(caplog: pytest.LogCaptureFixture) -> None:
    async with identity_of(People(person(password="$6$secretbroken"))) as (identity, _):
        for _ in range(3):
            await refusal(identity, "alice", password())
    assert caplog.text.count("password of user 'alice' cannot be checked: malformed $6$ hash") == 1
    assert "secretbroken" not in caplog.text


# -- keys ------------------------------------------------------------------------------------------------


async def test_public_key_comes_in_and_probes_are_answered() -> None:
    async with identity_of(People(person(password="", public_keys=("broken", OTHER, KEY)))) as (
        identity,
        counted,
    ):
        got = await identity.authenticate(peer(), "alice", key())
        assert isinstance(got, Principal)
        assert got.method == "publickey"
        assert await identity.key_is_known(peer(), "alice", key_blob(KEY))
        assert not await identity.key_is_known(peer(), "alice", key_blob(KEY) + b"x")
        assert not await identity.key_is_known(peer(), "alice", b"")
        assert not await identity.key_is_known(peer(), "bob", key_blob(KEY))
        assert not await identity.key_is_known(peer(), "ali\nce", key_blob(KEY))
    assert counted.stored == []


async def test_a_key_that_was_just_in_is_probed_without_asking_and_judged_afresh() -> None:
    people = People(person(password="", public_keys=(KEY,)))
    async with identity_of(people) as (identity, _):
        assert isinstance(await identity.authenticate(peer(), "alice", key()), Principal)
        people.accounts["alice"] = person(password="", public_keys=(OTHER,))
        people.down = True
        assert await identity.key_is_known(peer(), "alice", key_blob(KEY))
        assert not await identity.key_is_known(peer(ip="192.0.2.8"), "alice", key_blob(KEY))
        people.down = False
        with pytest.raises(LoginRefused) as caught:
            await identity.authenticate(peer(), "alice", key())
        assert caught.value.reason == "bad_credential"
        assert not await identity.key_is_known(peer(ip="192.0.2.8"), "alice", key_blob(KEY))


async def test_wrong_key_and_key_of_an_unknown_user() -> None:
    async with identity_of(People(person(public_keys=(OTHER,)))) as (identity, _):
        assert (await refusal(identity, "alice", key())).reason == "bad_credential"
        assert (await refusal(identity, "bob", key())).reason == "unknown_user"
        assert (await refusal(identity, "alice", Credential("publickey"))).reason == "bad_credential"
        assert (await refusal(identity, "alice", Credential("magic", secret=SECRET))).reason == "method"


# -- two steps -------------------------------------------------------------------------------------------


async def test_two_steps() -> None:
    people = People(person(public_keys=(KEY,), filters=BOTH_STEPS))
    async with identity_of(people) as (identity, _):
        partial = await identity.authenticate(peer(), "alice", key())
        assert partial == PartialLogin("alice", "publickey", ("password", "keyboard-interactive"))
        assert (await refusal(identity, "alice", password("wrong"), after=partial)).reason == "bad_credential"
        got = await identity.authenticate(peer(), "alice", password(), after=partial)
        assert isinstance(got, Principal)
        assert got.method == "publickey+password"


async def test_second_step_alone_or_after_somebody_elses_first_is_refused() -> None:
    people = People(person(public_keys=(KEY,), filters=BOTH_STEPS), person("bob", filters=BOTH_STEPS))
    async with identity_of(people) as (identity, _):
        assert (await refusal(identity, "alice", password())).reason == "method"
        partial = await identity.authenticate(peer(), "alice", key())
        assert isinstance(partial, PartialLogin)
        assert (await refusal(identity, "bob", password(), after=partial)).reason == "method"
        assert (await refusal(identity, "alice", key(), after=partial)).reason == "method"


async def test_first_step_of_a_disabled_user_is_refused() -> None:
    people = People(person(public_keys=(KEY,), filters=BOTH_STEPS, status=0))
    async with identity_of(people) as (identity, _):
        assert (await refusal(identity, "alice", key())).reason == "disabled"


async def test_no_two_steps_outside_ssh() -> None:
    people = People(person(filters=BOTH_STEPS))
    async with identity_of(people) as (identity, _):
        assert (await refusal(identity, "alice", password(), peer(Protocol.FTP))).reason == "method"


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "a\0b", "a\nb", "a\x1b[2J", "a\u2028b", "a\udcff", "x" * 256, "x" * 10**6]
)
async def test_impossible_names_are_refused_without_asking_anybody(name: str) -> None:
    people = People()
    people.down = True
    async with identity_of(people) as (identity, counted):
        assert (await refusal(identity, name, password())).reason == "bad_username"
    assert counted.stored == []


async def test_naming_rules_fold_typed_names() -> None:
    async with identity_of(People(person()), naming_rules=7) as (identity, _):
        got = await identity.authenticate(peer(), "  ALICE ", password())
        assert isinstance(got, Principal)
        assert got.username == "alice"
    async with identity_of(People(person())) as (identity, _):
        assert (await refusal(identity, "ALICE", password())).reason == "unknown_user"


# -- trouble ---------------------------------------------------------------------------------------------


async def test_provider_down_is_a_refusal_and_a_log_line_and_heals(caplog: pytest.LogCaptureFixture) -> None:
    people = People(person(public_keys=(KEY,)))
    people.down = True
    async with identity_of(people) as (identity, _):
        assert (await refusal(identity, "alice", password())).reason == "provider_unavailable"
        assert "login of user 'alice' refused, data provider unavailable" in caplog.text
        assert not await identity.key_is_known(peer(), "alice", key_blob(KEY))
        people.down = False
        assert isinstance(await identity.authenticate(peer(), "alice", password()), Principal)


class Gate:
    """A check that waits until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, secret: str, stored: str) -> bool:
        self.entered.release()
        assert self.open.wait(10)
        return passwords.check(secret, stored)


async def test_full_queue_refuses_and_a_caller_that_leaves_makes_room() -> None:
    gate = Gate()
    people = People(*(person(f"u{i}") for i in range(4)))
    async with identity_of(people, check=gate, hash_workers=1, max_waiting=2) as (identity, _):
        first = asyncio.create_task(identity.authenticate(peer(), "u0", password()))
        await asyncio.to_thread(gate.entered.acquire)
        second = asyncio.create_task(identity.authenticate(peer(ip="192.0.2.8"), "u1", password()))
        while identity._pool.waiting < 2:
            await asyncio.sleep(0)
        assert (await refusal(identity, "u2", password())).reason == "busy"
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        while identity._pool.waiting > 1:
            await asyncio.sleep(0)
        third = asyncio.create_task(identity.authenticate(peer(), "u3", password()))
        gate.open.set()
        assert [type(one) for one in await asyncio.gather(first, third)] == [Principal, Principal]


@pytest.mark.parametrize(
    ("first", "again", "other"),
    [
        ("198.51.100.1", "::ffff:198.51.100.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"),
    ],
)
async def test_one_host_cannot_take_the_whole_queue(first: str, again: str, other: str) -> None:
    from tidegate.identity.hashing import HashPool

    pool, gate = HashPool(workers=1, max_waiting=8, max_waiting_per_source=2), threading.Event()
    try:
        jobs = [asyncio.create_task(pool.run(first, gate.wait)) for _ in range(2)]
        while pool.waiting < 2:
            await asyncio.sleep(0)
        with pytest.raises(LoginRefused, match="busy"):
            await pool.run(again, gate.wait)
        jobs.append(asyncio.create_task(pool.run(other, gate.wait)))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*jobs) == [True, True, True]
    finally:
        gate.set()
        await pool.close()
    with pytest.raises(LoginRefused, match="shutdown"):
        await pool.run("", gate.wait)


# -- events and other authenticators ---------------------------------------------------------------------


class Events:
    """As the bus."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def emit(self, event: object, *, kept: bool = False) -> None:
        self.told.append(event)

    async def keep(self, event: object) -> None: ...


async def test_events_tell_who_and_why_and_no_secret() -> None:
    events = Events()
    who = peer()
    async with identity_of(People(person())) as (identity, _):
        for name, secret in (("alice", SECRET), ("alice", "guess-me"), ("a\nb", "guess-me")):
            record = ConnectionRecord(events, who, encrypted=True)
            record.named(name)
            principal = await authenticate(identity, record, who, name, password(secret))
            if isinstance(principal, Principal):
                record.login_accepted(principal, who.client_version)
    origin = Origin.of(who, "alice")
    assert [event for event in events.told if not isinstance(event, Connected)] == [
        LoggedIn(origin=origin, method="password", client_version="SSH-2.0-test", encrypted=True),
        LoginFailed(origin=origin, login_type="password", reason="bad_credential"),
        LoginFailed(origin=replace(origin, username="a\nb"), login_type="password", reason="bad_username"),
    ]
    assert (origin.connection_id, origin.protocol, origin.ip) == ("c1", "SFTP", "192.0.2.7")
    assert "guess-me" not in repr(events.told)


class Outside:
    """An authenticator for one user."""

    def __init__(self, account: Account, decide: Callable[[Credential], bool]) -> None:
        self._account, self._decide = account, decide

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def find(self, username: str) -> Account | None:
        return self._account if username == self._account.username else None

    async def verify(self, attempt: LoginAttempt) -> Account | None:
        if attempt.username != self._account.username:
            return None
        if not self._decide(attempt.credential):
            raise LoginRefused("bad_credential")
        return self._account

    async def knows_key(self, peer: Peer, username: str, public_key: bytes) -> bool:
        return username == self._account.username and self._decide(key())


async def test_authenticators_are_asked_in_order_and_rules_apply_to_their_accounts_too() -> None:
    outside = Outside(
        person("carol", password=""), lambda given: given.secret == "token" or bool(given.public_key)
    )
    disabled = Outside(person("dave", status=0), lambda _: True)
    async with identity_of(People(person(), person("carol")), authenticators=[outside, disabled]) as (
        identity,
        counted,
    ):
        assert isinstance(await identity.authenticate(peer(), "carol", password("token")), Principal)
        assert (await refusal(identity, "carol", password())).reason == "bad_credential"
        assert (await refusal(identity, "dave", password())).reason == "disabled"
        assert counted.stored == []
        assert isinstance(await identity.authenticate(peer(), "alice", password()), Principal)
        assert await identity.key_is_known(peer(), "carol", key_blob(KEY))
        assert not await identity.key_is_known(peer(), "alice", key_blob(KEY))


async def test_secret_of_another_authenticator_never_becomes_the_stored_password() -> None:
    people = People(person("carol", password=LEGACY))
    outside = Outside(person("carol", password=LEGACY), lambda given: given.secret == "token")
    async with identity_of(people, authenticators=[outside]) as (identity, _):
        assert isinstance(await identity.authenticate(peer(), "carol", password("token")), Principal)
        await identity.settle()
    assert people.accounts["carol"].password == LEGACY


async def test_failing_authenticator_refuses_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Credential) -> bool:
        raise StorageFailed("program gave no answer")

    async with identity_of(People(person()), authenticators=[Outside(person(), broken)]) as (identity, _):
        assert (await refusal(identity, "alice", password())).reason == "provider_error"
        assert not await identity.key_is_known(peer(), "alice", key_blob(KEY))
    assert "login of user 'alice' refused, it could not be checked: program gave no answer" in caplog.text


async def test_credentials_never_show_their_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    people = People(person())
    async with identity_of(people) as (identity, _):
        people.down = True
        await refusal(identity, "alice", password("very secret"))
    assert "very secret" not in caplog.text
    assert "very secret" not in repr(password("very secret"))


async def test_answers_to_passwords_wait_as_long_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    pause = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await pause(0)

    monkeypatch.setattr(service.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
    delays = service.LoginDelays(success=0.25, failed=1.5)
    async with identity_of(People(person(public_keys=(KEY,))), delays=delays) as (identity, _):
        await refusal(identity, "alice", password("wrong"))
        await refusal(identity, "nobody", password())
        assert slept == [1.5, 1.5]
        await refusal(identity, "alice", key(OTHER))  # nobody guesses keys
        assert slept == [1.5, 1.5]
        await identity.authenticate(peer(), "alice", password())
        assert slept == [1.5, 1.5, 0.25]


async def test_a_flood_of_wrong_passwords_from_some_addresses_starves_nobody_else() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(secret: str, stored: str) -> bool:
        begun.set()
        assert go.wait(10)
        return passwords.check(secret, stored)

    names = [f"user{number}" for number in range(200)]
    people = People(*(replace(person(), username=name) for name in [*names, "alice"]))
    async with identity_of(people, check=slow, hash_workers=1, max_waiting=16) as (identity, _):
        flood = [
            asyncio.create_task(
                refusal(identity, name, password("wrong"), peer(ip=f"198.51.100.{index % 4}"))
            )
            for index, name in enumerate(names)
        ]
        await asyncio.to_thread(begun.wait, 10)
        for _ in range(5):
            await asyncio.sleep(0)
        done = [task for task in flood if task.done()]
        assert len(done) >= 200 - 16  # refused without a hash
        assert all(task.result().reason == "busy" for task in done)
        honest = asyncio.create_task(identity.authenticate(peer(), "alice", password()))
        await asyncio.sleep(0)
        go.set()
        assert isinstance(await honest, Principal)
        await asyncio.gather(*flood)
