# SPDX-License-Identifier: Apache-2.0
"""Costs that are chosen by measuring this machine. Blocking; each is measured once in a process."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tidegate.identity.passwords import argon, blowfish
from tidegate.identity.passwords.options import HashOptions

LEAST_MEMORY_KIB: Final = 46 * 1024
"""OWASP's minimum for argon2id with one pass and one lane (Password Storage Cheat Sheet, 2024)."""
MEMORY_STEPS_KIB: Final = (LEAST_MEMORY_KIB, 64 * 1024, 96 * 1024, 128 * 1024)
"""The sizes to choose from: the dearest that takes at most `GOAL_SECONDS`, else the first."""
GOAL_SECONDS: Final = 0.05
"""Time of one new hash."""
COMMON_BCRYPT_STEPS: Final = 2
"""bcrypt hashes up to so many steps above `HashOptions.bcrypt_cost` count as common: 12 by default."""
MARGIN: Final = 1.25
"""Time of refusals over that of the dearest common hash; the machine may be busier later."""

_PROBE_COST: Final = 6
_PROBE: Final = b"a password that nobody has"


def settled(options: HashOptions) -> HashOptions:
    """The options with every cost settled. Open ones are chosen by measuring, once, for about 0.1 s."""
    return options if options.argon2_memory_kib else _chosen(options)


@functools.cache
def _chosen(options: HashOptions) -> HashOptions:
    taken = _seconds(lambda: argon.hash_password(_PROBE, LEAST_MEMORY_KIB, 1, 1))
    memory = max(
        (step for step in MEMORY_STEPS_KIB if taken * step / LEAST_MEMORY_KIB <= GOAL_SECONDS),
        default=LEAST_MEMORY_KIB,
    )
    return replace(options, argon2_memory_kib=memory, argon2_iterations=1, argon2_parallelism=1, chosen=True)


@functools.cache
def refusal_seconds(options: HashOptions) -> float:
    """The time that a refused check takes at the least: that of the dearest common hash, and a margin."""
    options = settled(options)
    probe = min(_PROBE_COST, options.bcrypt_cost)
    steps = options.bcrypt_cost + COMMON_BCRYPT_STEPS - probe
    dearest = _seconds(lambda: blowfish.hash_password(_PROBE, probe)) * float(2**steps)
    if options.algorithm == "argon2id":
        costs = (options.argon2_memory_kib, options.argon2_iterations, options.argon2_parallelism)
        dearest = max(dearest, _seconds(lambda: argon.hash_password(_PROBE, *costs)))
    return dearest * MARGIN


def _seconds(work: Callable[[], object]) -> float:
    """The shorter of two runs."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
