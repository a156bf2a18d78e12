# SPDX-License-Identifier: Apache-2.0
"""Options of hashing new passwords."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tidegate.errors import ConfigError, Problem
from tidegate.identity.passwords import blowfish
from tidegate.policy.hash_costs import (
    MAX_ARGON2_FILL_KIB,
    MAX_ARGON2_PARALLELISM,
    MAX_BCRYPT_COST,
    MAX_MEMORY_KIB,
)


@dataclass(frozen=True, slots=True)
class HashOptions:
    """Options of hashing new passwords.

    Attributes:
        algorithm: ``argon2id`` or ``bcrypt``.
        argon2_memory_kib: KiB of memory per hash; 0 leaves the costs of argon2id to `calibrate`.
        argon2_iterations: passes over it.
        argon2_parallelism: lanes.
        bcrypt_cost: log2 of the rounds.
        chosen: the costs of argon2id were chosen by `calibrate`; hashes that are strong enough stay.

    Raises:
        ConfigError: a value is out of range.
    """

    algorithm: Literal["argon2id", "bcrypt"] = "argon2id"
    argon2_memory_kib: int = 0
    argon2_iterations: int = 1
    argon2_parallelism: int = 2
    bcrypt_cost: int = 10
    chosen: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        # RFC 9106, 3.1: at least 8 KiB for each lane.
        memory = self.argon2_memory_kib or 8 * max(1, self.argon2_parallelism)
        problems = [
            Problem(f"password_hashing: {name}", f"{value} is outside {least} to {most}")
            for name, value, least, most in (
                ("memory", memory, 8 * max(1, self.argon2_parallelism), MAX_MEMORY_KIB),
                ("iterations", self.argon2_iterations, 1, MAX_ARGON2_FILL_KIB // max(memory, 1)),
                ("parallelism", self.argon2_parallelism, 1, MAX_ARGON2_PARALLELISM),
                ("cost", self.bcrypt_cost, blowfish.LEAST_COST, MAX_BCRYPT_COST),
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
