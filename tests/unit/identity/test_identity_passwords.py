# SPDX-License-Identifier: Apache-2.0
"""Known vectors of every password format, and what happens to broken ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import ConfigError, InvalidArgument
from tidegate.identity import passwords
from tidegate.identity.hashing import decoy_hash
from tidegate.identity.passwords import HashOptions, Unusable, unixcrypt
from tidegate.identity.passwords.calibrate import MEMORY_STEPS_KIB

CHEAP = HashOptions(argon2_memory_kib=64, argon2_iterations=1, argon2_parallelism=1)
CHEAP_BCRYPT = HashOptions(algorithm="bcrypt", bcrypt_cost=4)


def _hex64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


VECTORS = [
    # The reference implementation's test.c: v=0x13, t=2, m=2^16 and 2^8, p=1, "somesalt".
    (
        "argon2id",
        "password",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    ),
    (
        "argon2i",
        "password",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
    ),
    # crypt_blowfish's wrapper.c.
    ("bcrypt 2a", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("bcrypt 2b", "U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("bcrypt 2y", "U*U", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    # RFC 6070, RFC 7914 section 11.
    (
        "pbkdf2 rfc6070",
        "password",
        f"$pbkdf2-sha1$4096$salt${_hex64('4b007901b765489abead49d926f721d065a429c1')}",
    ),
    (
        "pbkdf2 rfc7914",
        "passwd",
        "$pbkdf2-sha256$1$salt$"
        + _hex64(
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
            "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
        ),
    ),
    # Samples of the other gateway's documentation and suite.
    ("pbkdf2-sha1", "password", "$pbkdf2-sha1$150000$DveVjgYUD05R$X6ydQZdyMeOvpgND2nqGR/0GGic="),
    (
        "pbkdf2-sha256",
        "password",
        "$pbkdf2-sha256$150000$E86a9YMX3zC7$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5+/M0IFoYtZbo=",
    ),
    (
        "pbkdf2-sha512",
        "password",
        "$pbkdf2-sha512$150000$dsu7T5R3IaVQ$1hFXPO1ntRBcoWkSLKw+s4sAP09Xtu4Ya7CyxFq64jM9zdUg8eRJVr3NcR2vQgb0W9HHvZaILHsL4Q/Vr6arCg==",
    ),
    # RFC 7914 section 11, second vector, with its salt spelt in base64.
    (
        "pbkdf2-b64salt",
        "Password",
        "$pbkdf2-b64salt-sha256$80000$TmFDbA==$"
        + _hex64(
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
            "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
        ),
    ),
    # openssl passwd -1/-apr1/-5/-6 -salt abcdefgh password
    ("md5crypt", "password", "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"),
    ("apr1 openssl", "password", "$apr1$abcdefgh$FBwExRW4dCc8aL.OvjpIE1"),
    ("sha256crypt openssl", "password", "$5$abcdefgh$ZLdkj8mkc2XVSrPVjskDAgZPGjtj1VGVaa1aUkrMTU/"),
    (
        "sha512crypt openssl",
        "password",
        "$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1",
    ),
    # Apache's manual, "Password Formats".
    ("apr1", "myPassword", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"),
    # Drepper's SHA-crypt text.
    ("sha256crypt", "Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    (
        "sha256crypt rounds",
        "Hello world!",
        "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
    ),
    (
        "sha512crypt",
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    # RFC 1321's digest of "abc"; FIPS 180 for the others.
    ("md5 hex", "abc", "{MD5}900150983cd24fb0d6963f7d28e17f72"),
    ("md5 upper", "abc", "{MD5}900150983CD24FB0D6963F7D28E17F72"),
    ("md5 base64", "abc", "{MD5}kAFQmDzST7DWlj99KOF/cg=="),
    ("sha256 hex", "abc", "{SHA256}ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha256 base64", "abc", "{SHA256}ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
    (
        "sha512 hex",
        "abc",
        "{SHA512}ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
]
SYSTEM_VECTORS = [
    # scrypt: RFC 7914 section 12 in crypt(5) spelling, as libsodium tests it.
    ("scrypt", "pleaseletmein", "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D"),
    # libxcrypt.
    ("yescrypt", "password", "$y$j9T$abcdefgh$79JhsKZwfY/UU2qrk3QcffpHl7EyEEJK0pA5pD1wu73"),
    ("yescrypt cheap", "password", "$y$j75$abcdefgh$hycRI05iyPwUdPZDaw/SJaABdj2h8B1Bgxi1Z/4Xke0"),
    ("gost-yescrypt", "password", "$gy$j9T$abcdefgh$.GwBoGpO1hljbC.UGBPrJEXsOk0bsIPZHaK7VIVMDN/"),
    ("des", "password", "{CRYPT}abJnggxhB/yWI"),
    ("marked md5crypt", "password", "{CRYPT}$1$abcdefgh$G//4keteveJp0qb8z2DxG/"),
]


@pytest.mark.parametrize(("password", "stored"), [pytest.param(*v[1:], id=v[0]) for v in VECTORS])
def test_known_vector(password: str, stored: str) -> None:
    assert passwords.is_hashed(stored)
    assert passwords.check(password, stored)
    assert not passwords.check(password + "x", stored)
    assert not passwords.check("", stored)


@pytest.mark.needs("lib:crypt")
@pytest.mark.parametrize(("password", "stored"), [pytest.param(*v[1:], id=v[0]) for v in SYSTEM_VECTORS])
def test_known_vector_of_the_systems_crypt(password: str, stored: str) -> None:
    assert passwords.check(password, stored)
    assert not passwords.check("Password", stored)


@pytest.mark.parametrize("name", ["md5crypt", "sha256crypt", "sha512crypt"])
def test_unix_hashes_work_without_the_systems_crypt(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    password, stored = next(v[1:] for v in VECTORS if v[0] == name)
    monkeypatch.setattr(unixcrypt, "system_crypt", lambda: None)
    assert passwords.check(password, stored)
    assert not passwords.check(password + "x", stored)


def test_a_prefix_that_the_systems_crypt_takes_for_a_salt_is_unusable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """musl's crypt_r of ``$y$j9T$abcdefgh$``: a DES hash with the salt ``$y``."""
    monkeypatch.setattr(unixcrypt, "system_crypt", lambda: lambda *_: b"$yyc.ocLMbaPI")
    with pytest.raises(unixcrypt.Unusable, match="cannot check this kind"):
        unixcrypt.verify(b"password", "$y$j9T$abcdefgh$79JhsKZwfY/UU2qrk3QcffpHl7EyEEJK0pA5pD1wu73")


def test_yescrypt_without_the_systems_crypt_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unixcrypt, "system_crypt", lambda: None)
    with pytest.raises(Unusable, match="crypt of this system"):
        passwords.check("password", SYSTEM_VECTORS[1][2])


@pytest.mark.parametrize("flag", ["-1", "-apr1", "-5", "-6"])
def test_what_openssl_makes_is_accepted(flag: str) -> None:
    made = subprocess.run(
        ["openssl", "passwd", flag, "-stdin"],
        input="grün und blau\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert passwords.check("grün und blau", made.stdout.strip())


def test_openbridge_hash_is_salt_then_password() -> None:
    salt, secret = "5e" * 32, "0123456789abcdef0123456789abcdef"
    digest = hashlib.sha256((salt + secret).encode()).hexdigest()
    stored = passwords.openbridge(salt, digest)
    assert stored == "{OPENBRIDGE-SHA256}" + salt + "$" + digest
    assert passwords.check(secret, stored)
    appended = hashlib.sha256((secret + salt).encode()).hexdigest()
    assert not passwords.check(secret, passwords.openbridge(salt, appended))


@pytest.mark.parametrize("options", [CHEAP, CHEAP_BCRYPT], ids=["argon2id", "bcrypt"])
def test_new_hashes_round_trip_and_are_current(options: HashOptions) -> None:
    first, second = (passwords.hash_password("pass wörd", options) for _ in range(2))
    assert first != second
    assert passwords.verify("pass wörd", first)
    assert not passwords.verify("pass word", first)
    assert not passwords.needs_upgrade(first, options)


def test_the_default_cost_is_chosen_once_and_never_below_the_minimum() -> None:
    chosen = passwords.settled(HashOptions())
    assert chosen is passwords.settled(HashOptions())
    assert (chosen.argon2_iterations, chosen.argon2_parallelism) == (1, 1)
    assert chosen.argon2_memory_kib in MEMORY_STEPS_KIB and min(MEMORY_STEPS_KIB) == 46 * 1024
    assert passwords.hash_password("x").startswith(f"$argon2id$v=19$m={chosen.argon2_memory_kib},t=1,p=1$")
    named = HashOptions(argon2_memory_kib=65536)
    assert passwords.settled(named) is named
    assert passwords.hash_password("x", named).startswith("$argon2id$v=19$m=65536,t=1,p=2$")


def test_chosen_costs_leave_strong_hashes_alone() -> None:
    """Machines choose differently: a hash must not be made anew each time another one checks it."""
    for memory, passes, stays in (
        (64, 1, False),
        (19 * 1024, 1, False),
        (19 * 1024, 2, True),
        (65536, 1, True),
    ):
        made = passwords.hash_password("x", HashOptions(argon2_memory_kib=memory, argon2_iterations=passes))
        assert passwords.needs_upgrade(made) is not stays
    assert passwords.needs_upgrade(VECTORS[2][2])


def test_other_kinds_and_costs_need_an_upgrade() -> None:
    argon, bcrypt = passwords.hash_password("x", CHEAP), passwords.hash_password("x", CHEAP_BCRYPT)
    assert passwords.needs_upgrade(argon, CHEAP_BCRYPT)
    assert passwords.needs_upgrade(bcrypt, CHEAP)
    assert passwords.needs_upgrade(argon, HashOptions(argon2_memory_kib=128, argon2_parallelism=1))
    assert passwords.needs_upgrade(bcrypt, HashOptions(algorithm="bcrypt", bcrypt_cost=5))
    assert all(passwords.needs_upgrade(v[2], CHEAP) for v in VECTORS)


MALFORMED = [
    "",
    "plain",
    "$argon2id$",
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$",
    "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=64,t=4000000000,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2i$v=19$m=256,t=2,p=1$ü$ü",
    "$2a$",
    "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe",
    "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "$2a$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "$pbkdf2-sha256$",
    "$pbkdf2-sha256$150000$E86a9YMX3zC7$",
    "$pbkdf2-sha256$150000$E86a9YMX3zC7$R5==",
    "$pbkdf2-sha256$0$salt$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5+/M0IFoYtZbo=",
    "$pbkdf2-sha256$-1$salt$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5+/M0IFoYtZbo=",
    "$pbkdf2-sha256$999999999$salt$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5+/M0IFoYtZbo=",
    "$pbkdf2-sha256$1$salt$!!!!",
    "$pbkdf2-b64salt-sha256$1$*$R5J62hsSq+pYw00hLLPKBbcGXmq7fj5+/M0IFoYtZbo=",
    "{MD5}",
    "{MD5}zz0150983cd24fb0d6963f7d28e17f72",
    "{SHA256}900150983cd24fb0d6963f7d28e17f72",
    "{OPENBRIDGE-SHA256}",
    "{OPENBRIDGE-SHA256}$ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "{OPENBRIDGE-SHA256}salt$",
    "$1$",
    "$1$abcdefgh$",
    "$6$abcdefgh$yVfUwsw5T",
    "$6$rounds=999999999$abcdefgh$" + "a" * 86,
    "$5$rounds=$abcdefgh$" + "a" * 43,
    "$y$j9T$abcdefgh$",
    "$y$jzT$abcdefgh$79JhsKZwfY/UU2qrk3QcffpHl7EyEEJK0pA5pD1wu73",
    "$7$zzzzzzzzzzzSodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
    "{CRYPT}",
    "{CRYPT}!",
    "{CRYPT}{CRYPT}abJnggxhB/yWI",
    "$6$" + "a" * 5000,
    "$1$abcdefgh$G//4keteveJp0qb8z2DxG/\0",
]


@pytest.mark.parametrize("stored", MALFORMED)
def test_malformed_or_unaffordable_hash_fits_nothing(stored: str) -> None:
    with pytest.raises(Unusable) as caught:
        passwords.check("password", stored)
    assert not passwords.verify("password", stored)
    # The reason is for a log: it must not hold what it is about.
    assert not stored[8:] or stored[8:] not in str(caught.value)


@given(st.sampled_from(passwords.PREFIXES), st.text(max_size=80))
def test_verify_never_raises(prefix: str, rest: str) -> None:
    if prefix.startswith("$argon2"):
        rest = rest.replace("m=", "m")
    assert passwords.verify("password", prefix + rest) is False


@pytest.mark.parametrize("password", ["a\0b", "x" * 4097, "ü" * 2049, "\ud800"])
def test_impossible_passwords_are_refused_not_cut(password: str) -> None:
    assert not passwords.verify(password, VECTORS[0][2])
    with pytest.raises(InvalidArgument, match="password"):
        passwords.hash_password(password, CHEAP)


def test_nul_does_not_cut_a_password_short_for_crypt() -> None:
    assert not passwords.verify("password\0anything", "$1$abcdefgh$G//4keteveJp0qb8z2DxG/")


def test_empty_password_cannot_be_hashed() -> None:
    with pytest.raises(InvalidArgument, match="empty"):
        passwords.hash_password("", CHEAP)


def test_bcrypt_refuses_to_hash_what_it_cannot_tell_apart() -> None:
    with pytest.raises(InvalidArgument, match="72 bytes"):
        passwords.hash_password("x" * 73, CHEAP_BCRYPT)
    made = passwords.hash_password("x" * 72, CHEAP_BCRYPT)
    assert passwords.verify("x" * 80, made)


def test_ensure_hashed_keeps_hashes_and_hashes_plain_text() -> None:
    assert passwords.ensure_hashed("", CHEAP) == ""
    assert passwords.ensure_hashed(VECTORS[2][2], CHEAP) == VECTORS[2][2]
    assert passwords.verify("plain text", passwords.ensure_hashed("plain text", CHEAP))


def test_bad_options_name_the_setting_and_the_range() -> None:
    with pytest.raises(ConfigError, match="password_hashing: cost: 15 is outside 4 to 14"):
        HashOptions(bcrypt_cost=15)
    with pytest.raises(ConfigError, match="memory: 262145 is outside"):
        HashOptions(argon2_memory_kib=262145)
    with pytest.raises(ConfigError, match="iterations: 5 is outside 1 to 4"):
        HashOptions(argon2_memory_kib=262144, argon2_iterations=5)
    with pytest.raises(ConfigError, match="memory: 4 is outside"):
        HashOptions(argon2_memory_kib=4)


@pytest.mark.parametrize("options", [CHEAP, CHEAP_BCRYPT, HashOptions()])
def test_decoys_are_well_formed_and_have_the_preferred_cost(options: HashOptions) -> None:
    options = passwords.settled(options)
    decoy = decoy_hash(options)
    assert not passwords.needs_upgrade(decoy, options)
    assert passwords.check("password", decoy) is False
    assert not hmac.compare_digest(decoy, decoy_hash(options))


# -- at the bound and one past it ----------------------------------------------------------------------------


def _pbkdf2(key_bytes: int, rounds: str = "1", name: str = "pbkdf2-sha256") -> str:
    made = hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1, key_bytes)
    return f"${name}${rounds}$salt${base64.b64encode(made).decode()}"


@pytest.mark.parametrize(("size", "usable"), [(15, False), (16, True), (128, True), (129, False)])
def test_length_of_a_pbkdf2_key(size: int, usable: bool) -> None:
    if usable:
        assert passwords.check("password", _pbkdf2(size))
        assert not passwords.check("passwort", _pbkdf2(size))
    else:
        with pytest.raises(Unusable, match="PBKDF2 key is outside 16 to 128 bytes"):
            passwords.check("password", _pbkdf2(size))


@pytest.mark.parametrize(
    ("rounds", "text"),
    [
        ("0", "no iterations"),
        ("", "not a number"),
        ("1.5", "not a number"),
        ("\u0661", "malformed"),
        ("0000000001", "not a number"),  # ten digits
    ],
)
def test_iterations_of_pbkdf2(rounds: str, text: str) -> None:
    assert passwords.check("password", _pbkdf2(32, "1"))
    assert passwords.check("password", _pbkdf2(32, "000000001"))
    with pytest.raises(Unusable, match=text):
        passwords.check("password", _pbkdf2(32, rounds))


@pytest.mark.parametrize("parts", [4, 6])
def test_parts_of_a_pbkdf2_hash(parts: int) -> None:
    stored = _pbkdf2(32)
    stored = stored.rpartition("$")[0] if parts == 4 else stored + "$"
    with pytest.raises(Unusable, match=r"expected \$algorithm\$iterations\$salt\$base64"):
        passwords.check("password", stored)


@pytest.mark.parametrize(("size", "usable"), [(1024, True), (1025, False)])
def test_length_of_a_stored_hash(size: int, usable: bool) -> None:
    salt = "s" * (size - len(passwords.openbridge("", "0" * 64)))
    digest = hashlib.sha256((salt + "password").encode()).hexdigest()
    stored = passwords.openbridge(salt, digest)
    assert len(stored) == size
    if usable:
        assert passwords.check("password", stored)
    else:
        with pytest.raises(Unusable, match="malformed"):
            passwords.check("password", stored)


@pytest.mark.parametrize(
    "password", ["x" * 4096, "ü" * 2048, "\udcff" * 4096], ids=["ascii", "utf-8", "bytes"]
)
def test_the_longest_password(password: str) -> None:
    digest = hashlib.sha256(password.encode("utf-8", "surrogateescape")).hexdigest()
    assert passwords.check(password, "{SHA256}" + digest)
    assert passwords.verify(password, passwords.hash_password(password, CHEAP))
    longer = password + "x"
    digest = hashlib.sha256(longer.encode("utf-8", "surrogateescape")).hexdigest()
    assert not passwords.check(longer, "{SHA256}" + digest)
    with pytest.raises(InvalidArgument, match="longer than 4096 bytes"):
        passwords.hash_password(longer, CHEAP)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("$2a$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt cost 03 is below 4"),
        ("$2a$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt cost 15 is above 14"),
        ("{MD5}" + "a" * 31, "expected 16 bytes in hex or base64"),
        ("{MD5}" + "a" * 33, "expected 16 bytes in hex or base64"),
        ("{OPENBRIDGE-SHA256}salt", "expected salt.hex"),
        ("{OPENBRIDGE-SHA256}$" + "a" * 64, "expected salt.hex"),
        ("{CRYPT}abJnggxhB/yW", "malformed {CRYPT} hash"),
        ("{CRYPT}abJnggxhB/yWIx", "malformed {CRYPT} hash"),
        ("$1$" + "s" * 17 + "$" + "a" * 22, "malformed .1. hash"),
        ("$1$salt$" + "a" * 21, "malformed .1. hash"),
        ("$1$salt$" + "a" * 23, "malformed .1. hash"),
        ("$apr1$" + "s" * 17 + "$" + "a" * 22, "malformed .apr1. hash"),
        ("$5$salt$" + "a" * 42, "malformed .5. hash"),
        ("$5$salt$" + "a" * 44, "malformed .5. hash"),
        ("$6$salt$" + "a" * 85, "malformed .6. hash"),
        ("$6$salt$" + "a" * 87, "malformed .6. hash"),
        ("unknown", "not a hash of a known kind"),
    ],
)
def test_one_past_the_bound_says_which(stored: str, text: str) -> None:
    with pytest.raises(Unusable, match=text):
        passwords.check("password", stored)


@pytest.mark.parametrize("option", ["-5", "-6"])
@pytest.mark.parametrize("salt", ["s", "s" * 16])
def test_salts_of_sha_crypt(option: str, salt: str) -> None:
    command = ["openssl", "passwd", option, "-salt", salt, "-stdin"]
    made = subprocess.run(command, input="password\n", capture_output=True, text=True, check=True, timeout=10)
    stored = made.stdout.strip()
    assert passwords.check("password", stored)
    head, _, digest = stored.rpartition("$")
    with pytest.raises(Unusable, match="malformed"):
        passwords.check("password", f"{head}{'s' * (17 - len(salt))}${digest}")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bcrypt_cost": 4}, ""),
        ({"bcrypt_cost": 3}, "cost: 3 is outside 4 to 14"),
        ({"bcrypt_cost": 14}, ""),
        ({"argon2_memory_kib": 8, "argon2_parallelism": 1}, ""),
        ({"argon2_memory_kib": 7, "argon2_parallelism": 1}, "memory: 7 is outside 8 to 262144"),
        ({"argon2_memory_kib": 512, "argon2_parallelism": 64}, ""),
        ({"argon2_memory_kib": 511, "argon2_parallelism": 64}, "memory: 511 is outside 512"),
        ({"argon2_memory_kib": 520, "argon2_parallelism": 65}, "parallelism: 65 is outside 1 to 64"),
        ({"argon2_memory_kib": 64, "argon2_parallelism": 0}, "parallelism: 0 is outside 1 to 64"),
        ({"argon2_memory_kib": 262144, "argon2_iterations": 4}, ""),
        ({"argon2_memory_kib": 64, "argon2_iterations": 0}, "iterations: 0 is outside 1 to 16384"),
        ({"argon2_memory_kib": 64, "argon2_iterations": 16384}, ""),
        ({"argon2_parallelism": 64}, ""),
        ({"algorithm": "md5"}, "algo: 'md5' is not argon2id or bcrypt"),
    ],
)
def test_ranges_of_the_options(options: dict[str, Any], text: str) -> None:
    if not text:
        HashOptions(**options)
        return
    with pytest.raises(ConfigError, match=text) as caught:
        HashOptions(**options)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("bytes_in_front", [0, 1])
def test_bcrypt_counts_bytes_not_characters(bytes_in_front: int) -> None:
    secret = "x" * bytes_in_front + "ü" * 36
    if bytes_in_front:
        with pytest.raises(InvalidArgument, match="the 72 bytes that bcrypt can use"):
            passwords.hash_password(secret, CHEAP_BCRYPT)
    else:
        assert passwords.verify(secret, passwords.hash_password(secret, CHEAP_BCRYPT))
