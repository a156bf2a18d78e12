# SPDX-License-Identifier: Apache-2.0
"""Patterns of names and virtual paths: the shell's, and ``**`` for any number of directories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from tidegate.policy.globs import compile_one, problem

MAX_PATTERNS: Final = 1_000
"""Patterns of one condition."""
_ANY: Final = "**"


@lru_cache(maxsize=4_096)
def _compiled(text: str) -> tuple[re.Pattern[str] | None, ...]:
    return tuple(None if part == _ANY else compile_one(part) for part in text.split("/"))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern.

    Attributes:
        text: components between slashes; ``**`` stands for any number of components, none included.
        inverse: it matches what `text` does not.
    """

    text: str
    inverse: bool = False
    parts: tuple[re.Pattern[str] | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _compiled(self.text))

    def matches(self, text: str) -> bool:
        """True if it matches the whole text, in time of parts of the pattern times parts of the text."""
        return _match(self.parts, text.split("/")) != self.inverse


def _match(parts: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    """Components against components; only the last ``**`` is ever tried again, so it is no search tree."""
    place = index = 0
    star, resume = -1, 0
    while index < len(names):
        part = parts[place] if place < len(parts) else ...
        if part is None:
            star, resume = place, index
            place += 1
        elif part is not ... and part.fullmatch(names[index]):
            place += 1
            index += 1
        elif star >= 0:
            resume += 1
            place, index = star + 1, resume
        else:
            return False
    return all(part is None for part in parts[place:])


def pattern_problem(text: str) -> str | None:
    """The fault of a pattern on one line; None if it is well formed."""
    if not text:
        return "an empty pattern matches nothing"
    for part in text.split("/"):
        if part not in ("", _ANY) and (found := problem(part)) is not None:
            return found
    return None


def any_matches(patterns: Sequence[Pattern], text: str) -> bool:
    """True if there are no patterns, or one of them matches."""
    return not patterns or any(pattern.matches(text) for pattern in patterns)
