# SPDX-License-Identifier: Apache-2.0
"""Administrators, API keys, user files and the throttle in front of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.people import CHEAP, HASHED, HOUR_MS, LEGACY, NOW, SECRET, People, person

from tidegate.errors import ConfigError, LoginRefused
from tidegate.identity import apikeys, passwords
from tidegate.identity.admins import AdminLogin, Throttled
from tidegate.identity.cache import VerifiedCache
from tidegate.identity.hashing import HashPool, PasswordChecker
from tidegate.identity.htpasswd import HtpasswdFile, parse_htpasswd
from tidegate.identity.throttle import LoginThrottle, ThrottleLimits
from tidegate.model import Admin, AdminFilters, ApiKey, Filters

IP = "192.0.2.1"
ROOT = Admin(username="root", password=HASHED, permissions=("*",), last_login=int(NOW * 1000))


@pytest.fixture
async def checker() -> AsyncIterator[PasswordChecker]:
    pool = HashPool(workers=1)
    yield PasswordChecker(pool, VerifiedCache(lambda: 0.0), options=CHEAP)
    await pool.close()


def login(people: People, checker: PasswordChecker, **limits: float) -> AdminLogin:
    throttle = LoginThrottle(ThrottleLimits(**limits))  # type: ignore[arg-type]
    return AdminLogin(people, checker, throttle=throttle, clock=lambda: NOW, monotonic=lambda: 0.0)  # type: ignore[arg-type]


async def reason(doing: object) -> str:
    with pytest.raises(LoginRefused) as caught:
        await doing  # type: ignore[misc]
    return caught.value.reason


# -- administrators ----------------------------------------------------------------------------------------


async def test_admin_comes_in_with_the_right_password_only(checker: PasswordChecker) -> None:
    desk = login(People(admins=(ROOT,)), checker)
    assert await desk.by_password(IP, "root", SECRET) == ROOT
    assert await reason(desk.by_password(IP, "root", "wrong")) == "bad_credential"
    assert await reason(desk.by_password(IP, "root", "")) == "bad_credential"
    assert await reason(desk.by_password(IP, "nobody", SECRET)) == "unknown_user"
    assert await reason(desk.by_password(IP, "ro\not", SECRET)) == "bad_username"


async def test_admin_without_a_password_cannot_come_in(checker: PasswordChecker) -> None:
    desk = login(People(admins=(replace(ROOT, password=""),)), checker)
    assert await reason(desk.by_password(IP, "root", "")) == "bad_credential"


async def test_admin_rules_speak_only_to_the_right_password(checker: PasswordChecker) -> None:
    off = replace(ROOT, username="off", status=0)
    far = replace(ROOT, username="far", filters=AdminFilters(allow_list=("10.0.0.0/8", "2001:db8::/32")))
    desk = login(People(admins=(off, far)), checker)
    for name in ("off", "far"):
        assert await reason(desk.by_password(IP, name, "wrong")) == "bad_credential"
    assert await reason(desk.by_password(IP, "off", SECRET)) == "disabled"
    assert await reason(desk.by_password(IP, "far", SECRET)) == "address"
    assert (await desk.by_password("::ffff:10.1.2.3", "far", SECRET)).username == "far"


async def test_unreadable_allow_list_lets_nobody_in(checker: PasswordChecker) -> None:
    desk = login(People(admins=(replace(ROOT, filters=AdminFilters(allow_list=("everywhere",))),)), checker)
    assert await reason(desk.by_password(IP, "root", SECRET)) == "address"


async def test_admin_login_is_remembered_and_its_hash_upgraded(checker: PasswordChecker) -> None:
    people = People(admins=(replace(ROOT, password=LEGACY, last_login=0, description="kept"),))
    await login(people, checker).by_password(IP, "root", "password")
    stored = people.admin_records["root"]
    assert passwords.verify("password", stored.password)
    assert not passwords.needs_upgrade(stored.password, CHEAP)
    assert (stored.last_login, stored.description) == (int(NOW * 1000), "kept")


async def test_a_login_undoes_no_change_that_comes_at_the_same_moment(checker: PasswordChecker) -> None:
    class Racing(People):
        reads = 0

        async def admin(self, username: str) -> Admin | None:
            found = await super().admin(username)
            self.reads += 1
            if found is not None and self.reads == 2:  # what the login writes is made of this
                self.admin_records[username] = replace(found, status=0)
            return found

    people = Racing(admins=(replace(ROOT, password=LEGACY, last_login=0),))
    await login(people, checker).by_password(IP, "root", "password")
    assert people.reads == 2
    assert people.admin_records["root"].status == 0
    assert people.admin_records["root"].last_login == int(NOW * 1000)


async def test_provider_down_refuses_admins(checker: PasswordChecker) -> None:
    people = People(admins=(ROOT,))
    people.down = True
    desk = login(people, checker)
    assert await reason(desk.by_password(IP, "root", SECRET)) == "provider_unavailable"


async def test_guessing_is_throttled_by_address_and_by_name(checker: PasswordChecker) -> None:
    desk = login(People(admins=(ROOT,)), checker, per_address=2, per_name=3, recovery_seconds=100.0)
    for _ in range(2):
        assert await reason(desk.by_password(IP, "root", "wrong")) == "bad_credential"
    with pytest.raises(Throttled) as caught:
        await desk.by_password(IP, "root", SECRET)
    assert caught.value.retry_after == pytest.approx(50.0)
    assert await reason(desk.by_password("192.0.2.2", "root", "wrong")) == "bad_credential"
    assert await reason(desk.by_password("192.0.2.3", "root", SECRET)) == "throttled"
    assert await reason(desk.by_password("192.0.2.3", "other", SECRET)) == "unknown_user"


async def test_right_passwords_are_never_throttled(checker: PasswordChecker) -> None:
    desk = login(People(admins=(ROOT,)), checker, per_address=2, per_name=2)
    for _ in range(10):
        assert (await desk.by_password(IP, "root", SECRET)).username == "root"


# -- the throttle itself -------------------------------------------------------------------------------------


def test_throttle_recovers_evenly() -> None:
    throttle = LoginThrottle(ThrottleLimits(per_address=4, per_name=100, recovery_seconds=40.0))
    assert [throttle.admit("a", IP, 0.0) for _ in range(5)] == [0, 0, 0, 0, 10.0]
    assert throttle.admit("a", IP, 9.0) == pytest.approx(1.0)
    assert throttle.admit("a", IP, 10.0) == 0
    assert throttle.admit("a", IP, 10.0) == pytest.approx(10.0)
    assert [throttle.admit("a", IP, 1000.0) for _ in range(5)][-1] > 0


def test_throttle_counts_before_the_check_so_that_parallel_guesses_do_not_slip_by() -> None:
    throttle = LoginThrottle(ThrottleLimits(per_address=3, per_name=3))
    admitted = [throttle.admit("a", IP, 0.0) == 0 for _ in range(100)]
    assert admitted.count(True) == 3
    throttle.succeeded("a", IP, 0.0)
    assert throttle.admit("a", IP, 0.0) == 0


def test_throttle_takes_a_ipv6_customer_for_one_origin() -> None:
    throttle = LoginThrottle(ThrottleLimits(per_address=1))
    assert throttle.admit("a", "2001:db8::1", 0.0) == 0
    assert throttle.admit("b", "2001:db8::ffff:2", 0.0) > 0
    assert throttle.admit("c", "2001:db8:0:1::1", 0.0) == 0
    assert throttle.admit("d", "192.0.2.1", 0.0) == 0
    assert throttle.admit("e", "::ffff:192.0.2.1", 0.0) > 0


def test_throttle_memory_is_bounded() -> None:
    throttle = LoginThrottle(max_tracked=10)
    for number in range(100):
        throttle.admit(f"n{number}", f"192.0.2.{number}", 0.0)
    assert len(throttle) == 10


# -- API keys ------------------------------------------------------------------------------------------------


def admin_key(**fields: object) -> tuple[ApiKey, str]:
    made = apikeys.new_api_key()
    defaults: dict[str, object] = {
        "key": made.stored,
        "scope": 1,
        "admin": "root",
        "last_use_at": int(NOW * 1000),
    }
    return ApiKey(id=made.key_id, name="ci", **(defaults | fields)), made.text  # type: ignore[arg-type]


ROBOT = replace(ROOT, filters=AdminFilters(allow_api_key_auth=True))


def test_new_keys_are_long_random_and_stored_as_a_digest() -> None:
    first, second = apikeys.new_api_key(), apikeys.new_api_key()
    assert first.text != second.text
    parts = apikeys.split_api_key(first.text)
    assert parts is not None
    assert (parts.key_id, parts.username) == (first.key_id, "")
    assert len(parts.secret) == 43
    assert parts.secret not in first.stored
    assert passwords.verify(parts.secret, first.stored)


@pytest.mark.parametrize(
    "text", ["", ".", "id", "id.", ".secret", "id.sec ret", "i/d.secret", "x" * 600, "id.secret."]
)
def test_texts_that_are_no_api_key(text: str) -> None:
    assert apikeys.split_api_key(text) is None


async def test_api_key_of_an_admin(checker: PasswordChecker) -> None:
    key, text = admin_key()
    desk = login(People(admins=(ROBOT,), keys=(key,)), checker)
    got = await desk.by_api_key(IP, text)
    assert (got.key, got.admin, got.account) == (key, ROBOT, None)
    for wrong in (
        text + "x",
        text[:-1],
        f"{key.id}.",
        f"{key.id}.x",
        "other." + text.partition(".")[2],
        "",
        "ü",
    ):
        assert await reason(desk.by_api_key(IP, wrong)) == "bad_credential"


async def test_api_key_rules(checker: PasswordChecker) -> None:
    expired, expired_text = admin_key(expires_at=int(NOW * 1000))
    denied, denied_text = admin_key(admin="plain")
    gone, gone_text = admin_key(admin="gone")
    odd, odd_text = admin_key(scope=3, user="alice")
    bound, bound_text = admin_key()
    people = People(
        person(), admins=(ROBOT, replace(ROOT, username="plain")), keys=(expired, denied, gone, odd, bound)
    )
    desk = login(people, checker, per_address=100)
    assert await reason(desk.by_api_key(IP, expired_text)) == "expired"
    assert await reason(desk.by_api_key(IP, denied_text)) == "api_key_auth"
    assert await reason(desk.by_api_key(IP, gone_text)) == "unknown_user"
    assert await reason(desk.by_api_key(IP, odd_text)) == "scope"
    # A bound key must not act as somebody else.
    assert await reason(desk.by_api_key(IP, bound_text + ".plain")) == "scope"


async def test_unbound_key_names_whom_it_acts_as(checker: PasswordChecker) -> None:
    key, text = admin_key(admin="")
    desk = login(People(admins=(ROBOT,), keys=(key,)), checker)
    assert await reason(desk.by_api_key(IP, text)) == "scope"
    assert (await desk.by_api_key(IP, text + ".root")).admin == ROBOT
    assert await reason(desk.by_api_key(IP, text + ".nobody")) == "unknown_user"


async def test_api_key_of_a_user_meets_the_login_rules_but_not_those_of_methods(
    checker: PasswordChecker,
) -> None:
    key, text = admin_key(scope=2, admin="", user="alice")
    allowed = Filters(allow_api_key_auth=True, denied_login_methods=("password",))
    people = People(person(filters=allowed), keys=(key,))
    desk = login(people, checker, per_address=100)
    got = await desk.by_api_key(IP, text)
    assert got.admin is None
    assert got.account == person(filters=allowed, password="")
    people.accounts["alice"] = person(filters=replace(allowed, denied_protocols=("HTTP",)))
    assert await reason(desk.by_api_key(IP, text)) == "protocol"
    people.accounts["alice"] = person(filters=allowed, status=0)
    assert await reason(desk.by_api_key(IP, text)) == "disabled"
    people.accounts["alice"] = person()
    assert await reason(desk.by_api_key(IP, text)) == "api_key_auth"


async def test_keys_of_other_dumps_with_slow_hashes_work_and_use_is_noted(checker: PasswordChecker) -> None:
    key, _ = admin_key(key=passwords.hash_password("sEcReT", CHEAP), last_use_at=int(NOW * 1000) - HOUR_MS)
    people = People(admins=(ROBOT,), keys=(key,))
    desk = login(people, checker)
    assert (await desk.by_api_key(IP, f"{key.id}.sEcReT")).admin == ROBOT
    assert people.key_records[key.id].last_use_at == int(NOW * 1000)
    assert await reason(desk.by_api_key(IP, f"{key.id}.secret")) == "bad_credential"


async def test_guessing_api_keys_is_throttled(checker: PasswordChecker) -> None:
    desk = login(People(), checker, per_address=3)
    found = [await reason(desk.by_api_key(IP, f"k{number}.x")) for number in range(5)]
    assert found == ["bad_credential"] * 3 + ["throttled"] * 2


# -- user files ------------------------------------------------------------------------------------------------


def _line(name: str, flag: str, secret: str) -> str:
    made = subprocess.run(
        ["openssl", "passwd", flag, "-stdin"],
        input=secret,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return f"{name}:{made.stdout.strip()}"


async def test_user_file_with_apr1_and_bcrypt(tmp_path: Path, checker: PasswordChecker) -> None:
    path = tmp_path / "users"
    bcrypt_2y = passwords.hash_password(
        "zwei", passwords.HashOptions(algorithm="bcrypt", bcrypt_cost=4)
    ).replace("$2b$", "$2y$")
    path.write_text(f"# admins\n\n{_line('eins', '-apr1', 'one')}\nzwei:{bcrypt_2y}:with a comment field\n")
    file = HtpasswdFile(path, checker)
    file.load()
    assert await file.verify(IP, "eins", "one")
    assert await file.verify(IP, "zwei", "zwei")
    assert not await file.verify(IP, "eins", "two")
    assert not await file.verify(IP, "drei", "one")
    assert not await file.verify(IP, "", "")


async def test_changed_user_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path, checker: PasswordChecker
) -> None:
    path = tmp_path / "users"
    path.write_text(_line("eins", "-apr1", "one"))
    file = HtpasswdFile(path, checker)
    file.load()
    path.write_text(_line("eins", "-apr1", "new") + "\n" + _line("more", "-apr1", "x"))
    assert await file.verify(IP, "eins", "new")
    assert not await file.verify(IP, "eins", "one")
    path.write_text("broken")
    os.utime(path, ns=(1, 1))
    assert await file.verify(IP, "eins", "new")
    assert file.problem == f"{path}:1: expected name:hash"
    with pytest.raises(ConfigError, match="expected name:hash"):
        file.load()
    path.unlink()
    assert await file.verify(IP, "more", "x")


@pytest.mark.parametrize("how", ["mtime", "size", "inode"])
async def test_any_sign_of_a_change_is_enough(tmp_path: Path, checker: PasswordChecker, how: str) -> None:
    """One of modification time, size and inode differs; the other two are what they were."""
    path = tmp_path / "users"
    old, new = _line("eins", "-apr1", "one"), _line("eins", "-apr1", "new")
    assert len(old) == len(new)
    path.write_text(old)
    os.utime(path, ns=(10**18, 10**18))
    before = path.stat()
    file = HtpasswdFile(path, checker)
    file.load()
    assert await file.verify(IP, "eins", "one")
    if how == "inode":
        (tmp_path / "next").write_text(new)  # while the old one is there: another inode
        (tmp_path / "next").replace(path)
    else:
        path.write_text(new + ("\n" if how == "size" else ""))
    later = 10**18 + (how == "mtime")
    os.utime(path, ns=(later, later))
    now = path.stat()
    changed = {
        "mtime": now.st_mtime_ns != before.st_mtime_ns,
        "size": now.st_size != before.st_size,
        "inode": now.st_ino != before.st_ino,
    }
    assert [name for name, differs in changed.items() if differs] == [how]
    assert await file.verify(IP, "eins", "new")
    assert not await file.verify(IP, "eins", "one")
    assert file.problem == ""


async def test_an_unchanged_user_file_is_not_read_again(tmp_path: Path, checker: PasswordChecker) -> None:
    path = tmp_path / "users"
    path.write_text(_line("eins", "-apr1", "one"))
    os.utime(path, ns=(10**18, 10**18))
    file = HtpasswdFile(path, checker)
    file.load()
    kept = path.read_text()
    path.write_text("x" * len(kept))  # would be a mistake if it were read
    os.utime(path, ns=(10**18, 10**18))
    assert await file.verify(IP, "eins", "one")
    assert file.problem == ""


@pytest.mark.parametrize(("size", "fits"), [(4 * 1024 * 1024, True), (4 * 1024 * 1024 + 1, False)])
def test_size_of_a_user_file(tmp_path: Path, checker: PasswordChecker, size: int, fits: bool) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"#" * size)
    file = HtpasswdFile(path, checker)
    if fits:
        file.load()
        assert file.problem == ""
    else:
        with pytest.raises(ConfigError, match=f"larger than {4 * 1024 * 1024} bytes"):
            file.load()
        assert f"{path}: larger than" in file.problem


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("alice", "expected name:hash"),
        (":$apr1$x$y", "expected name:hash"),
        ("alice:plain", "none of bcrypt"),
        ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "none of bcrypt"),
        ("alice:rqXexS6ZhobKA", "none of bcrypt"),
        ("bob:$apr1$a$b", "'bob' stands here twice"),
    ],
)
def test_user_file_problems_name_file_and_line(line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"users:2: .*{why}") as caught:
        parse_htpasswd(f"bob:$apr1$a$b\n{line}\n", "users")
    assert len(caught.value.problems) == 1


def test_unreadable_user_files(tmp_path: Path, checker: PasswordChecker) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        HtpasswdFile(tmp_path / "none", checker).load()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        HtpasswdFile(tmp_path / "binary", checker).load()
    (tmp_path / "large").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        HtpasswdFile(tmp_path / "large", checker).load()
