# SPDX-License-Identifier: Apache-2.0
"""Encrypted secrets: every byte counts, and none opens elsewhere."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model.sealing import (
    NO_SEALING,
    SecretLocked,
    SecretPlace,
    is_sealed,
    key_of,
    open_secrets,
    renew_secrets,
    seal_secrets,
    sealed_payloads,
    secrets_of,
)
from tidegate.model.secrets import SEALED
from tidegate.sealing import envelope
from tidegate.sealing.keys import from_bytes
from tidegate.sealing.sealer import Keyring, Sealer

OLD, NEW = from_bytes(b"o" * 32, ""), from_bytes(b"n" * 32, "")
HERE = SecretPlace("user", "alice", "filesystem.s3config.access_secret")
OWNER = SecretPlace("user", "alice", "filesystem")


def sealer(current: object = NEW, *old: object) -> Sealer:
    return Sealer(lambda: Keyring(current, old))  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_any_value_comes_back(value: str) -> None:
    payload = envelope.seal(value, HERE, NEW)
    assert envelope.unseal(payload, HERE, NEW) == value
    assert payload.startswith(f"1.{NEW.id}.")
    assert key_of(payload) == NEW.id


def test_two_seals_of_a_value_have_nothing_in_common() -> None:
    first, second = (envelope.seal("swordfish", HERE, NEW).split(".")[2] for _ in range(2))
    assert first[:16] != second[:16]
    assert first[-20:] != second[-20:]


def test_every_changed_character_is_noticed() -> None:
    seals = sealer()
    payload = seals.seal("swordfish", HERE)
    known = string.ascii_letters + string.digits + "-_."
    for index, was in enumerate(payload):
        for other in {known[(known.index(was) + step) % len(known)] for step in (1, 7, 32)} - {was}:
            with pytest.raises(SecretLocked):
                seals.open(payload[:index] + other + payload[index + 1 :], HERE)
    for damaged in (payload[:-1], payload + "A", payload + "=", "", "1", "1..", payload[2:], f" {payload}"):
        with pytest.raises(SecretLocked):
            seals.open(damaged, HERE)


def test_every_flipped_bit_is_noticed() -> None:
    head, data = (payload := envelope.seal("swordfish", HERE, NEW)).rsplit(".", 1)
    raw = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    assert len(raw) == 12 + 48 + 12 + len("swordfish") + 16
    for index in range(len(raw)):
        changed = raw[:index] + bytes([raw[index] ^ 1 << index % 8]) + raw[index + 1 :]
        text = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
        with pytest.raises(SecretLocked, match="another record or field, or is damaged"):
            envelope.unseal(f"{head}.{text}", HERE, NEW)
    assert envelope.unseal(payload, HERE, NEW) == "swordfish"


@pytest.mark.parametrize(
    "elsewhere",
    [
        SecretPlace("user", "bob", HERE.field),
        SecretPlace("folder", "alice", HERE.field),
        SecretPlace("user", "alice", "filesystem.s3config.session_token"),
        SecretPlace("user", "alice\0filesystem", HERE.field),
    ],
)
def test_a_copied_value_opens_nowhere_else(elsewhere: SecretPlace) -> None:
    payload = envelope.seal("swordfish", HERE, NEW)
    with pytest.raises(SecretLocked, match="another record"):
        sealer().open(payload, elsewhere)
    with pytest.raises(SecretLocked, match="another record"):
        sealer(OLD, NEW).renew(payload, elsewhere)
    with pytest.raises(SecretLocked, match="another record"):
        envelope.rewrap(payload, elsewhere, NEW, OLD)


def test_a_key_that_is_missing_is_named() -> None:
    payload = envelope.seal("swordfish", HERE, OLD)
    with pytest.raises(SecretLocked, match=f"under master key {OLD.id}, which this server does not have"):
        sealer(NEW).open(payload, HERE)
    with pytest.raises(SecretLocked, match=f"under master key {OLD.id}, and no master key is configured"):
        NO_SEALING.open(payload, HERE)
    relabelled = payload.replace(OLD.id, NEW.id)
    with pytest.raises(SecretLocked, match="damaged"):
        sealer(NEW).open(relabelled, HERE)


def test_rewrapping_keeps_the_value_and_changes_the_key() -> None:
    payload = envelope.seal("swordfish", HERE, OLD)
    both = sealer(NEW, OLD)
    renewed = both.renew(payload, HERE)
    assert key_of(renewed) == NEW.id
    assert sealer(NEW).open(renewed, HERE) == "swordfish"
    assert both.renew(renewed, HERE) == renewed
    assert both.open(payload, HERE) == "swordfish"


DOCUMENT = {
    "s3config": {
        "bucket": "b",
        "access_key": "AK",
        "access_secret": {"status": "Plain", "payload": "swordfish"},
        "session_token": "brown-trout",
        "sse_customer_key": "",
    },
    "gcsconfig": {
        "credentials": {"type": "service_account", "private_key": "northern-pike"},
        "automatic_credentials": 1,
    },
    "list": [
        {"password": "common-carp"},
        {"password": {"status": "Secretbox", "payload": "x", "key": "y"}},
        3,
    ],
    "totp_config": {
        "enabled": True,
        "config_name": "Default",
        "secret": {"status": "Plain", "payload": "electric-eel"},
    },
    "password": {"status": "Redacted", "payload": ""},
}
VALUES = ("swordfish", "brown-trout", "northern-pike", "common-carp", "electric-eel")


def test_secrets_of_documents_are_encrypted_and_come_back_as_they_were() -> None:
    seals = sealer()
    sealed = seal_secrets(DOCUMENT, seals, OWNER)
    assert not [value for value in VALUES if value in str(sealed)]
    assert sealed["s3config"]["bucket"] == "b"
    assert sealed["s3config"]["sse_customer_key"] == ""
    assert is_sealed(sealed["s3config"]["access_secret"])
    assert sealed["totp_config"]["config_name"] == "Default"
    assert sealed["list"][1] == DOCUMENT["list"][1]
    assert len([*sealed_payloads(sealed)]) == 5
    assert seal_secrets(sealed, seals, OWNER) == sealed
    assert open_secrets(sealed, seals, OWNER) == DOCUMENT
    assert seal_secrets(DOCUMENT, NO_SEALING, OWNER) == DOCUMENT


def test_a_document_that_cannot_be_opened_names_the_field_and_no_value() -> None:
    sealed = seal_secrets({"s3config": {"access_secret": "swordfish"}}, sealer(OLD), OWNER)
    for use in (open_secrets, renew_secrets):
        with pytest.raises(
            SecretLocked, match=rf"^filesystem\.s3config\.access_secret is encr.* {OLD.id}"
        ) as why:
            use(sealed, sealer(NEW), OWNER)
        assert "swordfish" not in str(why.value)


def test_secrets_are_counted_by_field_and_key() -> None:
    sealed = seal_secrets(DOCUMENT, sealer(OLD), OWNER) | {"secret": "plaice"}
    renewed = renew_secrets(sealed, sealer(NEW, OLD), OWNER)
    found = dict(secrets_of(sealed, OWNER))
    assert found["filesystem.s3config.access_secret"] == OLD.id
    assert found["filesystem.secret"] == "plain"
    assert ("filesystem.list[].password", "Secretbox") in [*secrets_of(sealed, OWNER)]
    assert {key for _, key in secrets_of(renewed, OWNER)} == {NEW.id, "Secretbox"}
    assert open_secrets(renewed, sealer(NEW), OWNER) == DOCUMENT | {"secret": "plaice"}


def test_a_damaged_document_is_an_error_of_its_field() -> None:
    for payload in (7, "x", ["1"]):
        with pytest.raises(SecretLocked, match=r"filesystem\.secret is encrypted under master key unknown"):
            open_secrets({"secret": {"status": SEALED, "payload": payload}}, sealer(), OWNER)
