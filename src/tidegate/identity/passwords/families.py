# SPDX-License-Identifier: Apache-2.0
"""The families of hashes by prefix: making, checking, and whether a stored one is of the preferred kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.errors import InvalidArgument
from tidegate.identity.passwords import argon, blowfish, digests, pbkdf2, unixcrypt
from tidegate.identity.passwords.calibrate import settled
from tidegate.identity.passwords.limits import MAX_HASH_CHARS, MAX_PASSWORD_BYTES, Unusable
from tidegate.identity.passwords.options import DEFAULT_OPTIONS, HashOptions
from tidegate.policy.hash_costs import cost_of
from tidegate.store.validate import looks_hashed

_VERIFIERS: Final[dict[str, Callable[[bytes, str], bool]]] = {
    prefix: family.verify
    for family in (argon, blowfish, pbkdf2, digests, unixcrypt)
    for prefix in family.PREFIXES
}
PREFIXES: Final = tuple(_VERIFIERS)
"""The beginnings of stored passwords that can be checked here."""


STRONG_FILL_KIB: Final = 38 * 1024
"""Memory times passes, in KiB, from which argon2id hashes stay: OWASP's minimum of 19 MiB twice."""


def check(password: str, stored: str) -> bool:
    """True if `password` has the hash `stored`. Costs what the hash says; call it off the loop.

    Raises:
        Unusable: nobody can log in with this hash; the text says why and is safe to log.
    """
    secret = _secret(password)
    prefix = _prefix(stored)
    if prefix is None:
        raise Unusable("not a hash of a known kind")
    if len(stored) > MAX_HASH_CHARS or not stored.isascii() or "\0" in stored:
        raise Unusable(f"malformed {prefix} hash")
    if excess := cost_of(stored).excess:
        raise Unusable(excess)
    # A password that no hash can have been made of: too long, or cut short by crypt(3) at its NUL.
    return secret is not None and _VERIFIERS[prefix](secret, stored)


def verify(password: str, stored: str) -> bool:
    """`check` that says False for an unusable hash too; never raises."""
    try:
        return check(password, stored)
    except Unusable:
        return False


def is_hashed(stored: str) -> bool:
    """True if `stored` claims to be a hash, not plain text still to be hashed; its form is not checked.

    True for kinds that cannot be checked here too: the hash must not become the password.
    """
    return looks_hashed(stored) or _prefix(stored) is not None


def hash_password(password: str, options: HashOptions = DEFAULT_OPTIONS) -> str:
    """A new hash of `password`. Takes tens of milliseconds and much memory; call it off the loop.

    Raises:
        InvalidArgument: the password is empty, too long or holds a NUL character.
    """
    if not password:
        raise InvalidArgument("password: must not be empty")
    secret = _secret(password)
    if secret is None:
        raise InvalidArgument(f"password: longer than {MAX_PASSWORD_BYTES} bytes, or holds a NUL character")
    options = settled(options)
    if options.algorithm == "bcrypt":
        return blowfish.hash_password(secret, options.bcrypt_cost)
    return argon.hash_password(
        secret, options.argon2_memory_kib, options.argon2_iterations, options.argon2_parallelism
    )


def ensure_hashed(password_or_hash: str, options: HashOptions = DEFAULT_OPTIONS) -> str:
    """The stored form of a password field from outside: hashes stay, plain text is hashed, empty stays."""
    if not password_or_hash or is_hashed(password_or_hash):
        return password_or_hash
    return hash_password(password_or_hash, options)


def needs_upgrade(stored: str, options: HashOptions = DEFAULT_OPTIONS) -> bool:
    """True if `stored` is not a hash of the preferred kind and cost.

    Costs that were chosen by measuring differ from machine to machine: an argon2id hash that is at least as
    strong as OWASP's minimum is then left as it is.
    """
    options = settled(options)
    if options.algorithm == "bcrypt":
        return not blowfish.is_current(stored, options.bcrypt_cost)
    if options.chosen:
        return not argon.is_strong(stored, STRONG_FILL_KIB)
    return not argon.is_current(
        stored, options.argon2_memory_kib, options.argon2_iterations, options.argon2_parallelism
    )


def _prefix(stored: str) -> str | None:
    return next((prefix for prefix in PREFIXES if stored.startswith(prefix)), None)


def _secret(password: str) -> bytes | None:
    secret = password.encode("utf-8", "surrogateescape") if _encodable(password) else None
    return None if secret is None or len(secret) > MAX_PASSWORD_BYTES or b"\0" in secret else secret


def _encodable(password: str) -> bool:
    """False for lone surrogates outside the range that stands for raw bytes (PEP 383)."""
    if len(password) > MAX_PASSWORD_BYTES:
        return False
    try:
        password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
