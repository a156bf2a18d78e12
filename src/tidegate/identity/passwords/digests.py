# SPDX-License-Identifier: Apache-2.0
"""Bare digests: ``{MD5}``, ``{SHA256}``, ``{SHA512}`` and Openbridge's salted SHA-256.

They exist so that accounts can move here; each is replaced at the first login.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from tidegate.identity.passwords.limits import Unusable

OPENBRIDGE_PREFIX: Final = "{OPENBRIDGE-SHA256}"
"""Followed by salt, ``$`` and the lower-case hex SHA-256 of salt and password, salt first."""

_ALGORITHMS: Final = {"{MD5}": "md5", "{SHA256}": "sha256", "{SHA512}": "sha512"}
PREFIXES: Final = (*_ALGORITHMS, OPENBRIDGE_PREFIX)


def verify(password: bytes, stored: str) -> bool:
    """True if `password` has this digest, in hex or base64.

    Raises:
        Unusable: the digest is malformed.
    """
    prefix = stored[: stored.index("}") + 1]
    rest = stored[len(prefix) :]
    if prefix == OPENBRIDGE_PREFIX:
        salt, separator, text = rest.rpartition("$")
        if not separator or not salt:
            raise Unusable("malformed Openbridge hash: expected salt$hex")
        return hmac.compare_digest(hashlib.sha256(salt.encode() + password).digest(), _decode(text, 32))
    made = hashlib.new(_ALGORITHMS[prefix], password, usedforsecurity=False).digest()
    return hmac.compare_digest(made, _decode(rest, len(made)))


def openbridge(salt: str, digest_hex: str) -> str:
    """The stored form of an Openbridge hash: its `ftpd_salt.salt` and `ftpd_user.passwd`."""
    return f"{OPENBRIDGE_PREFIX}{salt}${digest_hex}"


def _decode(text: str, size: int) -> bytes:
    """The digest's bytes; hex and base64 of one size cannot be mistaken for each other."""
    try:
        digest = bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != size:
        raise Unusable(f"malformed digest: expected {size} bytes in hex or base64")
    return digest
