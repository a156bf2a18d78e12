# SPDX-License-Identifier: Apache-2.0
"""The code that guards the first set-up by a browser: printed at start, good until that is done."""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Final

CODE_BYTES: Final = 10


def new_code() -> str:
    """A random code, such as ``K7QF-2M4A-XC5D-W3NB``."""
    made = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode()
    return "-".join(made[place : place + 4] for place in range(0, len(made), 4))


def fits(code: str, given: str) -> bool:
    """True if somebody has typed the code; blanks, dashes and case do not count."""
    typed = "".join(given.split()).replace("-", "").upper().encode("utf-8", "replace")
    return hmac.compare_digest(typed, code.replace("-", "").encode())
