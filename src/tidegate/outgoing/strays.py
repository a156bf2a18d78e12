# SPDX-License-Identifier: Apache-2.0
"""Finds and kills what a program has started and left, on Linux; elsewhere it finds nothing."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

MARK: Final = "TIDEGATE_CALL"
"""Variable of every program; its value, a random word, is inherited by what the program starts."""

_ROUNDS: Final = 20
"""Searches at most; each kills what the one before could not see because it was being started."""

_PROC: Final = Path("/proc")


def kill_strays(mark: str, leader: int) -> int:
    """Kill all processes of a call: its session, descendants of its leader, and who inherited the mark.

    Blocks for as long as reading `/proc` takes.

    Args:
        mark: the value of `MARK`.
        leader: process number of the program, not reaped yet.

    Returns:
        how many were killed besides the leader.
    """
    killed: set[int] = set()
    wanted = f"{MARK}={mark}".encode()
    for _ in range(_ROUNDS):
        found = _family(leader, wanted, killed)
        if not found:
            break
        for number in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        killed |= found
    return len(killed)


def _family(leader: int, wanted: bytes, known: set[int]) -> set[int]:
    parents: dict[int, int] = {}
    found: set[int] = set()
    try:
        numbers = [int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit()]
    except OSError:
        return set()
    own = os.getpid()
    for number in numbers:
        if number in (leader, own):
            continue
        with suppress(OSError, ValueError, IndexError):
            # The name of the program, in parentheses, may hold anything.
            fields = (_PROC / str(number) / "stat").read_bytes().rpartition(b") ")[2].split()
            if fields[0] in (b"Z", b"X"):
                continue
            parents[number] = int(fields[1])
            if int(fields[3]) == leader or _inherits(number, wanted):
                found.add(number)
    family = {leader, *found}
    grown = True
    while grown:
        grown = False
        for number, parent in parents.items():
            if parent in family and number not in family:
                family.add(number)
                grown = True
    return family - {leader} - known


def _inherits(number: int, wanted: bytes) -> bool:
    with suppress(OSError):
        return wanted in (_PROC / str(number) / "environ").read_bytes().split(b"\0")
    return False
