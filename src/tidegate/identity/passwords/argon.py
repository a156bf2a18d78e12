# SPDX-License-Identifier: Apache-2.0
"""argon2id and argon2i (RFC 9106) in the encoded form of the reference implementation.

The library is imported by the first hash that needs it, in the thread that checks or makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidegate.identity.passwords.limits import Unusable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

PREFIXES: Final = ("$argon2id$", "$argon2i$")


def verify(password: bytes, stored: str) -> bool:
    """True if `password` has this hash.

    Raises:
        Unusable: the hash is malformed.
    """
    from argon2 import Type, extract_parameters
    from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
    from argon2.low_level import verify_secret

    try:
        extract_parameters(stored)
    except InvalidHashError:
        raise Unusable("malformed argon2 hash") from None
    kind = Type.ID if stored.startswith("$argon2id$") else Type.I
    try:
        return verify_secret(stored.encode("ascii"), password, kind)
    except VerifyMismatchError:
        return False
    except Argon2Error as error:
        # The library's own fixed words, for instance that memory could not be had.
        raise Unusable(f"argon2 hash cannot be checked: {error}") from None


def hash_password(password: bytes, memory_kib: int, iterations: int, parallelism: int) -> str:
    """A new argon2id hash with a 16 byte salt and a 32 byte tag (RFC 9106, section 4)."""
    return _hasher(memory_kib, iterations, parallelism).hash(password)


def is_current(stored: str, memory_kib: int, iterations: int, parallelism: int) -> bool:
    """True if `stored` is argon2id with exactly these parameters."""
    from argon2.exceptions import InvalidHashError

    try:
        return not _hasher(memory_kib, iterations, parallelism).check_needs_rehash(stored)
    except InvalidHashError:
        return False


def is_strong(stored: str, fill_kib: int) -> bool:
    """True if `stored` is argon2id whose memory times passes is at least `fill_kib`, in KiB."""
    from argon2 import Type, extract_parameters
    from argon2.exceptions import InvalidHashError

    try:
        found = extract_parameters(stored)
    except InvalidHashError:
        return False
    return found.type is Type.ID and found.memory_cost * found.time_cost >= fill_kib


def _hasher(memory_kib: int, iterations: int, parallelism: int) -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=iterations, memory_cost=memory_kib, parallelism=parallelism)
