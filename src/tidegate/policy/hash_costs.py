# SPDX-License-Identifier: Apache-2.0
"""The cost that a stored password hash names, and how much is allowed.

A stored hash names its own cost. It comes from a dump, an import, a program over REST or a shared database,
so a mistaken (or planted) number must take neither the machine's memory nor its processors: anybody can have
the hash of a known name computed by sending a wrong password. One rule for all of them: a record whose hash
asks for more is refused when it is stored, and a hash that is stored all the same is not computed.

The least that the limits let through is a few times the dearest setting that software of this field writes:
bcrypt 14, argon2 with 256 MiB, 1,000,000 rounds of SHA crypt.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_MEMORY_KIB: Final = 256 * 1024
"""Memory of one check (argon2, yescrypt, scrypt), in KiB."""
MAX_ARGON2_FILL_KIB: Final = 1024 * 1024
"""Memory times passes of one argon2 check, in KiB: about a second."""
MAX_ARGON2_PARALLELISM: Final = 64
MAX_BCRYPT_COST: Final = 14
"""log2 of bcrypt rounds; 14 takes about a second."""
MAX_PBKDF2_ITERATIONS: Final = 2_000_000
MAX_CRYPT_ROUNDS: Final = 1_000_000
"""Rounds of SHA-256 and SHA-512 crypt."""
MAX_SCRYPT_LANES: Final = 64

_ARGON2: Final = re.compile(r"\$argon2(?:id|i|d)\$(?:v=\d{1,3}\$)?m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,5})\b")
_BCRYPT: Final = re.compile(r"\$2[abxy]\$(\d\d)\$")
_PBKDF2: Final = re.compile(r"\$pbkdf2-[a-z0-9-]+\$(\d{1,20})\$")
_SHA_CRYPT: Final = re.compile(r"(?:\{CRYPT\})?(\$[56]\$)rounds=(\d{1,20})\$")
_SCRYPT: Final = re.compile(r"(?:\{CRYPT\})?\$7\$([./A-Za-z0-9])([./A-Za-z0-9]{5})([./A-Za-z0-9]{5})")
_YESCRYPT: Final = re.compile(r"(?:\{CRYPT\})?(\$g?y\$)j([./A-Za-z0-9])([./A-Za-z0-9])")
_ALPHABET: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class HashCost(NamedTuple):
    """Memory and time of one check.

    Attributes:
        memory_kib: KiB of memory.
        milliseconds: of a processor of 2026, roughly; only for telling cheap from dear.
        excess: the limit that is passed, as one sentence without the hash; empty if none is.
    """

    memory_kib: int = 0
    milliseconds: float = 1.0
    excess: str = ""


NO_COST: Final = HashCost()


def cost_of(stored: str) -> HashCost:
    """The cost that a stored hash names; `NO_COST` for one that names none or is malformed."""
    for form, cost in _READERS:
        found = form.match(stored)
        if found is not None:
            return cost(found)
    return NO_COST


def _argon2(found: re.Match[str]) -> HashCost:
    memory, passes, lanes = map(int, found.groups())
    excess = ""
    if memory > MAX_MEMORY_KIB:
        excess = f"argon2 hash asks for {memory} KiB of memory, more than {MAX_MEMORY_KIB}"
    elif memory * passes > MAX_ARGON2_FILL_KIB:
        excess = (
            f"argon2 hash asks for {passes} passes over {memory} KiB, more than {MAX_ARGON2_FILL_KIB} in all"
        )
    elif lanes > MAX_ARGON2_PARALLELISM:
        excess = f"argon2 hash asks for {lanes} lanes, more than {MAX_ARGON2_PARALLELISM}"
    return HashCost(memory, memory * passes / 1024, excess)


def _bcrypt(found: re.Match[str]) -> HashCost:
    cost = int(found[1])
    excess = f"bcrypt cost {cost} is above {MAX_BCRYPT_COST}" if cost > MAX_BCRYPT_COST else ""
    return HashCost(0, 0.06 * 2 ** min(cost, 40), excess)


def _pbkdf2(found: re.Match[str]) -> HashCost:
    iterations = int(found[1])
    excess = ""
    if iterations > MAX_PBKDF2_ITERATIONS:
        excess = f"PBKDF2 hash asks for {iterations} iterations, more than {MAX_PBKDF2_ITERATIONS}"
    return HashCost(0, iterations / 2000, excess)


def _sha_crypt(found: re.Match[str]) -> HashCost:
    rounds = int(found[2])
    excess = ""
    if rounds > MAX_CRYPT_ROUNDS:
        excess = f"{found[1]} hash asks for {rounds} rounds, more than {MAX_CRYPT_ROUNDS}"
    return HashCost(0, rounds / 1500, excess)


def _scrypt(found: re.Match[str]) -> HashCost:
    blocks, lanes = _number(found[2]), _number(found[3])
    memory = (blocks * 128 << _ALPHABET.index(found[1])) // 1024
    return _memory_hard("$7$", memory, lanes)


def _yescrypt(found: re.Match[str]) -> HashCost:
    blocks = 8 if found[3] == "5" else 32  # what crypt_gensalt(3) makes
    return _memory_hard(found[1], (blocks * 128 << (_ALPHABET.index(found[2]) + 1)) // 1024, 1)


def _memory_hard(kind: str, memory: int, lanes: int) -> HashCost:
    excess = ""
    if memory > MAX_MEMORY_KIB:
        excess = f"{kind} hash asks for {memory} KiB of memory, more than {MAX_MEMORY_KIB}"
    elif lanes > MAX_SCRYPT_LANES:
        excess = f"{kind} hash asks for {lanes} lanes, more than {MAX_SCRYPT_LANES}"
    return HashCost(memory, 3.0 * memory * lanes / 1024, excess)


def _number(text: str) -> int:
    """A number in crypt's base 64, least significant digit first."""
    return sum(_ALPHABET.index(char) << (6 * place) for place, char in enumerate(text))


_READERS: Final = (
    (_ARGON2, _argon2),
    (_BCRYPT, _bcrypt),
    (_PBKDF2, _pbkdf2),
    (_SHA_CRYPT, _sha_crypt),
    (_SCRYPT, _scrypt),
    (_YESCRYPT, _yescrypt),
)
