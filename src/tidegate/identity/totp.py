# SPDX-License-Identifier: Apache-2.0
"""One-time codes by time (RFC 6238) and recovery codes: made and checked. Loaded when needed."""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Final
from urllib.parse import quote, urlencode

SECRET_BYTES: Final = 20
"""Of a new secret; RFC 4226 section 4 recommends 160 bits."""
PERIOD_SECONDS: Final = 30
DIGITS: Final = 6
WINDOW: Final = 1
"""Steps before and after the current one whose codes are taken: clocks differ (RFC 6238 section 5.2)."""
ALGORITHMS: Final = ("sha1", "sha256", "sha512")
RECOVERY_CODES: Final = 12
"""Recovery codes that are made at a time."""
_RECOVERY_BYTES: Final = 10
"""Random bytes of a recovery code: too many to guess from its hash, so a fast one will do."""


def new_secret() -> str:
    """A random secret in base32, as authenticator programs take it."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def code_at(secret: bytes, step: int, algorithm: str = "sha1") -> str:
    """The code of a time step (RFC 4226 section 5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), algorithm)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def matching_step(secret: bytes, code: str, now: float, algorithm: str = "sha1") -> int | None:
    """The time step within the window whose code this is, the latest first; None if there is none."""
    current = int(now) // PERIOD_SECONDS
    found = None
    for step in range(max(0, current - WINDOW), current + WINDOW + 1):
        if hmac.compare_digest(code_at(secret, step, algorithm).encode(), code.encode()):
            found = step
    return found


def is_code(text: str) -> bool:
    """True if a text looks like a one-time code, and not like a recovery code."""
    return len(text) == DIGITS and text.isascii() and text.isdigit()


def uri(secret: str, *, issuer: str, username: str, algorithm: str) -> str:
    """The key URI that authenticator programs read from a picture."""
    label = quote(f"{issuer}:{username}", safe="")
    query = {"secret": secret, "issuer": issuer, "algorithm": algorithm.upper()}
    query |= {"digits": str(DIGITS), "period": str(PERIOD_SECONDS)}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"


def new_recovery_codes() -> list[str]:
    """Random recovery codes, for instance ``K7QF-2M4A-XC5D-W3NB``; shown once."""
    made = []
    for _ in range(RECOVERY_CODES):
        text = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode()
        made.append("-".join(text[place : place + 4] for place in range(0, len(text), 4)))
    return made
