# SPDX-License-Identifier: Apache-2.0
r"""Shell patterns, in the dialect that accounts use.

``*`` any run of characters, ``?`` one character, ``[abc]``, ``[a-z]``, ``[^a]`` or ``[!a]`` one character
of (not of) a set, ``\`` takes the next character literally. A pattern that is not well formed (an open
bracket) matches itself literally, so that compiling is total; `problem` says what is wrong with it.

Matching cannot be made slow by a name: runs between stars are atomic groups, so there is no backtracking
across stars.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

MAX_PATTERN_CHARS: Final = 255
"""Longest pattern that `problem` accepts."""

_MAGIC: Final = frozenset("*?[\\")


def fold(text: str) -> str:
    """`text` as case-insensitive matching sees it: NFC and without case."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def has_magic(text: str) -> bool:
    """True if `text` holds any character that has a meaning in patterns."""
    return not _MAGIC.isdisjoint(text)


def problem(pattern: str) -> str | None:
    """The fault of a pattern, on one line; None if it is well formed."""
    if not pattern:
        return "an empty pattern matches nothing"
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"longer than {MAX_PATTERN_CHARS} characters"
    if "\0" in pattern or "/" in pattern:
        return "a pattern is matched against a base name: no '/' and no NUL"
    if not pattern.isprintable():
        return "holds a character that cannot be printed"
    index = 0
    while index < len(pattern):
        if pattern[index] == "\\":
            if index + 1 == len(pattern):
                return "ends in a lone backslash"
            index += 2
        elif pattern[index] == "[":
            parsed = _bracket(pattern, index)
            if parsed is None:
                return f"'[' at position {index + 1} is never closed, or its range is reversed"
            index = parsed[1]
        else:
            index += 1
    return None


def _bracket(pattern: str, start: int) -> tuple[str, int] | None:
    """The set that opens at `start` as regular expression and the index after it; None if malformed."""
    index = start + 1
    negated = index < len(pattern) and pattern[index] in "^!"
    if negated:
        index += 1
    items: list[str] = []
    while index < len(pattern):
        if pattern[index] == "]" and items:
            return (f"[^{''.join(items)}]" if negated else f"[{''.join(items)}]"), index + 1
        low, index = _set_char(pattern, index)
        if index + 1 < len(pattern) and pattern[index] == "-" and pattern[index + 1] != "]":
            high, index = _set_char(pattern, index + 1)
            if not low or not high or low > high:
                return None
            items.append(f"{re.escape(low)}-{re.escape(high)}")
        elif low:
            items.append(re.escape(low))
        else:
            return None
    return None


def _set_char(pattern: str, index: int) -> tuple[str, int]:
    """One character of a set, escaped or not, and the index after it; empty at the end of the pattern."""
    if pattern[index] == "\\":
        return pattern[index + 1 : index + 2], index + 2
    return pattern[index], index + 1


def translate(pattern: str) -> str:
    """The regular expression, for a full match with DOTALL, that means what `pattern` does."""
    runs: list[str] = [""]
    index = 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char == "*":
            runs.append("")
        elif char == "?":
            runs[-1] += "."
        elif char == "\\" and index < len(pattern):
            runs[-1] += re.escape(pattern[index])
            index += 1
        elif char == "[" and (parsed := _bracket(pattern, index - 1)) is not None:
            runs[-1] += parsed[0]
            index = parsed[1]
        else:
            runs[-1] += re.escape(char)
    if len(runs) == 1:
        return runs[0]
    middle = "".join(f"(?>.*?{run})" for run in runs[1:-1] if run)
    return f"{runs[0]}{middle}.*{runs[-1]}"


def compile_one(pattern: str) -> re.Pattern[str]:
    """One case-sensitive pattern, to be used with `fullmatch`."""
    return re.compile(translate(pattern), re.DOTALL)


class NameMatcher:
    """Several case-insensitive patterns on base names.

    Patterns of the form ``*literal`` (most are) cost one `str.endswith` in all; the rest one regular
    expression in all.
    """

    __slots__ = ("_each", "_regex", "_suffixes", "patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        folded = [fold(pattern) for pattern in patterns]
        self._suffixes = tuple(p[1:] for p in folded if p[:1] == "*" and not has_magic(p[1:]))
        rest = [translate(p) for p in folded if not (p[:1] == "*" and not has_magic(p[1:]))]
        self._regex = re.compile("|".join(f"(?:{r})" for r in rest), re.DOTALL) if rest else None
        self._each: tuple[re.Pattern[str], ...] | None = None

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def matches(self, folded_name: str) -> bool:
        """True if any pattern matches a name that went through `fold`."""
        if folded_name.endswith(self._suffixes):
            return True
        return self._regex is not None and self._regex.fullmatch(folded_name) is not None

    def first(self, folded_name: str) -> int | None:
        """Index of the first pattern that matches, None if none does."""
        if not self.matches(folded_name):
            return None
        if self._each is None:
            self._each = tuple(compile_one(fold(p)) for p in self.patterns)
        return next((i for i, one in enumerate(self._each) if one.fullmatch(folded_name)), None)
