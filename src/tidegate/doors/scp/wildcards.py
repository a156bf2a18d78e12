# SPDX-License-Identifier: Apache-2.0
r"""Patterns of file names in what a client asks for, expanded as the shell would that usually stands between.

``*``, ``?`` and ``[...]`` (XCU 2.13), with ``[!...]`` and ``[^...]`` for all others; a backslash takes the
meaning of what follows. No pattern matches a slash, and none but one that begins with a dot matches a leading
dot. A pattern that matches nothing stands for itself.

Matching takes time in proportion to pattern and name: what stands between two stars is an atomic group.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from time import monotonic
from typing import Final

from tidegate.doors.common.turns import SLICE_SECONDS
from tidegate.errors import InvalidArgument, TidegateError
from tidegate.model import VPath
from tidegate.vfs.api import Session

MAX_MATCHES: Final = 100_000
"""Paths that one pattern may stand for."""

MAX_LOOKED_AT: Final = 1_000_000
"""Names that are compared for one pattern."""

MAX_MAGIC: Final = 16
"""Components of one pattern that hold wildcards."""


def components(pattern: str) -> list[str]:
    """The components of a pattern, with their backslashes; empty ones are left out."""
    return [part for part in pattern.split("/") if part]


def is_magic(component: str) -> bool:
    """True if a component matches more than itself."""
    escaped = False
    for char in component:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "*?[":
            return True
    return False


def literal(component: str) -> str:
    """A component without its backslashes."""
    return re.sub(r"\\(.)", r"\1", component, flags=re.DOTALL)


def compiled(component: str) -> re.Pattern[str]:
    """The regular expression, for `fullmatch`, that one component means."""
    runs: list[str] = [""]
    index = 0
    while index < len(component):
        char = component[index]
        index += 1
        if char == "*":
            runs.append("")
        elif char == "?":
            runs[-1] += "."
        elif char == "[" and (found := _bracket(component, index)) is not None:
            runs[-1] += found[0]
            index = found[1]
        else:
            if char == "\\" and index < len(component):
                char = component[index]
                index += 1
            runs[-1] += re.escape(char)
    dot = "" if literal(component[:2]).startswith(".") else r"(?!\.)"
    if len(runs) == 1:
        return re.compile(dot + runs[0], re.DOTALL)
    middle = "".join(f"(?>.*?{run})" for run in runs[1:-1] if run)
    return re.compile(f"{dot}{runs[0]}{middle}.*{runs[-1]}", re.DOTALL)


def _bracket(component: str, index: int) -> tuple[str, int] | None:
    """The set that opens before `index`, and the index after it; None if it never closes."""
    negated = component[index : index + 1] in ("!", "^")
    index += negated
    items: list[str] = []
    while index < len(component):
        if component[index] == "]" and items:
            return ("[^" if negated else "[") + "".join(items) + "]", index + 1
        low, index = _char(component, index)
        if component[index : index + 1] == "-" and component[index + 1 : index + 2] not in ("]", ""):
            high, index = _char(component, index + 1)
            if low <= high:  # a reversed range matches nothing
                items.append(f"{re.escape(low)}-{re.escape(high)}")
            elif not items:
                items.append("/")  # no name has one
        else:
            items.append(re.escape(low))
    return None


def _char(component: str, index: int) -> tuple[str, int]:
    if component[index] == "\\" and index + 1 < len(component):
        return component[index + 1], index + 2
    return component[index], index + 1


class _Budget:
    """The names that one expansion may still look at, and the time that it takes at once."""

    def __init__(self) -> None:
        self._left = MAX_LOOKED_AT
        self._slice_end = monotonic() + SLICE_SECONDS

    def spend(self, names: int) -> None:
        self._left -= names
        if self._left < 0:
            raise InvalidArgument(f"a pattern that {MAX_LOOKED_AT} names were compared for")

    async def give_way(self) -> None:
        """Let others have the loop now and then: a local disk answers without waiting."""
        if monotonic() > self._slice_end:
            await asyncio.sleep(0)
            self._slice_end = monotonic() + SLICE_SECONDS


async def expand(session: Session, pattern: str, base: VPath) -> list[VPath]:
    """The paths that match a pattern, in the order of their bytes; none if nothing does.

    Args:
        session: lists directories, as far as the account may see them.
        pattern: as `command_line.Word.pattern` has it.
        base: directory that a relative pattern begins in.

    Raises:
        InvalidArgument: the pattern stands for too much.
    """
    parts = components(pattern)
    if sum(map(is_magic, parts)) > MAX_MAGIC:
        raise InvalidArgument(f"a pattern with wildcards in more than {MAX_MAGIC} components")
    found = [VPath("/") if pattern.startswith("/") else base]
    budget = _Budget()
    for number, part in enumerate(parts):
        if is_magic(part):
            last = number == len(parts) - 1
            found = await _matching(session, found, compiled(part), budget, directories=not last)
        else:
            found = [VPath.parse(literal(part), path) for path in found]
            if any(map(is_magic, parts[:number])):
                found = await _existing(session, found, budget)
    return found


async def _matching(
    session: Session, places: Iterable[VPath], wanted: re.Pattern[str], budget: _Budget, *, directories: bool
) -> list[VPath]:
    found: list[VPath] = []
    for place in places:
        await budget.give_way()
        names: list[str] = []
        try:
            async for batch in session.list(place):
                budget.spend(len(batch))
                await budget.give_way()
                names += [
                    entry.name
                    for entry in batch
                    if wanted.fullmatch(entry.name) and (not directories or not entry.is_file)
                ]
                if len(found) + len(names) > MAX_MATCHES:
                    raise InvalidArgument(f"a pattern that matches more than {MAX_MATCHES} names")
        except InvalidArgument:
            raise
        except TidegateError:
            continue  # what cannot be listed matches nothing
        found += [place.child(name) for name in sorted(names, key=_bytes)]
    return found


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


async def _existing(session: Session, places: Iterable[VPath], budget: _Budget) -> list[VPath]:
    found = []
    for place in places:
        await budget.give_way()
        try:
            await session.stat(place)
        except TidegateError:
            continue
        found.append(place)
    return found
