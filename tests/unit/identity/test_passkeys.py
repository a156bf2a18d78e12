# SPDX-License-Identifier: Apache-2.0
"""Passkeys by the bytes that an authenticator makes: what is taken, and everything that is not."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.passkey_device import BE, BS, PRIVATE, UP, UV, Device, cbor, cose, raw, text

from tidegate.identity import passkeys
from tidegate.identity.passkeys import BadPasskey
from tidegate.policy.passkeys import Passkey, RelyingParty, encode

ORIGIN = "https://files.example.org"
SITE = RelyingParty("example.org", frozenset((ORIGIN,)))
HANDLE = encode(b"h" * 32)
CHALLENGE = b"c" * 32
RSA = rsa.generate_private_key(65537, 2048)


def device(**more: Any) -> Device:
    return Device(ORIGIN, "example.org", **more)


def creation(challenge: bytes = CHALLENGE) -> dict[str, Any]:
    return passkeys.creation_options(SITE, challenge, username="mara", handle=HANDLE, known=())


def register(made: Device) -> Passkey:
    return passkeys.registered(SITE, CHALLENGE, made.create(creation()), name="stick", now_ms=5)


def request(*, verified: bool = True, challenge: bytes = CHALLENGE) -> dict[str, Any]:
    return passkeys.request_options(SITE, challenge, known=None, verified=verified)


def check(answer: str, passkey: Passkey, *, verified: bool = True) -> passkeys.Assertion:
    return passkeys.asserted(SITE, CHALLENGE, answer, passkey, handle=HANDLE, verified=verified)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate(), RSA],
    ids=["ES256", "EdDSA", "RS256"],
)
def test_a_passkey_is_made_and_signs_in(key: PRIVATE) -> None:
    made = device(key=key, flags=UP | UV | BE | BS)
    passkey = register(made)
    assert (passkey.id, passkey.name, passkey.rp_id) == (text(made.id), "stick", "example.org")
    assert (passkey.sign_count, passkey.synced, passkey.created_at) == (0, True, 5)
    assert check(made.get(request()), passkey) == passkeys.Assertion(1, synced=True)
    with pytest.raises(BadPasskey, match="Invalid signature"):
        check(device(key=ec.generate_private_key(ec.SECP256R1()), id=made.id).get(request()), passkey)


def test_options_are_what_browsers_take() -> None:
    known = register(device())
    options = passkeys.creation_options(SITE, CHALLENGE, username="mara", handle=HANDLE, known=[known])
    json.dumps(options)
    assert raw(options["challenge"]) == CHALLENGE
    assert options["rp"] == {"name": "Tidegate", "id": "example.org"}
    assert options["user"] == {"name": "mara", "displayName": "mara", "id": HANDLE}
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert options["excludeCredentials"] == [{"type": "public-key", "id": known.id}]
    assert options["attestation"] == "none"
    asked = passkeys.request_options(SITE, CHALLENGE, known=[known], verified=False)
    assert [one["id"] for one in asked["allowCredentials"]] == [known.id]
    assert (asked["rpId"], asked["userVerification"]) == ("example.org", "preferred")
    alone = request()
    assert "allowCredentials" not in alone
    assert alone["userVerification"] == "required"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"challenge": b"x" * 32}, "challenge"),
        ({"origin": "https://evil.example.org"}, "origin"),
        ({"origin": "http://files.example.org"}, "origin"),
        ({"rp_id": "files.example.org"}, "RP ID"),
        ({"flags": UV}, "User Present"),
        ({"kind": "webauthn.get"}, "type"),
        ({"more": {"crossOrigin": True}}, "another site"),
    ],
)
def test_a_passkey_of_something_else_is_not_made(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPasskey, match=why):
        register(replace(device(), **wrong))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"challenge": b"x" * 32}, "challenge"),
        ({"origin": "https://evil.example.org"}, "origin"),
        ({"rp_id": "evil.example.org"}, "RP ID"),
        ({"flags": UV}, "User Present"),
        ({"flags": UP}, "verification required"),
        ({"kind": "webauthn.create"}, "type"),
        ({"more": {"crossOrigin": True}}, "another site"),
        ({"handle": b"somebody else"}, "somebody else"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "signature"),
        ({"id": b"another"}, "Unknown credential"),
    ],
)
def test_a_signature_for_something_else_does_not_sign_in(wrong: dict[str, Any], why: str) -> None:
    made = device()
    passkey = register(made)
    assert check(made.get(request()), passkey)
    with pytest.raises(BadPasskey, match=why):
        check(replace(made, **wrong).get(request()), passkey)


def test_after_a_password_the_authenticator_need_not_know_the_person() -> None:
    made = device(flags=UP)
    assert check(made.get(request(verified=False)), register(made), verified=False).sign_count == 1


def test_a_passkey_of_another_domain_says_so() -> None:
    made = device()
    passkey = replace(register(made), rp_id="old.example.org")
    with pytest.raises(BadPasskey, match=r"made for old\.example\.org"):
        check(made.get(request()), passkey)


def odd_keys() -> list[tuple[str, dict[int, Any], str]]:
    good, big = cose(device().key), cose(RSA)
    return [
        ("another algorithm", {**good, 3: -35}, "algorithm"),
        ("no algorithm", {1: 2}, ""),
        ("another curve", {**good, -1: 2}, "curve"),
        ("a point off the curve", {**good, -2: b"\1" * 32}, ""),
        ("a missing half", {key: value for key, value in good.items() if key != -3}, ""),
        ("a short RSA key", {**big, -1: b"\xff" * 64}, "bits"),
        ("a huge RSA key", {**big, -1: b"\xff" * 2048}, "bits"),
        ("a slow exponent", {**big, -2: b"\xff" * 64}, "bits"),
    ]


@pytest.mark.parametrize(
    ("key", "why"), [(key, why) for _, key, why in odd_keys()], ids=[one[0] for one in odd_keys()]
)
def test_odd_keys_are_refused(key: dict[int, Any], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.passkey_device.cose", lambda _: key)
    with pytest.raises(BadPasskey, match=why or None):
        register(device())


@pytest.mark.parametrize(
    "answer",
    ["", "{", "[]", "null", "{}", '{"response": 1}', '{"type": "public-key", "response": {}}', "[" * 20_000],
)
def test_what_is_no_answer_is_refused(answer: str) -> None:
    made = register(device())
    for refused in (
        lambda: passkeys.registered(SITE, CHALLENGE, answer, name="x", now_ms=0),
        lambda: passkeys.named(answer),
        lambda: check(answer, made),
    ):
        with pytest.raises(BadPasskey):
            refused()


def with_part(answer: str, part: str, value: bytes) -> str:
    document = json.loads(answer)
    document["response"][part] = text(value)
    return json.dumps(document)


MADE = device()
MADE_KEY = register(MADE)
CREATED, GIVEN = MADE.create(creation()), MADE.get(request())
ATTESTATION = raw(json.loads(CREATED)["response"]["attestationObject"])
DATA = raw(json.loads(GIVEN)["response"]["authenticatorData"])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with some replaced, cut out or put in; or others altogether."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200))
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(start + 8, len(whole))))
    return whole[:start] + draw(st.binary(max_size=8)) + whole[end:]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(ATTESTATION))
def test_damaged_cbor_of_a_new_passkey_is_refused_or_harmless(attestation: bytes) -> None:
    try:
        made = passkeys.registered(
            SITE, CHALLENGE, with_part(CREATED, "attestationObject", attestation), name="x", now_ms=0
        )
    except BadPasskey:
        return
    assert made.id == text(MADE.id)  # the id is the one that the browser names, and the key can be used
    with pytest.raises(BadPasskey):
        check(
            device(key=ec.generate_private_key(ec.SECP256R1()), id=MADE.id, handle=raw(HANDLE)).get(
                request()
            ),
            made,
        )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(DATA))
def test_no_damaged_signature_signs_in(data: bytes) -> None:
    if data == DATA:
        return
    with pytest.raises(BadPasskey):
        check(with_part(GIVEN, "authenticatorData", data), MADE_KEY)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x81" * 9_000,
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        cbor({"fmt": "none"}),
    ],
    ids=["deep", "long list", "long map", "long bytes", "part"],
)
def test_cbor_that_promises_too_much_is_refused_at_once(bomb: bytes) -> None:
    with pytest.raises(BadPasskey):
        passkeys.registered(
            SITE, CHALLENGE, with_part(CREATED, "attestationObject", bomb), name="x", now_ms=0
        )


def test_an_answer_is_bounded() -> None:
    long = with_part(CREATED, "attestationObject", secrets.token_bytes(16_000))
    with pytest.raises(BadPasskey, match="longer than"):
        passkeys.registered(SITE, CHALLENGE, long, name="x", now_ms=0)
