# SPDX-License-Identifier: Apache-2.0
"""One encrypted secret: ``1.KEYID.DATA``, see docs/adr/0044.

DATA is unpadded base64url of 12 + 48 + 12 + n + 16 bytes: nonce and AES-256-GCM of a data key under the
wrapping key, nonce and AES-256-GCM of the value under the data key. Both authenticate the place of the
secret and the key's id as additional data (NIST SP 800-38D).
"""

from __future__ import annotations

import base64
import json
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tidegate.model.sealing import FORMAT, SecretLocked, SecretPlace
from tidegate.sealing.keys import MasterKey

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_WRAPPED: Final = NONCE_BYTES + KEY_BYTES + TAG_BYTES
_LEAST: Final = _WRAPPED + NONCE_BYTES + TAG_BYTES


def seal(value: str, place: SecretPlace, key: MasterKey) -> str:
    """The payload of a value: a data key of its own, wrapped by the master key."""
    data_key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
    body = AESGCM(data_key).encrypt(nonce, value.encode("utf-8", "surrogatepass"), _bound(place))
    return _payload(key, place, data_key, nonce + body)


def unseal(payload: str, place: SecretPlace, key: MasterKey) -> str:
    """The value of a payload that names this key.

    Raises:
        SecretLocked: it belongs to another place, or is damaged.
    """
    data_key, data = _unwrapped(payload, place, key)
    nonce, body = data[:NONCE_BYTES], data[NONCE_BYTES:]
    try:
        return AESGCM(data_key).decrypt(nonce, body, _bound(place)).decode("utf-8", "surrogatepass")
    except InvalidTag:
        raise _mistaken() from None


def rewrap(payload: str, place: SecretPlace, key: MasterKey, new: MasterKey) -> str:
    """The payload with its data key under another master key; the value is not looked at but checked.

    Raises:
        SecretLocked: as `unseal`.
    """
    unseal(payload, place, key)
    data_key, data = _unwrapped(payload, place, key)
    return _payload(new, place, data_key, data)


def _payload(key: MasterKey, place: SecretPlace, data_key: bytes, data: bytes) -> str:
    nonce = os.urandom(NONCE_BYTES)
    wrapped = AESGCM(key.wrapping).encrypt(nonce, data_key, _bound(place, key.id))
    text = base64.urlsafe_b64encode(nonce + wrapped + data).rstrip(b"=").decode()
    return f"{FORMAT}.{key.id}.{text}"


def _unwrapped(payload: str, place: SecretPlace, key: MasterKey) -> tuple[bytes, bytes]:
    data = _decoded(payload.rsplit(".", maxsplit=1)[-1])
    if len(data) < _LEAST:
        raise _mistaken()
    nonce, wrapped = data[:NONCE_BYTES], data[NONCE_BYTES:_WRAPPED]
    try:
        return AESGCM(key.wrapping).decrypt(nonce, wrapped, _bound(place, key.id)), data[_WRAPPED:]
    except InvalidTag:
        raise _mistaken() from None


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _mistaken() from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:  # one spelling alone is good
        raise _mistaken()
    return data


def _bound(place: SecretPlace, *more: str) -> bytes:
    return json.dumps(["tidegate secret", FORMAT, place.kind, place.name, place.field, *more]).encode()


def _mistaken() -> SecretLocked:
    return SecretLocked("cannot be decrypted: it was made for another record or field, or is damaged")
