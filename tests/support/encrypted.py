# SPDX-License-Identifier: Apache-2.0
"""Encrypted storage in tests: passphrases that are stretched cheaply, or once."""

from __future__ import annotations

import hashlib

from tidegate.backends.crypt.keys import Stretched


class CheapStretching(Stretched):
    """Stretches at once and badly; what is tested is not the cost."""

    async def get(self, passphrase: bytes, salt: bytes) -> bytes:
        return hashlib.sha256(salt + passphrase).digest()


STRETCHED = CheapStretching()
"""For roots of tests within one process."""
