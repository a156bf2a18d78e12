# SPDX-License-Identifier: Apache-2.0
"""One-time codes as an authenticator program makes them, by cryptography's TOTP and not by ours."""

from __future__ import annotations

import base64
import time

from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.twofactor.totp import TOTP

ALGORITHMS = {"sha1": SHA1, "sha256": SHA256, "sha512": SHA512}
PERIOD = 30


class Authenticator:
    """A program that holds one secret. Each call of `code` gives a code that was not given before.

    The current code and the next one are good, and stay so for a while whenever the next step begins: two
    are there at once, and a test never waits for a third.
    """

    def __init__(self, secret: str, algorithm: str = "sha1") -> None:
        self._key = base64.b32decode(secret)
        self._totp = TOTP(self._key, 6, ALGORITHMS[algorithm](), PERIOD, enforce_key_length=False)
        self._last = 0

    def at(self, seconds: float) -> str:
        """The code of a time."""
        return self._totp.generate(int(seconds)).decode()

    def code(self) -> str:
        """A code that is good now and was not given before."""
        step = max(int(time.time()) // PERIOD, self._last + 1)
        assert step <= int(time.time()) // PERIOD + 1, "no unused code is good now"
        self._last = step
        return self.at(step * PERIOD)
