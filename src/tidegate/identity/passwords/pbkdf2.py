# SPDX-License-Identifier: Apache-2.0
"""PBKDF2 (RFC 8018) as ``$pbkdf2-sha256$iterations$salt$base64``.

The salt is the text as it stands; after ``$pbkdf2-b64salt-sha256$`` it is base64. The digest is standard,
padded base64 and its length is the length of the derived key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from tidegate.identity.passwords.limits import Unusable

_FORMS: Final = {
    "pbkdf2-sha1": ("sha1", False),
    "pbkdf2-sha256": ("sha256", False),
    "pbkdf2-sha512": ("sha512", False),
    "pbkdf2-b64salt-sha256": ("sha256", True),
}
PREFIXES: Final = tuple(f"${name}$" for name in _FORMS)

_LEAST_KEY_BYTES: Final = 16
_MOST_KEY_BYTES: Final = 128


def verify(password: bytes, stored: str) -> bool:
    """True if `password` has this hash.

    Raises:
        Unusable: the hash is malformed or asks for too many iterations.
    """
    parts = stored.split("$")
    if len(parts) != 5:
        raise Unusable("malformed PBKDF2 hash: expected $algorithm$iterations$salt$base64")
    _, name, rounds, salt_text, digest_text = parts
    algorithm, salt_is_base64 = _FORMS[name]
    if not (rounds.isascii() and rounds.isdigit() and len(rounds) <= 9):
        raise Unusable("malformed PBKDF2 hash: iterations is not a number")
    iterations = int(rounds)
    if iterations < 1:
        raise Unusable("malformed PBKDF2 hash: no iterations")
    try:
        digest = base64.b64decode(digest_text, validate=True)
        salt = base64.b64decode(salt_text, validate=True) if salt_is_base64 else salt_text.encode()
    except (binascii.Error, ValueError):
        raise Unusable("malformed PBKDF2 hash: not base64") from None
    # A short key would be guessed, not checked: an empty one equals that of every password.
    if not _LEAST_KEY_BYTES <= len(digest) <= _MOST_KEY_BYTES:
        raise Unusable(f"PBKDF2 key is outside {_LEAST_KEY_BYTES} to {_MOST_KEY_BYTES} bytes")
    return hmac.compare_digest(
        hashlib.pbkdf2_hmac(algorithm, password, salt, iterations, len(digest)), digest
    )
