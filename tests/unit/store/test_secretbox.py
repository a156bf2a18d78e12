# SPDX-License-Identifier: Apache-2.0
"""Secrets of SFTPGo's own encryption: those that a real server wrote, and what PyNaCl makes."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from nacl.secret import SecretBox
from tests.support.moved import DUMPS, dump_file

from tidegate.store.legacy.secretbox import open_record, open_secret, opened_secrets


def sealed(text: str, key: bytes, data: str) -> dict[str, Any]:
    """A secret as SFTPGo has it, encrypted by another implementation."""
    raw = data.encode()
    derived = HKDF(SHA256(), 32, key, raw).derive(hashlib.sha256(key + raw + key).digest())
    box = bytes(SecretBox(derived).encrypt(text.encode()))
    payload = base64.b64encode(box).decode()
    return {"status": "Secretbox", "payload": payload, "key": key.hex(), "additional_data": data}


def test_secrets_of_a_real_server() -> None:
    dump = json.loads(dump_file("whole-2.7.5").read_text())
    known = json.loads((DUMPS / "credentials-made-up.json").read_text())["2.7.5"]["totp"]
    found = {}
    for record in [*dump["users"], *dump["admins"]]:
        secret = (record["filters"].get("totp_config") or {}).get("secret") or {}
        if secret.get("status") == "Secretbox":
            found[record["username"]] = open_secret(secret)
    assert found == known
    assert len(found) == 3


@given(st.text(max_size=400), st.binary(min_size=32, max_size=32), st.text(max_size=40))
def test_what_another_implementation_encrypts(text: str, key: bytes, data: str) -> None:
    if any("\ud800" <= one <= "\udfff" for one in text + data):
        return
    assert open_secret(sealed(text, key, data)) == text


@pytest.mark.parametrize(
    "change",
    [
        {"mode": 1},
        {"key": "00" * 32},
        {"key": "x"},
        {"key": None},
        {"additional_data": "somebody else"},
        {"payload": ""},
        {"payload": "AAAA"},
        {"payload": "!"},
        {"payload": 5},
        {"payload": "A" * 200_000},
    ],
)
def test_what_cannot_be_opened_stays(change: dict[str, Any]) -> None:
    document = {**sealed("the text", b"k" * 32, "ana"), **change}
    assert open_secret(document) is None
    whole = {"a": [document, 1], "b": {"status": "Plain", "payload": "x"}}
    assert opened_secrets(whole) == whole


def test_a_change_of_any_byte_is_noticed() -> None:
    good = sealed("the text", b"k" * 32, "ana")
    box = base64.b64decode(good["payload"])
    for place in range(len(box)):
        changed = bytearray(box)
        changed[place] ^= 1
        assert open_secret({**good, "payload": base64.b64encode(bytes(changed)).decode()}) is None


def test_secrets_of_records_are_opened() -> None:
    secret, plain = sealed("the text", b"k" * 32, "ana"), {"status": "Plain", "payload": "the text"}

    def record(value: dict[str, Any]) -> dict[str, Any]:
        storage = {"s3config": {"access_secret": value}}
        filters = {"recovery_codes": [{"secret": value}], "totp_config": {"secret": value}}
        mounts = [{"name": "a", "filesystem": storage}]
        return {"username": "ana", "filesystem": storage, "virtual_folders": mounts, "filters": filters}

    document = record(secret)
    open_record(document)
    assert document == record(plain)
    for odd in ({}, {"filters": 5, "filesystem": "x", "virtual_folders": None}):
        before = dict(odd)
        open_record(odd)
        assert odd == before
