# SPDX-License-Identifier: Apache-2.0
"""API keys: made, shown once, kept as a digest.

The text that a program sends is ``id.secret``, and ``id.secret.username`` for a key that is bound to nobody.
The secret has 256 random bits, so one SHA-256 is as good as any slow hash; keys of SFTPGo dumps carry bcrypt
or argon2id hashes and are checked as passwords are.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, NamedTuple

MAX_KEY_CHARS: Final = 512
"""Longest text looked at as an API key."""

_FAST: Final = "{SHA256}"
_TEXT: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{1,128})(?:\.(.{1,255}))?", re.DOTALL)


class NewApiKey(NamedTuple):
    """The result of `new_api_key`.

    Attributes:
        key_id: `ApiKey.id`.
        text: what the program sends; show it once and keep it nowhere.
        stored: `ApiKey.key`.
    """

    key_id: str
    text: str
    stored: str


class ApiKeyText(NamedTuple):
    """The parts of an API key as sent; `username` is empty unless the key names whom to act as."""

    key_id: str
    secret: str
    username: str


def new_api_key() -> NewApiKey:
    """A fresh id and secret, and what to store of them."""
    key_id, secret = secrets.token_hex(11), secrets.token_urlsafe(32)
    return NewApiKey(key_id, f"{key_id}.{secret}", hash_secret(secret))


def hash_secret(secret: str) -> str:
    """The stored form of a secret made by `new_api_key`."""
    return _FAST + hashlib.sha256(secret.encode()).hexdigest()


def split_api_key(text: str) -> ApiKeyText | None:
    """Take an API key apart; None if it cannot be one."""
    match = _TEXT.fullmatch(text) if len(text) <= MAX_KEY_CHARS else None
    return ApiKeyText(match[1], match[2], match[3] or "") if match else None


def is_fast(stored: str) -> bool:
    """True if checking takes microseconds and needs no thread."""
    return stored.startswith(_FAST)
