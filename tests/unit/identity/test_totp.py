# SPDX-License-Identifier: Apache-2.0
"""One-time codes: the values of RFC 6238, the window, secrets of odd forms, recovery codes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.one_time import Authenticator

from tidegate.identity import totp
from tidegate.identity.throttle import CODES, CODES_SECONDS, LoginThrottle
from tidegate.model import Account, Admin, AdminFilters, Filters
from tidegate.policy.second_factor import (
    NO_TOTP,
    asks_code,
    clean_code,
    code_follows,
    decode_secret,
    has_to_set_up,
    hash_recovery_code,
    judged_method,
    recovery_code_fits,
    recovery_codes_of,
    totp_of,
)

SEEDS = {
    "sha1": b"1234567890" * 2,
    "sha256": b"1234567890" * 3 + b"12",
    "sha512": b"1234567890" * 6 + b"1234",
}


@pytest.mark.parametrize(
    ("seconds", "sha1", "sha256", "sha512"),
    [
        (59, "287082", "119246", "693936"),
        (1111111109, "081804", "084774", "091201"),
        (1111111111, "050471", "062674", "943326"),
        (1234567890, "005924", "819424", "441116"),
        (2000000000, "279037", "698825", "618901"),
        (20000000000, "353130", "737706", "863826"),
    ],
)
def test_values_of_rfc_6238(seconds: int, sha1: str, sha256: str, sha512: str) -> None:
    """Appendix B has eight digits; the last six are what six digits give."""
    wanted = {"sha1": sha1, "sha256": sha256, "sha512": sha512}
    for algorithm, seed in SEEDS.items():
        assert totp.code_at(seed, seconds // 30, algorithm) == wanted[algorithm]
        assert totp.matching_step(seed, wanted[algorithm], seconds, algorithm) == seconds // 30


@given(st.binary(min_size=10, max_size=64), st.integers(0, 2**33), st.sampled_from(totp.ALGORITHMS))
def test_as_another_implementation_has_it(seed: bytes, seconds: int, algorithm: str) -> None:
    device = Authenticator(base64.b32encode(seed).decode(), algorithm)
    assert device.at(seconds) == totp.code_at(seed, seconds // 30, algorithm)


def test_the_window_is_one_step_each_way() -> None:
    now, seed = 1_700_000_015.0, SEEDS["sha1"]
    step = int(now) // 30
    for distance, good in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        found = totp.matching_step(seed, totp.code_at(seed, step + distance), now)
        assert found == (step + distance if good else None)
    assert totp.matching_step(seed, totp.code_at(seed, 0), 0.0) == 0
    for odd in ("", "12345", "1234567", "abcdef", "\u0661\u0662\u0663\u0664\u0665\u0666"):
        assert totp.matching_step(seed, odd, now) is None


def test_secrets() -> None:
    made = totp.new_secret()
    assert len(decode_secret(made)) == 20
    assert decode_secret(made.lower()) == decode_secret(f" {made[:4]}-{made[4:]}=== ") == decode_secret(made)
    assert made != totp.new_secret()
    for wrong in ("", "A", "1!", "AAAA", "A" * 300, "\u00e4" * 20):
        with pytest.raises(ValueError, match=r"base32|bytes") as error:
            decode_secret(wrong)
        assert not wrong or wrong not in str(error.value)
    text = totp.uri("ABC", issuer="A & B", username="zo\u00eb", algorithm="sha256")
    assert text.startswith(
        "otpauth://totp/A%20%26%20B%3Azo%C3%AB?secret=ABC&issuer=A%20%26%20B&algorithm=SHA256"
    )


def test_recovery_codes() -> None:
    codes = totp.new_recovery_codes()
    assert len(set(codes)) == totp.RECOVERY_CODES
    for code in codes:
        stored = hash_recovery_code(code)
        assert code not in stored
        assert not totp.is_code(clean_code(code))
        for typed in (code, code.lower(), code.replace("-", ""), f" {code} "):
            assert recovery_code_fits(typed, stored)
        assert not recovery_code_fits(code[:-1], stored)
        assert not recovery_code_fits(code, code)
        assert not recovery_code_fits("", "")


@pytest.mark.parametrize(
    ("document", "enabled", "protocols"),
    [
        (None, False, ()),
        ({}, False, ()),
        ({"enabled": False, "protocols": ["SSH"]}, False, ()),
        ({"enabled": True}, True, ()),
        ({"enabled": True, "protocols": ["SSH", "HTTP"]}, True, ("SSH", "HTTP")),
        ({"enabled": "yes", "protocols": "SSH"}, True, ()),
        ({"enabled": 1, "protocols": [5]}, True, ()),
        ("on", False, ()),
    ],
)
def test_documents_of_every_form(document: object, enabled: bool, protocols: tuple[str, ...]) -> None:
    extra: dict[str, object] = {} if document is None else {"totp_config": document}
    for filters in (Filters(extra=extra), AdminFilters(extra=extra)):
        assert (totp_of(filters).enabled, totp_of(filters).protocols) == (enabled, protocols)
    assert totp_of(Filters()) is NO_TOTP
    assert recovery_codes_of(Filters(extra={"recovery_codes": [{"used": True}, 5]})) == [{"used": True}]


@pytest.mark.parametrize("protocols", [["ssh"], ["DAV"], ["SSH", "SFTP"], [["SSH"]]])
def test_words_that_name_no_door_leave_no_door_open(protocols: list[object]) -> None:
    extra: dict[str, object] = {"totp_config": {"enabled": True, "protocols": protocols}}
    ana = Account(username="ana", filters=Filters(extra=extra))
    assert all(asks_code(ana, family) for family in ("SSH", "FTP", "HTTP"))
    assert recovery_codes_of(Filters(extra={"recovery_codes": "x"})) == []
    assert Admin(username="x").filters.require_two_factor is False


def test_where_codes_are_asked_for() -> None:
    totp_config = {"enabled": True, "protocols": ["SSH"]}
    ana = Account(
        username="ana",
        filters=Filters(extra={"totp_config": totp_config}, two_factor_protocols=("SSH", "HTTP")),
    )
    assert [asks_code(ana, family) for family in ("SSH", "FTP", "HTTP", "DAV")] == [True, False, False, False]
    assert [has_to_set_up(ana, family) for family in ("SSH", "FTP", "HTTP")] == [False, False, True]
    assert [
        code_follows(ana, "SSH", method)
        for method in ("password", "keyboard-interactive", "publickey+password", "publickey")
    ] == [True, True, True, False]
    everywhere = Account(username="bob", filters=Filters(extra={"totp_config": {"enabled": True}}))
    assert [asks_code(everywhere, family) for family in ("SSH", "FTP", "HTTP", "DAV")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("method", "judged"),
    [
        ("", ""),
        ("password", "password"),
        ("keyboard-interactive", "keyboard-interactive"),
        ("publickey", "publickey"),
        ("password+keyboard-interactive", "password"),
        ("publickey+password+keyboard-interactive", "publickey+password"),
        ("publickey+keyboard-interactive", "publickey+keyboard-interactive"),
    ],
)
def test_a_code_is_no_method(method: str, judged: str) -> None:
    asked = Account(username="ana", filters=Filters(extra={"totp_config": {"enabled": True}}))
    assert judged_method(asked, "SSH", method) == judged
    assert judged_method(asked, "DAV", method) == method
    assert judged_method(Account(username="bob"), "SSH", method) == method


def test_wrong_codes_are_bounded() -> None:
    throttle = LoginThrottle()
    for _ in range(CODES):
        assert not throttle.codes_refused("user:ana", 0.0)
        throttle.code_tried("user:ana", 0.0)
    assert throttle.codes_refused("user:ana", 0.0)
    assert not throttle.codes_refused("admin:ana", 0.0)
    assert throttle.codes_refused("user:ana", CODES_SECONDS / CODES - 1)
    assert not throttle.codes_refused("user:ana", CODES_SECONDS / CODES + 1)
