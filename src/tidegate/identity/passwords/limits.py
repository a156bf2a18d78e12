# SPDX-License-Identifier: Apache-2.0
"""What a stored hash may cost, and the errors of this package.

A stored hash names its own cost. It comes from a dump, an import or a shared database, so a mistaken (or
planted) number must not take the machine's memory or a checking thread for hours.
"""

from __future__ import annotations

from typing import Final

MAX_PASSWORD_BYTES: Final = 4096
"""Longest password that is looked at, in UTF-8 bytes."""

MAX_HASH_CHARS: Final = 1024
"""Longest stored hash."""

MAX_MEMORY_KIB: Final = 1024 * 1024
"""Memory of one memory-hard check (argon2, yescrypt, scrypt), in KiB."""

MAX_ARGON2_ITERATIONS: Final = 64
MAX_ARGON2_PARALLELISM: Final = 64
MAX_BCRYPT_COST: Final = 20
"""log2 of bcrypt rounds; 20 takes about a minute."""
MAX_PBKDF2_ITERATIONS: Final = 20_000_000
MAX_CRYPT_ROUNDS: Final = 5_000_000
"""Rounds of SHA-256 and SHA-512 crypt."""


class Unusable(ValueError):
    """A stored hash cannot be checked: unknown, malformed, too costly, or not supported here.

    The text says why and never repeats the hash.
    """
