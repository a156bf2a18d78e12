# SPDX-License-Identifier: Apache-2.0
"""Password hashes: making new ones, checking all that ever came along. One module per family.

Everything here is plain, blocking computation without state; `tidegate.identity.hashing` runs it off the
loop.
"""

from tidegate.identity.passwords.calibrate import refusal_seconds, settled
from tidegate.identity.passwords.digests import openbridge
from tidegate.identity.passwords.families import (
    PREFIXES,
    check,
    ensure_hashed,
    hash_password,
    is_hashed,
    needs_upgrade,
    verify,
)
from tidegate.identity.passwords.limits import MAX_PASSWORD_BYTES, Unusable
from tidegate.identity.passwords.options import DEFAULT_OPTIONS, HashOptions

__all__ = [
    "DEFAULT_OPTIONS",
    "MAX_PASSWORD_BYTES",
    "PREFIXES",
    "HashOptions",
    "Unusable",
    "check",
    "ensure_hashed",
    "hash_password",
    "is_hashed",
    "needs_upgrade",
    "openbridge",
    "refusal_seconds",
    "settled",
    "verify",
]
