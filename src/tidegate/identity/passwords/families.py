# SPDX-License-Identifier: Apache-2.0
"""Which module checks which hash, and what new hashes look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from tidegate.errors import ConfigError, InvalidArgument, Problem
from tidegate.identity.passwords import argon, blowfish, digests, pbkdf2, unixcrypt
from tidegate.identity.passwords.limits import (
    MAX_ARGON2_ITERATIONS,
    MAX_ARGON2_PARALLELISM,
    MAX_BCRYPT_COST,
    MAX_HASH_CHARS,
    MAX_MEMORY_KIB,
    MAX_PASSWORD_BYTES,
    Unusable,
)
from tidegate.store.validate import looks_hashed

_VERIFIERS: Final[dict[str, Callable[[bytes, str], bool]]] = {
    prefix: family.verify
    for family in (argon, blowfish, pbkdf2, digests, unixcrypt)
    for prefix in family.PREFIXES
}
PREFIXES: Final = tuple(_VERIFIERS)
"""How stored passwords begin that can be checked here."""


@dataclass(frozen=True, slots=True)
class HashOptions:
    """How new passwords are hashed.

    Attributes:
        algorithm: ``argon2id`` or ``bcrypt``.
        argon2_memory_kib: KiB of memory per hash.
        argon2_iterations: passes over it.
        argon2_parallelism: lanes.
        bcrypt_cost: log2 of the rounds.

    Raises:
        ConfigError: a value is out of range.
    """

    algorithm: Literal["argon2id", "bcrypt"] = "argon2id"
    argon2_memory_kib: int = 64 * 1024
    argon2_iterations: int = 1
    argon2_parallelism: int = 2
    bcrypt_cost: int = 10

    def __post_init__(self) -> None:
        """Check ranges."""
        problems = [
            Problem(f"password_hashing: {name}", f"{value} is outside {least} to {most}")
            for name, value, least, most in (
                # RFC 9106, 3.1: at least 8 KiB for each lane.
                ("memory", self.argon2_memory_kib, 8 * max(1, self.argon2_parallelism), MAX_MEMORY_KIB),
                ("iterations", self.argon2_iterations, 1, MAX_ARGON2_ITERATIONS),
                ("parallelism", self.argon2_parallelism, 1, MAX_ARGON2_PARALLELISM),
                ("cost", self.bcrypt_cost, 4, MAX_BCRYPT_COST),
            )
            if not least <= value <= most
        ]
        if self.algorithm not in ("argon2id", "bcrypt"):
            problems.append(
                Problem("password_hashing: algo", f"{self.algorithm!r} is not argon2id or bcrypt")
            )
        if problems:
            raise ConfigError(problems)


DEFAULT_OPTIONS: Final = HashOptions()


def check(password: str, stored: str) -> bool:
    """Whether `password` has the hash `stored`. Costs what the hash says; call it off the loop.

    Raises:
        Unusable: nobody can log in with this hash; the text says why and is safe to log.
    """
    secret = _secret(password)
    prefix = _prefix(stored)
    if prefix is None:
        raise Unusable("not a hash of a known kind")
    if len(stored) > MAX_HASH_CHARS or not stored.isascii() or "\0" in stored:
        raise Unusable(f"malformed {prefix} hash")
    # A password that no hash can have been made of: too long, or cut short by crypt(3) at its NUL.
    return secret is not None and _VERIFIERS[prefix](secret, stored)


def verify(password: str, stored: str) -> bool:
    """`check` that says False for an unusable hash too; never raises."""
    try:
        return check(password, stored)
    except Unusable:
        return False


def is_hashed(stored: str) -> bool:
    """Whether `stored` claims to be a hash, not plain text still to be hashed; its form is not checked.

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
    if options.algorithm == "bcrypt":
        return blowfish.hash_password(secret, options.bcrypt_cost)
    return argon.hash_password(
        secret, options.argon2_memory_kib, options.argon2_iterations, options.argon2_parallelism
    )


def ensure_hashed(password_or_hash: str, options: HashOptions = DEFAULT_OPTIONS) -> str:
    """What to store for a password field from outside: hashes stay, plain text is hashed, empty stays."""
    if not password_or_hash or is_hashed(password_or_hash):
        return password_or_hash
    return hash_password(password_or_hash, options)


def needs_upgrade(stored: str, options: HashOptions = DEFAULT_OPTIONS) -> bool:
    """Whether `stored` is anything but a hash of the preferred kind and cost."""
    if options.algorithm == "bcrypt":
        return not blowfish.is_current(stored, options.bcrypt_cost)
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
