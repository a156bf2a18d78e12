# SPDX-License-Identifier: Apache-2.0
"""Secrets that SFTPGo 2.x has encrypted without a master key, as it does unless it is told otherwise.

Their documents (``status`` Secretbox, ``payload``, ``key``, ``additional_data``, no ``mode``) hold their own
key, so they can be opened: HKDF-SHA256 with SHA-256(key | additional data | key) as input, the key as salt
and the additional data as info gives the key of NaCl's secretbox (XSalsa20-Poly1305), whose nonce of 24 bytes
is in front of the payload. Found by trying, on records of 2.7.5 with known secrets (tests/data/sftpgo). Only
opens; what this software encrypts is `tidegate.sealing`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Any, Final

from tidegate.policy.second_factor import HELD

STATUS: Final = "Secretbox"
MAX_PAYLOAD_CHARS: Final = 128 * 1024
"""Longest payload that is opened; credentials of Google have some 3,000."""
_HOLDERS: Final = ("filesystem", "virtual_folders", "options")
"""Parts of a record that may hold secrets, besides those of its filters."""
_READABLE: Final = (None, "", "Plain", "Redacted")
"""`status` of a secret that nobody has encrypted, or that is not there."""
_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_MASK: Final = 0xFFFFFFFF
_ROUNDS: Final = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip
"""Quarter rounds of one double round of Salsa20 (Bernstein, 2007): columns, then rows."""


def open_record(document: dict[str, Any]) -> None:
    """Put the secrets of a record's document in plain text, in place; elsewhere records have none."""
    for holder, names in (
        (document, _HOLDERS),
        (document.get("user_settings"), _HOLDERS),
        (document.get("filters"), HELD),
    ):
        if isinstance(holder, dict):
            for name in names:
                if holder.get(name):
                    holder[name] = opened_secrets(holder[name])


def without_sealed(value: Any, lost: list[str], place: str = "") -> Any:
    """A copy of a document without the secrets that somebody else has encrypted.

    Args:
        value: the document, what can be opened being open.
        lost: gets the place of each that is taken out.
        place: of `value`.
    """
    if isinstance(value, dict):
        if isinstance(value.get("payload"), str) and value.get("status") not in _READABLE:
            lost.append(place)
            return ""
        return {
            name: without_sealed(inner, lost, f"{place}.{name}" if place else name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [without_sealed(inner, lost, f"{place}[{index}]") for index, inner in enumerate(value)]
    return value


def opened_secrets(value: Any) -> Any:
    """A copy of a document with each such secret in plain text; what cannot be opened stays as it is."""
    if isinstance(value, dict):
        if value.get("status") == STATUS:
            text = open_secret(value)
            return value if text is None else {"status": "Plain", "payload": text}
        return {name: opened_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [opened_secrets(inner) for inner in value]
    return value


def open_secret(document: dict[str, Any]) -> str | None:
    """The text of one secret; None if a master key is needed, or it is damaged."""
    payload, key, data = (document.get(name, "") for name in ("payload", "key", "additional_data"))
    known = all(isinstance(text, str) for text in (payload, key, data))
    if document.get("mode") or not known or len(payload) > MAX_PAYLOAD_CHARS:
        return None
    try:
        box, raw = base64.b64decode(payload, validate=True), bytes.fromhex(key)
        return _open(box, _derived(raw, data.encode())).decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def _derived(key: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, key, data).derive(hashlib.sha256(key + data + key).digest())


def _open(box: bytes, key: bytes) -> bytes:
    """The text in a secretbox.

    Raises:
        ValueError: it is damaged, or the key is another one.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    if len(box) < 24 + 16:
        raise ValueError("too short")
    nonce, tag, text = box[:24], box[24:40], box[40:]
    inner = _hsalsa20(key, nonce[:16])
    stream = b"".join(_salsa20(inner, nonce[16:], number) for number in range((32 + len(text) + 63) // 64))
    try:
        Poly1305.verify_tag(stream[:32], text, tag)
    except InvalidSignature:
        raise ValueError("damaged") from None
    return bytes(a ^ b for a, b in zip(text, stream[32:], strict=False))


def _state(key: bytes, inner: bytes) -> list[int]:
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", inner)
    return [_SIGMA[0], *k[:4], _SIGMA[1], *n, _SIGMA[2], *k[4:], _SIGMA[3]]


def _mixed(state: list[int]) -> list[int]:
    x = list(state)
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            x[b] ^= _turned(x[a] + x[d], 7)
            x[c] ^= _turned(x[b] + x[a], 9)
            x[d] ^= _turned(x[c] + x[b], 13)
            x[a] ^= _turned(x[d] + x[c], 18)
    return x


def _turned(number: int, bits: int) -> int:
    number &= _MASK
    return (number << bits | number >> (32 - bits)) & _MASK


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    x = _mixed(_state(key, nonce))
    return struct.pack("<8I", *(x[place] for place in (0, 5, 10, 15, 6, 7, 8, 9)))


def _salsa20(key: bytes, nonce: bytes, number: int) -> bytes:
    state = _state(key, nonce + struct.pack("<Q", number))
    return struct.pack("<16I", *(a + b & _MASK for a, b in zip(state, _mixed(state), strict=True)))
