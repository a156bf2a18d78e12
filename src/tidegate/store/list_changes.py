# SPDX-License-Identifier: Apache-2.0
"""Notes of the entries of lists of addresses that have changed since somebody looked last. Pure.

The settings hold a number that each change of an entry raises, and the names of what the last `KEPT` changes
were about, one setting for each, written over in turn. They are written in the transaction of the change, and
the number first, so that its row is locked until the end: numbers are seen in the order in which they were
given. Whoever is too far behind, or follows another line of numbers (a database that was restored), reads
everything. Decided in ADR 0085.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

KEPT: Final = 1024
"""Changes whose names are kept."""
MAX_NAMES: Final = 256
"""Entries of one transaction that are named; more of them are a change of everything."""
NUMBER: Final = "lists.number"
"""The setting with the number of the last change and when it was made: ``number milliseconds``."""
NOTHING: Final = "0 0"
"""The state of lists that were never changed."""


def _slot(number: int) -> str:
    return f"lists.change.{number % KEPT}"


def notes(stored: str | None, names: Collection[str], now_ms: int) -> dict[str, str]:
    """Settings to store for changes of entries, the number first.

    Args:
        stored: value of `NUMBER`, read under a lock.
        names: of the entries that one transaction changes.
        now_ms: Unix milliseconds.
    """
    if not names:
        return {}
    if len(names) > MAX_NAMES:
        return everything(stored, now_ms)
    number = _number(stored or NOTHING)
    found = {NUMBER: f"{number + len(names)} {now_ms}"}
    for at, name in enumerate(names, start=number + 1):
        found[_slot(at)] = f"{at} {now_ms} {name}"
    return found


def everything(stored: str | None, now_ms: int) -> dict[str, str]:
    """As `notes`, for a change of any number of entries: whoever follows reads all of them."""
    state = f"{_number(stored or NOTHING) + KEPT} {now_ms}"
    return {NUMBER: state, _slot(_number(state)): f"{state} "}


def wanted(state: str, stored: str | None) -> list[str] | None:
    """Settings that tell what has changed since `state`; none if nothing has, None if they cannot tell."""
    now = stored or NOTHING
    if state == now:
        return []
    if not state:
        return None
    since, last = _number(state), _number(now)
    if not 0 < last - since < KEPT:
        return None
    return [_slot(number) for number in range(max(since, 1), last + 1)]


def changed(state: str, stored: str | None, values: Mapping[str, str]) -> set[str] | None:
    """Names of entries that have changed since `state`, by the settings that were `wanted`; None as there."""
    since, last = _number(state), _number(stored or NOTHING)
    found: set[str] = set()
    if state == (stored or NOTHING):
        return found
    for number in range(max(since, 1), last + 1):
        at, _, rest = values.get(_slot(number), "").partition(" ")
        when, _, name = rest.partition(" ")
        if at != str(number) or (number == since and f"{at} {when}" != state):
            return None
        if number > since:
            if not name:
                return None
            found.add(name)
    return found


def _number(state: str) -> int:
    text = state.partition(" ")[0]
    return int(text) if text.isascii() and text.isdigit() else 0
